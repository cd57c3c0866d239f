"""What the guard tells its service manager (systemd): ready, alive, stopping, how it stands.

Owns the datagrams of sd_notify(3), in a few lines of the standard library: nothing else of that
protocol is needed, and the process that holds the keys takes no package for it. Its rules:

- Nobody waits for the manager, and no trouble of it reaches the guard: a message that cannot be
  delivered now goes out with the next one.
- Alive means that every account was watched: the watchdog is fed when each scope has finished a
  tick since it was fed last. A venue that is down does not starve it, because a tick that found
  the venue dark is finished too; one scope whose tick does not end, or fails every time, does.
- Without a manager nothing happens.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime

from clock import Clock
from model import ScopeId

STATUS_EVERY_S = 5.0
"""A change is shown at once; the time of the last tick alone no more often than this."""


class ServiceManager:
    """The other end of the notification socket; `address` is empty when there is none."""

    def __init__(self, address: str = "", *, is_watchdog: bool = False) -> None:
        self.is_present = address.startswith(("/", "@"))
        self.is_watchdog = self.is_present and is_watchdog
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._undelivered: dict[str, str] = {}

    @classmethod
    def of(cls, environ: MutableMapping[str, str], *, pid: int) -> ServiceManager:
        """The manager that started this process, by its environment.

        Its variables are taken out, so that nothing started from here can speak for the guard.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        timeout_us = environ.pop("WATCHDOG_USEC", "")
        watched_pid = environ.pop("WATCHDOG_PID", str(pid))
        return cls(address, is_watchdog=bool(timeout_us) and watched_pid == str(pid))

    def tell(self, **news: str) -> None:
        """Send `READY="1"`, `STATUS="..."` and the like as one message; never waits or raises."""
        if not self.is_present:
            return
        # Never changed in place: the handler of a signal may speak in the middle of this.
        told = self._undelivered = self._undelivered | news
        lines = [f"{name}={' '.join(text.split())}" for name, text in told.items()]
        message = "\n".join(lines).encode("utf-8", errors="replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(message, os.fsencode(self._address))
        except OSError:
            # An old sign of life proves nothing; whatever else was said still holds later.
            self._undelivered = {
                name: text for name, text in self._undelivered.items() if name != "WATCHDOG"
            }
            return
        self._undelivered = {}


class ServiceReport:
    """Turns the guard's life into messages. `describe` says in a few words how the guard stands."""

    def __init__(
        self,
        manager: ServiceManager,
        *,
        scopes: Iterable[ScopeId],
        describe: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._manager = manager
        self._scopes = frozenset(scopes)
        self._awaited = set(self._scopes)
        self._describe = describe
        self._clock = clock
        self._told = ""
        self._told_at = float("-inf")

    def ready(self) -> None:
        """Say that configuration, store and lock are good; no venue needs to have answered."""
        self._manager.tell(READY="1", STATUS=f"{self._describe()}, no tick yet")

    def tick_ended(self, scope: ScopeId) -> None:
        """Say that a scope was observed, judged and worked on once more."""
        news: dict[str, str] = {}
        self._awaited.discard(scope)
        if not self._awaited:
            self._awaited = set(self._scopes)
            if self._manager.is_watchdog:
                news["WATCHDOG"] = "1"
        standing, now = self._describe(), self._clock.monotonic()
        if standing != self._told or now - self._told_at >= STATUS_EVERY_S:
            self._told, self._told_at = standing, now
            at = datetime.fromtimestamp(self._clock.now(), tz=UTC)
            news["STATUS"] = f"{standing}, last tick {at:%H:%M:%S} UTC"
        if news:
            self._manager.tell(**news)
