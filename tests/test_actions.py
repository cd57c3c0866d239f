"""Orders of ours can never add risk; orders of others go when they could."""

from __future__ import annotations

import ast
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cancels import OrderClass, classify_order, plan_cancels
from errors import InvariantViolation
from memory import CloseTarget, Incident, TargetStatus
from model import (
    ClientOrderId,
    CloseInstruction,
    IncidentId,
    MarginMode,
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    Position,
    PositionMode,
    RowKey,
    ScopeId,
    Side,
    Stage,
    Symbol,
)
from order_safety import (
    RoundPlan,
    VenueAnswers,
    Violation,
    ViolationKind,
    approve,
    find_foreign_orders,
    plan_round,
)
from order_sizes import MAX_PARTS
from tests.closing_values import (
    LONG,
    SCOPE,
    SHORT,
    incident,
    key,
    market,
    order,
    position,
    target,
)

BUY, SELL = OrderSide.BUY, OrderSide.SELL
ONE_WAY, HEDGE = PositionMode.ONE_WAY, PositionMode.HEDGE
OPEN, HELD, DUST = TargetStatus.OPEN, TargetStatus.HELD, TargetStatus.DUST
A = key("A")


def run(
    of: Incident,
    *positions: Position,
    markets: tuple[MarketLimits, ...] = (market("A", step="1", least="1"),),
    orders: tuple[Order, ...] | None = (),
    mode: PositionMode = ONE_WAY,
    answers: VenueAnswers | None = None,
    untouchable: tuple[Symbol, ...] = (),
    round_number: int = 1,
) -> RoundPlan:
    """Plan one round in the usual scope."""
    return plan_round(
        incident=of,
        scope=SCOPE,
        positions=positions,
        orders=orders,
        limits={limit.symbol: limit for limit in markets},
        position_mode=mode,
        round_number=round_number,
        answers=answers,
        untouchable=untouchable,
    )


def sizes(found: RoundPlan) -> list[str]:
    """The quantities to be sent, in plain digits."""
    return [format(close.quantity, "f") for close in found.closes]


def statuses(found: RoundPlan) -> list[TargetStatus]:
    """How the targets stand."""
    return [one.status for one in found.targets]


# --- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "may_remain", "limits", "expected", "status"),
    [
        ("10", "5", market("A", step="1", least="1"), ["5"], OPEN),
        ("3", "5", market("A", step="1", least="1"), [], HELD),
        ("5", "5", market("A", step="1", least="1"), [], HELD),
        ("10", "0", market("A", step="1", least="1", most="4"), ["4", "3", "3"], OPEN),
        ("10.75", "5", market("A", step="0.5", least="0.5"), ["5.5"], OPEN),
        ("5.4", "5", market("A", step="0.5", least="0.5"), [], DUST),  # 0.4 is below the step
        ("7", "5", market("A", step="1", least="3"), [], DUST),  # 2 is below the least quantity
        ("7", "5", market("A", value="201", waived=False), [], DUST),  # 2 x 100 < 201
        ("7", "5", market("A", value="201", waived=True), ["2.000"], OPEN),
        ("0.5", "0", None, ["0.5"], OPEN),  # unknown market: own digits, no minimum
        ("10", "0", market("A", step="1", least="1", most="0"), ["10"], OPEN),
    ],
)
def test_a_round_sends_only_the_excess(
    held: str,
    may_remain: str,
    limits: MarketLimits | None,
    expected: list[str],
    status: TargetStatus,
) -> None:
    """Excess over the target, on the step, between the venue's minimum and maximum."""
    found = run(
        incident(target(1, A, may_remain)),
        position("A", LONG, held),
        markets=() if limits is None else (limits,),
    )
    assert sizes(found) == expected
    assert statuses(found) == [status]
    assert found.holds is (status is not OPEN)


@pytest.mark.parametrize("mode", [ONE_WAY, HEDGE])
def test_an_instruction_says_everything_the_venue_must_know(mode: PositionMode) -> None:
    """Row, size, mode, margin and an id made of incident, target, round and part."""
    found = run(
        incident(target(7, key("A", SHORT), "0")),
        position("A", SHORT, "6", margin_mode=MarginMode.ISOLATED),
        markets=(market("A", step="1", least="1", most="4"),),
        mode=mode,
        round_number=40,
    )
    first = CloseInstruction(
        scope=SCOPE,
        symbol=Symbol("AUSDT"),
        side=SHORT,
        quantity=Decimal(3),
        client_id=ClientOrderId("ks-inc1-7-14-1"),  # 40 in base 36 is 14
        position_mode=mode,
        margin_mode=MarginMode.ISOLATED,
        incident_id=IncidentId("inc1"),
    )
    second = replace(first, client_id=ClientOrderId("ks-inc1-7-14-2"))
    assert found.closes == (first, second)


