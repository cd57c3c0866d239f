"""The vocabulary: what a venue reports, what we may ask of it, and what the operator allows.

Everything here is a frozen value. Quantities and prices that can end up in an order are
`Decimal`, built from the venue's own strings; analytics (equity, profit, drawdown, score) are
`float`. Times are UTC seconds, money is the account's quote, fractions are positive.
This file knows no network, no disk and no clock. What outlives a tick is in `memory.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import NewType, assert_never

ScopeId = NewType("ScopeId", str)
"""One account on a venue: `binance_futures`."""
BookName = NewType("BookName", str)
Symbol = NewType("Symbol", str)
"""The venue's own market id (`BTCUSDT`), so that a listing ccxt has not loaded can be closed."""
Asset = NewType("Asset", str)
USDT = Asset("USDT")
IncidentId = NewType("IncidentId", str)
ClientOrderId = NewType("ClientOrderId", str)
VenueOrderId = NewType("VenueOrderId", str)
RecordId = NewType("RecordId", str)
"""The venue's own id of a ledger record; unique within its scope."""


class OrderSide(StrEnum):
    """Direction of an order as a plain exchange understands it."""

    BUY = "BUY"
    SELL = "SELL"


class Side(StrEnum):
    """Direction of a position."""

    LONG = "LONG"
    SHORT = "SHORT"

    @property
    def sign(self) -> int:
        """+1 for a long, -1 for a short."""
        return 1 if self is Side.LONG else -1

    @property
    def closing_order(self) -> OrderSide:
        """The only order side that can make a position of this side smaller."""
        return OrderSide.SELL if self is Side.LONG else OrderSide.BUY

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.SHORT if self is Side.LONG else Side.LONG


class Source(StrEnum):
    """The side that lost the money."""

    LONG = "LONG"
    SHORT = "SHORT"
    MIXED = "MIXED"
    UNKNOWN = "UNKNOWN"


class SourceMode(StrEnum):
    """How a stage finds its source: measured, or forced by the operator."""

    AUTO = "AUTO"
    LONG = "LONG"
    SHORT = "SHORT"
    MIXED = "MIXED"


class Stage(IntEnum):
    """How far the guard has gone. Ordered: a larger value is always the tighter state."""

    NORMAL = 0
    REDUCED_TOP_RISK = 1
    DOMINANT_CLOSED = 2
    ALL_CLOSED = 3
    LOCKDOWN = 4


CLOSING_STAGES = (Stage.REDUCED_TOP_RISK, Stage.DOMINANT_CLOSED, Stage.ALL_CLOSED)
"""The stages that a drawdown can trigger; LOCKDOWN is reached by the operator's kill alone."""


class StageMode(StrEnum):
    """What a stage closes. The last three are for spot accounts."""

    CLOSE_TOP_RISK_CONTRIBUTORS = "CLOSE_TOP_RISK_CONTRIBUTORS"
    CLOSE_DOMINANT_LOSS_DIRECTION = "CLOSE_DOMINANT_LOSS_DIRECTION"
    CLOSE_ALL_POSITIONS = "CLOSE_ALL_POSITIONS"
    SELL_BLACKLIST_ONLY_KEEP_STABLES = "SELL_BLACKLIST_ONLY_KEEP_STABLES"
    SELL_ALL_NON_USDT_KEEP_STABLES = "SELL_ALL_NON_USDT_KEEP_STABLES"
    LOCK_ONLY = "LOCK_ONLY"
    """Judge, lock and cancel, but sell nothing: a spot account for which no mode was chosen."""


class PositionMode(StrEnum):
    """Whether an account holds one net position per symbol or a long and a short side by side."""

    ONE_WAY = "ONE_WAY"
    HEDGE = "HEDGE"


class MarginMode(StrEnum):
    """What backs a position: the whole account, or only the margin set aside for it."""

    CROSS = "CROSS"
    ISOLATED = "ISOLATED"


class Trust(StrEnum):
    """How far a reading may be believed."""

    TRUSTED = "TRUSTED"
    SUSPECT = "SUSPECT"
    UNAVAILABLE = "UNAVAILABLE"


class OrderKind(StrEnum):
    """Which of the venue's order books holds an order; they are listed and cancelled apart."""

    REGULAR = "REGULAR"
    CONDITIONAL = "CONDITIONAL"


class LedgerKind(StrEnum):
    """What a venue's account record is about."""

    TRANSFER = "TRANSFER"
    BONUS = "BONUS"
    FUNDING = "FUNDING"
    FEE = "FEE"
    REALISED = "REALISED"
    LIQUIDATION = "LIQUIDATION"
    OTHER = "OTHER"

    @property
    def is_flow(self) -> bool:
        """True for money that entered or left the account from outside."""
        return self in (LedgerKind.TRANSFER, LedgerKind.BONUS)


