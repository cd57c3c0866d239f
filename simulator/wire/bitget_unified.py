"""A unified Bitget account (v3): its wallet, positions, orders and records in its own words."""

from __future__ import annotations

from simulator.state import AccountView
from simulator.wire.bitget_shapes import MARGIN_MODES, POSITION_MODES, Row, product_of

USER_ID = "1000000001"


def settings(view: AccountView) -> Row:
    """Return `account/settings`, which only a unified account answers."""
    return {
        "uid": USER_ID,
        "accountMode": "unified",
        "assetMode": "multi_assets",
        "accountLevel": "advanced",
        "holdMode": POSITION_MODES[view.position_mode],
        "stpMode": "none",
        "symbolConfigList": [
            {
                "category": product_of(view.markets[symbol]),
                "symbol": symbol,
                "marginMode": MARGIN_MODES[setting.margin_mode],
                "leverage": str(setting.leverage),
            }
            for symbol, setting in view.settings.items()
        ],
        "coinConfigList": [],
    }
