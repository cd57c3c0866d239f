"""What really happened to the money, from the exchange's own books, and what had to follow.

Equity is counted in units, as funds do it: a transfer changes the units and never their value, so
that only a loss is a loss. Nothing here is read from the guard but which stages it acted on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from decision import Decision
from model import LedgerKind, OrderSide, Side, Stage
from simulator.exchange import Exchange
from simulator.state import Account
from tests.memory_venue import KEY, SCOPE, value_account, worth_of_one
from tests.simulation import invariants
from tests.simulation.coins import QUOTE, symbol_of
from tests.simulation.draw import Story
from tests.simulation.faults import WARM_S
from tests.simulation.invariants import Made

MARGIN = 0.004
"""Fees, noise and the moments between two readings."""
FLOW_DOUBT_S = 60.0
SMALL_FLOW = 0.055
"""A late withdrawal of up to 5 % counts as a loss at once: see KNOWN_LIMITATIONS.md."""
LONGEST_PAUSE_S = 35.0
"""A venue that failed is asked again after at most 30 s (behaviour.md section 3)."""
RESET_LOOKS_BACK_S = 30.0
"""A reset measures from the last trusted reading, which may be so old."""


@dataclass(slots=True)
class CoinFlow:
    """A coin that came or went: how much of it, what that was worth then, and its record.

    `differs_by` is how far the record may be from that worth, in quote.
    """

    asset: str
    amount: float
    worth: float
    record: int
    differs_by: float = 0.0


@dataclass(kw_only=True)
class Truth:
    """The value of a unit over time, and since when it is too low.

    `blur` is the share of the account that was transferred. Behaviour.md section 4 counts a flow
    at the first reading that contains it, which contains what was lost just before or after it as
    well: the drawdown then differs from the truth by that share of the loss.
    """

    story: Story
    exchange: Exchange
    now_s: Callable[[], float]
    units: float = 10_000.0
    peak: float = 0.0
    reference: float | None = None
    navs: list[tuple[float, float]] = field(default_factory=list)
    stored: float | None = None
    history: list[Made] = field(default_factory=list)
    unreadable_s: float = 0.0
    doubted_s: float = float("-inf")
    acted: int = 0
    by_hand: float = 0.0
    blur: float = 0.0
    inferred: float = 0.0
    is_suspended: bool = False
    flows: list[tuple[float, float, int]] = field(default_factory=list)
    told: set[int] = field(default_factory=set)
    coin_flows: list[CoinFlow] = field(default_factory=list)
    coins_moved_s: float = float("-inf")
    _coins: dict[str, tuple[float, float]] = field(default_factory=dict)
    _made_by_coins: dict[str, float] = field(default_factory=dict)
    _closed_by_others: list[tuple[float, str, float, float]] = field(default_factory=list)
    _below_s: dict[Stage, float] = field(default_factory=dict)
    _realised: dict[tuple[str, Side], float] = field(default_factory=dict)
    _trades_seen: int = 0

    def equity(self) -> float:
        """The account's equity in quote."""
        view = self.exchange.account(KEY).view(self.exchange.world)
        return float(value_account(view, self.story.ways).equity)

    def on_transfer(self, asset: str, amount: Decimal, record: int, *, before: float) -> None:
        """Something came or went; it is in the account already, and will be listed as this record.

        `before` is the equity without it.
        """
        after = self.equity()
        worth = after - before
        if before > 0 and after > 0:
            self.units *= after / before
            self.flows.append((self.now_s(), worth / before, record))
            self.blur += abs(worth) / min(before, after)
        if asset != QUOTE:
            self.coin_flows.append(CoinFlow(asset, float(amount), worth, record))
            self.coins_moved_s = self.now_s()
        self.unreadable_s = self.now_s() + FLOW_DOUBT_S

    def on_close_by_others(self, entry: Mapping[str, object]) -> None:
        """Somebody else made a position smaller."""
        before, after = (float(str(entry[f"position_{when}"])) for when in ("before", "after"))
        if abs(after) < abs(before):
            symbol = str(entry["symbol"])
            price = float(self.exchange.marks[symbol])
            self._closed_by_others.append((self.now_s(), symbol, before - after, price))

    def _not_lost(self) -> float:
        """What positions closed by others would have lost since, had they been kept.

        Behaviour.md section 7 counts a closed part to the later mark; so much of an unlisted
        withdrawal between the same two readings passes for a loss.
        """
        since_s = self.now_s() - LONGEST_PAUSE_S
        made = (
            amount * (float(self.exchange.marks[symbol]) - price)
            for at_s, symbol, amount, price in self._closed_by_others
            if at_s >= since_s
        )
        return -sum(min(0.0, each) for each in made)

    def on_decision(self, decision: Decision) -> None:
        """Whether the guard doubts what it reads, and what it has inferred and still believes."""
        memory = decision.memory.scope(SCOPE)
        if memory.suspicion is not None:
            self.doubted_s = self.now_s()
        self.inferred = sum(
            abs(flow.amount)
            for flow in memory.flows
            if flow.is_inferred and not flow.is_cancelled and flow.kind is LedgerKind.OTHER
        )

    def on_reset(self) -> None:
        """Everything is measured from here on."""
        since_s = self.now_s() - RESET_LOOKS_BACK_S
        self.reference = min((nav for at_s, nav in self.navs if at_s >= since_s), default=None)
        self.acted = 0
        self._below_s.clear()

    def on_unseen_jump(self) -> None:
        """The clock was set before a run knew it: windows are by the clock, and are past now."""
        self.reference = None
        self._below_s.clear()

    def on_stored(self) -> None:
        """A trusted reading is on disk, and will be known to every later run."""
        self.stored = self.navs[-1][1] if self.navs else None

    def on_forgotten_jump(self) -> None:
        """A run died before it could write down by how far it had moved its history.

        The next one cannot know either (docs/decisions/0009-what-survives.md): by the clock the
        readings on disk are older than the shortest window, and only the last of them counts.
        """
        self.reference = self.stored
        self._below_s.clear()

    def on_unfinished(self, stage: Stage) -> None:
        """An incident is known to nobody any more: what it left open still has to be answered."""
        self.acted = min(self.acted, stage - 1)

    def look(self) -> None:
        """Take the present value down."""
        now_s = self.now_s()
        nav = self.equity() / self.units
        self.peak = max(self.peak, nav)
        self.navs.append((now_s, nav))
        if self.reference is None and now_s >= WARM_S - 2.0:
            self.reference = nav
        self.history.append(Made(at_s=now_s, results=self._results()))
        view = self.exchange.view(KEY)
        for flow in self.coin_flows:
            if flow.record not in self.told:
                listed = flow.amount * float(worth_of_one(view, flow.asset, self.story.ways))
                flow.differs_by = max(flow.differs_by, abs(listed - flow.worth))
        if self.reference is None:
            return
        lost = 1 - nav / self.reference
        for stage, threshold in self._thresholds():
            slack = MARGIN + self.by_hand + self._misvalued()
            is_held_up = self.is_suspended and stage < Stage.ALL_CLOSED
            if not is_held_up and lost * (1 - min(0.9, self.blur)) >= threshold + slack:
                self._below_s.setdefault(stage, now_s)
            else:
                self._below_s.pop(stage, None)

    def _thresholds(self) -> list[tuple[Stage, float]]:
        """The lowest threshold of each stage: stories are shorter than every window."""
        return [
            (rules.stage, min(threshold.fraction for threshold in rules.thresholds))
            for rules in self.story.policy.books[0].stages
        ]

    def _results(self) -> dict[tuple[str, Side], float]:
        """What each row has made in all: what was realised on it, and what it would bring now."""
        account = self.exchange.account(KEY)
        for trade in account.trades[self._trades_seen :]:
            side = Side.LONG if trade.side is OrderSide.SELL else Side.SHORT
            if trade.realised == 0:
                side = side.opposite
            key = (trade.symbol, side)
            made = float(trade.realised - trade.fee)
            self._realised[key] = self._realised.get(key, 0.0) + made
        self._trades_seen = len(account.trades)
        results = dict(self._realised)
        for leg in account.legs.values():
            key = (leg.symbol, leg.side)
            unrealised = leg.amount * (self.exchange.marks[leg.symbol] - leg.entry_price)
            results[key] = results.get(key, 0.0) + float(unrealised)
        self._count_coins(account)
        return results | {(asset, Side.LONG): made for asset, made in self._made_by_coins.items()}

    def _count_coins(self, account: Account) -> None:
        """Add what each coin made since the last look, on what was held all the time."""
        for asset, (quantity, price) in self._coins.items():
            held = min(quantity, float(account.wallet[asset]))
            made = held * (self._price(asset) - price)
            self._made_by_coins[asset] = self._made_by_coins.get(asset, 0.0) + made
        self._coins = {
            asset: (float(account.wallet[asset]), self._price(asset))
            for asset in self.story.book.coins
        }

    def _price(self, asset: str) -> float:
        return float(self.exchange.marks[symbol_of(asset)])

    def _misvalued(self) -> float:
        """The share by which the records of coins that came or went may differ from the truth.

        A record is valued at the mark of the moment in which it is read.
        """
        return sum(flow.differs_by for flow in self.coin_flows) / max(1.0, self.equity())

    def waiting(self) -> list[Stage]:
        """The stages whose threshold is passed in truth and that nobody has answered yet."""
        return [stage for stage in self._below_s if self.acted < stage]

    def judge_delay(self) -> str:
        """(7) Whether a stage waits longer for an answer than anything may take."""
        policy = self.story.policy
        now_s = self.now_s()
        for stage, threshold in self._thresholds():
            below_s = self._below_s.get(stage)
            if below_s is None or self.acted >= stage:
                continue
            rules = policy.books[0].stage(stage)
            assert rules is not None
            since_s = max(below_s, self.unreadable_s)
            within_s = (max(2, rules.confirm_consecutive) + 1) * policy.poll_s + 20.0
            if self.unreadable_s >= below_s - LONGEST_PAUSE_S:
                within_s += LONGEST_PAUSE_S
            if self.doubted_s >= below_s - policy.poll_s:
                within_s += policy.suspect_limit_s + FLOW_DOUBT_S
            lost = 1 - self.navs[-1][1] / (self.reference or 1.0)
            found = invariants.late(lost, threshold, for_s=now_s - since_s, within_s=within_s)
            if found:
                return found
        return ""

    def judge_ground(self, stage: Stage) -> str:
        """(7) Whether a stage that opened had anything to answer."""
        threshold = dict(self._thresholds())[stage]
        nav = min((nav for at_s, nav in self.navs if at_s >= self.now_s() - 20.0), default=1.0)
        grace_s = self.story.policy.suspect_grace_s
        hidden = 0.0
        for at_s, share, record in self.flows:
            age_s = self.now_s() - at_s
            is_small = abs(share) <= SMALL_FLOW and age_s <= FLOW_DOUBT_S + 20.0
            # Behaviour.md section 3: a fall for which the ledger cannot be read is a loss then.
            is_untold = record not in self.told and age_s >= grace_s
            hidden += abs(share) if is_small or is_untold else 0.0
        unlisted = sum(
            max(0.0, -share) for _, share, record in self.flows if record not in self.told
        )
        hidden += min(unlisted, self._not_lost() / max(1.0, self.equity()))
        # Section 3: a record replaces an inferred inflow within 10 %. One that a loss of the same
        # step made smaller than that stands beside its record: KNOWN_LIMITATIONS.md.
        beside = self.inferred / max(1.0, self.equity())
        slack = MARGIN + self.by_hand + self._misvalued() + hidden + beside
        lost = (1 - nav / (self.peak or 1.0)) * (1 + self.blur)
        return invariants.groundless(lost, threshold, slack=slack)