def test_the_plans_own_quantity_never_sizes_an_order() -> None:
    """The position shrank from 10 to 4 meanwhile: 4 is all that may be sent."""
    assert sizes(run(incident(target(1, A, "0", initial="10")), position("A", LONG, "4"))) == ["4"]


def test_a_position_that_is_gone_holds() -> None:
    """Closed by the bot, a stop or a liquidation: nothing to send."""
    found = run(incident(target(1, A, "0")))
    assert (found.closes, statuses(found), found.holds) == ((), [HELD], True)


def test_a_held_target_opens_again_when_the_position_grows_back() -> None:
    """A bot that ignores the lock refills: the excess is closed again, and it is noted."""
    found = run(incident(target(1, A, "5", initial="10", status=HELD)), position("A", LONG, "12"))
    assert sizes(found) == ["7"]
    assert statuses(found) == [OPEN]
    assert found.violations == (Violation(kind=ViolationKind.GREW, key=A),)


def test_dust_is_reported_once() -> None:
    """In the round in which it appears, not in the next."""
    read = position("A", LONG, "0.4")
    first = run(incident(target(1, A, "0")), read)
    assert [one.key for one in first.new_dust] == [A]
    assert first.holds
    again = run(incident(*first.targets), read)
    assert (again.new_dust, statuses(again)) == ((), [DUST])


@pytest.mark.parametrize("status", [TargetStatus.MISSED, TargetStatus.SIMULATED])
def test_a_target_given_up_is_left_alone(status: TargetStatus) -> None:
    """It counts as done until a plan asks for it again."""
    found = run(incident(target(1, A, "0", status=status)), position("A", LONG, "4"))
    assert (found.closes, statuses(found), found.holds) == ((), [status], True)


def test_only_the_targets_of_the_scope_are_worked_on() -> None:
    """Another venue's target stays out of this round, also out of `holds`."""
    foreign = target(2, key("A", LONG, ScopeId("bybit_futures")), "0")
    found = run(incident(target(1, A, "0"), foreign))
    assert [one.number for one in found.targets] == [1]
    assert found.holds


def test_a_target_that_became_untouchable_is_given_up() -> None:
    """The operator protected the symbol while an incident was open: nothing is sent there."""
    found = run(
        incident(target(1, A, "0")),
        position("A", LONG, "4"),
        orders=(order("1", "A", BUY),),
        untouchable=(Symbol("AUSDT"),),
    )
    assert (found.closes, found.cancels) == ((), ())
    assert statuses(found) == [TargetStatus.MISSED]


def test_a_dry_run_has_no_rounds() -> None:
    """Neither orders nor cancels may come of it."""
    with pytest.raises(InvariantViolation, match="dry run"):
        run(incident(target(1, A, "0"), dry_run=True), position("A", LONG, "4"))


def test_orders_that_cannot_be_read_delay_no_close() -> None:
    """The closes go; what is said about orders proves nothing."""
    found = run(incident(target(1, A, "0")), position("A", LONG, "4"), orders=None)
    assert sizes(found) == ["4"]
    assert (found.orders_known, found.cancels) == (False, ())


# --- sides --------------------------------------------------------------------------------------


def test_a_flipped_position_is_another_row() -> None:
    """One-way: the long of the target is now a short. The target holds, the short is noted."""
    found = run(incident(target(1, A, "0")), position("A", SHORT, "4"))
    assert (found.closes, statuses(found)) == ((), [HELD])
    flipped = Violation(kind=ViolationKind.SIDE_FLIPPED, key=key("A", SHORT))
    assert found.violations == (flipped,)


