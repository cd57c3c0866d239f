"""What a simulated exchange holds: orders, legs, records, accounts, and the world around them.

Orders, legs and records are frozen and replaced, so that a view of an account at an earlier
moment costs a few shallow copies; stale answers are made from such views. This file knows no
rules: it keeps state and hands out ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from model import LedgerKind, MarginMode, OrderKind, OrderSide, PositionMode, Side
from simulator.house_rules import HouseRules
from simulator.markets import Market
from simulator.reasons import Reason, Rejected

VIEWS_KEPT = 512
DONE_ORDERS_KEPT = 5000
DEFAULT_LEVERAGE = 20
ZERO = Decimal(0)
MONEY = Decimal("0.00000001")
"""Wallets are kept to eight decimals, as venues do."""


class Leg(StrEnum):
    """Which position of a symbol an order acts on; BOTH is the only one in one-way mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


class OrderType(StrEnum):
    """The kinds of order, plain ones first."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    STOP = "STOP"
    TAKE_PROFIT = "TAKE_PROFIT"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"

    @property
    def kind(self) -> OrderKind:
        """The book that holds it."""
        plain = self in (OrderType.MARKET, OrderType.LIMIT)
        return OrderKind.REGULAR if plain else OrderKind.CONDITIONAL

    @property
    def needs_price(self) -> bool:
        """True for a limit order and for a conditional order that becomes one."""
        return self in (OrderType.LIMIT, OrderType.STOP, OrderType.TAKE_PROFIT)


class OrderStatus(StrEnum):
    """Where an order is in its life."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    TRIGGERED = "TRIGGERED"
    REJECTED = "REJECTED"

    @property
    def is_open(self) -> bool:
        """True while the order can still act."""
        return self in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


class TimeInForce(StrEnum):
    """How long a limit order may rest; GTX is post-only."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


class Cause(StrEnum):
    """Who is behind a ledger entry. BOT is an order placed through the control port."""

    ORDER = "order"
    BOT = "bot"
    LIQUIDATION = "liquidation"
    SEED = "seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """What somebody asks for. `quantity` is None with `close_position`."""

    symbol: str
    side: OrderSide
    order_type: OrderType
    quantity: Decimal | None
    leg: Leg = Leg.BOTH
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    activation_price: Decimal | None = None
    callback_percent: Decimal | None = None
    reduce_only: bool | None = None
    close_position: bool = False
    client_id: str = ""
    time_in_force: TimeInForce = TimeInForce.GTC
    working_type: str = "CONTRACT_PRICE"
    cause: Cause = Cause.ORDER


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOrder:
    """An accepted order, open or done. `extreme` is the best price a trailing stop has seen."""

    order_id: int
    client_id: str
    symbol: str
    order_type: OrderType
    side: OrderSide
    leg: Leg
    quantity: Decimal
    requested: Decimal
    price: Decimal
    trigger_price: Decimal
    activation_price: Decimal | None
    callback_percent: Decimal | None
    reduce_only: bool
    close_position: bool
    time_in_force: TimeInForce
    working_type: str
    cause: Cause
    created_at: float
    updated_at: float
    status: OrderStatus = OrderStatus.NEW
    filled: Decimal = ZERO
    quote_filled: Decimal = ZERO
    extreme: Decimal | None = None
    is_active: bool = True
    triggered_at: float | None = None
    triggered_order_id: int | None = None

    @property
    def kind(self) -> OrderKind:
        """The book that holds it."""
        return self.order_type.kind

    @property
    def remaining(self) -> Decimal:
        """What is still unfilled."""
        return self.quantity - self.filled

    @property
    def average_price(self) -> Decimal:
        """Average price of what was filled, 0 before the first fill."""
        return self.quote_filled / self.filled if self.filled else ZERO

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side is OrderSide.BUY else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLeg:
    """One position. `amount` is signed; `isolated_wallet` is 0 for a cross position."""

    symbol: str
    leg: Leg
    amount: Decimal
    entry_price: Decimal
    isolated_wallet: Decimal = ZERO
    updated_at: float = 0.0

    @property
    def side(self) -> Side:
        """Direction of a position that is not flat."""
        return Side.LONG if self.amount > 0 else Side.SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolSettings:
    """An account's choices for one symbol."""

    leverage: int = DEFAULT_LEVERAGE
    margin_mode: MarginMode = MarginMode.CROSS


NEVER_CHOSEN = SymbolSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """One account record; `record_id` is unique on the exchange."""

    record_id: int
    kind: LedgerKind
    asset: str
    amount: Decimal
    symbol: str
    at: float
    trade_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One execution as its owner sees it."""

    trade_id: int
    order_id: int
    symbol: str
    side: OrderSide
    leg: Leg
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    realised: Decimal
    is_maker: bool
    at: float


LegKey = tuple[str, Leg]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """An account as it was at one moment, with the marks of that moment.

    `worked_out` keeps what `margin` makes of it, by asset: every row of a list asks for it again.
    """

    revision: int
    at: float
    position_mode: PositionMode
    position_modes: Mapping[str, PositionMode]
    multi_assets: bool
    wallet: Mapping[str, Decimal]
    legs: Mapping[LegKey, PositionLeg]
    orders: Mapping[int, ExchangeOrder]
    settings: Mapping[str, SymbolSettings]
    marks: Mapping[str, Decimal]
    markets: Mapping[str, Market]
    collateral: Mapping[str, Decimal]
    wallet_updated_at: Mapping[str, float]
    worked_out: dict[str, Any] = field(init=False, default_factory=dict, repr=False, compare=False)

    def setting(self, symbol: str) -> SymbolSettings:
        """Leverage and margin mode of a symbol, the defaults when never chosen."""
        return self.settings.get(symbol, NEVER_CHOSEN)

    def mode_of(self, symbol: str) -> PositionMode:
        """Position mode of a symbol, the account's unless it has one of its own."""
        return self.position_modes.get(symbol, self.position_mode)

    def orders_of(self, kind: OrderKind, symbol: str | None = None) -> list[ExchangeOrder]:
        """Open orders of one book, oldest first."""
        return [
            order
            for order in self.orders.values()
            if order.kind is kind and symbol in (None, order.symbol)
        ]


