"""What the operator asks for in a request: carried out or refused, and in any case answered.

Pure. Owns `reset`, `flow` (behaviour.md section 17) and `ack` up to their answer. Whether a reset
is allowed is `stage_machine`'s to say, when a flow takes effect `flows`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import incidents
from flows import Settled, book_flow
from memory import AuditEntry, Memory, RequestAnswer, Severity
from model import BookName, OperatorRequest, RecordId
from policy import BookPolicy, Policy, unconfigured

LARGEST_FLOW = 1e15
"""Beyond any account there is: a slip of the keyboard, or a number that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What one request came to: the answer, and what it made of its book or its scope.

    `audits` are entries beside those of the step: a request that was refused changes no book.
    """

    answer: RequestAnswer
    audits: tuple[AuditEntry, ...] = ()
    step: incidents.BookStep | None = None
    booking: Settled | None = None


def answer_request(
    request: OperatorRequest, *, memory: Memory, policy: Policy, now: float
) -> Answered:
    """Carry out or refuse one request; whatever it says, it gets an answer."""
    if request.command == "ack":
        return _acknowledge(request, now)
    name = BookName(request.argument("book"))
    book = policy.book(name)
    if book is None and request.command == "reset" and memory.book(name).holds_back:
        # Its locks bind although nobody reads the account: somebody must be able to end that.
        book = unconfigured(name)
    if book is None:
        names = ", ".join(known.name for known in policy.books)
        return _refused(request, now, f"there is no book {request.argument('book')!r}: {names}")
    match request.command:
        case "reset":
            return _reset(request, book, memory=memory, policy=policy, now=now)
        case "flow":
            return _book_flow(request, book, memory=memory, policy=policy, now=now)
        case unknown:
            return _refused(request, now, f"this version does not know the command {unknown!r}")


def _reset(
    request: OperatorRequest, book: BookPolicy, *, memory: Memory, policy: Policy, now: float
) -> Answered:
    step, is_accepted, message = incidents.reset(
        memory.book(book.name),
        request,
        policy=book,
        now=now,
        measured_at=_measured_at(book, memory=memory, policy=policy, now=now),
        dry_run=policy.dry_run,
    )
    if not is_accepted:
        if not book.scopes:
            message += (
                f"; {book.name} is no longer configured: put the account back, or use --force"
            )
        return _refused(request, now, message)
    answer = RequestAnswer(request_id=request.request_id, at=now, accepted=True, message=message)
    return Answered(answer=answer, step=step)


def _measured_at(book: BookPolicy, *, memory: Memory, policy: Policy, now: float) -> float | None:
    """When every scope was last read in trust, None where a reading is old, in doubt or missing.

    A doubt may end as a loss, which a baseline after it would hide. The age counts from either
    side, for a clock that was set back.
    """
    known = [memory.scope(scope) for scope in book.scopes]
    points = [scope.history.last for scope in known if scope.suspicion is None]
    times = [point.at for point in points if point is not None]
    if len(times) < len(known) or any(abs(now - at) > policy.max_reading_age_s for at in times):
        return None
    return min(times, default=None)


def _book_flow(
    request: OperatorRequest, book: BookPolicy, *, memory: Memory, policy: Policy, now: float
) -> Answered:
    amount = _amount_of(request)
    if amount is None:
        return _refused(request, now, f"{request.argument('amount')!r} is not an amount")
    booking = book_flow(
        memory.scope(book.scopes[0]),
        amount,
        now,
        RecordId(f"by-hand-{request.request_id}"),
        min_equity=policy.min_equity,
    )
    reason = request.argument("reason")
    entry = AuditEntry(
        at=now,
        scope=book.name,
        event="flow_booked",
        message=f"{request.actor} booked {amount:+,.2f}" + (f": {reason}" if reason else ""),
        details=(("amount", amount), ("actor", request.actor), ("reason", reason)),
    )
    answer = RequestAnswer(
        request_id=request.request_id,
        at=now,
        accepted=True,
        message=f"booked {amount:+,.2f} on {book.name}",
    )
    step = incidents.BookStep(book=memory.book(book.name), audits=(entry,))
    return Answered(answer=answer, step=step, booking=booking)


def _amount_of(request: OperatorRequest) -> float | None:
    """The amount of a flow, None for anything that cannot be one."""
    try:
        amount = float(request.argument("amount"))
    except ValueError:
        return None
    is_amount = math.isfinite(amount) and 0 < abs(amount) < LARGEST_FLOW
    return amount if is_amount else None


def _acknowledge(request: OperatorRequest, now: float) -> Answered:
    """Somebody has seen the alerts: what sends them takes this entry as its cue."""
    reason = request.argument("reason")
    entry = AuditEntry(
        at=now,
        scope="*",
        event="alerts_acknowledged",
        message=f"{request.actor} has seen what sounds" + (f": {reason}" if reason else ""),
        details=(("actor", request.actor), ("reason", reason)),
    )
    message = "repeats are silent until something new or more severe comes; nothing else changes"
    answer = RequestAnswer(request_id=request.request_id, at=now, accepted=True, message=message)
    return Answered(answer=answer, audits=(entry,))


def _refused(request: OperatorRequest, now: float, message: str) -> Answered:
    """The answer of a request that changed nothing, and the entry that says who asked for it."""
    entry = AuditEntry(
        at=now,
        scope=request.argument("book") or "*",
        event="request_refused",
        message=f"{request.command} by {request.actor}: {message}",
        severity=Severity.WARNING,
        details=(
            ("request_id", request.request_id),
            ("command", request.command),
            ("actor", request.actor),
        ),
    )
    return Answered(
        answer=RequestAnswer(
            request_id=request.request_id, at=now, accepted=False, message=message
        ),
        audits=(entry,),
    )
