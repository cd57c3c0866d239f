"""What a venue does in its own way, as its real adapter shows it: for a venue in memory.

Owns the list of what may differ, and Binance's column of it. The other columns are in
`tests.other_conventions`, which takes an adapter's weight to load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from inspection import AccountFamily
from model import ClientOrderId, Order, Outcome, ScopeId, Side, Symbol, VenueOrderId
from simulator.exchange import Exchange
from simulator.house_rules import HouseRules
from simulator.reasons import Rejected
from simulator.state import AccountView, ExchangeOrder, Leg
from simulator.wire import binance_codes
from venues import binance_errors
from venues.failure import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """One way to an account, by its name in `tests.venue_rigs.WAYS`. The defaults are Binance's.

    `rules` are those of the dialect; `judge` says what a refusal proves, and `read_order` how the
    guard reads an open order, given the side that its symbol was last seen to hold.
    `family` is that of an account whose coins back nothing.
    `coins_count_whole`: totals and records count a coin at its price, without a haircut.
    `tells_wallet`: a reading has a total beside the equity; `wallet_defines_equity` says that the
    profit makes it the equity.
    `waives_min_notional` is what is believed of closing orders, whatever the venue does.
    `dates_wallet`: it says when a balance was changed last, as all of them say of positions.
    `has_modes_by_symbol`: each symbol has a position mode of its own.
    `closes_as_listed`: a close has the form of the mode in which its position was listed last.
    `flags_hedged_closes`: it says that it only reduces, in hedge mode too.
    `ignores_leg_in_one_way`: a close in the form of hedge mode is taken in one-way mode too, as a
    plain order or, flagged, as one that reduces; with `side_names_leg` of the wrong direction,
    because it names the leg's side.
    `tells_filled`: the answer to an order says what was executed; else it only takes it.
    `hides_winners`: an order for which resting ones had to go is answered without its id.
    `batch` is how many closes go in one request, while no more are under way together than alone.
    """

    name: str
    rules: HouseRules = field(default_factory=HouseRules)
    hedge_close_waives_min_notional: bool = True
    judge: Callable[[Rejected], Outcome]
    read_order: Callable[[AccountView, ExchangeOrder, ScopeId, Side | None], Order]
    family: AccountFamily = AccountFamily.SINGLE_ASSET
    coins_count_whole: bool = False
    tells_wallet: bool = True
    wallet_defines_equity: bool = True
    waives_min_notional: bool = True
    dates_wallet: bool = True
    has_modes_by_symbol: bool = False
    closes_as_listed: bool = False
    flags_hedged_closes: bool = False
    ignores_leg_in_one_way: bool = False
    side_names_leg: bool = False
    tells_filled: bool = True
    hides_winners: bool = False
    batch: int = 1

    def rule(self, exchange: Exchange) -> None:
        """Let an exchange follow the rules of this venue."""
        exchange.world.rules = self.rules
        exchange.world.hedge_close_waives_min_notional = self.hedge_close_waives_min_notional


def number_of(order: Order) -> int:
    """The exchange's own number of an order, which a venue may write in its own way."""
    text = order.order_id
    return UUID(text).int if "-" in text else int(text)


def _judge(refusal: Rejected) -> Outcome:
    error = binance_codes.translate(refusal)
    body = {"code": error.code, "msg": error.message}
    failure = Failure(cause=error.message, status=error.status, body=body)
    return binance_errors.judge(failure, venue_now_ms=0.0)


def _read_order(
    _view: AccountView, order: ExchangeOrder, scope: ScopeId, _held: Side | None
) -> Order:
    return Order(
        scope=scope,
        order_id=VenueOrderId(str(order.order_id)),
        client_id=ClientOrderId(order.client_id),
        symbol=Symbol(order.symbol),
        kind=order.kind,
        side=order.side,
        position_side=None if order.leg is Leg.BOTH else Side(order.leg.value),
        quantity=Decimal(0) if order.close_position else order.remaining,
        reduce_only=order.reduce_only,
        close_position=order.close_position,
        order_type=order.order_type.value,
        price=order.price or None,
        trigger_price=order.trigger_price or None,
    )


BINANCE = Conventions(name="binance", judge=_judge, read_order=_read_order)
