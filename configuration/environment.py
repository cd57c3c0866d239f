"""Secrets: which variables hold them, and reading them from the environment and `.env`.

Owns `.env` beside config.yaml and the credentials of a venue. The environment is a mapping that
is passed in; nothing is ever exported to other programs. Rules:
- The real environment wins over `.env`. A variable that is empty is the same as none.
- Nothing is expanded: a secret may hold `$` and `{`.
- No text made here contains a value of a variable.
- What is asked for as a secret is remembered as one, whether it is used or not: what lies in this
  process's memory can end up in a text.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import SecretStr

from configuration.config_file import ConfigFile, Problem, holds_secret
from configuration.sections import VenueSections

_PAIR = ("api_key_env", "api_secret_env")
_NEEDED: Mapping[str, tuple[str, ...]] = {"bitget": (*_PAIR, "password_env")}
"""What exchanges cannot be reached without, where it is more than key and secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one venue logs in with. Empty where a variable is empty; `repr` shows nothing.

    `is_complete` and `is_absent` count what its exchange cannot be reached without.
    """

    api_key: SecretStr
    api_secret: SecretStr
    password: SecretStr
    is_complete: bool
    is_absent: bool


class Environment:
    """Variables by name; deliberately without a `repr` of its content.

    `stored` names the variables that stand in `.env`: the file is there for secrets.
    """

    def __init__(self, values: Mapping[str, str], *, stored: Collection[str] = ()) -> None:
        self._values = values
        self._secret_names = {name for name in stored if holds_secret((name,))}

    def get(self, name: str) -> str:
        """The value without surrounding blanks, empty when there is none."""
        return self._values.get(name, "").strip()

    def secret(self, name: str) -> SecretStr:
        """The value as a secret, empty when there is none."""
        self._secret_names.add(name)
        return SecretStr(self.get(name))

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that was asked for, and what `.env` holds under a name that says so."""
        return tuple(SecretStr(self.get(name)) for name in sorted(self._secret_names))


def read_environment(
    config: ConfigFile, *, folder: Path, environ: Mapping[str, str]
) -> Environment:
    """Merge `environ` over the `.env` in `folder`; lines of `.env` that say nothing are problems.

    A line that cannot be parsed would silently leave a venue without keys, hence unwatched.
    """
    path = folder / ".env"
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return Environment(environ)
    except (OSError, UnicodeDecodeError):
        _add(config, path=path, line=None, wrong="cannot be read", remedy="make it a UTF-8 file")
        return Environment(environ)
    broken = [binding.original.line for binding in parse_stream(io.StringIO(text)) if binding.error]
    for line in broken:
        wrong, remedy = "is no NAME=value line", "write NAME=value, or # before a remark"
        _add(config, path=path, line=line, wrong=wrong, remedy=remedy)
    # python-dotenv would log each of those lines once more.
    stored = {} if broken else dotenv_values(stream=io.StringIO(text), interpolate=False)
    values = {name: value for name, value in stored.items() if value}
    values.update({name: value for name, value in environ.items() if value.strip()})
    return Environment(values, stored=stored)


def _add(config: ConfigFile, *, path: Path, line: int | None, wrong: str, remedy: str) -> None:
    """Record a mistake of `.env`; it never quotes the line."""
    config.problems.append(
        Problem(file=str(path), line=line, subject="", wrong=wrong, remedy=remedy)
    )


def variable_names(venue: VenueSections) -> dict[str, str]:
    """The names of the variables by the key that sets them."""
    written = {
        "api_key_env": venue.venue.api_key_env,
        "api_secret_env": venue.venue.api_secret_env,
        "password_env": venue.venue.password_env,
    }
    return {key: written[key] or name for key, name in default_names(venue.name).items()}


def default_names(venue: str) -> dict[str, str]:
    """The names of a venue's variables where the file names no others, by the key that would."""
    prefix = venue.upper()
    return {
        "api_key_env": f"{prefix}_API_KEY",
        "api_secret_env": f"{prefix}_API_SECRET",
        "password_env": f"{prefix}_PASSWORD",
    }


def read_credentials(venue: VenueSections, environment: Environment) -> Credentials:
    """Look up what the venue logs in with."""
    names = variable_names(venue)
    found = [bool(environment.get(names[key])) for key in _needed(venue)]
    return Credentials(
        api_key=environment.secret(names["api_key_env"]),
        api_secret=environment.secret(names["api_secret_env"]),
        password=environment.secret(names["password_env"]),
        is_complete=all(found),
        is_absent=not any(found),
    )


def _needed(venue: VenueSections) -> tuple[str, ...]:
    return _NEEDED.get(venue.id, _PAIR)


def note_secrets(
    environment: Environment, *, venues: Iterable[VenueSections], ids: Iterable[str]
) -> None:
    """Know as secrets what every venue would log in with: switched off, not watched or unnamed."""
    names = [variable_names(venue) for venue in venues] + [default_names(name) for name in ids]
    for variables in names:
        for variable in variables.values():
            environment.secret(variable)


def say_missing(config: ConfigFile, venue: VenueSections, environment: Environment) -> str:
    """Name the empty variables that its exchange cannot be reached without.

    A name written in the file is shown as its line only: it could be the secret itself.
    """
    names = variable_names(venue)
    said: list[str] = []
    for key in _needed(venue):
        if not environment.get(names[key]):
            line = config.lines.get((*venue.path, key))
            said.append(names[key] if line is None else f"the variable named in line {line}")
    return " and ".join(said)
