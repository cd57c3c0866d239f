"""A small account, the default policy and a guard that remembers, for the tests of decisions.

The account: 10,000 in the wallet, 100 SOL short and 50 BTC long, both entered at 100. So a loss of
4.5 % (450) is SOL at 104.5; times are seconds after `NOON`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from decision import Decision, Observation, decide
from lock_document import LockMode
from memory import (
    BookMemory,
    CloseTarget,
    Incident,
    IncidentReport,
    Memory,
    ScopeMemory,
    TargetStatus,
)
from model import (
    Asset,
    BookName,
    Coin,
    Ledger,
    LedgerEntry,
    LedgerKind,
    MarketLimits,
    OperatorRequest,
    Position,
    Reading,
    RecordId,
    RowKey,
    ScopeId,
    ScopeObservation,
    Side,
    Stage,
    StageMode,
    Symbol,
)
from policy import BookPolicy, Policy, StagePolicy, Threshold

NOON = 1_700_000_000.0
SCOPE = ScopeId("binance_futures")
BOOK = BookName("binance_futures")
ONE, TWO, THREE = Stage.REDUCED_TOP_RISK, Stage.DOMINANT_CLOSED, Stage.ALL_CLOSED
MINUTE, HOUR = 60.0, 3_600.0
COOLDOWN = {ONE: 30 * MINUTE, TWO: 90 * MINUTE, THREE: 360 * MINUTE}


def stage_policy(
    stage: Stage, mode: StageMode, confirmations: int, thresholds: dict[float, float]
) -> StagePolicy:
    """One stage with its default cooldown; thresholds by window in seconds."""
    return StagePolicy(
        stage=stage,
        thresholds=tuple(Threshold(window_s=w, fraction=f) for w, f in thresholds.items()),
        mode=mode,
        cooldown_s=COOLDOWN[stage],
        confirm_consecutive=confirmations,
    )


BOOK_POLICY = BookPolicy(
    name=BOOK,
    scopes=(SCOPE,),
    stages=(
        stage_policy(
            ONE, StageMode.CLOSE_TOP_RISK_CONTRIBUTORS, 3, {15 * MINUTE: 0.045, HOUR: 0.07}
        ),
        stage_policy(
            TWO,
            StageMode.CLOSE_DOMINANT_LOSS_DIRECTION,
            2,
            {15 * MINUTE: 0.07, HOUR: 0.10, 24 * HOUR: 0.15},
        ),
        stage_policy(
            THREE,
            StageMode.CLOSE_ALL_POSITIONS,
            1,
            {15 * MINUTE: 0.10, HOUR: 0.14, 24 * HOUR: 0.20},
        ),
    ),
)
"""The table of behaviour.md section 5."""

LIVE = Policy(books=(BOOK_POLICY,), dry_run=False, instance_tag="abcd")
DRY = replace(LIVE, dry_run=True)


def live(**changes: object) -> Policy:
    """The live policy with some settings of its book changed."""
    return replace(LIVE, books=(replace(BOOK_POLICY, **changes),))  # type: ignore[arg-type]


ONLY_ONE = live(stages=BOOK_POLICY.stages[:1])
ONLY_THREE = live(stages=BOOK_POLICY.stages[2:])
FALLING_WALLET = ((10, 9_600.0), (13, 9_200.0), (16, 8_900.0))
"""Steps of 4.0, 4.2 and 3.3 % that no price explains, none of them large enough to be doubted."""


def key(base: str, side: Side) -> RowKey:
    """The row of `<base>USDT`."""
    return RowKey(SCOPE, Symbol(f"{base}USDT"), side)


SOL, BTC, ETH = key("SOL", Side.SHORT), key("BTC", Side.LONG), key("ETH", Side.LONG)


def position(
    base: str, side: Side, quantity: str, mark: float, *, entry: float = 100.0
) -> Position:
    """A cross position on `<base>USDT`."""
    return Position(
        symbol=Symbol(f"{base}USDT"),
        base=Asset(base),
        side=side,
        quantity=Decimal(quantity),
        entry_price=entry,
        mark_price=mark,
        unrealised_pnl=side.sign * float(quantity) * (mark - entry),
    )


def sol(mark: float, quantity: str = "100") -> Position:
    """The short, 1 % of the wallet for each 1 of its price."""
    return position("SOL", Side.SHORT, quantity, mark)


def btc(mark: float = 100.0, quantity: str = "50") -> Position:
    """The long."""
    return position("BTC", Side.LONG, quantity, mark)


def losing(fraction: float) -> tuple[Position, ...]:
    """The positions when the short has lost this share of 10,000 and the long stands still."""
    return sol(100.0 * (1 + fraction)), btc()


def market(base: str, *, step: str = "0.001", least: str = "0.001") -> MarketLimits:
    """What the venue accepts on `<base>USDT`."""
    return MarketLimits(
        symbol=Symbol(f"{base}USDT"),
        base=Asset(base),
        quote=Asset("USDT"),
        step=Decimal(step),
        min_quantity=Decimal(least),
        market_max=None,
        min_notional=Decimal(5),
        reduce_only_waives_min_notional=True,
    )


LIMITS = {limit.symbol: limit for limit in (market("SOL"), market("BTC"), market("ETH"))}


def record(number: str, at: float, amount: float, kind: LedgerKind) -> LedgerEntry:
    """A record of the venue, `at` seconds after noon."""
    return LedgerEntry(
        record_id=RecordId(number),
        scope=SCOPE,
        kind=kind,
        at=NOON + at,
        amount=amount,
        asset=Asset("USDT"),
    )


def transfer(at: float, amount: float) -> LedgerEntry:
    """A deposit (+) or a withdrawal (-)."""
    return record(f"transfer-{at}", at, amount, LedgerKind.TRANSFER)


def seen(
    at: float,
    *positions: Position,
    wallet: float = 10_000.0,
    equity: float | None = None,
    coins: tuple[Coin, ...] = (),
    ledger: Iterable[LedgerEntry] | None = None,
    marks: dict[Symbol, float] | None = None,
    is_second: bool = False,
    has_waited: bool = False,
) -> ScopeObservation:
    """One reading; equity is the wallet and the profit of the positions unless it is named."""
    profit = sum(one.unrealised_pnl for one in positions)
    return ScopeObservation(
        scope=SCOPE,
        asked_at=NOON + at,
        reading=Reading(
            scope=SCOPE,
            asked_at=NOON + at,
            equity=wallet + profit if equity is None else equity,
            wallet=None,
            unrealised_pnl=None,
            positions=positions,
            coins=coins,
        ),
        marks=marks or {},
        ledger=None
        if ledger is None
        else Ledger(scope=SCOPE, since=NOON - HOUR, asked_at=NOON + at, entries=tuple(ledger)),
        limits=LIMITS,
        is_second_reading=is_second,
        has_waited=has_waited,
    )


def dark(at: float) -> ScopeObservation:
    """A read that failed."""
    return ScopeObservation(scope=SCOPE, asked_at=NOON + at, reading=None, failure="timeout")


def asked(
    command: str, *, number: int = 1, confirmation: str = "", **arguments: str
) -> OperatorRequest:
    """A request of the operator about the book, unless another one is named."""
    return OperatorRequest(
        request_id=number,
        at=NOON,
        actor="ann@desk",
        command=command,
        arguments=tuple(sorted({"book": BOOK, **arguments}.items())),
        confirmation=confirmation,
    )


def held(incident: Incident, status: TargetStatus = TargetStatus.HELD) -> Incident:
    """The incident with all of its targets in one state."""
    return replace(incident, targets=tuple(replace(one, status=status) for one in incident.targets))


@dataclass
class Guard:
    """A guard without a world: it decides and remembers; every decision is kept."""

    policy: Policy = LIVE
    memory: Memory = field(default_factory=Memory)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def book(self) -> BookMemory:
        """What is remembered of the book."""
        return self.memory.book(BOOK)

    @property
    def scope(self) -> ScopeMemory:
        """What is remembered of the scope."""
        return self.memory.scope(SCOPE)

    @property
    def incident(self) -> Incident:
        """The open incident."""
        incident = self.book.incident
        assert incident is not None
        return incident

    @property
    def events(self) -> list[str]:
        """The audit words of all decisions so far."""
        return [audit.event for one in self.decisions for audit in one.records.audits]

    @property
    def locks(self) -> list[tuple[LockMode, Stage, float]]:
        """Mode, stage and expiry (in seconds after noon) of the book's locks."""
        return [(one.mode, one.stage, one.expires_ts - NOON) for one in self.book.locks]

    def settle(self, observation: Observation) -> Decision:
        """Decide and remember."""
        decision = decide(self.memory, observation, self.policy)
        self.memory = decision.memory
        self.decisions.append(decision)
        return decision

    def look(self, observed: ScopeObservation, *, after_s: float = 0.0) -> Decision:
        """Decide on one attempt to read the scope, `after_s` after it was asked for."""
        return self.settle(Observation(now=observed.asked_at + after_s, scopes=(observed,)))

    def lose(self, at: float, fraction: float, *, is_second: bool = False) -> Decision:
        """Decide on a reading in which the short has lost this share of 10,000."""
        return self.look(seen(at, *losing(fraction), is_second=is_second))

    def ask(self, at: float, *requests: OperatorRequest) -> Decision:
        """Decide on requests alone."""
        return self.settle(Observation(now=NOON + at, requests=requests))

    def report(self, at: float, incident: Incident, *notes: str, is_done: bool = False) -> Decision:
        """Decide on what the executor tells."""
        told = IncidentReport(incident=incident, is_done=is_done, notes=notes)
        return self.settle(Observation(now=NOON + at, reports=(told,)))

    def finish(self, at: float) -> Decision:
        """The open incident's targets hold."""
        return self.report(at, held(self.incident), is_done=True)


