"""Could every open position be closed now? What would hinder or surprise whoever tries.

Pure: one reading, its open orders and the venue's market rules in, findings out. Judges with the
same arithmetic that sizes real closes (`order_sizes`), so that what it calls fine is what the
venue takes. It never says that a close is impossible because something is not known: closing is
tried all the same, and what is not known is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cancels import OrderClass, classify_order
from findings import Finding, Level, Topic
from model import (
    Asset,
    MarketLimits,
    Order,
    OrderKind,
    Position,
    PositionMode,
    Reading,
    StageMode,
    Symbol,
)
from order_sizes import (
    EXACT,
    MAX_PARTS,
    ZERO,
    compute_remainder,
    is_too_small,
    round_down,
    step_of,
    subtract,
)
from policy import BookPolicy

DEFAULT_FRACTION = Decimal("0.5")
"""What a first stage closes where the book has none: the case that the venue's minimum decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One position with what may be asked about it."""

    position: Position
    market: MarketLimits
    is_hedged: bool
    close_fraction: Decimal
    orders: tuple[Order, ...]

    @property
    def subject(self) -> str:
        return f"{self.position.symbol} {self.position.side}"

    @property
    def quantity(self) -> Decimal:
        return self.position.quantity

    @property
    def step(self) -> Decimal:
        return step_of(self.market, self.quantity)

    @property
    def may_remain(self) -> Decimal:
        """What the first stage would leave, before any rounding."""
        return EXACT.multiply(self.quantity, EXACT.subtract(Decimal(1), self.close_fraction))

    def is_too_small(self, quantity: Decimal) -> bool:
        return is_too_small(
            quantity,
            limits=self.market,
            mark_price=self.position.mark_price,
            waiver_counts=not self.is_hedged,
        )


def judge_closability(
    *,
    reading: Reading,
    orders: Sequence[Order] | None,
    limits: Mapping[Symbol, MarketLimits] | None,
    book: BookPolicy | None,
) -> tuple[Finding, ...]:
    """Judge every position of one reading, in order of symbol and side, then the leftover orders.

    `orders` or `limits` None: they could not be read, which is a finding of its own.
    """
    of_positions = (
        *_judge_legs(reading),
        *(
            finding
            for position in sorted(reading.positions, key=lambda held: (held.symbol, held.side))
            for finding in _judge_position(
                position, reading=reading, orders=orders or (), limits=limits, book=book
            )
        ),
    )
    missing = tuple(_judge_what_was_read(orders=orders, limits=limits))
    all_clear = Finding(level=Level.FINE, topic=Topic.CLOSABLE, what="each can be closed at once")
    return (
        *missing,
        *of_positions,
        *(() if missing or of_positions or not reading.positions else (all_clear,)),
        *_judge_coins(reading, book),
        *_judge_leftovers(reading, orders or ()),
    )


def _judge_coins(reading: Reading, book: BookPolicy | None) -> Iterator[Finding]:
    """Coins that the book lets go and no stage can sell: silence would be taken for a promise."""
    if book is None or not book.sell_collateral:
        return
    stuck = sorted(coin.asset for coin in reading.coins if coin.quantity > 0 >= coin.sellable)
    if stuck:
        yield Finding(
            level=Level.WARNING,
            topic=Topic.NOT_TRADABLE,
            what=f"no stage can sell these coins here: {', '.join(stuck)}",
            remedy="they stay, whatever sell_collateral says: sell them by hand if need be",
        )


def _judge_what_was_read(
    *, orders: Sequence[Order] | None, limits: Mapping[Symbol, MarketLimits] | None
) -> Iterator[Finding]:
    if orders is None:
        yield Finding(
            level=Level.FAULT,
            topic=Topic.OPEN_ORDERS,
            what="open orders could not be read: what would be in the way is not known",
            remedy="see why the venue refuses the list; closes go ahead without it",
        )
    if limits is None:
        yield Finding(
            level=Level.FAULT,
            topic=Topic.MARKETS,
            what="market rules could not be read: minimum, maximum and step are not known",
            remedy="try again; sizes would be guessed from the positions' own digits",
        )


def _judge_legs(reading: Reading) -> Iterator[Finding]:
    """Long and short of one symbol side by side prove that the account is not one-way."""
    if reading.position_mode is not PositionMode.ONE_WAY:
        return
    symbols = [position.symbol for position in reading.positions]
    for symbol in sorted({symbol for symbol in symbols if symbols.count(symbol) > 1}):
        yield Finding(
            level=Level.FAULT,
            topic=Topic.POSITION_MODE,
            what="holds a long and a short although the account says one-way: closes may be "
            "refused for wrong parameters",
            remedy="look at the position mode in the venue's settings, then check again",
            subject=symbol,
        )


