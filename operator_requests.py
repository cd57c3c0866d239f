"""What the operator asks for in a request: carried out or refused, and in any case answered.

Pure. Owns `reset`, `flow` and the loosening half of `switch` of behaviour.md section 17, and `ack`,
up to their answer. Whether a reset is allowed is `stage_machine`'s to say, when a flow takes effect
`flows`'s, what a loosening writes `switch_rules`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import incidents
import switch_rules
from flows import Settled, book_flow
from lock_document import EVERY_BOOK
from memory import AuditEntry, Memory, RequestAnswer, Severity
from model import BookName, OperatorRequest, RecordId, Stage
from policy import BookPolicy, Policy, unconfigured
from switch_model import SwitchMemory, SwitchState

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
    loosening: switch_rules.Loosening | None = None


def answer_request(
    request: OperatorRequest, *, memory: Memory, policy: Policy, now: float
) -> Answered:
    """Carry out or refuse one request; whatever it says, it gets an answer."""
    if request.command == "ack":
        return _acknowledge(request, now)
    if request.command == "switch":
        return _loosen_switch(request, memory=memory, now=now)
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
        is_switch_running=switch_rules.effective(memory.switch) is SwitchState.RUNNING,
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


def _loosen_switch(request: OperatorRequest, *, memory: Memory, now: float) -> Answered:
    """Have both stores of the switch hold less; what tightens is written by the command itself."""
    switch = memory.switch
    state = SwitchState.parse(request.argument("state"))
    if state is None:
        names = ", ".join(SwitchState)
        return _refused(request, now, f"{request.argument('state')!r} is no state: {names}")
    actor, reason = request.argument("actor") or request.actor, request.argument("reason")
    loosening = switch_rules.loosen(switch, state, actor=actor, reason=reason, now=now)
    if loosening is None:
        return _refused(request, now, _say_nothing_to_loosen(switch, state))
    held = switch_rules.explicit(switch)
    is_leaving_kill = held is SwitchState.KILL and state is not held
    if is_leaving_kill and request.confirmation.strip().lower() != SwitchState.KILL:
        return _refused(request, now, "leaving kill: the word kill must be typed as confirmation")
    message = _say_loosened(memory, loosening, state, is_leaving_kill=is_leaving_kill)
    entry = AuditEntry(
        at=now,
        scope=EVERY_BOOK,
        event="switch_loosened",
        message=f"{actor} sets the switch from {held} to {state}"
        + (f": {reason}" if reason else ""),
        mode=state,
        severity=Severity.WARNING,
        details=(("old", held.value), ("new", state.value), ("actor", actor), ("reason", reason)),
    )
    answer = RequestAnswer(request_id=request.request_id, at=now, accepted=True, message=message)
    return Answered(answer=answer, audits=(entry,), loosening=loosening)


def _say_nothing_to_loosen(switch: SwitchMemory, state: SwitchState) -> str:
    """Why a request of the switch changes nothing."""
    held = switch_rules.explicit(switch)
    if switch.silent_since is not None and state.severity < SwitchState.HALT.severity:
        return f"neither store holds more than {state}; {_say_silent(switch)}"
    if state is held:
        return f"the switch says {held} already"
    return f"the switch says {held}: tightening needs no request"


def _say_silent(switch: SwitchMemory) -> str:
    return f"Redis is silent ({switch.silent_why}): halt stays until it answers"


def _say_loosened(
    memory: Memory,
    loosening: switch_rules.Loosening,
    state: SwitchState,
    *,
    is_leaving_kill: bool,
) -> str:
    """What was set, and what that does not do."""
    sentences = [f"the switch is set to {state}: {switch_rules.MEANINGS[state]}"]
    if memory.switch.silent_since is not None:
        sentences.append(_say_silent(memory.switch))
        if loosening.writes:
            sentences.append("what it holds may still bind then: ask again")
    if is_leaving_kill:
        names = [book.name for book in memory.books if book.stage is Stage.LOCKDOWN]
        left = ", ".join(f"reset {name}" for name in names) or "no book is in it"
        sentences.append(f"LOCKDOWN stays until reset ({left})")
    return "; ".join(sentences)


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
