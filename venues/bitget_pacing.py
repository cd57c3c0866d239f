"""What Bitget counts: every endpoint for itself, per second and account; no header tells a count.

Orders may leave ten a second. The position reads that size them have the narrowest allowance of
all, so readings leave a part of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from venues.ccxt_client import Params
from venues.pacer import Cost, Rate

SECOND_S = 1.0
SLACK_S = 0.15
"""A window of one second cannot count as two: fifty closes would take twice as long."""
SPOT_ORDERS = "privateSpotPostV2SpotTradePlaceOrder"
ORDERS = (
    "privateMixPostV2MixOrderPlaceOrder",
    "privateUtaPostV3TradePlaceOrder",
    SPOT_ORDERS,
)
ORDER_SLACK_S = 0.6
"""Each of many closes may have to open a connection first, and arrive that late."""
OTHERS = "OTHERS"
"""Endpoints that stand in no table share ten a second, though each has at least as many."""

DEFAULT_RATES: Mapping[str, Rate] = {
    name: Rate(
        most=most,
        within_s=SECOND_S,
        reserve=reserve,
        slack_s=ORDER_SLACK_S if name in ORDERS else SLACK_S,
    )
    for name, most, reserve in (
        ("privateMixGetV2MixPositionAllPosition", 5, 3),
        ("privateMixGetV2MixAccountAccounts", 10, 0),
        ("privateMixGetV2MixOrderOrdersPending", 10, 2),
        ("privateMixGetV2MixOrderOrdersPlanPending", 10, 2),
        ("privateMixGetV2MixOrderDetail", 10, 0),
        ("privateMixGetV2MixAccountBill", 10, 0),
        ("privateMixPostV2MixOrderPlaceOrder", 10, 0),
        ("privateMixPostV2MixOrderCancelOrder", 10, 0),
        ("privateMixPostV2MixOrderBatchCancelOrders", 10, 0),
        ("privateMixPostV2MixOrderCancelPlanOrder", 10, 0),
        ("privateSpotGetV2SpotAccountInfo", 1, 0),
        ("privateSpotGetV2SpotAccountAssets", 10, 4),
        ("privateSpotGetV2SpotAccountBills", 10, 0),
        ("privateSpotGetV2SpotTradeUnfilledOrders", 20, 4),
        ("privateSpotGetV2SpotTradeCurrentPlanOrder", 20, 4),
        ("privateSpotGetV2SpotTradeHistoryOrders", 20, 0),
        ("privateSpotGetV2SpotTradeOrderInfo", 20, 0),
        (SPOT_ORDERS, 10, 0),
        ("privateSpotPostV2SpotTradeCancelOrder", 10, 0),
        ("privateSpotPostV2SpotTradeCancelPlanOrder", 20, 0),
        ("publicSpotGetV2SpotMarketTickers", 20, 0),
        ("publicSpotGetV2SpotPublicSymbols", 20, 0),
        ("publicMixGetV2MixMarketTickers", 20, 0),
        ("publicMixGetV2MixMarketContracts", 20, 0),
        ("privateUtaGetV3AccountAssets", 20, 0),
        ("privateUtaGetV3PositionCurrentPosition", 20, 8),
        ("privateUtaGetV3TradeUnfilledOrders", 20, 4),
        ("privateUtaGetV3TradeUnfilledStrategyOrders", 20, 4),
        ("privateUtaGetV3TradeOrderInfo", 20, 0),
        ("privateUtaGetV3AccountFinancialRecords", 20, 0),
        ("privateUtaPostV3TradePlaceOrder", 10, 0),
        ("privateUtaPostV3TradeCancelOrder", 10, 0),
        ("privateUtaPostV3TradeCancelSymbolOrder", 5, 0),
        ("privateUtaPostV3TradeCancelStrategyOrder", 10, 0),
        (OTHERS, 10, 0),
    )
}
"""As the venue's pages name them; nothing tells what holds today."""


def cost_of(endpoint: str, params: Params) -> Cost:  # noqa: ARG001 - every venue's has it
    """One request of its endpoint."""
    return {endpoint if endpoint in DEFAULT_RATES else OTHERS: 1}