def _judge_position(
    position: Position,
    *,
    reading: Reading,
    orders: Sequence[Order],
    limits: Mapping[Symbol, MarketLimits] | None,
    book: BookPolicy | None,
) -> Iterator[Finding]:
    if limits is None:
        return
    subject = f"{position.symbol} {position.side}"
    market = limits.get(position.symbol)
    if market is None:
        yield Finding(
            level=Level.FAULT,
            topic=Topic.UNKNOWN_SYMBOL,
            what="is not in the venue's market list: minimum, maximum and step are guessed, and "
            "a close may be refused",
            remedy="close it by hand, or check again once the venue lists it",
            subject=subject,
        )
        return
    if not market.is_tradable:
        yield Finding(
            level=Level.FAULT,
            topic=Topic.NOT_TRADABLE,
            what="does not trade (halted or delisted): the venue refuses every order",
            remedy="ask the venue how it is settled; the guard cannot close it",
            subject=subject,
        )
        return
    case = _Case(
        position=position,
        market=market,
        is_hedged=reading.position_mode is PositionMode.HEDGE,
        close_fraction=_close_fraction(book),
        orders=tuple(order for order in orders if order.symbol == position.symbol),
    )
    yield from _judge_size(case)
    yield from _judge_orders(case)


def _close_fraction(book: BookPolicy | None) -> Decimal:
    """The smallest part that any stage of the book closes of a position."""
    fractions = [
        stage.close_fraction
        for stage in (() if book is None else book.stages)
        if stage.mode is StageMode.CLOSE_TOP_RISK_CONTRIBUTORS
    ]
    return min(fractions, default=DEFAULT_FRACTION)


def _judge_size(case: _Case) -> Iterator[Finding]:
    """Minimum, step, maximum, and what the first stage would leave."""
    closable = round_down(case.quantity, case.step)
    if case.is_too_small(closable):
        yield Finding(
            level=Level.WARNING,
            topic=Topic.TOO_SMALL,
            what=f"{case.quantity:f} is below the venue's minimum ({_say_minimum(case)}): it "
            "counts as dust and stays",
            remedy="close it by hand where the venue allows that, or leave it",
            subject=case.subject,
        )
        return
    odd = subtract(case.quantity, closable)
    if odd > 0:
        yield Finding(
            level=Level.WARNING,
            topic=Topic.OFF_STEP,
            what=f"{odd.normalize():f} of {case.quantity:f} stays: it is less than the step "
            f"{case.step.normalize():f}",
            remedy="nothing: it counts as dust",
            subject=case.subject,
        )
    yield from _judge_maximum(case, closable)
    remains = case.may_remain
    if remains > 0 and _remainder(case, remains) == 0:
        percent = EXACT.multiply(case.close_fraction, Decimal(100)).normalize()
        yield Finding(
            level=Level.WARNING,
            topic=Topic.SMALL_REMAINDER,
            what=f"closing {percent:f} % would leave {remains.normalize():f}, below the venue's "
            f"minimum ({_say_minimum(case)}): stage 1 closes it whole",
            remedy="nothing if that is meant; else hold more of it, or list it in never_touch",
            subject=case.subject,
        )


def _remainder(case: _Case, quantity: Decimal) -> Decimal:
    return compute_remainder(
        quantity,
        step=case.step,
        limits=case.market,
        mark_price=case.position.mark_price,
        hedged=case.is_hedged,
    )


def _say_minimum(case: _Case) -> str:
    """The minimum in base units and in money, as far as each counts here."""
    market = case.market
    told = [f"{market.min_quantity.normalize():f} {market.base}"]
    if market.min_notional > 0 and (case.is_hedged or not market.reduce_only_waives_min_notional):
        told.append(f"{market.min_notional.normalize():f} {market.quote}")
    return ", ".join(told)


