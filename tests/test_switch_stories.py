"""The operator's switch against a whole guard in virtual time: who is stopped, what is closed.

Equity is 10,000 and 100 SOL are short from 100: each 1 that SOL rises costs 1 %. XRP is short and
BTC long beside it. Stage 1 fires at 4.5 % within 15 minutes after three readings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from configuration.schema import STAGE_DEFAULTS
from errors import InvariantViolation
from model import BookName, ScopeId, Stage, Symbol
from policy import BookPolicy, SwitchPolicy
from simulator.exchange import Exchange
from simulator.markets import CATALOGUE
from simulator.seeds import apply_seed
from store.switch_reader import SwitchReader
from store.views import read_answer
from switch_model import RedisSeen, SwitchState
from tests.memory_redis import MemoryRedis
from tests.memory_venue import KEY, SCOPE, MemoryVenue, Trouble
from tests.virtual_house import BOOK, EPOCH, POSITIONS, Guard, House, play, policy

pytestmark = pytest.mark.usefixtures("without_fsync")

KILLED_WITHIN_S = 1.0
"""From SET to flat, where the venue answers within 0.05 s."""
OTHER = ScopeId("bybit_futures")


def house_with_redis(folder: Path, value: str | None = "running") -> tuple[House, MemoryRedis]:
    """A house whose switch has both stores."""
    house = House(folder=folder, has_switch=True)
    redis = house.redis = MemoryRedis(clock=house.clock, value=value)
    return house, redis


def is_flat(house: House) -> bool:
    """Nothing is held and nothing rests."""
    return not any(house.held(base) for base in ("SOL", "XRP", "BTC")) and not house.open_orders


def held(house: House) -> tuple[Decimal, ...]:
    """What is held of each symbol."""
    return tuple(house.held(base) for base in ("SOL", "XRP", "BTC"))


WHOLE = (Decimal(-100), Decimal(-5000), Decimal("0.05"))


# --- kill -------------------------------------------------------------------------------------


async def _calm(house: House, guard: Guard) -> None:
    await house.wait(35)


async def _confirming(house: House, guard: Guard) -> None:
    await house.wait(35)
    house.prices(SOL=105)
    await house.until(lambda: bool(guard.book.streaks), within_s=15)


async def _closing(house: House, guard: Guard) -> None:
    house.venue.plan("submit_close", Trouble.REFUSE, times=3)
    await _confirming(house, guard)
    await house.until(lambda: len(house.venue.called("submit_close")) == 2, within_s=15)


async def _cooling_down(house: House, guard: Guard) -> None:
    await _confirming(house, guard)
    await house.until(lambda: house.held("SOL") == -50, within_s=20)
    await house.until(lambda: guard.book.incident is None, within_s=20)


async def _reading_hangs(house: House, guard: Guard) -> None:
    await house.wait(35)
    house.venue.plan("fetch_reading", Trouble.HANG)
    await house.wait(12)


async def _doubted(house: House, guard: Guard) -> None:
    await house.wait(35)
    house.venue.plan("fetch_reading", Trouble.GLITCH)
    await house.until(lambda: guard.guardian.memory.scope(SCOPE).suspicion is not None, within_s=20)


async def _writing_hangs(house: House, guard: Guard) -> None:
    await house.wait(35)
    guard.store.is_hanging = True


async def _locking_hangs(house: House, guard: Guard) -> None:
    await house.wait(35)
    house.lock_delay_s = 20.0


Scene = Callable[[House, Guard], "asyncio.Future[None]"]


@pytest.mark.parametrize(
    "scene",
    [
        _calm,
        _confirming,
        _closing,
        _cooling_down,
        _reading_hangs,
        _doubted,
        _writing_hangs,
        _locking_hangs,
    ],
    ids=lambda scene: scene.__name__.strip("_"),
)
def test_a_kill_flattens_at_once_in_every_phase(tmp_path: Path, scene: Scene) -> None:
    """All is closed within a second, read back, orders are gone, and bots are locked for good."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await scene(house, guard)
            house.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=140)
            redis.set(" KILL\n", actor="phone")
            await house.until(lambda: not any(held(house)), within_s=KILLED_WITHIN_S, step_s=0.01)
            assert guard.book.stage is Stage.LOCKDOWN
            guard.store.is_hanging = False
            house.lock_delay_s = 0.0
            house.venue.calm()
            await house.until(lambda: guard.book.incident is None, within_s=30)
            assert is_flat(house)
            await house.until(lambda: house.lock()["mode"] == "kill", within_s=25)
            assert house.lock()["manual_reset_required"]
            assert house.stops_a_bot()
        assert house.status().books[0].stage is Stage.LOCKDOWN
        (told,) = house.audit("switch_changed")[-1:]
        assert dict(told.details)["actor"] == "phone"

    play(story)


