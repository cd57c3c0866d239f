"""Faults in a bad moment: what the guard does with them, judged by the exchange's own books."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.recall import Recalled, recall
from errors import Malformed, StoreError
from killswitch import app
from lock_document import LockContent, LockEntry, LockMode
from memory import AuditEntry, BookMemory, Incident, Records
from model import PositionMode, Stage
from store.access import ThreadedStore
from tests.conventions import Conventions
from tests.guard_files import (
    BOOK,
    INCIDENT,
    LOCK,
    NOW,
    SCOPE,
    STATE,
    config_in,
    known,
    settings_in,
    write,
    write_lock,
)
from tests.memory_venue import KEY, Trouble
from tests.other_conventions import BITGET, BITGET_UNIFIED
from tests.test_binance_parsing import position_row
from tests.test_executor import ALL, HALF, SOL, Bench
from tests.virtual_house import House, play
from venues.binance_account import parse_positions, parse_sizes

REST_S = 1_800.0


@pytest.mark.parametrize("ways", [BITGET, BITGET_UNIFIED], ids=lambda ways: ways.name)
@pytest.mark.parametrize("entry", ["SELL", "BUY", None])
def test_a_hedged_close_that_lands_after_the_account_left_hedge_mode_opens_nothing(
    ways: Conventions, entry: str | None
) -> None:
    """Under way for 20 s; meanwhile a bot flattens, switches to one-way and enters again or not."""

    async def story() -> None:
        bench = Bench(targets=ALL[:1], seed={"position_mode": "hedge"}, ways=ways)
        bench.venue.plan("submit_close", Trouble.LATE, times=1, seconds=20.0)
        drive = asyncio.create_task(bench.drive())
        await bench.clock.sleep(0.4)
        assert len(bench.closes()) == 1
        bench.is_current = False
        for leg in tuple(bench.exchange.account(KEY).legs.values()):
            bench.bot_order(
                leg.symbol,
                leg.side.closing_order,
                quantity=abs(leg.amount),
                position_side=leg.side.value,
            )
        bench.exchange.set_position_mode(KEY, PositionMode.ONE_WAY)
        if entry is not None:
            bench.bot_order(SOL, entry, quantity=30)
        entered = bench.held(SOL)
        await drive
        await bench.clock.sleep(30.0)
        assert len(bench.closes()) == 1
        assert bench.held(SOL) in (entered, 0)

    play(story)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_close_that_got_through_ends_the_pauses_that_grew_before_it(lost: int) -> None:
    """Its effect is read at once, not 16 s later: a partial fill must not wait in a crash.

    Every lost order takes 15 s until it can no longer land. From the fill on: two reads 5 s
    apart, and the tick of 3 s that the second one waits for.
    """

    async def story() -> None:
        bench = Bench(targets=HALF)
        bench.venue.plan("submit_close", Trouble.LOST_BEFORE, times=lost)
        await bench.finish(within_s=200)
        sent_at = bench.venue.called("submit_close")[-1].at
        read_at = [call.at for call in bench.venue.called("fetch_positions") if call.at > sent_at]
        assert read_at[0] - sent_at < 1
        assert bench.clock.now() - sent_at <= 12
        assert bench.held(SOL) == -50

    play(story)


async def recalled_at(folder: Path, *, dry_run: bool = False) -> Recalled:
    """What a guard that starts now remembers; its store is closed again."""
    settings = settings_in(folder, dry_run=dry_run)
    found = await recall(
        settings.state_db,
        lock_path=settings.trading_lock_file,
        policy=settings.to_policy(),
        now=NOW,
        open_store=partial(ThreadedStore.open, rng=random.Random(1)),
    )
    await found.store.aclose()
    return found


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_stage_that_the_database_never_learnt_of_is_taken_from_the_lock(
    tmp_path: Path, dry_run: bool
) -> None:
    """The database hung while the stage closed, then the guard was killed.

    Otherwise the lock would be lifted and stage 1 would halve what it had halved already.
    """
    settings = settings_in(tmp_path)
    memory, readings = known((600, 10_000.0), (60, 9_400.0))
    write(settings, Records(readings=readings, scopes=(memory,)))
    write_lock(settings, content=LockContent(locks=(LOCK,)))

    (notice,) = (await recalled_at(tmp_path, dry_run=dry_run)).notices
    assert "newer than the database" in notice
    book = (await recalled_at(tmp_path)).memory.book(BOOK)
    assert book.stage is Stage.REDUCED_TOP_RISK
    assert book.cooldowns[0] == LOCK.expires_ts
    assert {entry.mode for entry in book.locks} == {LockMode.STAGE, LockMode.HALT}


async def test_what_was_taken_from_the_lock_waits_for_a_database_that_still_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard starts with it in memory and hands it on to be written first."""
    settings = settings_in(tmp_path)
    write(settings, Records(books=(BookMemory(name=BOOK),)))
    write_lock(settings, content=LockContent(locks=(LOCK,)))

    async def hang(_store: ThreadedStore, _records: Records) -> None:
        raise StoreError("database is locked")

    monkeypatch.setattr(ThreadedStore, "commit", hang)
    found = await recalled_at(tmp_path)
    assert found.memory.book(BOOK).stage is Stage.REDUCED_TOP_RISK
    assert found.unwritten.books == (found.memory.book(BOOK),)


async def test_a_lock_that_was_lifted_is_not_taken_up_again(tmp_path: Path) -> None:
    """Its lifting was recorded, and the guard was killed before the file was rewritten."""
    settings = settings_in(tmp_path)
    lifted = AuditEntry(at=NOW - 5, scope=SCOPE, event="rearmed", message="armed again")
    write(settings, Records(books=(BookMemory(name=BOOK),), audits=(lifted,)))
    write_lock(settings, content=LockContent(locks=(LOCK,)))

    found = await recalled_at(tmp_path)
    assert found.notices == ()
    assert found.memory.book(BOOK).locks == ()


