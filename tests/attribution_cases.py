"""Rows and attributions that the tests of attribution and risk score share."""

from __future__ import annotations

from memory import RowResults
from model import Asset, Row, RowKey, ScopeId, Side, SourceMode, Symbol
from risk_attribution import (
    Attribution,
    attribute,
)

SCOPE = ScopeId("binance_futures")
SHORT, LONG = Side.SHORT, Side.LONG


def key(symbol: str, side: Side) -> RowKey:
    """A row key on the usual scope."""
    return RowKey(SCOPE, Symbol(symbol), side)


def row(
    symbol: str,
    side: Side,
    *,
    quantity: float,
    entry: float | None,
    mark: float,
    liquidation: float | None = None,
    margin: float | None = None,
    loss_cap: float | None = None,
) -> Row:
    """A row whose unrealised profit follows from its entry and mark; a coin has no entry."""
    profit = 0.0 if entry is None else side.sign * quantity * (mark - entry)
    return Row(
        key=key(symbol, side),
        base=Asset(symbol.removesuffix("USDT")),
        quantity=quantity,
        entry_price=entry,
        mark_price=mark,
        unrealised_pnl=profit,
        liquidation_price=liquidation,
        margin=margin,
        loss_cap=loss_cap,
        is_coin=entry is None,
    )


def blame(
    results: dict[RowKey, float],
    *,
    peak: RowResults = (),
    rows: tuple[Row, ...] = (),
    never_touch: tuple[Symbol, ...] = (),
    mode: SourceMode = SourceMode.AUTO,
    threshold: float = 0.65,
    drawdown: float = 100.0,
    unexplained: float = 0.0,
) -> Attribution:
    """Attribute running totals with ordinary settings."""
    return attribute(
        peak=peak,
        now=tuple(sorted(results.items())),
        rows=rows,
        never_touch=never_touch,
        source_mode=mode,
        source_threshold=threshold,
        drawdown_money=drawdown,
        unexplained_since_peak=unexplained,
    )