def test_a_kill_closes_what_no_reading_was_ever_trusted_of(tmp_path: Path) -> None:
    """Readings fail from the start; the executor's own look at the positions is enough."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        house.venue.plan("fetch_reading", Trouble.MALFORMED)
        async with house.guard() as guard:
            await house.wait(20)
            assert guard.guardian.memory.scope(SCOPE).last_trusted is None
            house.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=140)
            redis.set("kill")
            await house.until(lambda: not any(held(house)), within_s=KILLED_WITHIN_S, step_s=0.01)
            await house.until(lambda: is_flat(house), within_s=5)

    play(story)


@asynccontextmanager
async def two_books(folder: Path) -> AsyncIterator[tuple[House, MemoryRedis, MemoryVenue, Guard]]:
    """A guard of two accounts on two exchanges."""
    house, redis = house_with_redis(folder)
    second = BookPolicy(name=BookName(OTHER), scopes=(OTHER,), stages=STAGE_DEFAULTS)
    house.policy = replace(house.policy, books=(*house.policy.books, second))
    exchange = Exchange(now=EPOCH, markets=[replace(one, depth=None) for one in CATALOGUE])
    content = {"api_key": KEY, "api_secret": "test-secret", "wallet": {"USDT": 10_000}}
    apply_seed(exchange, {**content, "positions": POSITIONS})
    other = MemoryVenue(exchange=exchange, clock=house.clock, scope=OTHER)
    house.others[OTHER] = other
    async with house.guard() as guard:
        yield house, redis, other, guard


@pytest.mark.parametrize("trouble", [None, Trouble.HANG, Trouble.UNAVAILABLE])
def test_a_kill_is_for_every_book_and_a_dark_venue_delays_no_other(
    tmp_path: Path, trouble: Trouble | None
) -> None:
    """The second is closed, too, as soon as it answers again."""

    async def story() -> None:
        async with two_books(tmp_path) as (house, redis, other, guard):
            await house.wait(35)
            if trouble is not None:
                other.plan("fetch|submit", trouble)
                await house.wait(3)
            redis.set("kill")
            await house.until(lambda: not any(held(house)), within_s=KILLED_WITHIN_S, step_s=0.01)
            books = guard.guardian.memory.books
            assert [book.stage for book in books] == [Stage.LOCKDOWN, Stage.LOCKDOWN]
            if trouble is not None:
                await house.wait(60)
                assert other.exchange.amount(KEY, "SOLUSDT")
                other.calm()
            await house.until(lambda: not other.exchange.amount(KEY, "SOLUSDT"), within_s=31)
            await house.until(
                lambda: all(book.incident is None for book in guard.guardian.memory.books),
                within_s=40,
            )

    play(story)


def test_a_bot_that_enters_again_is_closed_again_until_the_reset(tmp_path: Path) -> None:
    """Also after the switch went back to running: LOCKDOWN and its lock stay (lesson 34)."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("kill")
            await house.until(lambda: is_flat(house), within_s=KILLED_WITHIN_S)
            await house.until(lambda: guard.book.incident is None, within_s=20)
            house.bot_order("SOLUSDT", "BUY", type="MARKET", quantity=7)
            house.bot_order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
            await house.until(lambda: is_flat(house), within_s=20)
            redis.set("running")
            await house.wait(30)
            assert guard.book.stage is Stage.LOCKDOWN
            assert house.stops_a_bot()
            assert [entry["scope"] for entry in house.lock()["locks"]] == [BOOK]
            house.bot_order("SOLUSDT", "SELL", type="MARKET", quantity=7)
            await house.until(lambda: is_flat(house), within_s=20)
            await house.until(lambda: guard.book.incident is None, within_s=20)
            house.ask("reset", confirm=BOOK)
            await house.until(lambda: not house.stops_a_bot(), within_s=15)
            house.bot_order("SOLUSDT", "SELL", type="MARKET", quantity=7)
            await house.wait(30)
            assert house.held("SOL") == -7

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.MALFORMED, Trouble.HANG])
def test_what_reappears_is_closed_although_no_reading_can_be_trusted(
    tmp_path: Path, trouble: Trouble
) -> None:
    """The kill is done, then the guard is blind: it closes by the positions, and ends it later."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("kill")
            await house.until(lambda: guard.book.incident is None and is_flat(house), within_s=20)
            redis.set("running")
            house.venue.plan("fetch_reading", trouble)
            house.prices(ETH=3000)
            for symbol, side in (("SOLUSDT", "SELL"), ("ETHUSDT", "BUY"), ("SOLUSDT", "BUY")):
                house.bot_order(symbol, side, type="MARKET", quantity=7)
                await house.until(lambda: not house.held("SOL") + house.held("ETH"), within_s=150)
                await house.wait(60)
            opened, *found = (entry.message for entry in house.audit("follow_up"))
            assert "no reading can be trusted" in opened
            assert sum("found on the account" in message for message in found) == 3
            assert house.audit("incident_stuck") == []
            house.venue.calm()
            await house.until(lambda: guard.book.incident is None, within_s=60)
            await house.wait(30)
            assert guard.book.incident is None

    play(story)


def test_a_reset_waits_for_the_switch_to_run(tmp_path: Path) -> None:
    """LOCKDOWN is left only when nobody says kill any more."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("kill")
            await house.until(lambda: is_flat(house), within_s=KILLED_WITHIN_S)
            await house.until(lambda: guard.book.incident is None, within_s=20)
            asked = house.ask("reset", confirm=BOOK)
            await house.wait(5)
            answer = read_answer(house.db_path, asked)
            assert answer is not None
            assert not answer.accepted
            assert guard.book.stage is Stage.LOCKDOWN

    play(story)