def test_the_other_leg_of_a_hedged_symbol_is_ordinary() -> None:
    """Hedge mode: long and short side by side; only the target's leg is closed."""
    legs = (position("A", LONG, "4"), position("A", SHORT, "9"))
    found = run(incident(target(1, A, "0")), *legs, mode=HEDGE)
    assert [(close.side, close.quantity) for close in found.closes] == [(LONG, Decimal(4))]
    assert found.violations == ()
    assert run(incident(target(1, A, "0")), legs[1], mode=HEDGE).violations == ()


def test_two_legs_in_one_way_mode_contradict_the_mode() -> None:
    """The mode was read wrong or changed: noted, so that it is read again."""
    found = run(incident(target(1, A, "0")), position("A", LONG, "4"), position("A", SHORT, "9"))
    assert [one.kind for one in found.violations] == [ViolationKind.TWO_LEGS_IN_ONE_WAY_MODE]


def test_of_a_row_read_twice_the_larger_part_goes_first() -> None:
    """Cross and isolated parts of one side: each is closed under its own margin mode in turn."""
    isolated = position("A", LONG, "6", margin_mode=MarginMode.ISOLATED)
    found = run(incident(target(1, A, "0")), isolated, position("A", LONG, "2"))
    assert [(c.quantity, c.margin_mode) for c in found.closes] == [
        (Decimal(6), MarginMode.ISOLATED)
    ]
    assert found.violations == (Violation(kind=ViolationKind.READ_TWICE, key=A),)


# --- what the venue answered --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "expected"),
    [(None, ["4", "3", "3"]), ("3", ["3", "3", "2", "2"]), ("0", ["4", "3", "3"])],
)
def test_a_size_refused_as_too_large_is_halved(most: str | None, expected: list[str]) -> None:
    """8 was refused: parts of at most 4, or of the published maximum where that is less."""
    found = run(
        incident(target(1, A, "0")),
        position("A", LONG, "10"),
        markets=(market("A", step="1", least="1", most=most),),
        answers=VenueAnswers(too_large={A: Decimal(8)}),
    )
    assert sizes(found) == expected


@pytest.mark.parametrize("refused", ["0.5", "1", "1.9"])
def test_a_refusal_of_a_single_step_as_too_large_does_not_lift_the_maximum(refused: str) -> None:
    """There is no half of it: its size is not the matter, and the published maximum still holds."""
    found = run(
        incident(target(1, A, "0")),
        position("A", LONG, "10"),
        markets=(market("A", step="1", least="1", most="3"),),
        answers=VenueAnswers(too_large={A: Decimal(refused)}),
    )
    assert sizes(found) == ["3", "3", "2", "2"]


@pytest.mark.parametrize(
    ("held", "refused", "mark", "status"),
    [
        ("2", "2", 100.0, DUST),  # worth 200
        ("2", "1", 100.0, OPEN),  # only 1 was refused
        ("3", "3", 100.0, OPEN),  # worth 300: one answer does not declare that done
        ("2", "2", 0.0, OPEN),  # of unknown worth
    ],
)
def test_a_size_refused_as_too_small_is_dust_only_if_it_is_worth_little(
    held: str, refused: str, mark: float, status: TargetStatus
) -> None:
    """The venue's word is taken for small change and for nothing else."""
    found = run(
        incident(target(1, A, "0")),
        position("A", LONG, held, mark=mark),
        answers=VenueAnswers(too_small={A: Decimal(refused)}),
    )
    assert statuses(found) == [status]
    assert bool(found.closes) is (status is OPEN)


@pytest.mark.parametrize(
    ("in_flight", "expected"), [("4", ["2"]), ("6", []), ("9", []), ("5.5", [])]
)
def test_what_may_still_be_executed_is_not_sent_again(in_flight: str, expected: list[str]) -> None:
    """Excess 6 of 10 over 4: sending it twice would leave less than may remain."""
    found = run(
        incident(target(1, A, "4")),
        position("A", LONG, "10"),
        answers=VenueAnswers(in_flight={A: Decimal(in_flight)}),
    )
    assert sizes(found) == expected
    assert statuses(found) == [OPEN]


def test_a_second_guard_shows_itself_by_our_prefix() -> None:
    """Ids of our form from an incident we never had; a bot's ids and our own raise nothing."""
    orders = (
        order("1", "A", SELL, client_id="ks-other-1-1-1"),
        order("2", "A", SELL, client_id="ks-inc1-1-1-1"),
        order("3", "A", SELL, client_id="my-bot-1"),
    )
    assert [one.order_id for one in find_foreign_orders(orders, incident=incident())] == ["1"]
    assert [one.order_id for one in run(incident(), orders=orders).foreign_orders] == ["1"]


