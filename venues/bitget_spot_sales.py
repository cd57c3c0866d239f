"""Sales on Bitget's spot markets: what an order says, and what is made of the answers to it.

Owns the way of a sale out and back, and where each kind of order is cancelled; what a refusal
proves is in `bitget_errors`, what an answer proves in `bitget_spot_records`. Its rules:

- A sale has the size of the coin itself and no price, and bears an id of ours.
- By our id the venue knows only what nothing was executed of: what is done is found in a list.
"""

from __future__ import annotations

from collections.abc import Callable

from clock import Clock
from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Done,
    Order,
    Outcome,
    RefusalReason,
    Refused,
    Symbol,
    Unknown,
)
from venues.bitget_errors import is_gone, is_unknown_order
from venues.bitget_records import judge_cancelled, judge_placed
from venues.bitget_spot_records import (
    PLAN,
    TPSL,
    find_own,
    ids_of,
    is_plan_cancelled,
    judge_row,
)
from venues.ccxt_client import Params
from venues.connection import VenueConnection
from venues.failure import Failure
from venues.pacer import Urgency
from venues.parsing import plain_text
from venues.spot_values import BRIDGES

PAGE = 100
"""Most orders that the venue gives at once."""
HISTORY_REACH_S = 86400.0
"""An order of ours that is looked up was sent within so long, or is no longer looked for."""
HISTORY_PAGES = 10
_ORDER_INFO = "privateSpotGetV2SpotTradeOrderInfo"
_HISTORY = "privateSpotGetV2SpotTradeHistoryOrders"

MarketOf = Callable[[Asset], tuple[Symbol, Asset] | None]
"""The market that a coin is sold on and what that pays in, empty while its rules are not known."""


class SpotSales:
    """Sends, looks up and cancels the orders of one account."""

    def __init__(self, connection: VenueConnection, *, clock: Clock, market_of: MarketOf) -> None:
        self._connection = connection
        self._clock = clock
        self._market_of = market_of

    async def sell(self, instruction: CloseInstruction) -> Outcome:
        """Sell a coin. What a sale for another coin brought is asked for: it is sold next."""
        found = self._market_of(Asset(instruction.symbol))
        if found is None:
            why = "no market is known that it could be sold on"
            return Refused(reason=RefusalReason.NOT_TRADABLE, code="", message=why)
        market, paid_in = found
        params: Params = {
            "symbol": market,
            "side": instruction.side.closing_order.value.lower(),
            "orderType": "market",
            "force": "gtc",
            "size": plain_text(instruction.quantity),
            "clientOid": instruction.client_id,
        }
        answer = await self._connection.place(
            "privateSpotPostV2SpotTradePlaceOrder", params, orders=(instruction.client_id,)
        )
        if isinstance(answer, Failure):
            return self._connection.judge(answer)
        outcome = judge_placed(answer, client_id=instruction.client_id)
        if isinstance(outcome, Unknown) or paid_in not in BRIDGES:
            return outcome
        told = await self._connection.ask(_ORDER_INFO, {"orderId": outcome.order_id})
        if isinstance(told, Failure):
            return outcome
        proved = _judge_listed(told, instruction.client_id, paid_in=paid_in)
        # An order that is still at work has brought only a part.
        is_whole = isinstance(proved, Done) and proved.filled == instruction.quantity
        return proved if is_whole and proved is not None else outcome

    async def find(self, client_id: ClientOrderId, asset: Asset) -> Outcome:
        """Look a sale up by our own id: among what is open, then among what is done.

        "Does not exist" can be said too early, right after the order was sent: the caller asks
        again before it believes it.
        """
        sold_on = self._market_of(asset)
        if sold_on is None:
            return Unknown(cause="order: the market that it was sent to is not known")
        market, paid_in = sold_on
        params: Params = {"clientOid": client_id}
        answer = await self._connection.look_up(_ORDER_INFO, params, order=client_id)
        if not isinstance(answer, Failure):
            found = _judge_listed(answer, client_id, paid_in=paid_in)
            if found is not None:
                return found
        elif not is_unknown_order(answer):
            return Unknown(cause=answer.cause)
        return await self._find_done(client_id, market, paid_in=paid_in)

    async def _find_done(
        self, client_id: ClientOrderId, market: Symbol, *, paid_in: Asset
    ) -> Outcome:
        """Look for a sale among the orders of the last day that are no longer open."""
        venue_now = self._clock.now() + self._connection.server_offset_s
        params: Params = {
            "symbol": market,
            "startTime": int((venue_now - HISTORY_REACH_S) * 1000),
            "limit": PAGE,
        }
        for _ in range(HISTORY_PAGES):
            answer = await self._connection.ask(_HISTORY, params)
            if isinstance(answer, Failure):
                return Unknown(cause=answer.cause)
            found = _judge_listed(answer, client_id, paid_in=paid_in)
            if found is not None:
                return found
            ids = ids_of(answer)
            if len(ids) < PAGE:
                return Refused(
                    reason=RefusalReason.NO_SUCH_ORDER, code="", message="in no list of orders"
                )
            params = {**params, "idLessThan": ids[-1]}
        return Unknown(cause="look-up: too many orders within a day")

    async def cancel(self, order: Order) -> Outcome:
        """Cancel one order where its book is; one already gone is Done."""
        endpoint = "privateSpotPostV2SpotTradeCancelOrder"
        params = {"symbol": str(order.symbol), "orderId": str(order.order_id)}
        if order.order_type == PLAN:
            endpoint = "privateSpotPostV2SpotTradeCancelPlanOrder"
            params = {"orderId": str(order.order_id)}
        elif order.order_type == TPSL:
            params["tpslType"] = TPSL
        answer = await self._connection.ask(endpoint, params, urgency=Urgency.CANCEL)
        if isinstance(answer, Failure):
            is_done = is_gone(answer)
            return Done(order_id=order.order_id) if is_done else self._connection.judge(answer)
        if order.order_type == PLAN and is_plan_cancelled(answer):
            return Done(order_id=order.order_id)
        return judge_cancelled(answer, order_id=order.order_id)


def _judge_listed(
    answer: object, client_id: ClientOrderId, *, paid_in: Asset
) -> Done | Unknown | None:
    """What a list of orders proves of ours, None where it is not in it."""
    try:
        row = find_own(answer, client_id)
    except Malformed as malformed:
        return Unknown(cause=str(malformed))
    return None if row is None else judge_row(row, client_id=client_id, paid_in=paid_in)