@pytest.mark.parametrize("store", ["local", "redis"])
def test_a_kill_that_a_crash_cut_off_is_carried_out_by_the_next_run(
    tmp_path: Path, store: str
) -> None:
    """Power goes the moment the first close leaves, or before the guard has even seen it."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            house.venue.witness = lambda call: (
                guard.die() if call.name.startswith("submit") else None
            )
            if store == "redis":
                redis.set("kill")
            else:
                house.switch(SwitchState.KILL, reason="test")
            await house.wait(2)
            assert guard.is_crashed
        house.venue.witness = None
        async with house.guard() as guard:
            await house.until(lambda: is_flat(house), within_s=5)
            await house.until(lambda: guard.book.incident is None, within_s=30)
            assert guard.book.stage is Stage.LOCKDOWN
            assert house.lock()["mode"] == "kill"

    play(story)


def test_a_kill_set_while_nobody_watched_stands_in_the_first_lock(tmp_path: Path) -> None:
    """No moment after a start is freer than the switch says."""

    async def story() -> None:
        house = House(folder=tmp_path, has_switch=True)
        async with house.guard():
            await house.wait(35)
        assert not house.stops_a_bot()
        house.switch(SwitchState.KILL)
        modes: list[str] = []
        house.venue.witness = lambda _call: modes.append(house.lock()["mode"])
        async with house.guard():
            await house.until(lambda: is_flat(house), within_s=5)
        assert set(modes[3:]) == {"kill"}

    play(story)


def test_a_dry_run_locks_for_real_and_sends_nothing(tmp_path: Path) -> None:
    """A kill says loudly that nothing is closed."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        house.policy = policy(dry_run=True)
        async with house.guard() as guard:
            await house.wait(35)
            house.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=140)
            for state in ("halt", "kill"):
                redis.set(state)
                await house.wait(30)
                assert house.lock()["mode"] == state
                assert house.stops_a_bot()
            assert guard.book.stage is Stage.LOCKDOWN
        assert house.venue.sent == []
        assert held(house) == WHOLE
        told = house.audit("switch_changed", dry_run=True)[-1]
        assert "NOTHING IS CLOSED" in told.message

    play(story)


