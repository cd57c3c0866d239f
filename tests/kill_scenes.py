"""Accounts in the middle of a crash, and the judge of what a guard that was killed made of them.

Owns what stands in the books before, and what must stand there afterwards. A scene is made from
its seed and holds every shape an incident has to deal with: positions of both sides, a short over
the market-order maximum, one in a book so thin that an order fills in part, take-profits in the
way of a close, stops, entry orders of all kinds, and in hedge mode both legs of one symbol. The
shorts lose. The judge believes the exchange's ledger and its books, and nothing the guard says.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from client_ids import PREFIX
from model import PositionMode, Side, Stage
from simulator.markets import Market, default_market
from tests.simulated import KEY, SECRET

EQUITY = 10_000
BOOKS = {
    Stage.REDUCED_TOP_RISK: (6, 8),
    Stage.DOMINANT_CLOSED: (6, 8),
    Stage.ALL_CLOSED: (9, 13),
}
"""How many longs and shorts there are."""
SHORT_LOSS = {
    Stage.REDUCED_TOP_RISK: Decimal("0.055"),
    Stage.DOMINANT_CLOSED: Decimal("0.085"),
    Stage.ALL_CLOSED: Decimal("0.12"),
}
"""Of the equity: over the threshold of the stage and under that of the next one, fees included."""
RISE_OF_LONGS = Decimal("0.002")
"""The longs win a little, so that no side but the shorts has a loser."""
PARTS = Decimal("0.4")
"""The market-order maximum of the large position, as a share of it: three orders close it."""

BINDING = ("locked", "scope", "stage", "mode", "reason", "manual_reset_required")
"""What of the lock no kill may change, its end aside."""

LARGEST = ("S00USDT", "S01USDT")
ISOLATED = "S03USDT"
WORST = (*LARGEST, ISOLATED)
"""What stage 1 halves: the two largest losers, and the one that is nearest to its liquidation."""

PROTECTED = {
    Stage.REDUCED_TOP_RISK: ("short-", "long-"),
    Stage.DOMINANT_CLOSED: ("long-",),
    Stage.ALL_CLOSED: (),
}
"""Orders that can only close outlive a stage that leaves their position, by how they are named."""

Leg = tuple[str, str]
"""Symbol and position side as the exchange names it: BOTH, LONG or SHORT."""
Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One account and one fall. `held` and `remains` are signed quantities by leg.

    `seed` is the account before the fall and `fallen` the prices after it; `kept` names the
    resting orders that must outlive the incident.
    """

    name: str
    stage: Stage
    mode: PositionMode
    seed: Entry
    fallen: Mapping[str, Decimal]
    held: Mapping[Leg, Decimal]
    remains: Mapping[Leg, Decimal]
    kept: frozenset[str]

    def after_the_fall(self) -> dict[str, Any]:
        """The account as the exchange has it when the guard is started."""
        return {**self.seed, "prices": {**self.seed["prices"], **self.fallen}}


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A scene in the making."""

    mode: PositionMode
    dice: random.Random
    markets: dict[str, Market] = field(default_factory=dict)
    prices: dict[str, Decimal] = field(default_factory=dict)
    special: dict[str, Entry] = field(default_factory=dict)
    positions: list[Entry] = field(default_factory=list)
    orders: list[Entry] = field(default_factory=list)

    def legs(self) -> Iterator[tuple[Leg, Entry]]:
        """Every position with the name of its leg."""
        for entry in self.positions:
            is_hedged = self.mode is PositionMode.HEDGE
            yield (entry["symbol"], entry["side"] if is_hedged else "BOTH"), entry

    def list_market(self, symbol: str) -> None:
        """Make a market with a price between 0.1 and 100."""
        price = Decimal(self.dice.randint(1_000, 9_999)).scaleb(self.dice.choice((-4, -3, -2)))
        self.prices[symbol] = price
        self.markets[symbol] = default_market(symbol, price=price)

    def hold(self, symbol: str, side: Side, *, margin_mode: str = "cross") -> Decimal:
        """Add a position worth 800 to 1,600, the first two shorts more; returns its quantity."""
        if symbol not in self.markets:
            self.list_market(symbol)
        least = 1700 if symbol in LARGEST else 800
        worth, price = self.dice.randint(least, least + 800), self.prices[symbol]
        quantity = self.markets[symbol].floor(worth / price)
        self.positions.append(
            {
                "symbol": symbol,
                "side": side.value,
                "quantity": quantity,
                "entry_price": price,
                # An isolated position is gone after 1 / leverage, less the maintenance margin.
                "leverage": 10 if margin_mode == "cross" else 5,
                "margin_mode": margin_mode,
            }
        )
        return quantity

    def rest(
        self, name: str, symbol: str, leg: Side, action: str, *, at: str, **order: Any
    ) -> None:
        """Add an order of a bot: `action` BUY or SELL, `at` a multiple of the price.

        `leg` is the position it means, which hedge mode has to be told.
        """
        market = self.markets[symbol]
        price = self.prices[symbol] * Decimal(at)
        price -= price % market.tick
        kind = "trigger_price" if "STOP" in order.get("type", "") else "price"
        entry = {"type": "LIMIT", **order, "symbol": symbol, "side": action, kind: price}
        if self.mode is PositionMode.HEDGE:
            entry.pop("reduce_only", None)
            entry["position_side"] = leg.value
        self.orders.append({**entry, "client_id": name})


def make_scene(name: str, *, stage: Stage, mode: PositionMode, seed: int) -> Scene:
    """Make the scene of that seed, the same one for the same seed."""
    draft = _Draft(mode=mode, dice=random.Random(seed))
    long_count, short_count = BOOKS[stage]
    shorts = [f"S{number:02d}USDT" for number in range(short_count)]
    longs = [f"L{number:02d}USDT" for number in range(long_count)]
    _add_shorts(draft, shorts)
    _add_longs(draft, longs)
    _add_entries(draft, [*shorts, *longs])
    remains = {leg: _may_remain(draft, entry, stage) for leg, entry in draft.legs()}
    return Scene(
        name=name,
        stage=stage,
        mode=mode,
        seed={
            "api_key": KEY,
            "api_secret": SECRET,
            "position_mode": mode.value,
            "wallet": {"USDT": EQUITY},
            "prices": draft.prices,
            # Listed at the prices before the fall, because a market's tick comes from its price.
            "markets": [
                {"symbol": symbol, "price": price, **draft.special.get(symbol, {})}
                for symbol, price in draft.prices.items()
            ],
            "positions": draft.positions,
            "orders": draft.orders,
        },
        fallen=_fall(draft, stage),
        held={leg: _signed(entry) for leg, entry in draft.legs()},
        remains={leg: quantity for leg, quantity in remains.items() if quantity},
        kept=frozenset(
            order["client_id"]
            for order in draft.orders
            if order["client_id"].startswith(PROTECTED[stage])
        ),
    )


def _add_shorts(draft: _Draft, shorts: Sequence[str]) -> None:
    """The side that loses, with everything that can stand in the way of closing it."""
    quantities = [
        draft.hold(symbol, Side.SHORT, margin_mode="isolated" if symbol == ISOLATED else "cross")
        for symbol in shorts
    ]
    large, thin, blocked, half, stopped, plain = shorts[:6]
    most = draft.markets[large].floor(quantities[0] * PARTS)
    draft.special[large] = {"market_max": most}
    # A market order finds two and a half times the depth: 400 of a position of 1,700 to 2,500.
    draft.special[thin] = {"depth": 160}
    draft.rest(
        "short-tp", blocked, Side.SHORT, "BUY", at="0.7", quantity=quantities[2], reduce_only=True
    )
    part = draft.markets[half].floor(quantities[3] / 2)
    draft.rest("short-tp-half", half, Side.SHORT, "BUY", at="0.6", quantity=part, reduce_only=True)
    draft.rest(
        "short-stop", stopped, Side.SHORT, "BUY", at="1.8", type="STOP_MARKET", close_position=True
    )
    draft.rest("short-plain", plain, Side.SHORT, "BUY", at="0.5", quantity=quantities[5])
    if draft.mode is PositionMode.HEDGE:
        other = draft.hold(shorts[6], Side.LONG)
        draft.rest("long-tp-leg", shorts[6], Side.LONG, "SELL", at="1.6", quantity=other)


def _add_longs(draft: _Draft, longs: Sequence[str]) -> None:
    """The side that wins: what protects it stays until everything goes."""
    quantities = [draft.hold(symbol, Side.LONG) for symbol in longs]
    target, stopped, plain = longs[:3]
    draft.rest(
        "long-tp", target, Side.LONG, "SELL", at="1.4", quantity=quantities[0], reduce_only=True
    )
    draft.rest(
        "long-stop", stopped, Side.LONG, "SELL", at="0.6", type="STOP_MARKET", close_position=True
    )
    part = draft.markets[plain].floor(quantities[2] / 2)
    draft.rest("long-plain", plain, Side.LONG, "SELL", at="1.5", quantity=part)


def _add_entries(draft: _Draft, held: Sequence[str]) -> None:
    """Orders that would open or add, resting and conditional, on symbols held and not held."""
    for symbol in ("F00USDT", "F01USDT"):
        draft.list_market(symbol)
    adding = draft.dice.sample(held[7:], k=4)
    for number, symbol in enumerate(("F00USDT", "F01USDT", *adding)):
        quantity = draft.markets[symbol].floor(Decimal(60) / draft.prices[symbol])
        is_short = symbol.startswith("S") or symbol == "F01USDT"
        side, action = (Side.SHORT, "SELL") if is_short else (Side.LONG, "BUY")
        at = "1.6" if is_short else "0.6"
        draft.rest(f"entry-{number}", symbol, side, action, at=at, quantity=quantity)
        if number % 2 == 0:
            at = "0.5" if is_short else "1.7"
            draft.rest(
                f"trigger-{number}",
                symbol,
                side,
                action,
                at=at,
                quantity=quantity,
                type="STOP_MARKET",
            )


def _fall(draft: _Draft, stage: Stage) -> dict[str, Decimal]:
    """The prices at which the account has lost the share of its equity that the stage asks for."""
    worth: dict[str, Decimal] = defaultdict(Decimal)
    for entry in draft.positions:
        worth[entry["side"]] += entry["quantity"] * entry["entry_price"]
    both = {entry["symbol"] for entry in draft.positions if entry["side"] == "LONG"}
    lost = SHORT_LOSS[stage] * EQUITY + worth["LONG"] * RISE_OF_LONGS
    hedged = sum(
        entry["quantity"] * entry["entry_price"]
        for entry in draft.positions
        if entry["side"] == "SHORT" and entry["symbol"] in both
    )
    # A short whose symbol is held long as well loses what that long wins.
    rise = (lost - hedged * RISE_OF_LONGS) / (worth["SHORT"] - hedged)
    return {
        symbol: price * (1 + (RISE_OF_LONGS if symbol in both else rise))
        for symbol, price in draft.prices.items()
    }


def _may_remain(draft: _Draft, entry: Entry, stage: Stage) -> Decimal:
    """What the stage leaves of a position, signed: of the worst shorts half, of a side nothing."""
    held = _signed(entry)
    if stage is Stage.ALL_CLOSED:
        return Decimal(0)
    if entry["side"] == "LONG":
        return held
    if stage is Stage.DOMINANT_CLOSED:
        return Decimal(0)
    half = draft.markets[entry["symbol"]].floor(abs(held) / 2)
    return -half if entry["symbol"] in WORST else held


def _signed(entry: Entry) -> Decimal:
    quantity: Decimal = entry["quantity"]
    return quantity if entry["side"] == "LONG" else -quantity


SCENES = (
    make_scene("one-way-1", stage=Stage.REDUCED_TOP_RISK, mode=PositionMode.ONE_WAY, seed=5),
    make_scene("one-way-3", stage=Stage.ALL_CLOSED, mode=PositionMode.ONE_WAY, seed=1),
    make_scene("hedge-3", stage=Stage.ALL_CLOSED, mode=PositionMode.HEDGE, seed=2),
    make_scene("one-way-2", stage=Stage.DOMINANT_CLOSED, mode=PositionMode.ONE_WAY, seed=3),
    make_scene("hedge-2", stage=Stage.DOMINANT_CLOSED, mode=PositionMode.HEDGE, seed=4),
)


# --- the judge --------------------------------------------------------------------------------


def judge(scene: Scene, *, ledger: Sequence[Entry], account: Entry) -> tuple[str, ...]:
    """Everything that the exchange's books show to be wrong; empty when all is well.

    `ledger` is the exchange's since the account was seeded, `account` its final state.
    """
    fills = [entry for entry in ledger if entry["event"] == "fill"]
    return (
        *_judge_end(scene, account),
        *_judge_fills(fills),
        *_judge_totals(scene, fills),
        *_judge_orders(scene, ledger),
    )


def _judge_end(scene: Scene, account: Entry) -> Iterator[str]:
    """The account is at its targets, and of the resting orders those are left that protect."""
    left = {
        (leg["symbol"], leg["position_side"]): Decimal(leg["amount"])
        for leg in account["positions"]
        if Decimal(leg["amount"])
    }
    for leg in sorted({*left, *scene.remains}):
        is_left, may = left.get(leg, Decimal(0)), scene.remains.get(leg, Decimal(0))
        if is_left != may:
            yield f"{' '.join(leg)}: {is_left} is left and not {may}"
    resting = {order["client_id"] for order in account["orders"]}
    for client_id in sorted(resting ^ scene.kept):
        yield f"order {client_id} " + ("still rests" if client_id in resting else "is gone")


def _judge_fills(fills: Sequence[Entry]) -> Iterator[str]:
    """Every execution is one of ours, of an order of its own, and makes its position smaller."""
    for name in ("client_id", "order_id"):
        for value, times in Counter(fill[name] for fill in fills).items():
            if times > 1:
                yield f"{name} {value} was executed {times} times"
    for fill in fills:
        before, after = Decimal(fill["position_before"]), Decimal(fill["position_after"])
        what = f"{fill['symbol']} {fill['position_side']} {before} -> {after}"
        if not str(fill["client_id"]).startswith(f"{PREFIX}-"):
            yield f"{what}: by {fill['cause']} {fill['client_id']}, which is none of ours"
        if before * after < 0:
            yield f"{what}: the other side was opened"
        elif abs(after) >= abs(before):
            yield f"{what}: opened or increased"


def _judge_totals(scene: Scene, fills: Sequence[Entry]) -> Iterator[str]:
    """What was closed of each leg is exactly what had to go."""
    closed: dict[Leg, Decimal] = defaultdict(Decimal)
    for fill in fills:
        closed[fill["symbol"], fill["position_side"]] += Decimal(fill["quantity"])
    for leg in sorted({*closed, *scene.held}):
        due = abs(scene.held.get(leg, Decimal(0))) - abs(scene.remains.get(leg, Decimal(0)))
        if closed[leg] != due:
            yield f"{' '.join(leg)}: {closed[leg]} was closed and not {due}"


def _judge_orders(scene: Scene, ledger: Sequence[Entry]) -> Iterator[str]:
    """No order was taken that could open, none twice, and no protection was cancelled."""
    taken = [e for e in ledger if e["event"] == "accepted" and e["cause"] != "seed"]
    for client_id, times in Counter(entry["client_id"] for entry in taken).items():
        if times > 1:
            yield f"order {client_id} was taken {times} times"
    for entry in taken:
        closing = "SELL" if entry["position_side"] == "LONG" else "BUY"
        is_bound = scene.mode is PositionMode.HEDGE and entry["side"] == closing
        if not (is_bound or entry["reduce_only"]):
            yield f"order {entry['client_id']} could have opened {entry['symbol']}"
    for entry in ledger:
        if entry["event"] == "cancelled" and entry["client_id"] in scene.kept:
            yield f"order {entry['client_id']} was cancelled and should protect"


def judge_lock(scene: Scene, lock: Entry, *, bound: Entry | None, now: float) -> Iterator[str]:
    """What a bot could read out of the lock while the incident is open and the guard is dead.

    `bound` is the lock as it was seen before, None for the first look after the kill.
    """
    if not lock["locked"] or lock["expires_ts"] <= now or lock["stage"] != scene.stage.value:
        yield f"the lock does not bind: stage {lock['stage']}, locked {lock['locked']}"
    if bound is None:
        return
    for name in BINDING:
        if lock[name] != bound[name]:
            yield f"the lock's {name} was {bound[name]} and is {lock[name]}"
    if lock["expires_ts"] < bound["expires_ts"]:
        yield f"the lock ends {bound['expires_ts'] - lock['expires_ts']:.0f} s earlier than it did"
