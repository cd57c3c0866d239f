"""Other programs on the same account: they open, add, reduce, close, flip, and place orders."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any, assert_never

from model import OrderKind, PositionMode, Side
from simulator.exchange import Exchange
from simulator.reasons import Rejected
from simulator.seeds import order_request
from simulator.state import Account, Cause, Leg
from tests.conventions import Conventions
from tests.memory_venue import KEY
from tests.simulation.books import Book
from tests.simulation.draw import Act, Move

SMALLEST = Decimal(300)
"""What a bot opens is worth so much at least, in quote."""


@dataclass(slots=True, kw_only=True)
class Bots:
    """Carries out moves on the exchange; what it refuses is a bot's own trouble."""

    exchange: Exchange
    book: Book
    ways: Conventions

    @property
    def account(self) -> Account:
        """The account that guard and bots share."""
        return self.exchange.account(KEY)

    def act(self, move: Move) -> None:
        """Do one thing."""
        symbol, side, quantity = self.book.rows[move.number % len(self.book.rows)]
        with suppress(Rejected, ValueError):
            self._act(move, symbol, side, quantity)

    def _act(self, move: Move, symbol: str, side: Side, quantity: Decimal) -> None:
        leg = self._leg(symbol, side)
        held = self.account.amount(symbol, leg)
        present = side if held == 0 else (Side.LONG if held > 0 else Side.SHORT)
        match move.act:
            case Act.OPEN:
                symbol = tuple(self.book.marks)[move.number % 15]
                self._market(symbol, side, self._worth(symbol, move.share * 1000))
            case Act.ADD:
                self._market(symbol, present, quantity * move.share)
            case Act.REENTER:
                if held == 0:
                    self._market(symbol, side, quantity * move.share)
            case Act.REDUCE:
                self._market(symbol, present.opposite, abs(held) * move.share, of=present)
            case Act.CLOSE:
                self._market(symbol, present.opposite, abs(held), of=present)
            case Act.FLIP:
                self._market(symbol, present.opposite, abs(held), of=present)
                self._market(symbol, present.opposite, quantity * move.share)
            case Act.ENTRY:
                self._rest(
                    symbol,
                    present,
                    type="LIMIT",
                    away=-present.sign * 2,
                    share=move.share,
                    quantity=quantity,
                )
            case Act.TAKE_PROFIT:
                extra = {} if leg is not Leg.BOTH else {"reduce_only": True}
                self._rest(
                    symbol,
                    present.opposite,
                    type="LIMIT",
                    away=present.sign * 20,
                    share=Decimal(1),
                    quantity=abs(held),
                    of=present,
                    **extra,
                )
            case Act.STOP:
                self._rest(
                    symbol,
                    present.opposite,
                    type="STOP_MARKET",
                    away=-present.sign * 5,
                    share=Decimal(1),
                    quantity=abs(held),
                    of=present,
                )
            case Act.SWITCH_MODE:
                self._switch_mode()
            case _:
                assert_never(move.act)

    def _leg(self, symbol: str, side: Side) -> Leg:
        is_hedged = self.account.mode_of(symbol) is PositionMode.HEDGE
        return Leg(side.value) if is_hedged else Leg.BOTH

    def _floor(self, symbol: str, quantity: Decimal) -> Decimal:
        step = self.exchange.markets[symbol].step
        return (quantity / step).to_integral_value(rounding=ROUND_DOWN) * step

    def _worth(self, symbol: str, value: Decimal) -> Decimal:
        return max(value, SMALLEST) / self.exchange.marks[symbol]

    def _place(
        self, symbol: str, towards: Side, quantity: Decimal, of: Side | None, **order: Any
    ) -> None:
        """An order that goes `towards` a side, on the position of side `of`."""
        leg = self._leg(symbol, of or towards)
        entry = {
            "symbol": symbol,
            "side": towards.opposite.closing_order.value,
            "quantity": self._floor(symbol, quantity),
            **order,
        }
        if leg is not Leg.BOTH:
            entry["position_side"] = leg.value
        self.exchange.place(KEY, order_request(entry, cause=Cause.BOT))

    def _market(
        self, symbol: str, towards: Side, quantity: Decimal, of: Side | None = None
    ) -> None:
        most = self.exchange.markets[symbol].market_max
        self._place(symbol, towards, min(quantity, most), of)

    def _rest(
        self,
        symbol: str,
        towards: Side,
        *,
        away: int,
        share: Decimal,
        quantity: Decimal,
        of: Side | None = None,
        **order: Any,
    ) -> None:
        market = self.exchange.markets[symbol]
        price = self.exchange.marks[symbol] * (1 + Decimal(away) / 100)
        price = (price / market.tick).to_integral_value(ROUND_DOWN) * market.tick
        name = "price" if order["type"] == "LIMIT" else "trigger_price"
        self._place(symbol, towards, quantity * share, of, **order, **{name: price})

    def _switch_mode(self) -> None:
        """Close everything, change the mode, and open the first position anew.

        Where each symbol has a mode of its own, only that of the first is changed.
        """
        account = self.account
        symbol, side, quantity = self.book.rows[0]
        only = symbol if self.ways.has_modes_by_symbol else None
        for resting in sorted({order.symbol for order in account.orders.values()}):
            for kind in OrderKind:
                if only in (None, resting):
                    self.exchange.cancel_all(KEY, resting, kind)
        for leg in [leg for leg in account.legs.values() if only in (None, leg.symbol)]:
            left = abs(leg.amount)
            while left > 0:
                part = min(left, self.exchange.markets[leg.symbol].market_max)
                self._place(leg.symbol, leg.side.opposite, part, leg.side)
                left -= part
        is_hedged = account.mode_of(symbol) is PositionMode.HEDGE
        mode = PositionMode.ONE_WAY if is_hedged else PositionMode.HEDGE
        self.exchange.set_position_mode(KEY, mode, symbol=only)
        self._market(symbol, side, quantity)