def _judge_maximum(case: _Case, closable: Decimal) -> Iterator[Finding]:
    largest = case.market.market_max
    if largest is None or largest < case.step or closable <= largest:
        return
    parts = count_parts(closable, step=case.step, largest=largest)
    rounds = -(-parts // MAX_PARTS)
    turns = f" in {rounds} rounds" if rounds > 1 else ""
    yield Finding(
        level=Level.WARNING,
        topic=Topic.MARKET_MAXIMUM,
        what=f"closing {closable.normalize():f} takes {parts} orders{turns}: the venue takes at "
        f"most {largest.normalize():f} at once",
        remedy="nothing: the guard splits it, which takes longer",
        subject=case.subject,
    )


def count_parts(quantity: Decimal, *, step: Decimal, largest: Decimal) -> int:
    """How many orders of at most `largest` (at least one step) close `quantity`."""
    units = int(EXACT.divide_int(quantity, step))
    return -(-units // int(EXACT.divide_int(largest, step)))


def _judge_orders(case: _Case) -> Iterator[Finding]:
    """Resting orders that already claim what a close would take."""
    resting = tuple(order for order in case.orders if _claims(order, case.position))
    claimed = sum((order.quantity for order in resting), start=ZERO)
    takes_all = any(order.close_position for order in resting)
    if not takes_all and claimed <= case.may_remain:
        return
    size = "all" if takes_all or claimed >= case.quantity else f"{claimed.normalize():f}"
    count = "a resting reduce-only order claims"
    if len(resting) > 1:
        count = f"{len(resting)} resting reduce-only orders claim"
    yield Finding(
        level=Level.WARNING,
        topic=Topic.ORDERS_IN_THE_WAY,
        what=f"{count} {size} of it: the venue may refuse a close because of that",
        remedy="nothing: the guard cancels what blocks a close and sends it again, which takes "
        "longer; a conditional order would not be in the way",
        subject=case.subject,
    )


def _claims(order: Order, position: Position) -> bool:
    """Whether the venue counts an order against what may still be closed of a position.

    A conditional order claims nothing until it is triggered.
    """
    return (
        order.kind is OrderKind.REGULAR
        and order.side is position.side.closing_order
        and order.position_side in (None, position.side)
        and (order.reduce_only or order.close_position or order.position_side is not None)
    )


def _judge_leftovers(reading: Reading, orders: Sequence[Order]) -> Iterator[Finding]:
    """Conditional orders on symbols that hold nothing: an ordinary cancel-all leaves them alive.

    Those of spot markets belong to coins, and act on nothing that somebody else may open.
    """
    held = {position.symbol for position in reading.positions}
    left: dict[Symbol, list[Order]] = {}
    for order in orders:
        is_of_contract = order.kind is OrderKind.CONDITIONAL and order.base is None
        if is_of_contract and order.symbol not in held:
            left.setdefault(order.symbol, []).append(order)
    for symbol, found in sorted(left.items()):
        opens = any(
            classify_order(order, position_mode=reading.position_mode, held_side=None)
            is OrderClass.OPENING
            for order in found
        )
        kinds = ", ".join(sorted({order.order_type for order in found}))
        count = "a conditional order" if len(found) == 1 else f"{len(found)} conditional orders"
        effect = (
            "could open a position, and may outlive an ordinary cancel-all"
            if opens
            else "left over from a position that is gone, would act on the next one"
        )
        remedy = "cancel it by hand"
        yield Finding(
            level=Level.WARNING,
            topic=Topic.ORDERS_ON_FLAT_SYMBOL,
            what=f"holds nothing and has {count} ({kinds}): {effect}",
            remedy=f"{remedy}, or leave it: the guard cancels it with every close"
            if opens
            else remedy,
            subject=symbol,
        )


def find_split_hedges(readings: Mapping[str, Sequence[Reading]]) -> tuple[Finding, ...]:
    """Find base assets that are long in one book and short in another (`readings` by book).

    Each book is judged alone: in a move the losing leg is closed and the winning one stays.
    """
    net: dict[Asset, dict[str, float]] = {}
    for book, own in readings.items():
        for reading in own:
            for row in reading.rows():
                by_book = net.setdefault(row.base, {})
                by_book[book] = by_book.get(book, 0.0) + row.key.side.sign * row.notional
    return tuple(
        Finding(
            level=Level.WARNING,
            topic=Topic.SPLIT_HEDGE,
            what=f"{_say_legs(by_book)}: each leg is judged alone, so a move closes the "
            "losing one and leaves the other",
            remedy="hold both legs in one account, or expect to be left with one of them",
            subject=base,
        )
        for base, by_book in sorted(net.items())
        if min(by_book.values()) < 0 < max(by_book.values())
    )


def _say_legs(by_book: Mapping[str, float]) -> str:
    return ", ".join(
        f"{'long' if value > 0 else 'short'} {abs(value):,.0f} in {book}"
        for book, value in sorted(by_book.items())
        if value
    )