class RefusalReason(StrEnum):
    """Why a venue did not carry out an order or a cancel, proved by its own answer."""

    NOTHING_TO_REDUCE = "NOTHING_TO_REDUCE"
    RESTING_ORDER_IN_THE_WAY = "RESTING_ORDER_IN_THE_WAY"
    TOO_LARGE = "TOO_LARGE"
    TOO_SMALL = "TOO_SMALL"
    BAD_PRECISION = "BAD_PRECISION"
    RATE_LIMITED = "RATE_LIMITED"
    WRONG_POSITION_MODE = "WRONG_POSITION_MODE"
    DUPLICATE_ID = "DUPLICATE_ID"
    NO_SUCH_ORDER = "NO_SUCH_ORDER"
    NOT_TRADABLE = "NOT_TRADABLE"
    NOT_ALLOWED = "NOT_ALLOWED"
    CLOCK = "CLOCK"
    NOT_REACHED = "NOT_REACHED"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True, order=True)
class RowKey:
    """What identifies one row: a position, or a coin that can lose (LONG; SHORT when owed)."""

    scope: ScopeId
    symbol: Symbol
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One open position as the venue reports it, or what is held of a coin that can be sold.

    `quantity` is in base units and positive; `margin` is what backs it now (isolated: the margin
    set aside; cross: the initial margin), None when the venue does not say; `liquidation_price`
    is None when there is none. `locked` is the part of a coin that resting orders hold: it can be
    sold once they are gone.
    """

    symbol: Symbol
    base: Asset
    side: Side
    quantity: Decimal
    entry_price: float
    mark_price: float
    unrealised_pnl: float
    liquidation_price: float | None = None
    margin_mode: MarginMode = MarginMode.CROSS
    margin: float | None = None
    margin_asset: Asset = USDT
    locked: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if not self.quantity.is_finite() or self.quantity <= 0:
            raise ValueError(f"{self.symbol}: a position has a positive quantity")
        figures = (self.entry_price, self.mark_price, self.unrealised_pnl, self.liquidation_price)
        for figure in figures:
            if figure is not None and not math.isfinite(figure):
                raise ValueError(f"{self.symbol}: prices and profit of a position are finite")

    @property
    def notional(self) -> float:
        """Size in quote at the mark price, always >= 0."""
        return float(self.quantity) * self.mark_price


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """A non-stable coin held in a spot, unified or multi-asset account; a row of side LONG.

    One that is owed has a quantity below zero and is a row of side SHORT: it loses when the price
    rises.

    `sellable` is the part of `quantity` that the venue lets us sell here, what resting orders hold
    of it included.
    """

    asset: Asset
    quantity: Decimal
    price: float
    sellable: Decimal = Decimal(0)

    @property
    def side(self) -> Side:
        """The side on which its price moves the account."""
        return Side.LONG if self.quantity >= 0 else Side.SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that can lose, in the form the analysis uses. Quantities in base units.

    `entry_price` is None for a coin (its cost is unknown). `loss_cap` is the margin of an
    isolated position, the most it can lose, and None elsewhere.
    """

    key: RowKey
    base: Asset
    quantity: float
    entry_price: float | None
    mark_price: float
    unrealised_pnl: float
    liquidation_price: float | None = None
    margin: float | None = None
    loss_cap: float | None = None
    is_coin: bool = False

    @property
    def notional(self) -> float:
        """Size in quote at the mark price, always >= 0."""
        return self.quantity * self.mark_price


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything read of one scope together; `asked_at` is the time before the first request.

    `equity` includes unrealised profit and may be non-finite: judging that is trust's business.
    `wallet` and `unrealised_pnl` are the venue's own totals, None where it gives none;
    `wallet_defines_equity` says that wallet + unrealised must equal equity on this venue.
    `unpriced` are coins that are held, that nobody prices, and that therefore count 0.
    `changed_at` says of balances and positions, by any name, when the venue last changed them, on
    the venue's clock; what it does not say is left out.
    """

    scope: ScopeId
    asked_at: float
    equity: float
    wallet: float | None
    unrealised_pnl: float | None
    positions: tuple[Position, ...]
    coins: tuple[Coin, ...] = ()
    position_mode: PositionMode = PositionMode.ONE_WAY
    wallet_defines_equity: bool = True
    server_offset_s: float | None = None
    unpriced: tuple[Asset, ...] = ()
    changed_at: tuple[tuple[str, float], ...] = ()

    def rows(self) -> tuple[Row, ...]:
        """All rows that can lose, positions first, ordered by key within each kind."""
        held = sorted(self.positions, key=lambda position: (position.symbol, position.side))
        return tuple(
            Row(
                key=RowKey(self.scope, position.symbol, position.side),
                base=position.base,
                quantity=float(position.quantity),
                entry_price=position.entry_price,
                mark_price=position.mark_price,
                unrealised_pnl=position.unrealised_pnl,
                liquidation_price=position.liquidation_price,
                margin=position.margin,
                loss_cap=position.margin if position.margin_mode is MarginMode.ISOLATED else None,
            )
            for position in held
        ) + tuple(
            Row(
                key=RowKey(self.scope, Symbol(coin.asset), coin.side),
                base=coin.asset,
                quantity=abs(float(coin.quantity)),
                entry_price=None,
                mark_price=coin.price,
                unrealised_pnl=0.0,
                is_coin=True,
            )
            for coin in sorted(self.coins, key=lambda coin: coin.asset)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One open order, of any kind. `quantity` is what is still unfilled, 0 for close-position.

    `position_side` is the leg it acts on in hedge mode and None in one-way mode. `base` and
    `quote` are named on a spot market alone, where an order trades one for the other.
    """

    scope: ScopeId
    order_id: VenueOrderId
    client_id: ClientOrderId
    symbol: Symbol
    kind: OrderKind
    side: OrderSide
    position_side: Side | None
    quantity: Decimal
    reduce_only: bool
    close_position: bool
    order_type: str
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    base: Asset | None = None
    quote: Asset | None = None

    @property
    def row_symbol(self) -> Symbol:
        """The symbol of the row that it changes: the coin's name on a spot market."""
        return self.symbol if self.base is None else Symbol(self.base)

    @property
    def holds(self) -> Symbol | None:
        """The coin that it keeps from being sold while it rests, None on a derivatives market."""
        given = self.base if self.side is OrderSide.SELL else self.quote
        return None if given is None else Symbol(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One account record. `amount` is signed, valued in the account's quote."""

    record_id: RecordId
    scope: ScopeId
    kind: LedgerKind
    at: float
    amount: float
    asset: Asset
    symbol: Symbol | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """An answer to "what happened since": complete from `since` until `asked_at`."""

    scope: ScopeId
    since: float
    asked_at: float
    entries: tuple[LedgerEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketLimits:
    """What a venue accepts on one market, in base units (`min_notional` in quote).

    A coin that can be sold has an entry under its own name as `symbol`: the market it is sold on.
    Its `quote` says whether that takes one step or goes over another coin, and its `min_notional`
    is in the account's quote all the same.

    `market_max` is the largest market order; None means no limit is published.
    `reduce_only_waives_min_notional`: closing below the minimum notional is accepted.
    """

    symbol: Symbol
    base: Asset
    quote: Asset
    step: Decimal
    min_quantity: Decimal
    market_max: Decimal | None
    min_notional: Decimal
    reduce_only_waives_min_notional: bool
    is_tradable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseInstruction:
    """One approved order towards a target. Made only by `order_safety`, taken only by a venue.

    It is a market order, reduce-only in one-way mode and bound to `side` in hedge mode. For a coin
    it is a plain sale of that much, which can take no more than is held.
    """

    scope: ScopeId
    symbol: Symbol
    side: Side
    quantity: Decimal
    client_id: ClientOrderId
    position_mode: PositionMode
    margin_mode: MarginMode
    incident_id: IncidentId

    def __post_init__(self) -> None:
        if not self.quantity.is_finite() or self.quantity <= 0:
            raise ValueError(f"{self.symbol}: a close has a positive quantity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The venue accepted it. `filled` is the executed base quantity, None when not yet told.

    `brought` is what a sale of a coin brought of what its market pays in, without the fees that
    were kept of it; None where it is not told.
    """

    order_id: VenueOrderId
    filled: Decimal | None = None
    brought: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The venue proved that nothing was executed. `retry_after_s` is the pause it asked for."""

    reason: RefusalReason
    code: str
    message: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nothing is proved either way: look it up and read positions before anything else."""

    cause: str


Outcome = Done | Refused | Unknown


def outcome_word(outcome: Outcome) -> str:
    """The one word that table, log and record use for an outcome."""
    match outcome:
        case Done():
            return "DONE"
        case Refused():
            return "REFUSED"
        case Unknown():
            return "UNKNOWN"
        case _:
            assert_never(outcome)


# --- what a tick brings -----------------------------------------------------------------------


class Want(StrEnum):
    """A read that a decision asks for at once, before the next ordinary tick."""

    LEDGER = "LEDGER"
    SECOND_READING = "SECOND_READING"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeObservation:
    """What one attempt to read one scope brought: a reading, or the reason why there is none.

    `marks` are the current marks of symbols that the last trusted reading held and this one does
    not; `ledger` is None when it was not asked for, is still on its way or could not be read.
    `limits` are the venue's market rules, by symbol. `has_waited`: the ledger was waited for as
    long as a complete streak may wait for it.
    """

    scope: ScopeId
    asked_at: float
    reading: Reading | None
    failure: str = ""
    marks: Mapping[Symbol, float] = field(default_factory=dict)
    ledger: Ledger | None = None
    limits: Mapping[Symbol, MarketLimits] = field(default_factory=dict)
    is_second_reading: bool = False
    has_waited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRequest:
    """A row of `operator_requests`: something the operator asks the daemon to decide."""

    request_id: int
    at: float
    actor: str
    command: str
    arguments: tuple[tuple[str, str], ...] = ()
    confirmation: str = ""

    def argument(self, name: str) -> str:
        """The named argument, empty when it was not given."""
        return next((value for key, value in self.arguments if key == name), "")