# --- the second look ----------------------------------------------------------------------------

GOOD = CloseInstruction(
    scope=SCOPE,
    symbol=Symbol("AUSDT"),
    side=LONG,
    quantity=Decimal(3),
    client_id=ClientOrderId("ks-inc1-1-1-1"),
    position_mode=ONE_WAY,
    margin_mode=MarginMode.CROSS,
    incident_id=IncidentId("inc1"),
)
TWIN = replace(GOOD, client_id=ClientOrderId("ks-inc1-1-1-2"))


def check(*closes: CloseInstruction, dry_run: bool = False) -> tuple[CloseInstruction, ...]:
    """Approve against a long of 10 of which 4 may remain, step 1, maximum 5."""
    return approve(
        closes,
        incident=incident(target(1, A, "4"), target(2, key("B"), "0"), dry_run=dry_run),
        scope=SCOPE,
        positions=(position("A", LONG, "10"),),
        position_mode=ONE_WAY,
        limits={Symbol("AUSDT"): market("A", step="1", least="1", most="5")},
    )


def test_good_instructions_pass_unchanged() -> None:
    """3 and 3 leave exactly 4."""
    assert check(GOOD, TWIN) == (GOOD, TWIN)


@pytest.mark.parametrize(
    ("closes", "fault"),
    [
        ((replace(GOOD, side=SHORT),), "serves no target"),
        ((replace(GOOD, scope=ScopeId("elsewhere")),), "serves no target"),
        ((replace(GOOD, symbol=Symbol("BUSDT")),), "no such position"),
        ((replace(GOOD, position_mode=HEDGE),), "position mode"),
        ((replace(GOOD, margin_mode=MarginMode.ISOLATED),), "margin mode"),
        ((replace(GOOD, incident_id=IncidentId("inc2")),), "another incident"),
        ((replace(GOOD, quantity=Decimal("2.5")),), "off step 1"),
        ((replace(GOOD, quantity=Decimal(6)),), "over the market maximum 5"),
        ((GOOD, replace(TWIN, quantity=Decimal(4))), "more than the excess 6"),
        ((GOOD, GOOD), "not its own"),
        ((replace(GOOD, client_id=ClientOrderId("ks-inc2-1-1-1")),), "not its own"),
        ((replace(GOOD, client_id=ClientOrderId("bot")),), "not its own"),
    ],
)
def test_a_bad_instruction_is_a_fault_of_ours(
    closes: tuple[CloseInstruction, ...], fault: str
) -> None:
    """Every single thing that could add risk, or hide who sent it, is refused."""
    with pytest.raises(InvariantViolation, match=fault):
        check(*closes)


def test_no_instruction_of_a_dry_run_is_approved() -> None:
    """Even a good one."""
    with pytest.raises(InvariantViolation, match="dry run"):
        check(GOOD, dry_run=True)


def test_a_zero_or_negative_close_cannot_exist() -> None:
    """Guarded by the type itself."""
    for quantity in ("0", "-1", "NaN"):
        with pytest.raises(ValueError, match="positive quantity"):
            replace(GOOD, quantity=Decimal(quantity))


def test_only_order_safety_makes_instructions() -> None:
    """No other module of the program calls the constructor."""
    root = Path(__file__).parent.parent
    folders = [
        folder
        for folder in root.iterdir()
        if folder.is_dir() and folder.name not in ("tests", "benchmarks", "build")
        if not folder.name.startswith(".")
    ]
    makers = {
        path.relative_to(root).as_posix()
        for path in (*root.glob("*.py"), *(one for f in folders for one in f.rglob("*.py")))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and "CloseInstruction" in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
    }
    assert makers == {"order_safety.py"}


# --- what an order can do -----------------------------------------------------------------------

GUARDED, PLAIN, OPENING = OrderClass.CLOSING_GUARDED, OrderClass.CLOSING_PLAIN, OrderClass.OPENING


