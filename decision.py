"""The whole decision of a tick: (memory, observation, policy) -> decision, and nothing else.

Pure. Owns the order in which the parts are asked: what became of open incidents, what the
operator wants, what each scope shows, which stages that completes, what they close, when a book
may trade again, and what the lock must say. Each question is answered by the part that owns it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import incidents
import openings
import trust
from coin_sales import LIMITS_BY_SCOPE
from draft import Draft, ScopeVerdict
from drawdown import (
    LEDGER_WAIT_SHARE,
    StreakStep,
    WindowDrawdown,
    advance_streaks,
    breach_equity,
    compute_drawdowns,
    compute_unexplained_share,
    must_wait_for_ledger,
    needs_alert_pace,
    worst_breach,
)
from errors import InvariantViolation
from lock_document import LockContent
from memory import BookMemory, Flow, IncidentReport, Memory, Records, ScopeMemory
from model import BookName, OperatorRequest, ScopeId, ScopeObservation, Stage, Trust, Want
from operator_requests import answer_request
from policy import BookPolicy, Policy
from stage_recovery import with_past_baselines
from switch_model import RedisWrite, SwitchSeen, SwitchState, SwitchTransition
from switch_rules import effective
from switch_steps import (
    carry_out_kill,
    take_found,
    take_loosening,
    take_switch,
    watch_lockdowns,
)
from timekeeping import judge_silences, keep_books, move_with_clock, start


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that was learnt this tick, with one `now`. Scopes not in it were not read.

    `is_start` marks the first of a run. `reports` tell how open incidents stand after the executor
    worked on them, `untried` the books whose incident an earlier run left open and this one has
    not worked on yet. `clock_jump_s` is how far the wall clock was set away from the monotonic one
    since the last observation, 0 while both agree. `switch` is a look at the operator's switch.
    `limits` are market rules beside those of `scopes`, for what a kill closes.
    """

    now: float
    is_start: bool = False
    untried: tuple[BookName, ...] = ()
    clock_jump_s: float = 0.0
    scopes: tuple[ScopeObservation, ...] = ()
    reports: tuple[IncidentReport, ...] = ()
    requests: tuple[OperatorRequest, ...] = ()
    switch: SwitchSeen | None = None
    limits: LIMITS_BY_SCOPE = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The next memory, the lock, what the store must keep, and what to read at once.

    `redis_writes` are sent once the records are safe; `transitions` are the changes of the
    operator's switch that were seen, for whoever wants to be told.
    """

    memory: Memory
    lock: LockContent
    records: Records
    verdicts: tuple[ScopeVerdict, ...] = ()
    opened: tuple[openings.Opening, ...] = ()
    redis_writes: tuple[RedisWrite, ...] = ()
    transitions: tuple[SwitchTransition, ...] = ()

    def wants_of(self, scope: ScopeId) -> tuple[Want, ...]:
        """The reads that the scope's next observation should bring."""
        return next((v.wants for v in self.verdicts if v.scope == scope), ())

    def is_alert(self, scope: ScopeId) -> bool:
        """Whether the scope must be polled at the faster pace."""
        return next((v.is_alert for v in self.verdicts if v.scope == scope), False)

    def is_waiting(self, scope: ScopeId) -> bool:
        """Whether a complete streak acts as soon as the venue's records were waited for."""
        return next((v.is_waiting for v in self.verdicts if v.scope == scope), False)


def decide(memory: Memory, observation: Observation, policy: Policy) -> Decision:
    """Decide what this tick changes. Equal arguments give equal decisions."""
    draft = Draft(
        now=observation.now,
        policy=policy,
        scopes={scope.scope: scope for scope in memory.scopes},
        books={book.name: book for book in memory.books},
        switch=memory.switch,
    )
    if observation.clock_jump_s:
        move_with_clock(draft, by_s=observation.clock_jump_s)
    # Within the age of a reading trust waits for the clock, too: it takes no overtaken reading.
    draft.books = {
        name: with_past_baselines(known, now=draft.now, tolerance_s=policy.max_reading_age_s)
        for name, known in draft.books.items()
    }
    if observation.is_start:
        start(draft)
    if observation.switch is not None:
        take_switch(draft, observation.switch)
    for report in observation.reports:
        take_found(draft, report, limits=observation.limits)
        _take_report(draft, report)
    for request in observation.requests:
        _answer(draft, request)
    carry_out_kill(draft, limits=observation.limits)
    watch_lockdowns(draft, limits=observation.limits)
    for seen in observation.scopes:
        _judge_scope(draft, seen)
    judge_silences(draft, seen={seen.scope for seen in observation.scopes})
    keep_books(draft, untried=observation.untried)
    return _finish(draft, memory)


