"""Listens to what the simulated exchanges answer when the guard's own adapters ask everything."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from model import CloseInstruction, OrderSide, Side
from simulator.wire.protocol import Circumstances, Dialect, WireAnswer, WireRequest
from tests import test_binance_spot_wire as binance_spot
from tests import test_bitget_spot_wire as bitget_spot
from tests.simulated import KEY
from tests.venue_rigs import BTC, SOL, WAYS, Rig, rig_of
from venues.protocol import Venue

Heard = dict[tuple[str, str], list[Any]]
"""Answers by exchange and by method and path."""


class Overheard:
    """A dialect (`simulator.wire.protocol.Dialect`) whose good answers are kept."""

    def __init__(self, dialect: Dialect, heard: Heard) -> None:
        self.name = dialect.name
        self.normalise = dialect.normalise
        self.parameters = dialect.parameters
        self.error = dialect.error
        self.too_often = dialect.too_often
        self._dialect = dialect
        self._heard = heard

    def answer(self, request: WireRequest, circumstances: Circumstances) -> WireAnswer:
        """Answer as the dialect does, and keep it."""
        answer = self._dialect.answer(request, circumstances)
        if answer.status == 200:
            path = self.normalise(request.path)
            self._heard[self.name, f"{request.method} {path}"].append(json.loads(answer.body))
        return answer


async def listen(modes: Sequence[str] = ("one_way", "hedge")) -> Heard:
    """Let every adapter ask its simulated exchange all that it ever asks."""
    heard: Heard = defaultdict(list)
    for way in WAYS:
        for mode in modes:
            async with rig_of(way, position_mode=mode) as rig:
                if rig.service is not None:
                    rig.service.dialect = Overheard(rig.service.dialect, heard)
                await _ask_everything(rig)
    await _ask_binance_spot(heard)
    await _ask_bitget_spot(heard)
    return heard


async def _ask_everything(rig: Rig) -> None:
    """Give the account something of every kind, then read, close, look up and cancel."""
    venue, exchange = rig.venue, rig.exchange
    is_hedge = rig.account.mode_of(BTC).value == "HEDGE"
    exchange.transfer(KEY, "USDT", Decimal(500))
    exchange.apply_funding({BTC: Decimal("0.0001")})
    long_leg = next(leg for leg in exchange.account(KEY).legs.values() if leg.symbol == BTC).leg
    for is_stop in (False, True):
        rig.rest(
            BTC,
            OrderSide.SELL,
            "0.1",
            price="30000" if is_stop else "90000",
            is_stop=is_stop,
            reduce_only=None if is_hedge else True,
            leg=long_leg,
        )
    await venue.start()
    await venue.fetch_market_limits()
    reading = await venue.fetch_reading(rig.scope)
    await venue.fetch_positions(rig.scope)
    orders = await venue.fetch_orders(rig.scope)
    await venue.fetch_marks((BTC,))
    await venue.fetch_marks((BTC, SOL))
    await venue.fetch_ledger(rig.scope, reading.asked_at - 3600)
    await venue.fetch_position_mode(rig.scope)
    await venue.inspect(rig.scope, (BTC,))
    closes = [rig.close(SOL, Side.SHORT, "1"), rig.close(BTC, Side.LONG, "0.1")]
    await venue.submit_closes(closes)
    await venue.submit_close(rig.close(SOL, Side.SHORT, "1"))
    await venue.find_order(rig.scope, closes[0].client_id, SOL)
    for order in orders:
        await venue.submit_cancel(order)
    rig.rest(
        BTC,
        OrderSide.SELL,
        "0.1",
        price="90000",
        reduce_only=None if is_hedge else True,
        leg=long_leg,
    )
    await venue.submit_cancel_all(rig.scope, BTC)


async def _ask_binance_spot(heard: Heard) -> None:
    async with binance_spot.at_venue() as at:
        at.place.service.dialect = Overheard(at.place.service.dialect, heard)
        await _ask_spot(at.venue, binance_spot.sale(binance_spot.SOL, "1"))


async def _ask_bitget_spot(heard: Heard) -> None:
    async with bitget_spot.at_venue() as at:
        at.place.service.dialect = Overheard(at.place.service.dialect, heard)
        await _ask_spot(at.venue, bitget_spot.sale(bitget_spot.SOL, "1"))


async def _ask_spot(venue: Venue, sale: CloseInstruction) -> None:
    """The same of a spot account, of which there is one kind on each exchange."""
    (scope,) = venue.scopes
    await venue.start()
    await venue.fetch_market_limits()
    reading = await venue.fetch_reading(scope)
    orders = await venue.fetch_orders(scope)
    await venue.submit_close(sale)
    await venue.fetch_ledger(scope, reading.asked_at - 3600)
    await venue.inspect(scope, (sale.symbol,))
    await venue.find_order(scope, sale.client_id, sale.symbol)
    for order in orders:
        await venue.submit_cancel(order)
