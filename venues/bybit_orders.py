"""Orders on Bybit: what a close says, and what is made of the answers to it.

Owns the way of an order out and back; what a refusal proves is in `bybit_errors`, what an answer
proves in `bybit_records`. Its rules:

- A close is a market order that bears the reduce-only flag and the index of its position, always.
- An acknowledgement says that an order was taken, and nothing of what it did.
- Single orders and batches have an allowance each, so they take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import assert_never

from clock import Clock
from errors import InvariantViolation, Malformed
from model import (
    ClientOrderId,
    CloseInstruction,
    Done,
    Order,
    OrderKind,
    Outcome,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.bybit_account import parse_page
from venues.bybit_errors import code_of, is_gone
from venues.bybit_records import (
    count_cancelled,
    judge_batch,
    judge_cancel,
    judge_lookup,
    judge_order,
)
from venues.ccxt_client import Params
from venues.connection import VenueConnection
from venues.failure import Failure
from venues.pacer import Urgency
from venues.parsing import plain_text

BATCH = 10
"""Most orders in one request; the venue takes 20, but no more than 10 in a second."""
BATCH_REST_S = 600.0
"""After a batch that proved nothing orders go one by one for so long, lest all fail together."""
CANCELLED_AT_ONCE = 500
"""Of more orders than that the venue cancels as many, picked at random."""
CANCEL_ROUNDS = 20
_EVERY = VenueOrderId("")
"""Stands for the id of a cancel that names no single order."""
_LINEAR: Params = {"category": "linear"}
_SPOT: Params = {"category": "spot"}
SPOT_KINDS = ("tpslOrder", "OcoOrder", "BidirectionalTpslOrder")
"""Kinds of spot orders that are cancelled under their own names; any other that waits is a
`StopOrder`."""

IndexOf = Callable[[Symbol, Side], int | None]
"""The index under which the venue listed a position last, None where it did not."""


class BybitOrders:
    """Sends, looks up and cancels the orders of one account."""

    def __init__(
        self, connection: VenueConnection, *, scope: ScopeId, clock: Clock, listed: IndexOf
    ) -> None:
        self._connection = connection
        self._scope = scope
        self._clock = clock
        self._listed = listed
        self._single_until = float("-inf")
        self._alone = 0
        self._together = 0

    async def close(self, instruction: CloseInstruction) -> Outcome:
        """Send one closing market order: reduce-only, and bound to the index of its position.

        The venue acknowledges it before it is carried out. Raises InvariantViolation for anything
        but an approved instruction of this account.
        """
        params = {**_LINEAR, **self._close_params(instruction)}
        answer = await self._connection.place(
            "privatePostV5OrderCreate", params, orders=(instruction.client_id,)
        )
        if isinstance(answer, Failure):
            return self._connection.judge(answer)
        return judge_order(answer, client_id=instruction.client_id)

    def _close_params(self, instruction: CloseInstruction) -> dict[str, str | int]:
        """The order as the venue wants it, apart from its category."""
        if not isinstance(instruction, CloseInstruction):
            raise InvariantViolation("only a CloseInstruction may become an order")
        if instruction.scope != self._scope:
            raise InvariantViolation(f"{self._scope} was asked to act for {instruction.scope}")
        return {
            "symbol": instruction.symbol,
            "side": instruction.side.closing_order.value.capitalize(),
            "orderType": "Market",
            "qty": plain_text(instruction.quantity),
            "positionIdx": self._index_of(instruction),
            "reduceOnly": True,
            "orderLinkId": instruction.client_id,
        }

    def _index_of(self, instruction: CloseInstruction) -> int:
        """The index under which the venue listed the position last; else that of its mode.

        The account's mode is no guide on a venue where every symbol has its own: an order with the
        wrong index is refused, so that the position would never be closed.
        """
        listed = self._listed(instruction.symbol, instruction.side)
        if listed is not None:
            return listed
        match instruction.position_mode:
            case PositionMode.ONE_WAY:
                return 0
            case PositionMode.HEDGE:
                return 1 if instruction.side is Side.LONG else 2
            case _:
                assert_never(instruction.position_mode)

    async def close_all(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several closing orders at once; each has its own outcome.

        Raises InvariantViolation before anything is sent if one of them may not be.
        """
        for instruction in instructions:
            self._close_params(instruction)
        parts = [instructions[n : n + BATCH] for n in range(0, len(instructions), BATCH)]
        outcomes = await asyncio.gather(*map(self._submit_part, parts))
        return tuple(outcome for part in outcomes for outcome in part)

    async def _submit_part(self, part: Sequence[CloseInstruction]) -> Sequence[Outcome]:
        """Send some orders the way that fewer are on: both have an allowance of their own.

        After a batch that was at fault itself they all go one by one.
        """
        may_go_together = len(part) > 1 and self._clock.monotonic() >= self._single_until
        if may_go_together and self._together <= self._alone:
            self._together += len(part)
            try:
                return await self._close_together(part)
            finally:
                self._together -= len(part)
        self._alone += len(part)
        try:
            return await asyncio.gather(*map(self.close, part))
        finally:
            self._alone -= len(part)

    async def _close_together(self, part: Sequence[CloseInstruction]) -> Sequence[Outcome]:
        """Send some orders in one request."""
        now = self._clock.monotonic()
        params = [self._close_params(instruction) for instruction in part]
        ids = [close.client_id for close in part]
        answer = await self._connection.place(
            "privatePostV5OrderCreateBatch", {**_LINEAR, "request": params}, orders=ids
        )
        outcomes: Sequence[Outcome] = (
            [self._connection.judge_whole(answer)] * len(part)
            if isinstance(answer, Failure)
            else judge_batch(answer, ids, refusal=self._connection.judge_row)
        )
        if any(isinstance(outcome, Unknown) for outcome in outcomes):
            self._single_until = now + BATCH_REST_S
        return outcomes

    async def sell(self, instruction: CloseInstruction, market: Symbol) -> Outcome:
        """Send one market sale of a coin on its spot market, which never borrows anything.

        Raises InvariantViolation for anything but an approved instruction of this account.
        """
        params = self._close_params(instruction)
        answer = await self._connection.place(
            "privatePostV5OrderCreate",
            {
                **_SPOT,
                "symbol": market,
                "side": "Sell",
                "orderType": "Market",
                "marketUnit": "baseCoin",
                "isLeverage": 0,
                "qty": params["qty"],
                "orderLinkId": params["orderLinkId"],
            },
            orders=(instruction.client_id,),
        )
        if isinstance(answer, Failure):
            return self._connection.judge(answer)
        return judge_order(answer, client_id=instruction.client_id)

    async def cancel(self, order: Order) -> Outcome:
        """Cancel one order of any kind; an order already gone is Done.

        On a spot market the kind has to be named, or an ordinary order is meant.
        """
        params: Params = _LINEAR
        if order.base is not None:
            is_named = order.kind is OrderKind.CONDITIONAL or order.order_type in SPOT_KINDS
            kind = order.order_type if order.order_type in SPOT_KINDS else "StopOrder"
            params = {**_SPOT, "orderFilter": kind if is_named else "Order"}
        answer = await self._connection.ask(
            "privatePostV5OrderCancel",
            {**params, "symbol": order.symbol, "orderId": order.order_id},
            urgency=Urgency.CANCEL,
        )
        if isinstance(answer, Failure):
            gone = Done(order_id=order.order_id)
            return gone if is_gone(answer) else self._connection.judge(answer)
        return judge_cancel(answer, order_id=order.order_id)

    async def cancel_all(self, symbol: Symbol) -> Outcome:
        """Cancel the orders of every kind of a symbol, as often as it takes for all of them."""
        for _ in range(CANCEL_ROUNDS):
            answer = await self._connection.ask(
                "privatePostV5OrderCancelAll",
                {**_LINEAR, "symbol": symbol},
                urgency=Urgency.CANCEL,
            )
            if isinstance(answer, Failure):
                return self._connection.judge(answer)
            count = count_cancelled(answer)
            if count is None:
                return Unknown(cause="cancel: the answer confirms nothing")
            if count < CANCELLED_AT_ONCE:
                return Done(order_id=_EVERY)
        return Unknown(cause="cancel: there is no end of orders")

    async def find(
        self, client_id: ClientOrderId, symbol: Symbol, *, is_spot: bool = False
    ) -> Outcome:
        """Look an order up by our own id, among the recent ones and then in the history.

        "Not there" can be said too early, right after the order was sent: the caller asks again
        before it believes it.
        """
        category = _SPOT if is_spot else _LINEAR
        params = {**category, "symbol": symbol, "orderLinkId": client_id}
        for endpoint in ("privateGetV5OrderRealtime", "privateGetV5OrderHistory"):
            answer = await self._connection.look_up(endpoint, params, order=client_id)
            if isinstance(answer, Failure):
                return Unknown(cause=answer.cause)
            try:
                rows, _ = parse_page(answer, "order")
            except Malformed as malformed:
                return Unknown(cause=str(malformed))
            found = judge_lookup(rows, client_id=client_id)
            if found is not None:
                return found
        return Refused(
            reason=RefusalReason.NO_SUCH_ORDER,
            code=str(code_of(answer)),
            message="in no list of orders",
        )