@pytest.mark.parametrize(
    ("resting", "mode", "held", "expected"),
    [
        (order("1", "A", SELL, reduce_only=True), ONE_WAY, None, GUARDED),
        (order("1", "A", SELL, "0", close_position=True), ONE_WAY, LONG, GUARDED),
        (order("1", "A", SELL), ONE_WAY, LONG, PLAIN),
        (order("1", "A", BUY), ONE_WAY, SHORT, PLAIN),
        (order("1", "A", BUY), ONE_WAY, LONG, OPENING),
        (order("1", "A", SELL), ONE_WAY, SHORT, OPENING),
        (order("1", "A", SELL), ONE_WAY, None, OPENING),
        (order("1", "A", SELL, leg=LONG), HEDGE, LONG, GUARDED),
        (order("1", "A", BUY, leg=SHORT), HEDGE, None, GUARDED),
        (order("1", "A", BUY, leg=LONG), HEDGE, LONG, OPENING),
        (order("1", "A", SELL, leg=SHORT), HEDGE, LONG, OPENING),
        (order("1", "A", SELL), HEDGE, LONG, OPENING),  # names no leg
        (order("1", "A", SELL, leg=LONG), ONE_WAY, None, GUARDED),  # hedged symbol after all
    ],
)
def test_what_an_order_can_do(
    resting: Order, mode: PositionMode, held: Side | None, expected: OrderClass
) -> None:
    """Whatever cannot be shown to close is taken to open."""
    assert classify_order(resting, position_mode=mode, held_side=held) is expected


# --- cancels ------------------------------------------------------------------------------------


def cancelled(
    *orders: Order,
    positions: tuple[Position, ...] | None = (),
    targets: tuple[CloseTarget, ...] = (),
    stage: int = 1,
    mode: PositionMode = ONE_WAY,
    complete: bool = False,
    entries: bool = True,
    untouchable: tuple[str, ...] = (),
    blocked: tuple[RowKey, ...] = (),
) -> str:
    """The ids of the orders to cancel, one letter each."""
    found = plan_cancels(
        scope=SCOPE,
        orders=orders,
        positions=positions,
        targets=targets,
        stage=Stage(stage),
        position_mode=mode,
        is_complete=complete,
        cancel_entry_orders=entries,
        untouchable=tuple(Symbol(symbol) for symbol in untouchable),
        blocked=blocked,
    )
    return "".join(one.order_id for one in found)


BOOK = (
    order("a", "A", BUY),  # adds to the long
    order("b", "A", SELL, "3"),  # plain close
    order("c", "A", SELL, "99", reduce_only=True),
    order("d", "A", SELL, "0", close_position=True, kind=OrderKind.CONDITIONAL),
    order("e", "FLAT", SELL),  # opens where nothing is held
    order("f", "FLAT", BUY, kind=OrderKind.CONDITIONAL),
    order("g", "FLAT", BUY, reduce_only=True),
)
HOLDS_A = (position("A", LONG, "10"),)


@pytest.mark.parametrize("stage", [0, 1, 2, 3, 4])
def test_every_plan_cancels_what_could_open_or_add(stage: int) -> None:
    """On all symbols, flat ones and conditional orders included; protection stays for now."""
    assert cancelled(*BOOK, positions=HOLDS_A, stage=stage) == "aef"


def test_entries_stay_where_the_operator_wants_them() -> None:
    """`cancel_entry_orders_before_close: false` spares entries, not orders that we made unsafe."""
    tight = (target(1, A, "2"),)
    assert cancelled(*BOOK, positions=HOLDS_A, targets=tight, entries=False) == "b"


@pytest.mark.parametrize(
    ("plain", "may_remain", "held", "goes"),
    [
        (("3",), "5", "10", ""),
        (("5",), "5", "10", ""),
        (("5.001",), "5", "10", "0"),
        (("3", "2"), "5", "10", ""),
        (("3", "3"), "5", "10", "01"),  # 6 > 5: together they could open a short of 1
        (("4",), "5", "3", "0"),  # the position itself is smaller than may remain
        (("1",), "0", "10", "0"),
        (("10",), None, "10", ""),  # no target: the whole position may remain
        (("11",), None, "10", "0"),
        (("1", "0"), "5", "10", "01"),  # an unknown size fits into nothing
    ],
)
def test_plain_closing_orders_must_fit_into_what_may_remain(
    plain: tuple[str, ...], may_remain: str | None, held: str, goes: str
) -> None:
    """All of one position together, because the rest of them opens the other side."""
    orders = tuple(order(str(i), "A", SELL, size) for i, size in enumerate(plain))
    targets = () if may_remain is None else (target(1, A, may_remain),)
    assert cancelled(*orders, positions=(position("A", LONG, held),), targets=targets) == goes