# --- halt and pause ---------------------------------------------------------------------------


def entries_of(house: House) -> None:
    """An entry order on a held symbol, one on a flat one, and a stop."""
    house.prices(ETH=3000)
    house.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=140)
    house.bot_order("ETHUSDT", "BUY", type="LIMIT", quantity=1, price=2000)
    house.bot_order(
        "SOLUSDT", "BUY", type="STOP_MARKET", quantity=100, trigger_price=150, reduce_only=True
    )


@pytest.mark.parametrize("store", ["local", "redis"])
def test_a_halt_cancels_entry_orders_and_keeps_the_rest(tmp_path: Path, store: str) -> None:
    """At once, and what appears later with the next tick; positions and stops stay."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            entries_of(house)
            if store == "redis":
                redis.set("halt")
            else:
                house.switch(SwitchState.HALT)
            await house.until(lambda: house.open_orders == 1, within_s=1, step_s=0.01)
            assert house.lock()["mode"] == "halt"
            house.bot_order("ETHUSDT", "BUY", type="LIMIT", quantity=1, price=2000)
            await house.until(lambda: house.open_orders == 1, within_s=12)
            assert held(house) == WHOLE
            assert guard.book.stage is Stage.NORMAL
            cancels = {call.name for call in house.venue.sent}
            assert cancels == {"submit_cancel"}
        assert len(house.audit("entry_orders_cancelled")) == 2

    play(story)


@pytest.mark.parametrize(("state", "stays"), [("halt", True), ("kill", False)])
def test_an_entry_on_a_symbol_of_never_touch_goes_with_a_kill_alone(
    tmp_path: Path, state: str, stays: bool
) -> None:
    """Also one that appears when the kill is done."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        book = replace(house.policy.books[0], never_touch=(Symbol("ETHUSDT"),))
        house.policy = replace(house.policy, books=(book,))
        house.prices(ETH=3000)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set(state)
            await house.wait(15)
            assert guard.book.incident is None
            house.bot_order("ETHUSDT", "BUY", type="LIMIT", quantity=1, price=2000)
            await house.wait(15)
            assert bool(house.open_orders) is stays

    play(story)


def test_stages_stay_armed_under_a_halt_and_their_incident_is_not_interrupted(
    tmp_path: Path,
) -> None:
    """A fall of 5 % closes half of the short; while that is open its own rounds cancel."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("halt")
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=20)
            await house.until(lambda: guard.book.incident is None, within_s=20)
            assert guard.book.stage is Stage.REDUCED_TOP_RISK

    play(story)


def test_a_halt_cancels_entry_orders_that_the_stage_at_work_would_spare(tmp_path: Path) -> None:
    """`cancel_entry_orders: false`, and its closes are refused for as long as it takes."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        (book,) = house.policy.books
        stages = tuple(replace(stage, cancel_entry_orders=False) for stage in book.stages)
        house.policy = replace(house.policy, books=(replace(book, stages=stages),))
        house.venue.plan("submit_close", Trouble.REFUSE)
        async with house.guard() as guard:
            await house.wait(35)
            house.prices(SOL=105, ETH=3000)
            await house.until(lambda: guard.book.incident is not None, within_s=20)
            house.bot_order("ETHUSDT", "BUY", type="LIMIT", quantity=1, price=2000)
            await house.wait(35)
            assert house.open_orders == 1
            redis.set("halt")
            await house.until(lambda: not house.open_orders, within_s=35)
            assert guard.book.incident is not None

    play(story)


