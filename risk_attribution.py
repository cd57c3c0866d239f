"""Who lost the money: results of rows between readings, the losing side, and the risk score.

Pure. Owns behaviour.md sections 7 and 8: `compute_row_results` measures one interval between two
readings, the running totals in `memory.Point` add intervals up, `attribute` compares two of those
totals and names the losing side, `score_rows` ranks what is still open. Knows nothing of
drawdowns, stages or orders, and closes nothing.

Rules:
- A row is judged by what it made since the peak, not by its profit: a position that is still in
  profit but fell is a loser, and a loss that was realised meanwhile still counts for its side.
- What cannot be measured is left out and named, never taken for 0 or for a loss.
- Money is the account's quote, fractions and every term of a score lie in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from memory import RowResults
from model import Row, RowKey, Side, Source, SourceMode, Symbol

LEAST_RESULT = 1e-6
"""Quote money below which a difference of running totals is rounding and no loss."""

SHARE_TOLERANCE = 1e-9
"""So that 65 of 100 is a share of 0.65 whatever binary fractions make of it."""

UNEXPLAINED_LIMIT = 0.5
"""More than this part of the drawdown unexplained: nobody knows who lost it (behaviour.md 7)."""

PAID_PRICE_FACTOR = 2.0
"""A fill between two readings costs at most this many times the higher mark of both, and at
least the lower mark divided by it. An implied price outside comes from rounding, or from a
position that was closed and opened anew meanwhile; neither says what the added part cost."""


def compute_row_results(
    *, earlier: tuple[Row, ...], later: tuple[Row, ...], marks: Mapping[Symbol, float]
) -> dict[RowKey, float]:
    """Compute the money each row made between two consecutive readings (behaviour.md 7).

    `marks` prices rows that are gone from `later`; without a usable one, the earlier mark stands
    in and the row made nothing. The closed part of an isolated position loses at most its share
    of the margin that was set aside. Results are in quote money, ordered by key, without funding
    and fees: those come from the ledger.
    """
    before = {row.key: row for row in earlier}
    after = {row.key: row for row in later}
    results: dict[RowKey, float] = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old is None:
            results[key] = _opened(after[key])
        elif new is None:
            mark = marks.get(key.symbol, old.mark_price)
            usable = mark if math.isfinite(mark) and mark > 0 else old.mark_price
            results[key] = _closed(old, quantity=old.quantity, mark=usable)
        else:
            results[key] = _carried(old, new)
    return results


def _opened(row: Row) -> float:
    """A row opened between the readings: from its entry to its mark; a coin has no entry."""
    if row.entry_price is None:
        return 0.0
    return row.key.side.sign * row.quantity * (row.mark_price - row.entry_price)


def _closed(row: Row, *, quantity: float, mark: float) -> float:
    """The closed part, valued at the later mark; isolated margin is all it can lose."""
    result = row.key.side.sign * quantity * (mark - row.mark_price)
    if row.loss_cap is None:
        return result
    return max(result, -max(row.loss_cap, 0.0) * quantity / row.quantity)


def _carried(old: Row, new: Row) -> float:
    """A row present in both readings: the part held, and what was added or closed meanwhile."""
    sign = old.key.side.sign
    held = min(old.quantity, new.quantity)
    result = sign * held * (new.mark_price - old.mark_price)
    if new.quantity < old.quantity:
        return result + _closed(old, quantity=old.quantity - new.quantity, mark=new.mark_price)
    added = new.quantity - old.quantity
    if added > 0:
        result += sign * added * (new.mark_price - _paid_price(old, new, added=added))
    return result


def _paid_price(old: Row, new: Row, *, added: float) -> float:
    """Price of the added part, from both averages; the later mark where they cannot tell."""
    if old.entry_price is None or new.entry_price is None:
        return new.mark_price
    paid = (new.quantity * new.entry_price - old.quantity * old.entry_price) / added
    lowest = min(old.mark_price, new.mark_price) / PAID_PRICE_FACTOR
    highest = max(old.mark_price, new.mark_price) * PAID_PRICE_FACTOR
    return paid if lowest <= paid <= highest else new.mark_price


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What one row made since the peak. `is_open` is False for a row that is gone by now."""

    key: RowKey
    result: float
    is_open: bool

    @property
    def loss(self) -> float:
        """The money lost, 0 for a row that made money."""
        return max(0.0, -self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Who lost the money since the peak, and how sure that is.

    `source` is what the stages act on; `measured` is what the figures say, which differs where
    the operator forced a side. `losses_long` and `losses_short` are positive quote money.
    `results` are ordered by key, rows closed meanwhile included; `left_out` are the rows of
    `never_touch` symbols, `unmeasured` those whose result is not known. `unexplained_fraction` is
    the part of the drawdown that nothing explains (may exceed 1).
    """

    source: Source
    measured: Source
    results: tuple[RowResult, ...]
    losses_long: float
    losses_short: float
    unexplained_fraction: float
    left_out: tuple[RowResult, ...] = ()
    unmeasured: tuple[RowKey, ...] = ()

    @property
    def losses(self) -> float:
        """All losses of both sides, winners not deducted."""
        return self.losses_long + self.losses_short

    def losses_of(self, side: Side) -> float:
        """The losses of one side."""
        return self.losses_long if side is Side.LONG else self.losses_short

    def share(self, side: Side) -> float:
        """The part of all losses that `side` lost, 0 when nothing was lost."""
        return self.losses_of(side) / self.losses if self.losses > 0 else 0.0

    def result_of(self, key: RowKey) -> float:
        """What the row made since the peak, 0 for one that is left out, unmeasured or unknown."""
        return next((found.result for found in self.results if found.key == key), 0.0)


def attribute(
    *,
    peak: RowResults,
    now: RowResults,
    rows: tuple[Row, ...],
    never_touch: Iterable[Symbol] = (),
    source_mode: SourceMode = SourceMode.AUTO,
    source_threshold: float = 0.65,
    drawdown_money: float,
    unexplained_since_peak: float,
) -> Attribution:
    """Name the side that lost the money between the peak reading and now (behaviour.md 7).

    `peak` and `now` are running totals (`Point.results`, of all members for a portfolio); `rows`
    is what is open now. A key absent at the peak was opened later and counts from 0. A key absent
    now has nothing measured since the peak: totals outlive their rows, so only a dropped total
    is absent, and counting it as 0 would invent the opposite of all it ever made.

    A side with at least `source_threshold` of all losses is the source, the larger one if both
    have it, MIXED if both are equal or none has it, UNKNOWN without losses. More than half of
    `drawdown_money` unexplained by falls (`unexplained_since_peak` < 0, the sum of unexplained
    parts) makes the measurement UNKNOWN, a non-finite amount likewise. A forced `source_mode`
    wins over both: it is the operator's own answer and needs no measurement.
    """
    spared = frozenset(never_touch)
    open_keys = {row.key for row in rows}
    at_now, at_peak = dict(now), dict(peak)
    results: list[RowResult] = []
    left_out: list[RowResult] = []
    unmeasured: list[RowKey] = []
    for key in sorted(at_now.keys() | open_keys):
        made = at_now.get(key, math.nan) - at_peak.get(key, 0.0)
        if not math.isfinite(made):
            unmeasured.append(key)
            continue
        result = made if abs(made) >= LEAST_RESULT else 0.0
        kept = left_out if key.symbol in spared else results
        kept.append(RowResult(key=key, result=result, is_open=key in open_keys))
    losses_long = sum(found.loss for found in results if found.key.side is Side.LONG)
    losses_short = sum(found.loss for found in results if found.key.side is Side.SHORT)
    unexplained = _unexplained_fraction(drawdown_money, unexplained_since_peak)
    measured = _measure_source(losses_long, losses_short, threshold=source_threshold)
    if unexplained > UNEXPLAINED_LIMIT:
        measured = Source.UNKNOWN
    return Attribution(
        source=measured if source_mode is SourceMode.AUTO else Source(source_mode.value),
        measured=measured,
        results=tuple(results),
        losses_long=losses_long,
        losses_short=losses_short,
        unexplained_fraction=unexplained,
        left_out=tuple(left_out),
        unmeasured=tuple(unmeasured),
    )


def _unexplained_fraction(drawdown_money: float, unexplained: float) -> float:
    """Part of the drawdown that unexplained falls make up; infinite when nobody can tell."""
    if not math.isfinite(drawdown_money) or not math.isfinite(unexplained):
        return math.inf
    if unexplained >= 0 or drawdown_money <= 0:
        return 0.0
    return -unexplained / drawdown_money


def _measure_source(losses_long: float, losses_short: float, *, threshold: float) -> Source:
    """The side that holds enough of the losses."""
    losses = losses_long + losses_short
    if losses <= 0:
        return Source.UNKNOWN
    if losses_long == losses_short:
        return Source.MIXED
    larger = Source.LONG if losses_long > losses_short else Source.SHORT
    share = max(losses_long, losses_short) / losses
    return larger if share >= threshold - SHARE_TOLERANCE else Source.MIXED


LOSS_SHARE_WEIGHT = 0.40
UNREALISED_SHARE_WEIGHT = 0.25
LIQUIDATION_WEIGHT = 0.20
NOTIONAL_WEIGHT = 0.10
MARGIN_WEIGHT = 0.05

NEAR_LIQUIDATION = 0.10
"""Distance to liquidation, as a part of the mark, from which on its term is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTerms:
    """The five terms of a risk score, each in [0, 1] and not yet weighted."""

    loss_share: float
    unrealised_share: float
    liquidation: float
    notional: float
    margin: float

    @property
    def score(self) -> float:
        """The weighted sum, in [0, 1] because the weights add up to 1."""
        return min(
            1.0,
            LOSS_SHARE_WEIGHT * self.loss_share
            + UNREALISED_SHARE_WEIGHT * self.unrealised_share
            + LIQUIDATION_WEIGHT * self.liquidation
            + NOTIONAL_WEIGHT * self.notional
            + MARGIN_WEIGHT * self.margin,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRow:
    """An open row with its risk score. `missing` names the fields whose term is 0 for want of them.

    `result` is what the row made since the peak, negative for a loser.
    """

    row: Row
    result: float
    score: float
    terms: ScoreTerms
    missing: tuple[str, ...] = ()


def score_rows(
    *, attribution: Attribution, rows: tuple[Row, ...], equity: float
) -> tuple[ScoredRow, ...]:
    """Rank the open rows by risk, the riskiest first, equals by key (behaviour.md 8).

    Rows that the attribution left out are not scored, nor do they count in the unrealised losses.
    A row's own score never falls when its loss or its unrealised loss grows and all else stays;
    a mark that moves against a long also makes its notional smaller, so no such rule holds for
    marks. With an equity of 0 or less any notional is all of it; a non-finite one is missing.
    """
    results = {found.key: found.result for found in attribution.results}
    spared = {found.key for found in attribution.left_out}
    judged = tuple(row for row in rows if row.key not in spared)
    current_losses = sum(_unrealised_loss(row) or 0.0 for row in judged)
    scored = (
        _score_row(
            row,
            result=results.get(row.key),
            losses=attribution.losses,
            current_losses=current_losses,
            equity=equity,
        )
        for row in judged
    )
    return tuple(sorted(scored, key=lambda found: (-found.score, found.row.key)))


def _score_row(
    row: Row, *, result: float | None, losses: float, current_losses: float, equity: float
) -> ScoredRow:
    """All terms of one row; a term without its field is None until it is noted and becomes 0."""
    lost = None if result is None else max(0.0, -result)
    unrealised = _unrealised_loss(row)
    margin = row.margin if row.margin is not None and row.margin > 0 else None
    notional = row.notional if math.isfinite(row.notional) and math.isfinite(equity) else None
    found = {
        "result": _share(lost, losses),
        "unrealised_pnl": _share(unrealised, current_losses),
        "liquidation_price": _liquidation_proximity(row),
        "notional": _share(notional, equity),
        "margin": None if margin is None else _share(unrealised, margin),
    }
    terms = ScoreTerms(
        loss_share=found["result"] or 0.0,
        unrealised_share=found["unrealised_pnl"] or 0.0,
        liquidation=found["liquidation_price"] or 0.0,
        notional=found["notional"] or 0.0,
        margin=found["margin"] or 0.0,
    )
    missing = tuple(name for name, term in found.items() if term is None)
    return ScoredRow(row=row, result=result or 0.0, score=terms.score, terms=terms, missing=missing)


def _unrealised_loss(row: Row) -> float | None:
    """The money lost on paper, 0 for a profit; None for a coin, whose cost nobody knows."""
    if row.entry_price is None or not math.isfinite(row.unrealised_pnl):
        return None
    return max(0.0, -row.unrealised_pnl)


def _share(part: float | None, whole: float) -> float | None:
    """`part` of `whole`, at most 1; all of it when there is a part but no whole."""
    if part is None:
        return None
    if part <= 0:
        return 0.0
    return part / whole if whole > part else 1.0


def _liquidation_proximity(row: Row) -> float | None:
    """How near the mark is to liquidation: 1 within a tenth of the mark, at it, and past it.

    None without a liquidation price; venues that write 0 mean that there is none.
    """
    liquidation = row.liquidation_price
    if liquidation is None or not math.isfinite(liquidation) or liquidation <= 0:
        return None
    gap = row.key.side.sign * (row.mark_price - liquidation)
    if gap <= 0:
        return 1.0
    return min(1.0, NEAR_LIQUIDATION * row.mark_price / gap)