def test_plain_orders_count_as_opening_while_positions_are_unknown() -> None:
    """Nothing shows that they close; reduce-only ones are safe whatever is held."""
    assert cancelled(*BOOK, positions=None) == "abef"


def test_plain_orders_between_two_legs_count_as_opening() -> None:
    """A net account cannot hold both legs: which of them a plain order closes is not known."""
    legs = (position("A", LONG, "10"), position("A", SHORT, "1"))
    assert cancelled(*BOOK, positions=legs) == "abef"


@pytest.mark.parametrize("status", [HELD, DUST])
def test_a_target_of_zero_that_holds_takes_its_orders_along(status: TargetStatus) -> None:
    """Every order of that symbol and side, conditional ones included; other symbols keep theirs."""
    done = (target(1, A, "0", status=status),)
    assert cancelled(*BOOK, targets=done) == "abcdef"
    assert cancelled(*BOOK, targets=done, entries=False) == "abcd"


@pytest.mark.parametrize(
    "unfinished",
    [
        target(1, A, "0"),
        target(1, A, "1", status=HELD),
        target(1, A, "0", status=TargetStatus.MISSED),
        target(1, key("A", LONG, ScopeId("bybit_futures")), "0", status=HELD),
    ],
)
def test_protection_stays_until_its_own_target_of_zero_holds(unfinished: CloseTarget) -> None:
    """Open, partly kept, given up, or another venue's target: the stop may still be needed."""
    assert "c" not in cancelled(*BOOK, positions=HOLDS_A, targets=(unfinished,))


LEGS = (
    order("l", "A", SELL, leg=LONG),
    order("m", "A", BUY, leg=LONG),
    order("s", "A", BUY, leg=SHORT),
    order("t", "A", SELL, leg=SHORT),
)


def test_hedge_mode_keeps_the_orders_of_the_other_leg() -> None:
    """The long's target holds: its closing order goes, the short keeps its own."""
    assert cancelled(*LEGS, mode=HEDGE) == "mt"
    done = (target(1, A, "0", status=HELD),)
    assert cancelled(*LEGS, mode=HEDGE, targets=done) == "lmt"


def test_an_order_that_blocks_a_close_goes() -> None:
    """Only those of the blocked row: its protection is given up so that it can be closed."""
    assert cancelled(*BOOK, positions=HOLDS_A, blocked=(A,)) == "abcdef"
    assert cancelled(*LEGS, mode=HEDGE, blocked=(key("A", SHORT),)) == "mst"
    inverse = order("c", "A", BUY, reduce_only=True)
    assert cancelled(inverse, positions=HOLDS_A, blocked=(A,)) == ""


@pytest.mark.parametrize(
    ("stage", "complete", "expected"),
    [(2, True, "aef"), (3, False, "aef"), (3, True, "abcdefg"), (4, True, "abcdefg")],
)
def test_after_stage_3_every_order_of_the_scope_goes(
    stage: int, complete: bool, expected: str
) -> None:
    """Once all targets hold, and not before: until then a stop may save what we cannot close."""
    assert cancelled(*BOOK, positions=HOLDS_A, stage=stage, complete=complete) == expected


@pytest.mark.parametrize(("stage", "complete"), [(1, False), (3, True)])
def test_orders_of_untouchable_symbols_are_left_alone(stage: int, complete: bool) -> None:
    """Entry orders included: a symbol that is left alone is left alone whole."""
    spared = ("AUSDT", "FLATUSDT")
    assert cancelled(*BOOK, stage=stage, complete=complete, untouchable=spared) == ""


def test_a_round_cancels_by_the_targets_as_they_stand_now() -> None:
    """The position is gone in this read: the target holds, and its stop goes in the same round."""
    stop = order("c", "A", SELL, reduce_only=True, kind=OrderKind.CONDITIONAL)
    gone = run(incident(target(1, A, "0"), stage=1), orders=(stop,))
    there = run(incident(target(1, A, "0"), stage=1), *HOLDS_A, orders=(stop,))
    assert (gone.cancels, there.cancels) == ((stop,), ())
    blocked = run(
        incident(target(1, A, "0"), stage=1),
        *HOLDS_A,
        orders=(stop,),
        answers=VenueAnswers(blocked=(A,)),
    )
    assert blocked.cancels == (stop,)


