"""Takes in what the operator asks for by `operator_requests`, each request once.

Owns which waiting rows are put before the decision, and when. Decides none of them itself, except
that one nobody answered in time is refused: it was meant for a situation that is gone. Its rules:

- A request that was decided is not decided again while its answer waits for a failing database:
  a reset that repeats itself every second would forget every peak.
- While records cannot be written only a forced request goes ahead, because loosening needs its
  record first (behaviour.md section 1); the others wait.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from attempts import Missed, attempt
from clock import Clock
from decision_log import log_audit
from logger import Logger
from memory import AuditEntry, Records, RequestAnswer, Severity
from model import OperatorRequest
from recorder import Recorder

REQUEST_LIFE_S = 600.0
"""A command waits 10 s for its answer; whoever still wants it after minutes can ask again."""


class OperatorDesk:
    """The requests that wait. `load` reads them and may raise StoreError."""

    def __init__(
        self,
        *,
        load: Callable[[], Coroutine[Any, Any, Sequence[OperatorRequest]]],
        recorder: Recorder,
        clock: Clock,
        log: Logger,
        deadline_s: float,
        dry_run: bool,
    ) -> None:
        self._load = load
        self._recorder = recorder
        self._clock = clock
        self._log = log
        self._deadline_s = deadline_s
        self._dry_run = dry_run
        self._decided: set[int] = set()
        self._fault = ""

    async def due(self) -> tuple[OperatorRequest, ...]:
        """The requests to decide now, oldest first; each is given out once."""
        read = await attempt(self._load(), within_s=self._deadline_s, what="requests")
        if isinstance(read, Missed):
            if not self._fault:
                self._log.warning("requests_unreadable", message=read.why)
            self._fault = read.why
            return ()
        self._fault = ""
        self._decided &= {request.request_id for request in read.value}
        fresh = tuple(r for r in read.value if r.request_id not in self._decided)
        due = tuple(
            request
            for request in fresh
            if not self._refuse_outdated(request)
            and (is_forced(request) or not self._recorder.is_in_trouble)
        )
        self._decided.update(request.request_id for request in due)
        return due

    def _refuse_outdated(self, request: OperatorRequest) -> bool:
        """Refuse a request that is too old; whether it was."""
        now = self._clock.now()
        if now - request.at <= REQUEST_LIFE_S:
            return False
        message = f"asked {(now - request.at) / 60:.0f} minutes ago and not answered: ask again"
        answer = RequestAnswer(
            request_id=request.request_id, at=now, accepted=False, message=message
        )
        entry = AuditEntry(
            at=now,
            scope=request.argument("book") or "*",
            event="request_outdated",
            message=f"{request.command} by {request.actor}: {message}",
            dry_run=self._dry_run,
            severity=Severity.WARNING,
        )
        log_audit(self._log, entry)
        self._recorder.add(Records(answers=(answer,), audits=(entry,)))
        self._decided.add(request.request_id)
        return True


def is_forced(request: OperatorRequest) -> bool:
    """Whether the operator waived what loosening otherwise needs."""
    return request.argument("force") == "true"