@dataclass(slots=True, kw_only=True)
class Account:
    """One trading account with its key. Mutable; `view()` freezes it.

    `position_modes` holds the symbols whose mode is not the account's, where a venue allows that.
    `passphrase` and `is_unified` matter where a venue asks for one and keeps two kinds of account.
    """

    api_key: str
    api_secret: str
    position_mode: PositionMode = PositionMode.ONE_WAY
    position_modes: dict[str, PositionMode] = field(default_factory=dict)
    passphrase: str = ""
    is_unified: bool = False
    multi_assets: bool = False
    can_trade: bool = True
    can_withdraw: bool = False
    can_read_transfers: bool = True
    is_bound_to_ip: bool = False
    key_expires_at: float | None = None
    elsewhere: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    """What the owner holds in parts of the venue that are not simulated: part, asset, amount."""
    sub_accounts: int = 0
    wallet: dict[str, Decimal] = field(default_factory=dict)
    wallet_updated_at: dict[str, float] = field(default_factory=dict)
    collateral: dict[str, Decimal] = field(default_factory=dict)
    legs: dict[LegKey, PositionLeg] = field(default_factory=dict)
    orders: dict[int, ExchangeOrder] = field(default_factory=dict)
    done: dict[int, ExchangeOrder] = field(default_factory=dict)
    settings: dict[str, SymbolSettings] = field(default_factory=dict)
    income: list[Income] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    countdowns: dict[str, float] = field(default_factory=dict)
    history: deque[AccountView] = field(default_factory=lambda: deque(maxlen=VIEWS_KEPT))

    def amount(self, symbol: str, leg: Leg) -> Decimal:
        """Signed size of a leg, 0 when flat."""
        held = self.legs.get((symbol, leg))
        return held.amount if held else ZERO

    def setting(self, symbol: str) -> SymbolSettings:
        """Leverage and margin mode of a symbol, the defaults when never chosen."""
        return self.settings.get(symbol, NEVER_CHOSEN)

    def mode_of(self, symbol: str) -> PositionMode:
        """Position mode of a symbol, the account's unless it has one of its own."""
        return self.position_modes.get(symbol, self.position_mode)

    def keep(self, order: ExchangeOrder) -> ExchangeOrder:
        """Store an order where its status belongs and return it."""
        if order.status.is_open:
            self.orders[order.order_id] = order
            return order
        self.orders.pop(order.order_id, None)
        self.done[order.order_id] = order
        if len(self.done) > DONE_ORDERS_KEPT:
            del self.done[next(iter(self.done))]
        return order

    def view(self, world: World) -> AccountView:
        """Freeze the account as it is now."""
        return AccountView(
            revision=world.revision,
            at=world.now,
            position_mode=self.position_mode,
            position_modes=dict(self.position_modes),
            multi_assets=self.multi_assets,
            wallet=dict(self.wallet),
            legs=dict(self.legs),
            orders=dict(self.orders),
            settings=dict(self.settings),
            marks=world.marks,
            markets=world.markets,
            collateral=self.collateral,
            wallet_updated_at=dict(self.wallet_updated_at),
        )


@dataclass(slots=True, kw_only=True)
class World:
    """What all accounts share: time, prices, markets, ids and the ledger.

    `marks` and `markets` are replaced, never changed in place, because views keep them.
    """

    now: float
    markets: dict[str, Market]
    rules: HouseRules = field(default_factory=HouseRules)
    marks: dict[str, Decimal] = field(default_factory=dict)
    ledger: list[dict[str, object]] = field(default_factory=list)
    revision: int = 0
    last_id: int = 1_000_000
    hedge_close_waives_min_notional: bool = True

    def next_id(self) -> int:
        """Hand out an id that was never used before."""
        self.last_id += 1
        return self.last_id

    def market(self, symbol: str) -> Market:
        """Find a market. Raises Rejected UNKNOWN_SYMBOL."""
        if symbol not in self.markets:
            raise Rejected(Reason.UNKNOWN_SYMBOL, symbol)
        return self.markets[symbol]

    def mark(self, symbol: str) -> Decimal:
        """Return the mark price. Raises Rejected NO_PRICE when none was ever set."""
        if symbol not in self.marks:
            raise Rejected(Reason.NO_PRICE, symbol)
        return self.marks[symbol]

    def record(self, event: str, **fields: object) -> None:
        """Append to the ledger; decimals become strings, so that it is JSON as it stands."""
        entry: dict[str, object] = {"n": len(self.ledger) + 1, "at": self.now, "event": event}
        for name, value in fields.items():
            entry[name] = format(value, "f") if isinstance(value, Decimal) else value
        self.ledger.append(entry)


def to_decimal(value: object) -> Decimal:
    """Turn a number or its text into a finite Decimal. Raises ValueError otherwise."""
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except ArithmeticError:
        raise ValueError(f"{value!r} is not a number") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number