# --- properties ---------------------------------------------------------------------------------

hundredths = st.integers(0, 100_000).map(lambda units: Decimal(units) / 100)
markets = st.one_of(
    st.none(),
    st.builds(
        lambda step, least, most: market("A", step=step, least=least, most=most),
        st.sampled_from(["0.01", "0.5", "3"]),
        st.sampled_from(["0.01", "1", "6"]),
        st.sampled_from([None, "0", "1", "7", "250"]),
    ),
)


@settings(max_examples=100)
@given(
    held=hundredths.filter(lambda quantity: quantity > 0),
    may_remain=hundredths,
    limits=markets,
    side=st.sampled_from(Side),
    other=st.booleans(),
)
def test_closes_never_exceed_the_excess_nor_touch_the_other_side(
    held: Decimal, may_remain: Decimal, limits: MarketLimits | None, side: Side, other: bool
) -> None:
    """Whatever the market, all parts together lie on the target's side and within its excess."""
    legs = [position("A", side, str(held))]
    if other:
        legs.append(position("A", side.opposite, "5"))
    found = run(
        incident(target(1, key("A", side), str(may_remain))),
        *legs,
        markets=() if limits is None else (limits,),
        mode=HEDGE if other else ONE_WAY,
    )
    sent = sum((close.quantity for close in found.closes), Decimal(0))
    excess = max(Decimal(0), held - may_remain)
    assert sent <= excess
    assert all(close.side is side for close in found.closes)
    step = Decimal("0.01") if limits is None else limits.step
    least = Decimal(0) if limits is None else limits.min_quantity
    if len(found.closes) < MAX_PARTS and sent:
        # Less than a step stays, or a rest that no split of this market could have sent.
        assert excess - sent < max(step, least)
    if not sent:
        assert excess < max(step, least)
        assert found.holds


@settings(max_examples=100)
@given(
    held=hundredths.filter(lambda quantity: quantity > 0),
    may_remain=hundredths,
    fills=st.lists(st.integers(0, 10), min_size=1, max_size=8),
    most=st.sampled_from([None, "7", "250"]),
)
def test_repeated_rounds_converge_and_never_undershoot(
    held: Decimal, may_remain: Decimal, fills: list[int], most: str | None
) -> None:
    """Each order fills by tenths, some not at all; then all fill: the target holds, no less."""
    limits = market("A", step="0.01", least="0.01", most=most)
    working = incident(target(1, A, str(may_remain), initial=str(held)))
    left = held
    for number, tenths in enumerate([*fills, *[10] * 400], start=1):
        read = (position("A", LONG, str(left)),) if left > 0 else ()
        found = run(working, *read, markets=(limits,), round_number=number)
        working = replace(working, targets=found.targets)
        if found.holds:
            break
        for close in found.closes:
            left -= (close.quantity * tenths / 10).quantize(Decimal("0.01"), "ROUND_DOWN")
        assert left >= min(held, may_remain)
    assert found.holds
    assert left == min(held, may_remain)


@settings(max_examples=100)
@given(
    held=st.integers(1, 20),
    side=st.sampled_from(Side),
    may_remain=st.integers(0, 20),
    resting=st.lists(
        st.tuples(st.sampled_from(OrderSide), st.integers(0, 10), st.booleans()), max_size=6
    ),
)
def test_orders_that_stay_can_never_open_the_other_side(
    held: int, side: Side, may_remain: int, resting: list[tuple[OrderSide, int, bool]]
) -> None:
    """If our close and every order left over fill completely, no new position exists."""
    orders = tuple(
        order(str(i), "A", order_side, str(quantity), reduce_only=reduce_only)
        for i, (order_side, quantity, reduce_only) in enumerate(resting)
    )
    found = run(
        incident(target(1, key("A", side), str(may_remain)), stage=2),
        position("A", side, str(held)),
        orders=orders,
    )
    left = Decimal(held) - sum((close.quantity for close in found.closes), Decimal(0))
    staying = [one for one in orders if one not in found.cancels and not one.reduce_only]
    assert all(one.side is side.closing_order and one.quantity > 0 for one in staying)
    assert sum((one.quantity for one in staying), Decimal(0)) <= left