@pytest.mark.parametrize("state", ["halt", "kill"])
def test_entry_orders_go_although_what_is_held_cannot_be_read(tmp_path: Path, state: str) -> None:
    """No close can be sized, so an incident stays open; what could add to it goes all the same."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            house.venue.plan("fetch_positions", Trouble.UNAVAILABLE)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.incident is not None, within_s=20)
            entries_of(house)
            redis.set(state)
            await house.until(lambda: house.open_orders == 1, within_s=20)
            assert held(house) == WHOLE
            house.venue.calm()
            await house.until(lambda: guard.book.incident is None, within_s=60)
            assert (house.open_orders, is_flat(house)) == (
                (0, True) if state == "kill" else (1, False)
            )

    play(story)


def test_a_pause_changes_the_lock_and_nothing_else(tmp_path: Path) -> None:
    """No new signals; positions and orders are the bots' own."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard():
            await house.wait(35)
            entries_of(house)
            redis.set("pause")
            await house.until(house.stops_a_bot, within_s=1)
            assert house.lock()["mode"] == "pause"
            await house.wait(60)
            assert house.open_orders == 3
            assert house.venue.sent == []
            redis.set("running")
            await house.until(lambda: not house.stops_a_bot(), within_s=1)

    play(story)


@pytest.mark.parametrize("mood", ["silent", "slow"])
def test_a_silent_redis_locks_at_once_and_cancels_only_after_the_grace(
    tmp_path: Path, mood: str
) -> None:
    """120 s; it answers again, and all is as before."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard():
            await house.wait(35)
            entries_of(house)
            if mood == "silent":
                redis.why_silent = "refused"
            else:
                redis.delay_s = 6.0
            await house.until(house.stops_a_bot, within_s=6)
            silent_since = house.clock.now()
            assert house.lock()["reason"] == "operator_redis_silent"
            await house.wait(115)
            assert house.open_orders == 3
            await house.until(lambda: house.open_orders == 1, within_s=8)
            assert house.clock.now() - silent_since >= 118
            redis.why_silent, redis.delay_s = "", 0.0
            await house.until(lambda: not house.stops_a_bot(), within_s=6)
            house.bot_order("ETHUSDT", "BUY", type="LIMIT", quantity=1, price=2000)
            await house.wait(30)
            assert house.open_orders == 2

    play(story)


def test_a_start_with_a_silent_redis_is_a_halt_from_the_first_lock_on(tmp_path: Path) -> None:
    """It is asked for two seconds; nothing is announced before."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        redis.delay_s = 60.0
        reasons: list[str] = []
        house.venue.witness = lambda _call: reasons.append(house.lock()["reason"])
        async with house.guard():
            await house.until(house.lock_path.exists, within_s=3)
            await house.wait(20)
        assert set(reasons) == {"operator_redis_silent"}

    play(story)


def test_the_halt_can_suspend_the_lower_stages(tmp_path: Path) -> None:
    """`halt_suspends_stages`: 5 % are answered by nothing."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        house.policy = policy(switch=SwitchPolicy(halt_suspends_stages=True))
        async with house.guard():
            await house.wait(35)
            redis.set("halt")
            house.prices(SOL=105)
            await house.wait(40)
            assert house.venue.called("submit_close") == []

    play(story)


# --- the two stores ---------------------------------------------------------------------------


def test_a_slow_redis_delays_no_kill_of_the_local_store(tmp_path: Path) -> None:
    """Each store is looked at for itself."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard():
            await house.wait(35)
            redis.delay_s = 4.5
            await house.wait(2)
            house.switch(SwitchState.KILL)
            await house.until(lambda: not any(held(house)), within_s=KILLED_WITHIN_S, step_s=0.01)

    play(story)


def test_a_look_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    """Four looks a second at each store, and no more commits than the readings bring."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            reads, commits = redis.reads, guard.store.commits
            await house.wait(50)
            assert redis.reads - reads == pytest.approx(200, abs=3)
            assert guard.store.commits - commits <= 7

    play(story)


def test_a_missing_key_is_written_once_and_a_lost_kill_is_written_back(tmp_path: Path) -> None:
    """First as running, only if absent; after a flush as what it was."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path, value=None)
        async with house.guard():
            await house.wait(10)
            assert redis.value == "running"
            assert [write.is_only_if_missing for write in redis.written] == [True]
            redis.set("kill")
            await house.until(lambda: is_flat(house), within_s=KILLED_WITHIN_S)
            redis.set(None)
            await house.until(lambda: redis.value == "kill", within_s=1)
            assert house.lock()["mode"] == "kill"

    play(story)