def _finish(draft: Draft, before: Memory) -> Decision:
    memory = draft.memory()
    changed = tuple(book for book in memory.books if book != before.book(book.name))
    open_now = tuple(book.incident for book in changed if book.incident is not None)
    return Decision(
        memory=memory,
        lock=incidents.compose(memory, policy=draft.policy),
        records=Records(
            readings=tuple(draft.readings),
            scopes=tuple(draft.scopes[name] for name in sorted(draft.touched_scopes)),
            flows=tuple(draft.flows),
            books=changed,
            incidents=(*draft.ended, *open_now),
            answers=tuple(draft.answers),
            audits=tuple(draft.audits),
            switch=draft.switch_record,
            transitions=tuple(draft.recorded_transitions),
        ),
        verdicts=tuple(draft.verdicts),
        opened=tuple(draft.opened),
        redis_writes=tuple(draft.redis_writes),
        transitions=tuple(draft.transitions),
    )


# --- incidents and requests -------------------------------------------------------------------


def _take_report(draft: Draft, report: IncidentReport) -> None:
    """Carry on an incident that is still the open one of its book."""
    policy = draft.policy.book(report.incident.book)
    if policy is None:
        return
    book = draft.book(policy.name)
    draft.take(
        incidents.carry_on(book, report, policy=policy, now=draft.now, dry_run=draft.policy.dry_run)
    )


def _answer(draft: Draft, request: OperatorRequest) -> None:
    """Carry out or refuse what the operator asked for; every request gets an answer."""
    answered = answer_request(request, memory=draft.memory(), policy=draft.policy, now=draft.now)
    draft.answers.append(answered.answer)
    draft.audit(answered.audits)
    if answered.step is not None:
        draft.take(answered.step)
    if answered.loosening is not None:
        take_loosening(draft, answered.loosening)
    if answered.booking is not None:
        _keep_scope(
            draft,
            BookName(request.argument("book")),
            answered.booking.memory,
            flows=answered.booking.changed,
            baseline_at=answered.booking.baseline_at,
        )


# --- one scope --------------------------------------------------------------------------------


def _judge_scope(draft: Draft, seen: ScopeObservation) -> None:
    """Trust or doubt one reading, and let its book act on what is trusted."""
    policy = draft.policy.book_of(seen.scope)
    if policy is None:
        raise InvariantViolation(f"no book judges {seen.scope}")
    book = draft.book(policy.name)
    known = _known_drawdowns(draft, policy, seen.scope)
    step = trust.observe_scope(
        draft.scope(seen.scope),
        seen,
        policy=draft.policy,
        now=draft.now,
        breach_equity=breach_equity(known),
        running_streak=bool(book.streaks),
    )
    _keep_scope(draft, policy.name, step.memory, flows=step.flows, baseline_at=step.baseline_at)
    draft.audit(step.audits)
    if step.record is not None:
        draft.readings.append(step.record)
    drawdowns: tuple[WindowDrawdown, ...] = ()
    wants, is_waiting = list(step.wants), False
    if step.trust is Trust.TRUSTED and step.equity is not None:
        drawdowns = _drawdowns(
            draft,
            policy,
            step.memory,
            equity=step.equity,
            pending_flow=step.pending_flow,
        )
        more, is_waiting = _judge_book(draft, policy, seen=seen, step=step, drawdowns=drawdowns)
        wants += more
    draft.take(
        incidents.judge_blindness(
            draft.book(policy.name),
            scope=seen.scope,
            is_blind=step.is_blind,
            trust=step.trust,
            drawdowns=drawdowns,
            now=draft.now,
            dry_run=draft.policy.dry_run,
        )
    )
    draft.verdicts.append(
        ScopeVerdict(
            scope=seen.scope,
            trust=step.trust,
            equity=step.equity,
            drawdowns=drawdowns,
            wants=tuple(dict.fromkeys(wants)),
            is_alert=needs_alert_pace(drawdowns or known)
            or step.memory.suspicion is not None
            or bool(draft.book(policy.name).streaks),
            is_waiting=is_waiting,
            reasons=step.reasons,
        )
    )


