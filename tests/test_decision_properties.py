"""Rules of decisions that hold for every history of readings."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from decision import Observation
from drawdown import breached_stages
from lock_document import LockMode
from memory import IncidentReport, IncidentStatus
from model import (
    Asset,
    Coin,
    Ledger,
    LedgerEntry,
    LedgerKind,
    OperatorRequest,
    Position,
    RecordId,
    ScopeObservation,
    Stage,
    Symbol,
    Trust,
)
from policy import Policy
from tests.decision_values import (
    BOOK,
    DRY,
    LIMITS,
    LIVE,
    NOON,
    ONE,
    SCOPE,
    THREE,
    TWO,
    Guard,
    btc,
    calm,
    dark,
    held,
    losing,
    seen,
    sol,
    transfer,
)

fractions = st.integers(0, 30).map(lambda percent: percent / 100)
paths = st.lists(st.tuples(fractions, st.integers(0, 10)), min_size=1, max_size=10)
"""Losses since noon, and by how many per cent another account lost more."""


@settings(max_examples=100, deadline=None)
@given(path=paths, is_dry=st.booleans())
def test_more_loss_never_gives_a_lower_stage(path: list[tuple[float, int]], is_dry: bool) -> None:
    """Two accounts from one peak, the second never better off at any reading."""
    policy = DRY if is_dry else LIVE
    less, more = calm(policy), calm(policy)
    for number, (fraction, extra) in enumerate(path):
        less.lose(10 + 3 * number, fraction)
        more.lose(10 + 3 * number, fraction + extra / 100)
        assert more.book.stage >= less.book.stage


@settings(max_examples=100, deadline=None)
@given(path=st.lists(fractions, min_size=1, max_size=12))
def test_no_stage_acts_before_its_confirmations(path: list[float]) -> None:
    """Stage 1 has 3 readings in breach in a row before it, stages 2 and 3 have 2 (3 s apart)."""
    guard = calm()
    in_a_row = {ONE: 0, TWO: 0, THREE: 0}
    for number, fraction in enumerate(path):
        decision = guard.lose(10 + 3 * number, fraction)
        breached = breached_stages(decision.verdicts[0].drawdowns)
        in_a_row = {stage: n + 1 if stage in breached else 0 for stage, n in in_a_row.items()}
        for opening in decision.opened:
            assert (
                in_a_row[opening.incident.stage]
                >= {ONE: 3, TWO: 2, THREE: 2}[opening.incident.stage]
            )


@settings(max_examples=100, deadline=None)
@given(path=st.lists(fractions, min_size=1, max_size=12), is_dry=st.booleans())
def test_every_stage_above_normal_is_locked_and_every_target_reduces(
    path: list[float], is_dry: bool
) -> None:
    """In every decision: a lock for the state, in the right list; remainders below positions."""
    guard = calm(DRY if is_dry else LIVE)
    for number, fraction in enumerate(path):
        decision = guard.lose(10 + 3 * number, fraction)
        shown = decision.lock.would_lock if is_dry else decision.lock.locks
        hidden = decision.lock.locks if is_dry else decision.lock.would_lock
        assert hidden == ()
        held_stages = {one.stage for one in shown if one.mode is LockMode.STAGE}
        assert guard.book.stage in held_stages | {Stage.NORMAL}
        for opening in decision.opened:
            assert opening.incident.dry_run is is_dry
            assert all(0 <= one.may_remain < one.initial_quantity for one in opening.plan.targets)


flow_steps = st.lists(
    st.tuples(
        st.floats(-0.9, 3.0).filter(lambda share: abs(share) > 0.001),
        st.sampled_from([3, 10]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(steps=flow_steps)
def test_no_flow_ever_triggers(steps: list[tuple[float, int, bool]]) -> None:
    """Deposits and withdrawals of any size, told with the step or one reading later (lesson 4)."""
    guard = calm()
    at, wallet = 0.0, 10_000.0
    records: tuple[LedgerEntry, ...] = ()
    for share, pause_s, is_late in steps:
        at += 90
        amount = round(wallet * share, 2)
        if wallet + amount < 200:
            continue
        wallet += amount
        known, records = records, (*records, transfer(at - 1, amount))
        told = known if is_late else records
        guard.look(seen(at, *losing(0.0), wallet=wallet, ledger=told))
        for repeat in (1, 2, 3):
            look = seen(at + repeat * pause_s, *losing(0.0), wallet=wallet, ledger=records)
            decision = guard.look(look)
        assert decision.verdicts[0].trust is Trust.TRUSTED
        assert max(one.fraction for one in decision.verdicts[0].drawdowns) < 1e-9
    assert all(decision.opened == () for decision in guard.decisions)
    assert guard.book.stage is Stage.NORMAL


# --- whatever is observed -----------------------------------------------------------------------

wild = st.one_of(
    st.floats(-1e6, 1e6),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1e300, -1e300, 10_000.0]),
)
marks = st.floats(0.01, 1_000.0)
PAUSES_S = (0.0, 0.5, 1.0, 3.0, 10.0, 130.0, 700.0, 90_000.0, -5.0, -7_200.0)


@st.composite
def observations(draw: st.DrawFn) -> tuple[float, ScopeObservation]:
    """Seconds that pass (also backwards), and any attempt to read the scope."""
    passed = draw(
        st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0, 130.0, 700.0, 90_000.0, -5.0, -7_200.0])
    )
    if draw(st.booleans()) and draw(st.booleans()):
        return passed, dark(0)
    positions: tuple[Position, ...] = ()
    if draw(st.booleans()):
        positions += (sol(draw(marks)),)
    if draw(st.booleans()):
        positions += (btc(draw(marks)),)
    coins = (
        (Coin(asset=Asset("ETH"), quantity=sol(1).quantity, price=draw(wild)),)
        if draw(st.booleans())
        else ()
    )
    observed = seen(0, *positions, equity=draw(wild), coins=coins)
    reading = observed.reading
    assert reading is not None
    ledger = None
    if draw(st.booleans()):
        entries = draw(
            st.lists(
                st.builds(
                    LedgerEntry,
                    record_id=st.integers(0, 5).map(lambda n: RecordId(str(n))),
                    scope=st.just(SCOPE),
                    kind=st.sampled_from(LedgerKind),
                    at=st.floats(NOON - 100_000, NOON + 100_000),
                    amount=wild,
                    asset=st.just(Asset("USDT")),
                    symbol=st.sampled_from([None, Symbol("SOLUSDT"), Symbol("GONE")]),
                ),
                max_size=3,
            )
        )
        ledger = Ledger(scope=SCOPE, since=NOON, asked_at=NOON, entries=tuple(entries))
    return passed, replace(
        observed,
        reading=replace(
            reading, wallet=draw(st.none() | wild), unrealised_pnl=draw(st.none() | wild)
        ),
        marks={Symbol("SOLUSDT"): draw(wild)} if draw(st.booleans()) else {},
        ledger=ledger,
        limits=LIMITS if draw(st.booleans()) else {},
        is_second_reading=draw(st.booleans()),
    )


requests = st.builds(
    OperatorRequest,
    request_id=st.integers(1, 3),
    at=st.just(NOON),
    actor=st.text(max_size=3),
    command=st.sampled_from(["reset", "flow", "", "switch"]),
    arguments=st.lists(
        st.tuples(
            st.sampled_from(["book", "amount", "force", "reason"]),
            st.sampled_from([BOOK, "true", "-4000", "4000.5", "nan", "1e14", ""]),
        ),
        max_size=4,
    ).map(tuple),
    confirmation=st.sampled_from(["", BOOK]),
)


@settings(max_examples=100, deadline=None)
@given(
    policy=st.sampled_from([LIVE, DRY]),
    events=st.lists(
        st.tuples(observations(), st.lists(requests, max_size=2), st.booleans()), max_size=12
    ),
)
def test_deciding_never_fails_and_answers_every_request(
    policy: Policy, events: list[tuple[tuple[float, ScopeObservation], list[OperatorRequest], bool]]
) -> None:
    """Any figures, any gaps, a clock that jumps: a decision, its audits and its answers."""
    guard = Guard(policy=policy)
    now = NOON
    for (passed, observed), asked_for, is_reported in events:
        now += passed
        reading = observed.reading
        running = guard.book.incident
        reports = (
            (IncidentReport(incident=held(running), is_done=True, notes=("note",)),)
            if is_reported and running is not None
            else ()
        )
        decision = guard.settle(
            Observation(
                now=now,
                scopes=(
                    replace(
                        observed,
                        asked_at=now,
                        reading=reading and replace(reading, asked_at=now),
                        ledger=observed.ledger and replace(observed.ledger, asked_at=now),
                    ),
                ),
                reports=reports,
                requests=tuple(asked_for),
            )
        )
        assert [one.request_id for one in decision.records.answers] == [
            one.request_id for one in asked_for
        ]
        assert len(decision.verdicts) == 1
        incident = guard.book.incident
        assert incident is None or incident.status is IncidentStatus.OPEN
        assert incident is None or not policy.dry_run
        judged = [one for one in decision.verdicts[0].drawdowns if one.is_judged]
        assert all(math.isfinite(one.fraction) for one in judged)
    guard.settle(Observation(now=now))
    assert guard.book.baseline_at <= now + policy.max_reading_age_s