@pytest.mark.parametrize(
    "entry",
    [
        replace(LOCK, expires_ts=NOW - 1),
        replace(LOCK, dry_run=True),
        replace(LOCK, mode=LockMode.BLIND, stage=Stage.NORMAL),
    ],
    ids=["expired", "of a dry run", "blind"],
)
async def test_only_a_standing_live_stage_is_taken_from_the_lock(
    tmp_path: Path, entry: LockEntry
) -> None:
    """What has run out, what a rehearsal wrote and who was blind say nothing about closes."""
    settings = settings_in(tmp_path)
    write(settings, Records(books=(BookMemory(name=BOOK),)))
    write_lock(settings, content=LockContent(locks=(entry,)))
    assert (await recalled_at(tmp_path)).notices == ()


async def test_a_stage_that_the_database_knows_is_left_as_it_is(tmp_path: Path) -> None:
    """The usual restart in the middle of an incident: nothing is halted."""
    settings = settings_in(tmp_path)
    write(settings, Records(books=(STATE,), incidents=(INCIDENT,)))
    write_lock(settings, content=LockContent(locks=(LOCK,)))
    found = await recalled_at(tmp_path)
    assert found.notices == ()
    assert found.memory.book(BOOK).locks == STATE.locks


def test_a_stage_that_fires_again_unrecorded_halves_nothing_twice(tmp_path: Path) -> None:
    """The disk hung while stage 1 acted for the second time, then the guard was killed.

    Its lock is the one that the database knows, and only the end of it has moved: 100 SOL, 50 by
    the first incident, 25 by the second; a third would leave 12.5.
    """

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(30)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=60)
            await house.until(lambda: guard.book.incident is None, within_s=60)
            await house.wait(guard.book.cooldowns[0] - house.clock.now() - 60)
            house.prices(SOL="113.9")
            await house.wait(30)
            guard.store.is_hanging = True
            await house.until(lambda: house.held("SOL") == -25, within_s=90)
            await house.until(lambda: guard.book.incident is None, within_s=60)
            await guard.crash()
        async with house.guard() as guard:
            await house.wait(90)
            assert house.held("SOL") == -25
            assert guard.book.cooldowns[0] > house.clock.now() + REST_S - 200
            assert house.stops_a_bot()
        assert house.events().count("lock_adopted") == 1

    play(story)


@pytest.mark.parametrize(
    ("ends_at", "incident"),
    [(NOW + 50, None), (NOW + 1_700, INCIDENT)],
    ids=["held ahead", "of an open incident"],
)
async def test_an_end_that_no_new_incident_moved_adopts_nothing(
    tmp_path: Path, ends_at: float, incident: Incident | None
) -> None:
    """A standing stage holds its lock a minute ahead; an open incident a whole cooldown."""
    settings = settings_in(tmp_path)
    recorded = replace(LOCK, expires_ts=NOW - 4_000)
    book = replace(STATE, locks=(recorded,), incident=incident)
    write(settings, Records(books=(book,), incidents=(INCIDENT,) if incident else ()))
    write_lock(settings, content=LockContent(locks=(replace(LOCK, expires_ts=ends_at),)))
    assert (await recalled_at(tmp_path)).notices == ()


@pytest.mark.parametrize("figure", ["markPrice", "entryPrice", "unRealizedProfit", "marginAsset"])
@pytest.mark.parametrize("value", ["0.00000000", "", None, "NaN"])
def test_a_figure_that_makes_no_sense_keeps_no_position_from_being_closed(
    figure: str, value: str | None
) -> None:
    """The mark of one delisted market is 0: symbol, side and size of all are still known."""
    rows = [position_row(symbol="AAAUSDT"), position_row(symbol="BBBUSDT") | {figure: value}]
    found = parse_sizes(rows, bases={})
    assert [(p.symbol, p.side, p.quantity) for p in found] == [
        (symbol, side, quantity)
        for symbol in ("AAAUSDT", "BBBUSDT")
        for side, quantity in [(found[0].side, found[0].quantity)]
    ]
    assert found[0] == parse_positions(rows[:1], bases={})[0]


@pytest.mark.parametrize("figure", ["symbol", "positionAmt", "positionSide"])
@pytest.mark.parametrize("value", ["", None, "NaN"])
def test_a_position_of_unknown_size_or_side_is_never_flat(figure: str, value: str | None) -> None:
    """Such an answer is no answer, also where a close waits for it."""
    if figure == "symbol" and value == "NaN":
        value = ""
    with pytest.raises(Malformed):
        parse_sizes([position_row(), position_row() | {figure: value}], bases={})


@pytest.mark.parametrize("switch", ["--dry-run", "--once", "--test-mock"])
@pytest.mark.parametrize("command", ["reset", "flow"])
def test_a_rehearsal_of_a_command_is_refused_and_not_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str, command: str
) -> None:
    """`--dry-run reset BOOK` would lift a live lock; the word that was to prevent it is ours."""
    config = config_in(tmp_path)
    words = [switch, command, "binance_futures", "--config", str(config)]
    monkeypatch.setattr("commands.reset.reset_book", lambda *_given, **_more: 0)
    monkeypatch.setattr("commands.flow.book_flow", lambda *_given, **_more: 0)
    result = CliRunner().invoke(app, [*words, *(["5"] if command == "flow" else [])])
    assert result.exit_code == 2
    assert f"{switch} does not go with {command}" in result.output