def calm(policy: Policy = LIVE) -> Guard:
    """A guard that saw the account without any loss at noon."""
    guard = Guard(policy=policy)
    guard.look(seen(0, *losing(0.0), ledger=()))
    return guard


def at_stage_1(policy: Policy = LIVE) -> Guard:
    """4.5 % at 10, 13 and 16 s: stage 1 has just opened its incident."""
    guard = calm(policy)
    for at in (10, 13, 16):
        guard.lose(at, 0.045)
    return guard


def at_stage_3(policy: Policy = LIVE) -> Guard:
    """10 % at 10 s and, read once more, at 11 s: stage 3 has just opened its incident."""
    guard = calm(policy)
    guard.lose(10, 0.10)
    guard.lose(11, 0.10, is_second=True)
    return guard


def flat(policy: Policy = LIVE) -> Guard:
    """Stage 3 is done at 20 s; at 25 s 9,000 are left and nothing is held."""
    guard = at_stage_3(policy)
    guard.finish(20)
    guard.look(seen(25, wallet=9_000.0))
    return guard


def remains(targets: Iterable[CloseTarget]) -> dict[RowKey, Decimal]:
    """What may remain, by row."""
    return {one.key: one.may_remain for one in targets}


def told(decision: Decision) -> list[tuple[Stage, object]]:
    """The refused triggers of one decision."""
    return [
        (audit.stage, dict(audit.details)["reason"])
        for audit in decision.records.audits
        if audit.event == "trigger_refused"
    ]


def resting(stage: Stage, until: float) -> BookMemory:
    """A NORMAL book of which one stage rests until then (it had nothing to close)."""
    cooldowns = [NOON + until if one is stage else 0.0 for one in (ONE, TWO, THREE)]
    return BookMemory(name=BOOK, cooldowns=(cooldowns[0], cooldowns[1], cooldowns[2]))
