"""A book that left the configuration while it still binds: told, held as it stands, and resettable.

Nobody reads its account any more, and unknown is not zero: what was not closed may still be open.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from book_locks import blind_lock
from commands.recall import recall
from decision import Decision, Observation
from lock_document import FOREVER_TS, LockContent, LockMode
from memory import BookMemory, IncidentStatus, Records, Severity, TargetStatus
from model import BookName, ScopeId, Stage
from policy import BookPolicy
from store.access import ThreadedStore
from store.views import read_answer
from tests import guard_files
from tests.decision_values import (
    BOOK_POLICY,
    NOON,
    ONE,
    Guard,
    asked,
    at_stage_1,
    at_stage_3,
    calm,
    losing,
    seen,
)
from tests.guard_files import held_report, opened, settings_in, write, write_lock
from tests.memory_venue import MemoryVenue, Trouble
from tests.test_commands import run
from tests.virtual_house import BOOK, House, play

OLD = BookName("binance_old_futures")
DAY_S = 86_400.0


def orphan(state: BookMemory) -> BookMemory:
    """The same state under a name that no configuration knows."""
    incident = state.incident
    return replace(
        state,
        name=OLD,
        incident=None if incident is None else replace(incident, book=OLD),
        locks=tuple(replace(entry, scope=OLD) for entry in state.locks),
    )


def beside(state: BookMemory) -> Guard:
    """A guard of one calm book that remembers another one, which it has no settings for."""
    guard = calm()
    books = tuple(sorted((*guard.memory.books, orphan(state)), key=lambda book: book.name))
    guard.memory = replace(guard.memory, books=books)
    return guard


def start(guard: Guard, at: float) -> Decision:
    """The first decision of a run."""
    return guard.settle(Observation(now=NOON + at, is_start=True))


def old(guard: Guard) -> BookMemory:
    """What is remembered of the book that is gone."""
    return guard.memory.book(OLD)


# --- told and held ------------------------------------------------------------------------------


def test_it_is_told_at_every_start_with_what_to_do() -> None:
    """Loudly, with the state, the open incident, the locks and both ways out."""
    guard = beside(at_stage_1().book)
    (entry,) = start(guard, 20).records.audits
    assert (entry.event, entry.scope, entry.severity) == (
        "book_not_configured",
        OLD,
        Severity.CRITICAL,
    )
    assert entry.message == (
        f"{OLD} is REDUCED_TOP_RISK and no longer configured: an incident is open and nobody works "
        "on it; still locked by killswitch_stage_1_close_top_risk_contributors -> put the account "
        f"back, or: reset {OLD} --force"
    )
    (again,) = start(guard, 25).records.audits
    assert again.message == entry.message


@pytest.mark.parametrize(
    ("state", "is_told"),
    [
        (BookMemory(name=OLD), False),
        (BookMemory(name=OLD, cooldowns=(NOON + 100, 0.0, 0.0)), False),
        (BookMemory(name=OLD, stage=ONE), True),
        (
            BookMemory(
                name=OLD,
                locks=(blind_lock(OLD, scope=ScopeId("old"), now=NOON, dry_run=False),),
            ),
            True,
        ),
    ],
)
def test_only_what_still_binds_is_told(state: BookMemory, is_told: bool) -> None:
    """A book that was armed in full is simply gone."""
    events = [entry.event for entry in start(beside(state), 10).records.audits]
    assert events == (["book_not_configured"] if is_told else [])


def test_its_lock_is_neither_lifted_nor_runs_out() -> None:
    """The lock of stage 1 would end after 30 minutes: it is kept a minute ahead, for days."""
    guard = beside(at_stage_1().book)
    start(guard, 20)
    for at in (1_000, 3_600, DAY_S):
        guard.look(seen(at, *losing(0.0)))
        lock = next(entry for entry in guard.decisions[-1].lock.locks if entry.scope == OLD)
        assert (lock.stage, lock.expires_ts >= NOON + at + 60) == (ONE, True)


def test_the_lock_of_an_incident_with_nothing_to_close_is_held_as_well() -> None:
    """Its state was never reached, but it is open."""
    guard = beside(at_stage_1().book)
    incident = old(guard).incident
    assert incident is not None
    bare = replace(old(guard), stage=Stage.NORMAL, incident=replace(incident, targets=()))
    books = tuple(bare if book.name == OLD else book for book in guard.memory.books)
    guard.memory = replace(guard.memory, books=books)
    guard.look(seen(3_600, *losing(0.0)))
    assert old(guard).locks[0].expires_ts == NOON + 3_660


def test_its_incident_neither_expires_nor_is_forgotten() -> None:
    """Nobody could make progress; it is alerted like any other that stays open."""
    guard = beside(at_stage_1().book)
    start(guard, DAY_S)
    guard.look(seen(DAY_S + 10, *losing(0.0)))
    incident = old(guard).incident
    assert incident is not None
    assert incident.status is IncidentStatus.OPEN
    assert guard.events.count("incident_stuck") == 1


def test_status_says_what_to_do(tmp_path: Path) -> None:
    """As long as it binds, whether or not it also waits for a reset."""
    settings = guard_files.busy(tmp_path)
    state = replace(guard_files.STATE, name=OLD, manual_reset_required=True, incident=None)
    write(settings, Records(books=(state,)))
    lines = [line for line in held_report(settings).warnings if OLD in line]
    assert lines == [
        f"{OLD}: still REDUCED_TOP_RISK, but no longer configured -> put the account back, or: "
        f"python3 killswitch.py reset {OLD} --force"
    ]
    running = replace(guard_files.INCIDENT, book=OLD, last_progress_at=guard_files.NOW)
    write(settings, Records(books=(replace(state, incident=running),)))
    lines = [line for line in held_report(settings).warnings if OLD in line]
    assert "and nobody works on its open incident" in lines[-1]


# --- reset --------------------------------------------------------------------------------------


def test_a_reset_without_force_is_refused_with_the_way_out() -> None:
    """Nobody knows what is open there."""
    guard = beside(replace(at_stage_1().book, incident=None))
    (answer,) = guard.ask(30, asked("reset", book=OLD)).records.answers
    assert not answer.accepted
    assert answer.message == (
        f"there is no fresh reading that can be trusted; {OLD} is no longer configured: "
        "put the account back, or use --force"
    )
    assert old(guard).stage is ONE


def test_a_forced_reset_ends_it_and_names_what_is_missed() -> None:
    """Its incident is ABANDONED, every lock of it goes, and other books keep theirs."""
    state = at_stage_3().book
    blind = blind_lock(OLD, scope=ScopeId(OLD), now=NOON, dry_run=False)
    guard = beside(replace(state, locks=(*state.locks, blind)))
    unnamed = guard.ask(30, asked("reset", book=OLD, force="true"))
    assert not unnamed.records.answers[0].accepted
    decision = guard.ask(31, asked("reset", book=OLD, force="true", confirmation=OLD))
    assert decision.records.answers[0].accepted
    (ended,) = decision.records.incidents
    assert (ended.book, ended.status) == (OLD, IncidentStatus.ABANDONED)
    assert {one.status for one in ended.targets} == {TargetStatus.MISSED}
    assert not old(guard).holds_back
    assert decision.lock.locks == ()
    assert start(guard, 40).records.audits == ()


def test_a_book_that_never_was_is_still_no_book() -> None:
    """And one that holds nothing back any more."""
    guard = beside(BookMemory(name=OLD))
    for name in (OLD, "nobody"):
        (answer,) = guard.ask(30, asked("reset", book=name, force="true")).records.answers
        assert not answer.accepted
        assert answer.message.startswith(f"there is no book '{name}'")


def test_a_flow_needs_an_account() -> None:
    """There is none to book it on."""
    guard = beside(at_stage_1().book)
    (answer,) = guard.ask(30, asked("flow", book=OLD, amount="5")).records.answers
    assert not answer.accepted


def test_the_command_resets_it_and_frees_the_bots(tmp_path: Path) -> None:
    """Without a daemon; a name that stands nowhere is exit 2 as before."""
    settings = settings_in(tmp_path)
    lock = replace(guard_files.LOCK, scope=OLD)
    state = BookMemory(name=OLD, stage=ONE, locks=(lock,))
    write(settings, Records(books=(state,)))
    write_lock(settings, content=LockContent(locks=(lock,)))
    unforced = run(settings, "reset", OLD)
    assert (unforced.code, "no longer configured" in unforced.err) == (1, True)
    assert run(settings, "reset", "nobody", "--force").code == 2
    forced = run(settings, "reset", OLD, "--force")
    assert (forced.code, "is NORMAL" in forced.out) == (0, True), forced.err
    with opened(settings) as store:
        assert not store.load_memory(dry_run=False, now=guard_files.NOW).book(OLD).holds_back
    assert run(settings, "reset", OLD, "--force").code == 2


# --- a lost database ----------------------------------------------------------------------------


@pytest.mark.parametrize("has_database", [False, True])
@pytest.mark.parametrize("mode", [LockMode.STAGE, LockMode.KILL, LockMode.HALT])
async def test_its_lock_survives_a_lost_database(
    tmp_path: Path, has_database: bool, mode: LockMode
) -> None:
    """The lock file alone knows of it: the rewrite must not free its bots."""
    settings = settings_in(tmp_path)
    entry = replace(guard_files.LOCK, scope=OLD, mode=mode)
    if mode is not LockMode.STAGE:
        entry = replace(
            entry, stage=Stage(4 if mode is LockMode.KILL else 0), expires_ts=FOREVER_TS
        )
    if has_database:
        write(settings, Records(books=(BookMemory(name=guard_files.BOOK),)))
    write_lock(settings, content=LockContent(locks=(entry,)))
    found = await recall(
        settings.state_db,
        lock_path=settings.trading_lock_file,
        policy=settings.to_policy(),
        now=guard_files.NOW,
        open_store=partial(ThreadedStore.open, rng=random.Random(1)),
    )
    await found.store.aclose()
    state = found.memory.book(OLD)
    if has_database and mode is LockMode.HALT:
        # A halt never stands in the file without its record: it was lifted, or is another's.
        assert not state.holds_back
        return
    assert state.stage is entry.stage
    assert LockMode.HALT in {lock.mode for lock in state.locks}
    assert entry.mode in {lock.mode for lock in state.locks}


# --- the whole way ------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_fsync")
def test_an_account_that_is_taken_out_in_the_middle_of_a_close(tmp_path: Path) -> None:
    """Told and locked through a restart without it, carried on when it is put back."""
    scope = ScopeId("other_futures")
    other = BookPolicy(name=BookName(scope), scopes=(scope,), stages=BOOK_POLICY.stages)

    async def story() -> None:
        house = House(folder=tmp_path)
        exchange = House(folder=tmp_path, clock=house.clock).exchange
        house.others[scope] = MemoryVenue(exchange=exchange, clock=house.clock, scope=scope)
        with_it = house.policy
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)
        sent = len(house.venue.sent)
        house.venue.calm()
        house.policy = replace(with_it, books=(other,))
        async with house.guard() as guard:
            await house.wait(3_600)
            assert [entry.scope for entry in house.audit("book_not_configured")] == [BOOK]
            assert len(house.log.of("book_not_configured")) == 1
            (lock,) = house.lock()["locks"]
            assert (lock["scope"], lock["expires_ts"] > house.clock.now()) == (BOOK, True)
            assert len(house.venue.sent) == sent
            assert guard.book.incident is not None
            request = house.ask("reset")
            await house.until(lambda: read_answer(house.db_path, request) is not None, within_s=3)
            assert house.stops_a_bot()
        house.policy = with_it
        async with house.guard() as guard:
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=15)

    play(story)
