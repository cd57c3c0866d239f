"""What spot accounts of a simulated exchange hold: balances, orders, records of money.

Orders, fills and records are frozen and replaced, so that a view at an earlier moment is cheap.
This file knows no rules: `spot` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from model import OrderSide
from simulator.state import (
    DONE_ORDERS_KEPT,
    MONEY,
    VIEWS_KEPT,
    ZERO,
    Cause,
    OrderStatus,
    OrderType,
    TimeInForce,
    World,
)


class SpotRecordKind(StrEnum):
    """How money came to a spot account from outside, or left it."""

    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    TRANSFER = "TRANSFER"
    """From or to another account of the same owner, on the same exchange."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRecord:
    """One movement of money; `amount` is signed, positive for what came in."""

    record_id: int
    kind: SpotRecordKind
    asset: str
    amount: Decimal
    at: float


class SpotBook(StrEnum):
    """Where an order rests: among the ordinary ones, or until its trigger price is reached."""

    NORMAL = "NORMAL"
    PLAN = "PLAN"
    """Holds nothing until then."""
    TPSL = "TPSL"
    """A take-profit or stop-loss, which holds what it would give away from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRequest:
    """What somebody asks for on a spot market; only MARKET and LIMIT are known here.

    One that waits for its `trigger_price` is a market order from then on.
    """

    symbol: str
    side: OrderSide
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    client_id: str = ""
    time_in_force: TimeInForce = TimeInForce.GTC
    cause: Cause = Cause.ORDER
    book: SpotBook = SpotBook.NORMAL
    trigger_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotFill:
    """One execution; `fee` is in `fee_asset`, what came in."""

    trade_id: int
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotOrder:
    """An accepted order, open or done; `holds` is the asset that it gives away.

    One with a `trigger_price` waits for it, from below where `fires_above`.
    """

    order_id: int
    client_id: str
    symbol: str
    base: str
    quote: str
    order_type: OrderType
    side: OrderSide
    quantity: Decimal
    price: Decimal
    time_in_force: TimeInForce
    cause: Cause
    created_at: float
    updated_at: float
    status: OrderStatus = OrderStatus.NEW
    filled: Decimal = ZERO
    quote_filled: Decimal = ZERO
    fills: tuple[SpotFill, ...] = ()
    book: SpotBook = SpotBook.NORMAL
    trigger_price: Decimal = ZERO
    fires_above: bool = False

    @property
    def remaining(self) -> Decimal:
        """What is still unfilled."""
        return self.quantity - self.filled

    @property
    def holds(self) -> str:
        """The asset that it gives away."""
        return self.base if self.side is OrderSide.SELL else self.quote

    @property
    def held(self) -> Decimal:
        """How much of that asset it keeps from others while it rests."""
        if not self.status.is_open or self.book is SpotBook.PLAN:
            return ZERO
        return self.remaining if self.side is OrderSide.SELL else self.remaining * self.price


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotView:
    """A spot account as it was at one moment: all it holds, and its open orders."""

    revision: int
    at: float
    balances: Mapping[str, Decimal]
    orders: Mapping[int, SpotOrder]

    def locked(self, asset: str) -> Decimal:
        """What resting orders hold of an asset."""
        return sum((o.held for o in self.orders.values() if o.holds == asset), ZERO)

    def free(self, asset: str) -> Decimal:
        """What can be used of an asset."""
        return self.balances.get(asset, ZERO) - self.locked(asset)


@dataclass(slots=True, kw_only=True)
class SpotWallet:
    """What one account has on the spot side; `balances` count what orders hold as well."""

    balances: dict[str, Decimal] = field(default_factory=dict)
    orders: dict[int, SpotOrder] = field(default_factory=dict)
    done: dict[int, SpotOrder] = field(default_factory=dict)
    records: list[SpotRecord] = field(default_factory=list)
    history: deque[SpotView] = field(default_factory=lambda: deque(maxlen=VIEWS_KEPT))

    def view(self, world: World) -> SpotView:
        """Freeze it as it is now."""
        return SpotView(
            revision=world.revision,
            at=world.now,
            balances=dict(self.balances),
            orders=dict(self.orders),
        )

    def change(self, asset: str, amount: Decimal) -> None:
        """Add to a balance, rounded to what exchanges keep."""
        self.balances[asset] = self.balances.get(asset, ZERO) + amount.quantize(MONEY)

    def keep(self, order: SpotOrder) -> SpotOrder:
        """Store an order where its status belongs and return it."""
        if order.status.is_open:
            self.orders[order.order_id] = order
            return order
        self.orders.pop(order.order_id, None)
        self.done[order.order_id] = order
        if len(self.done) > DONE_ORDERS_KEPT:
            del self.done[next(iter(self.done))]
        return order