def test_loosening_reaches_redis_only_when_its_record_is_safe(tmp_path: Path) -> None:
    """Nothing that fails starts bots again: without the record Redis keeps its halt."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("halt")
            await house.until(house.stops_a_bot, within_s=1)
            house.ask("switch", state="running", actor="me", reason="over")
            await house.wait(0.5)
            guard.store.is_down = True
            await house.wait(20)
            assert redis.value == "halt"
            assert house.stops_a_bot()
            guard.store.is_down = False
            await house.until(lambda: redis.value == "running", within_s=30)
            await house.until(lambda: not house.stops_a_bot(), within_s=2)

    play(story)


def test_a_switch_is_left_where_no_guard_runs(tmp_path: Path) -> None:
    """Both stores are loosened before the command ends, and no book is locked down by it."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard():
            await house.wait(35)
        redis.set("kill")
        house.switch(SwitchState.HALT)
        house.ask("switch", confirm="kill", state="running", actor="me", reason="a drill")
        guard = await house.assemble()
        await guard.guardian.answer_alone()
        await guard.switch.aclose()
        await guard.store.aclose()
        assert redis.value == "running"
        async with house.guard() as guard:
            await house.wait(35)
            assert not house.stops_a_bot()
            assert guard.book.stage is Stage.NORMAL

    play(story)


def test_a_redis_that_takes_no_write_is_told_and_delays_no_kill(tmp_path: Path) -> None:
    """Its key is missing and it is read-only: the halt of its silence stays, a kill goes ahead."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path, value=None)
        redis.refuses_writes = "READONLY"
        async with house.guard():
            await house.wait(35)
            assert "trouble_redis_switch" in " ".join(house.lock()["details"])
            house.switch(SwitchState.KILL)
            await house.until(lambda: not any(held(house)), within_s=KILLED_WITHIN_S)
        assert "READONLY" in house.audit("redis_switch_trouble")[0].message

    play(story)


def test_every_change_is_told_on_the_channel_and_kept(tmp_path: Path) -> None:
    """Time, old and new state, store and actor."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard():
            await house.wait(35)
            redis.set("pause", actor="phone")
            await house.wait(1)
            house.switch(SwitchState.HALT, reason="news")
            await house.wait(1)
        told = [(e["store"], e["old"], e["new"], e["actor"]) for e in redis.events]
        assert told == [
            ("redis", "running", "pause", "phone"),
            ("local", "running", "halt", "operator@test"),
        ]
        assert redis.events[1]["reason"] == "news"

    play(story)


def test_a_fault_in_reading_redis_is_silence_and_hides_no_kill(tmp_path: Path) -> None:
    """A look that trips over its store knows nothing: a halt, while the other store is seen."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard():
            await house.wait(35)

            async def trip() -> RedisSeen:
                raise RuntimeError("a fault of ours")

            real, redis.read = redis.read, trip  # type: ignore[method-assign]
            await house.until(house.stops_a_bot, within_s=1)
            assert house.lock()["reason"] == "operator_redis_silent"
            redis.read = real  # type: ignore[method-assign]
            await house.until(lambda: not house.stops_a_bot(), within_s=1)
            redis.read = trip  # type: ignore[method-assign]
            house.switch(SwitchState.KILL)
            await house.until(lambda: not any(held(house)), within_s=KILLED_WITHIN_S)
        (told, _) = house.audit("switch_silent")
        assert "a fault of ours" in told.message

    play(story)


def test_a_local_store_that_cannot_be_read_holds_what_it_held_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kill stands, and a person learns within seconds that the next would not be seen."""

    async def unknown(_reader: SwitchReader) -> None:
        return None

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard():
            await house.wait(35)
            house.switch(SwitchState.PAUSE)
            await house.until(house.stops_a_bot, within_s=1)
            monkeypatch.setattr(SwitchReader, "read", unknown)
            await house.wait(12)
            assert house.lock()["mode"] == "pause"
            assert "trouble_local_switch" in " ".join(house.lock()["details"])
            redis.set("kill")
            await house.until(lambda: not any(held(house)), within_s=KILLED_WITHIN_S)
            monkeypatch.undo()
            await house.wait(12)
        assert [e.message for e in house.audit("local_switch_trouble")] == [
            "cannot be read, so what is set there is not seen"
        ]
        assert len(house.audit("local_switch_recovered")) == 1

    play(story)


