"""The risk score: five visible terms, the worked example, and the order of ranking."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import Asset, Row, Side, Source
from risk_attribution import (
    ScoredRow,
    ScoreTerms,
    score_rows,
)
from tests.attribution_cases import LONG, SHORT, blame, key, row

SOL = row("SOL", SHORT, quantity=10, entry=100, mark=130, liquidation=200, margin=300)
XRP = row("XRP", SHORT, quantity=2_000, entry=0.55, mark=0.60, liquidation=0.63, margin=240)
DOGE = row("DOGE", SHORT, quantity=5_000, entry=0.12, mark=0.10, margin=100)
BTC = row("BTC", LONG, quantity=0.01, entry=55_000, mark=62_000, liquidation=40_000, margin=150)
EXAMPLE = (BTC, DOGE, SOL, XRP)
EXAMPLE_RESULTS = {SOL.key: -300.0, XRP.key: -80.0, DOGE.key: -20.0, BTC.key: 10.0}


def by_symbol(scored: tuple[ScoredRow, ...]) -> dict[str, ScoredRow]:
    """Scored rows by their symbol."""
    return {found.row.key.symbol: found for found in scored}


def test_worked_example_of_the_score() -> None:
    """Equity 10,000, losses 300 + 80 + 20 = 400, current losses SOL 300 + XRP 100 = 400."""
    found = blame(EXAMPLE_RESULTS, rows=EXAMPLE)
    scored = score_rows(attribution=found, rows=EXAMPLE, equity=10_000.0)
    terms = by_symbol(scored)
    # 0.40 x 300/400 + 0.25 x 300/400 + 0.20 x 0.10/(70/130) + 0.10 x 1,300/10,000 + 0.05 x 300/300
    assert terms["SOL"].score == pytest.approx(0.3 + 0.1875 + 0.037143 + 0.013 + 0.05, abs=5e-5)
    assert terms["SOL"].score == pytest.approx(0.5876, abs=5e-5)
    # 0.40 x 80/400 + 0.25 x 100/400 + 0.20 x 1 (distance 0.05) + 0.10 x 0.12 + 0.05 x 100/240
    assert terms["XRP"].score == pytest.approx(0.08 + 0.0625 + 0.2 + 0.012 + 0.020833, abs=5e-5)
    assert terms["XRP"].score == pytest.approx(0.3753, abs=5e-5)
    # 0.40 x 20/400 + 0 (in profit) + 0 (no liquidation price) + 0.10 x 500/10,000 + 0
    assert terms["DOGE"].score == pytest.approx(0.02 + 0.005, abs=5e-5)
    # 0 + 0 + 0.20 x 0.10/(22,000/62,000) + 0.10 x 620/10,000 + 0
    assert terms["BTC"].score == pytest.approx(0.056364 + 0.0062, abs=5e-5)
    assert terms["BTC"].score == pytest.approx(0.0626, abs=5e-5)
    assert found.source is Source.SHORT
    assert (found.losses_short, found.losses_long) == (400.0, 0.0)
    assert [s.row.key.symbol for s in scored] == ["SOL", "XRP", "BTC", "DOGE"]


def test_terms_stay_visible_and_missing_fields_are_noted() -> None:
    """DOGE has no liquidation price; every other term is there unweighted."""
    found = blame(EXAMPLE_RESULTS, rows=EXAMPLE)
    doge = by_symbol(score_rows(attribution=found, rows=EXAMPLE, equity=10_000.0))["DOGE"]
    assert doge.missing == ("liquidation_price",)
    assert doge.result == -20.0
    # loss 20 of 400, in profit, no liquidation, notional 500 of 10,000, no loss of margin
    assert doge.terms == ScoreTerms(
        loss_share=20 / 400,
        unrealised_share=0.0,
        liquidation=0.0,
        notional=500 / 10_000,
        margin=0.0,
    )


def test_coin_is_scored_without_what_it_does_not_have() -> None:
    """A coin has no entry, no liquidation price and no margin: three terms are 0 and noted."""
    coin = row("ETH", LONG, quantity=2, entry=None, mark=900)
    found = blame({coin.key: -200.0}, rows=(coin,))
    (scored,) = score_rows(attribution=found, rows=(coin,), equity=2_000.0)
    assert scored.missing == ("unrealised_pnl", "liquidation_price", "margin")
    assert scored.score == pytest.approx(0.40 * 1.0 + 0.10 * 0.9)


@pytest.mark.parametrize(
    ("side", "mark", "liquidation", "expected"),
    [
        (LONG, 100.0, 50.0, 0.2),  # distance 0.5: 0.10 / 0.5
        (SHORT, 100.0, 150.0, 0.2),
        (LONG, 100.0, 90.0, 1.0),  # distance 0.10
        (LONG, 100.0, 95.0, 1.0),
        (LONG, 100.0, 100.0, 1.0),  # at it
        (LONG, 100.0, 120.0, 1.0),  # past it
        (SHORT, 100.0, 90.0, 1.0),
        (SHORT, 0.0, 90.0, 0.0),  # a worthless short is infinitely far away
        (LONG, 0.0, 90.0, 1.0),
        (SHORT, 100.0, 0.0, 0.0),  # venues write 0 where there is none
        (LONG, 100.0, None, 0.0),
        (LONG, 100.0, math.nan, 0.0),
    ],
)
def test_liquidation_proximity(
    side: Side, mark: float, liquidation: float | None, expected: float
) -> None:
    """min(1, 0.10 / distance), 1 at or past it, 0 without a liquidation price."""
    held = row("A", side, quantity=1, entry=100, mark=mark, liquidation=liquidation)
    (scored,) = score_rows(attribution=blame({}, rows=(held,)), rows=(held,), equity=1_000.0)
    assert scored.terms.liquidation == pytest.approx(expected)


@pytest.mark.parametrize(
    ("equity", "expected", "is_missing"),
    [
        (1_000.0, 0.1, False),
        (50.0, 1.0, False),
        (0.0, 1.0, False),
        (-5.0, 1.0, False),
        (math.nan, 0.0, True),
        (math.inf, 0.0, True),
    ],
)
def test_notional_against_any_equity(equity: float, expected: float, is_missing: bool) -> None:
    """Notional 100: at most all of the equity, all of none, and missing without a number."""
    held = row("A", LONG, quantity=1, entry=100, mark=100, liquidation=10, margin=10)
    (scored,) = score_rows(
        attribution=blame({held.key: 0.0}, rows=(held,)), rows=(held,), equity=equity
    )
    assert scored.terms.notional == pytest.approx(expected)
    assert scored.missing == (("notional",) if is_missing else ())


@pytest.mark.parametrize(
    ("margin", "expected", "is_missing"),
    [(40.0, 0.25, False), (5.0, 1.0, False), (0.0, 0.0, True), (None, 0.0, True)],
)
def test_margin_term_counts_losses_only(
    margin: float | None, expected: float, is_missing: bool
) -> None:
    """A loss of 10 against its margin; a margin of 0 is a field that the venue did not fill."""
    loser = row("A", LONG, quantity=1, entry=100, mark=90, margin=margin)
    winner = row("B", LONG, quantity=1, entry=100, mark=110, margin=margin)
    scored = by_symbol(
        score_rows(
            attribution=blame({}, rows=(loser, winner)), rows=(loser, winner), equity=1_000.0
        )
    )
    assert scored["A"].terms.margin == pytest.approx(expected)
    assert scored["B"].terms.margin == 0.0
    assert ("margin" in scored["A"].missing) is is_missing


def test_unrealised_profit_that_is_no_number_is_missing() -> None:
    """A NaN neither counts as a loss nor spoils the shares of the others."""
    bad = replace(row("A", LONG, quantity=1, entry=100, mark=90), unrealised_pnl=math.nan)
    good = row("B", LONG, quantity=1, entry=100, mark=90)
    scored = by_symbol(
        score_rows(attribution=blame({}, rows=(bad, good)), rows=(bad, good), equity=1_000.0)
    )
    assert "unrealised_pnl" in scored["A"].missing
    assert scored["B"].terms.unrealised_share == 1.0


def test_equal_scores_are_ranked_by_key() -> None:
    """Two equal rows come in the order of their keys, however they were listed."""
    first = row("A", SHORT, quantity=1, entry=100, mark=110)
    second = row("B", SHORT, quantity=1, entry=100, mark=110)
    found = blame({first.key: -10.0, second.key: -10.0}, rows=(second, first))
    scored = score_rows(attribution=found, rows=(second, first), equity=1_000.0)
    assert [s.row.key.symbol for s in scored] == ["A", "B"]


anything = st.floats(allow_nan=False, allow_infinity=False)
amount = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)


@st.composite
def any_rows(draw: st.DrawFn) -> tuple[Row, ...]:
    """Rows with any finite figures, however absurd."""
    return tuple(
        Row(
            key=key(f"S{number}", draw(st.sampled_from(Side))),
            base=Asset("S"),
            quantity=draw(amount),
            entry_price=draw(st.none() | amount),
            mark_price=draw(amount),
            unrealised_pnl=draw(anything),
            liquidation_price=draw(st.none() | anything),
            margin=draw(st.none() | anything),
        )
        for number in range(draw(st.integers(min_value=0, max_value=4)))
    )


@settings(max_examples=100)
@given(rows=any_rows(), equity=anything, results=st.lists(anything, min_size=4, max_size=4))
def test_every_term_and_score_lies_between_zero_and_one(
    rows: tuple[Row, ...], equity: float, results: list[float]
) -> None:
    """No finite input, not even zero equity or a mark of 0, leaves the range."""
    found = blame({r.key: result for r, result in zip(rows, results, strict=False)}, rows=rows)
    scored = score_rows(attribution=found, rows=rows, equity=equity)
    assert len(scored) == len(rows)
    for one in scored:
        terms = one.terms
        for value in (
            one.score,
            terms.loss_share,
            terms.unrealised_share,
            terms.liquidation,
            terms.notional,
            terms.margin,
        ):
            assert 0.0 <= value <= 1.0
    scores = [one.score for one in scored]
    assert scores == sorted(scores, reverse=True)


@settings(max_examples=100)
@given(
    own=st.floats(min_value=0.0, max_value=1e6),
    more=st.floats(min_value=0.0, max_value=1e6),
    paper=st.floats(min_value=-1e6, max_value=1e6),
    paper_more=st.floats(min_value=0.0, max_value=1e6),
    others=st.floats(min_value=0.0, max_value=1e6),
)
def test_more_loss_on_a_row_never_lowers_its_own_score(
    own: float, more: float, paper: float, paper_more: float, others: float
) -> None:
    """With the other rows and the mark as they are, losing more never looks safer."""
    held = row("A", LONG, quantity=1, entry=100, mark=90, liquidation=50, margin=100)
    other = row("B", SHORT, quantity=1, entry=100, mark=120, margin=100)

    def score(loss: float, unrealised: float) -> float:
        """The score of the first row with these two figures."""
        changed = replace(held, unrealised_pnl=unrealised)
        rows = (changed, other)
        found = blame({held.key: -loss, other.key: -others}, rows=rows)
        return by_symbol(score_rows(attribution=found, rows=rows, equity=1e4))["A"].score

    before = score(own, paper)
    assert score(own + more, paper) >= before - 1e-12
    assert score(own, paper - paper_more) >= before - 1e-12