def _keep_scope(
    draft: Draft,
    name: BookName,
    memory: ScopeMemory,
    *,
    flows: tuple[Flow, ...],
    baseline_at: float | None,
) -> None:
    """Remember a scope, and let no peak of its book be older than a baseline that began."""
    draft.scopes[memory.scope] = memory
    draft.touched_scopes.add(memory.scope)
    draft.flows.extend(flows)
    if baseline_at is not None:
        book = draft.book(name)
        draft.books[name] = replace(book, baseline_at=max(book.baseline_at, baseline_at))


def _known_drawdowns(
    draft: Draft, policy: BookPolicy, scope: ScopeId
) -> tuple[WindowDrawdown, ...]:
    """The drawdowns at the last trusted equity; none before the first."""
    memory = draft.scope(scope)
    last = memory.history.last
    if last is None:
        return ()
    return _drawdowns(draft, policy, memory, equity=last.nav * memory.units)


def _drawdowns(
    draft: Draft,
    policy: BookPolicy,
    memory: ScopeMemory,
    *,
    equity: float,
    pending_flow: float = 0.0,
) -> tuple[WindowDrawdown, ...]:
    return compute_drawdowns(
        history=memory.history,
        units=memory.units,
        equity=equity,
        book=policy,
        book_memory=draft.book(policy.name),
        min_equity=draft.policy.min_equity,
        now=draft.now,
        pending_flow=pending_flow,
    )


def _judge_book(
    draft: Draft,
    policy: BookPolicy,
    *,
    seen: ScopeObservation,
    step: trust.ScopeStep,
    drawdowns: tuple[WindowDrawdown, ...],
) -> tuple[list[Want], bool]:
    """Count streaks on a trusted reading and open what they complete.

    Returns further reads, and whether a complete streak waits for the venue's records.
    """
    book = draft.book(policy.name)
    streaks = advance_streaks(
        streaks=book.streaks,
        drawdowns=drawdowns,
        book=policy,
        policy=draft.policy,
        trust=step.trust,
        at=seen.asked_at,
        is_second_reading=seen.is_second_reading,
    )
    book = replace(book, streaks=streaks.streaks)
    draft.books[book.name] = book
    wants: list[Want] = []
    if streaks.wants_second_reading and not seen.is_second_reading:
        wants.append(Want.SECOND_READING)
    ready = streaks.triggered
    if not seen.has_waited:
        ready = _ready(book, streaks, drawdowns=drawdowns, step=step)
    assert seen.reading is not None and step.equity is not None
    facts = openings.Facts(
        now=draft.now,
        policy=draft.policy,
        book=policy,
        seen=seen,
        reading=seen.reading,
        memory=step.memory,
        equity=step.equity,
        drawdowns=drawdowns,
        is_halted=draft.policy.switch.halt_suspends_stages
        and effective(draft.switch) is SwitchState.HALT,
    )
    if ready:
        draft.take(incidents.trigger(book, ready, facts))
    draft.take(incidents.follow_up(draft.book(policy.name), facts))
    draft.take(incidents.rearm(draft.book(policy.name), facts))
    if _is_in_the_dark(draft.book(policy.name), drawdowns, step.memory):
        wants.append(Want.LEDGER)
    return wants, ready != streaks.triggered


def _is_in_the_dark(
    book: BookMemory, drawdowns: tuple[WindowDrawdown, ...], memory: ScopeMemory
) -> bool:
    """Whether a streak that nobody has acted on yet rests on a loss that nothing explains.

    The answer to its first question may have failed, or the record was not listed yet: a
    withdrawal would then be confirmed as a loss while nobody asks again.
    """
    breaches = (worst_breach(drawdowns, s.stage) for s in book.streaks if not s.is_answered)
    return any(
        compute_unexplained_share(breach, unexplained=memory.unexplained) > LEDGER_WAIT_SHARE
        for breach in breaches
        if breach is not None
    )


def _ready(
    book: BookMemory,
    streaks: StreakStep,
    *,
    drawdowns: tuple[WindowDrawdown, ...],
    step: trust.ScopeStep,
) -> tuple[Stage, ...]:
    """The complete stages whose drawdown need not wait for the venue's records."""

    def must_wait(stage: Stage) -> bool:
        breach = worst_breach(drawdowns, stage)
        return breach is not None and must_wait_for_ledger(
            breach=breach,
            unexplained=step.memory.unexplained,
            streak=book.streak(stage),
            ledger_until=step.memory.ledger_until,
        )

    return tuple(stage for stage in streaks.triggered if not must_wait(stage))