@pytest.mark.parametrize("since", ["kill", "pause"])
def test_a_loosening_overwrites_nothing_more_severe_that_was_set_meanwhile(
    tmp_path: Path, since: str
) -> None:
    """Asked to leave halt while its record waits; a kill set by then stays, a pause is lifted."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("halt")
            await house.until(house.stops_a_bot, within_s=1)
            guard.store.is_down = True
            house.ask("switch", state="running", actor="me", reason="over")
            await house.wait(3)
            redis.set(since)
            guard.store.is_down = False
            await house.wait(15)
            assert redis.value == ("kill" if since == "kill" else "running")

    play(story)


def test_a_loosening_is_not_written_into_a_redis_that_cannot_be_read(tmp_path: Path) -> None:
    """Somebody may have set kill in that minute: it would be gone before anybody saw it."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("halt")
            await house.until(house.stops_a_bot, within_s=1)
            redis.is_unread = True
            await house.wait(2)
            house.ask("switch", state="running", actor="me", reason="over")
            redis.set("kill")
            await house.wait(10)
            assert (redis.value, redis.written) == ("kill", [])
            assert house.audit("redis_switch_trouble")[0].message.startswith(
                "cannot be told running"
            )
            redis.is_unread = False
            await house.until(lambda: is_flat(house), within_s=2)
            assert guard.book.stage is Stage.LOCKDOWN

    play(story)


def test_a_loosening_that_waits_for_its_record_keeps_no_lost_kill_from_redis(
    tmp_path: Path,
) -> None:
    """The kill was set after it, the server lost it: it is written back at once, and stays."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("halt")
            await house.until(house.stops_a_bot, within_s=1)
            guard.store.is_down = True
            house.ask("switch", state="running", actor="me", reason="over")
            await house.wait(3)
            redis.set("kill")
            await house.until(lambda: is_flat(house), within_s=KILLED_WITHIN_S)
            redis.set(None)
            await house.until(lambda: redis.value == "kill", within_s=1)
            redis.refuses_writes = "READONLY"
            redis.set(None)
            await house.wait(1)
            redis.refuses_writes = ""
            guard.store.is_down = False
            await house.wait(15)
            assert redis.value == "kill"

    play(story)


def test_a_request_lifts_a_value_that_is_no_state(tmp_path: Path) -> None:
    """A slip of the keyboard counts as halt, and the command ends it like one."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard():
            await house.wait(35)
            redis.set("runing")
            await house.until(house.stops_a_bot, within_s=1)
            house.ask("switch", state="running", actor="me", reason="over")
            await house.until(lambda: redis.value == "running", within_s=5)
            await house.until(lambda: not house.stops_a_bot(), within_s=1)

    play(story)


def test_our_own_bug_in_a_kill_locks_every_bot_and_ends_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for its drive, and a guard that goes on would hide it."""

    def broken(*_: object, **__: object) -> None:
        raise InvariantViolation("a size that must never be")

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            guard.is_crashed = True
            await house.wait(35)
            house.venue.plan("fetch_reading", Trouble.HANG)
            await house.wait(12)
            monkeypatch.setattr("executor.plan_round", broken)
            redis.set("kill")
            with pytest.raises(InvariantViolation):
                await asyncio.wait_for(guard.running, 2.0)
            assert {lock["mode"] for lock in house.lock()["locks"]} == {"kill", "blind"}

    play(story)


def test_a_stop_in_the_middle_of_a_kill_ends_the_round_in_hand(tmp_path: Path) -> None:
    """Nothing of the watch is left behind, and the next run goes on."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        house.venue.plan("submit_close", Trouble.SLOW, seconds=3.0)
        async with house.guard() as guard:
            await house.wait(35)
            redis.set("kill")
            await house.until(lambda: bool(house.venue.called("submit_close")), within_s=2)
            await guard.stop()
            assert len(asyncio.all_tasks()) == 1
        house.venue.calm()
        async with house.guard():
            await house.until(lambda: is_flat(house), within_s=10)

    play(story)
