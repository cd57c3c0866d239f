"""The values that outlive a tick keep their own promises."""

from __future__ import annotations

from decimal import Decimal

import pytest

from memory import History, Point
from model import Asset, Position, Side, Symbol


def test_points_are_appended_in_order_of_time() -> None:
    """A point that is not later than the last one would hide it from every window."""
    history = History.of((Point(at=10.0, equity=100.0, nav=100.0),))
    for at in (9.0, 10.0):
        with pytest.raises(ValueError, match="order of time"):
            history.append(Point(at=at, equity=100.0, nav=100.0))


def position(**changed: object) -> Position:
    """A sound position, changed."""
    fields: dict[str, object] = {
        "symbol": Symbol("BTCUSDT"),
        "base": Asset("BTC"),
        "side": Side.LONG,
        "quantity": Decimal(1),
        "entry_price": 100.0,
        "mark_price": 100.0,
        "unrealised_pnl": 0.0,
    }
    return Position(**(fields | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("quantity", ["0", "-1", "NaN", "Infinity"])
def test_a_position_has_a_positive_quantity(quantity: str) -> None:
    """Nothing held is no position, and a NaN would compare false both ways."""
    with pytest.raises(ValueError, match="positive quantity"):
        position(quantity=Decimal(quantity))


@pytest.mark.parametrize("name", ["entry_price", "mark_price", "unrealised_pnl"])
def test_figures_of_a_position_are_finite(name: str) -> None:
    """A NaN price would disarm every comparison it meets."""
    with pytest.raises(ValueError, match="finite"):
        position(**{name: float("nan")})
    with pytest.raises(ValueError, match="finite"):
        position(**{name: float("inf")})


def test_a_liquidation_price_is_none_or_finite() -> None:
    """A NaN there would count as "not near liquidation"."""
    with pytest.raises(ValueError, match="finite"):
        position(liquidation_price=float("nan"))
    assert position(liquidation_price=None).liquidation_price is None
