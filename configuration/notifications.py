"""Where alerts go: the section `notifications` with the addresses that its variables hold.

Owns turning names of variables into addresses, and what is wrong with those. An address is a
secret as a whole; what of it could stand alone in a text is kept apart, so that it is hidden, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import SecretStr

from configuration.config_file import ConfigFile, KeyPath
from configuration.environment import Environment
from configuration.sections import AlertSections
from memory import Severity

_NETWORK_PLACE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://([^/?#]*)")
_HEARTBEAT = re.compile(r"https?://[^/?#@\s]+(?:[/?][^\s]*)?")
_LEAST_HIDDEN = 6
"""A shorter word is no credential of any service, and to hide it would garble other texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """One place that alerts are sent to; `name` is the variable that holds its address.

    `hidden` are the parts of the address that must not be seen by themselves.
    """

    name: str
    url: SecretStr
    min_severity: Severity
    hidden: tuple[SecretStr, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """Who is told. `heartbeat_url` None: nobody is pinged.

    `repeat_s` is the least time between two alerts that say the same, `heartbeat_s` the one between
    two pings.
    """

    targets: tuple[TargetSettings, ...] = ()
    heartbeat_url: SecretStr | None = None
    heartbeat_s: float = 60.0
    repeat_s: float = 600.0


NO_NOTIFICATIONS = NotificationSettings()


def read_notifications(
    config: ConfigFile, sections: AlertSections, environment: Environment, *, is_checked: bool
) -> NotificationSettings:
    """Look the addresses up.

    With `is_checked` a variable that is empty, or whose address no service knows, is a mistake of
    the configuration; without, such a target is left out, because a command that only needs the
    state tells nobody anything.
    """
    own, path = sections.notifications, ("notifications", "heartbeat_url_env")
    targets: list[TargetSettings] = []
    seen: dict[str, KeyPath] = {}
    for place, target in sections.targets:
        at = (*place, "url_env")
        if not target.url_env or not config.is_sound(at):
            continue
        if seen.setdefault(target.url_env, at) != at:
            config.add(at, wrong=f"names {target.url_env} again", remedy="keep one of the two")
            continue
        url = environment.secret(target.url_env)
        fault = _fault_of_target(url.get_secret_value()) if is_checked else ""
        if fault:
            _add(config, at, name=target.url_env, fault=fault)
        elif url.get_secret_value():
            targets.append(
                TargetSettings(
                    name=target.url_env,
                    url=url,
                    min_severity=target.min_severity,
                    hidden=hidden_parts(url.get_secret_value()),
                )
            )
    heartbeat: SecretStr | None = None
    if own.heartbeat_url_env is not None and config.is_sound(path):
        heartbeat = environment.secret(own.heartbeat_url_env)
        fault = _fault_of_heartbeat(heartbeat.get_secret_value())
        if fault and is_checked:
            _add(config, path, name=own.heartbeat_url_env, fault=fault)
    return NotificationSettings(
        targets=tuple(targets),
        heartbeat_url=heartbeat,
        heartbeat_s=own.heartbeat_s,
        repeat_s=own.repeat_s,
    )


def hidden_parts(url: str) -> tuple[SecretStr, ...]:
    """What of an address stands where others have the name of a machine, and is a secret there.

    `tgram://TOKEN/CHAT` and `slack://TOKEN/...` put a token into that place. A name with a dot in
    it and `localhost` are machines.
    """
    found = _NETWORK_PLACE.match(url)
    if found is None:
        return ()
    login, _, host = found[1].rpartition("@")
    name = host.partition(":")[0]
    words = login.split(":")
    if "." not in host and name != "localhost" and not host.startswith("["):
        words += [host, *host.split(":")]
    return tuple(SecretStr(word) for word in dict.fromkeys(words) if len(word) >= _LEAST_HIDDEN)


def _add(config: ConfigFile, path: KeyPath, *, name: str, fault: str) -> None:
    remedy = f"set {name} in the environment or .env (docs/alerts.md), or remove the line"
    config.add(path, wrong=f"{name} {fault}", remedy=remedy)


def _fault_of_target(url: str) -> str:
    """Why nothing can be sent to an address, empty when nothing speaks against it."""
    if not url:
        return "is empty"
    from notifier import count_recipients  # noqa: PLC0415 - a guard without alerts loads none of it

    count = count_recipients(url)
    if not count:
        return "holds no address of a service that is known"
    # All are told again when one of them does not take an alert.
    return "" if count == 1 else f"names {count} recipients; each needs a variable of its own"


def _fault_of_heartbeat(url: str) -> str:
    if not url:
        return "is empty"
    return "" if _HEARTBEAT.fullmatch(url) else "holds no http:// or https:// address"
