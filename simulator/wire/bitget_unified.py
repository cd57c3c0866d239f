"""A unified Bitget account (v3): its wallet, positions and records in its own words.

One wallet backs the contracts in USDT and in USDC. What is told of them answers from an
`AccountView`, as for classic accounts.
"""

from __future__ import annotations

from collections.abc import Mapping

from model import LedgerKind
from simulator import margin
from simulator.spot_state import SpotView
from simulator.state import ZERO, Account, AccountView, PositionLeg
from simulator.wire.bitget_account import (
    PAGE,
    USER_ID,
    Bill,
    bills_of,
    legs_of,
    number,
    page_of,
    trade_word,
    within,
)
from simulator.wire.bitget_codes import BitgetError
from simulator.wire.bitget_shapes import (
    COIN_FUTURES,
    MARGIN_COINS,
    MARGIN_MODES,
    POSITION_MODES,
    Row,
    milliseconds,
    product_named,
    product_of,
    text,
)

CATEGORIES = ("SPOT", "MARGIN", "USDT-FUTURES", "COIN-FUTURES", "USDC-FUTURES", "OTHER")


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


def assets(view: AccountView, spot: SpotView) -> Row:
    """Return `account/assets`: totals in USD at full value, and every coin of the wallet.

    `locked` is what spot orders hold of it.
    """
    amounts = {coin: margin.balance(view, coin) for coin in margin.assets_of(view)}
    unrealised = sum(
        (held.unrealised * margin.usd_value(view, coin) for coin, held in amounts.items()), ZERO
    )
    equity = text(margin.equity_usd(view))
    return {
        "accountEquity": equity,
        "usdtEquity": equity,
        "btcEquity": "0",
        "unrealisedPnl": text(unrealised),
        "usdtUnrealisedPnl": text(unrealised),
        "btcUnrealizedPnl": "0",
        "effEquity": text(margin.total(view).margin_balance),
        "mmr": "0",
        "imr": "0",
        "mgnRatio": "0",
        "positionMgnRatio": "0",
        "assets": [
            {
                "coin": coin,
                "equity": text(held.margin_balance),
                "usdValue": text(held.margin_balance * margin.usd_value(view, coin)),
                "balance": text(held.wallet),
                "available": text(max(ZERO, held.wallet - spot.locked(coin))),
                "debt": text(max(ZERO, -held.wallet)),
                "locked": text(spot.locked(coin)),
            }
            for coin, held in amounts.items()
        ],
    }


def positions(view: AccountView, sent: Mapping[str, object]) -> Row:
    """Return `position/current-position` of a category, or of one of its symbols.

    Nobody has coin-margined contracts here.
    """
    if sent.get("category") == COIN_FUTURES:
        return {"list": []}
    product = product_named(sent.get("category"))
    symbol = str(sent.get("symbol") or "").upper()
    found = [leg for leg in legs_of(view, product) if symbol in ("", leg.symbol)]
    return {"list": [_position_row(view, leg) for leg in found]}


def _position_row(view: AccountView, leg: PositionLeg) -> Row:
    setting = view.setting(leg.symbol)
    liquidation = margin.liquidation_price(view, leg)
    is_isolated = margin.is_isolated(view, leg.symbol)
    set_aside = leg.isolated_wallet if is_isolated else margin.initial_margin(view, leg)
    total = text(abs(leg.amount))
    return {
        "category": product_of(view.markets[leg.symbol]),
        "symbol": leg.symbol,
        "marginCoin": view.markets[leg.symbol].quote,
        "holdMode": POSITION_MODES[view.mode_of(leg.symbol)],
        "posSide": leg.side.value.lower(),
        "marginMode": MARGIN_MODES[setting.margin_mode],
        "positionBalance": text(set_aside),
        "available": total,
        "frozen": "0",
        "total": total,
        "leverage": str(setting.leverage),
        "curRealisedPnl": "0",
        "avgPrice": text(leg.entry_price),
        "positionStatus": "normal",
        "unrealisedPnl": text(margin.unrealised(view, leg)),
        "liquidationPrice": text(liquidation) if liquidation > 0 else "",
        "mmr": text(view.markets[leg.symbol].maintenance_rate),
        "profitRate": "0",
        "markPrice": text(margin.mark_of(view, leg)),
        "breakEvenPrice": text(leg.entry_price),
        "totalFunding": "0",
        "openFeeTotal": "0",
        "closeFeeTotal": "0",
        "createdTime": milliseconds(leg.updated_at),
        "updatedTime": milliseconds(leg.updated_at),
    }


def records(view: AccountView, account: Account, sent: Mapping[str, object]) -> Row:
    """Return a page of `account/financial-records` of one category, newest first."""
    category = str(sent.get("category") or "").upper()
    if category not in CATEGORIES:
        raise BitgetError("40034", "Parameter category does not exist")
    found = within(
        bills_of(view, account), start=number(sent, "startTime"), end=number(sent, "endTime")
    )
    mine = [bill for bill in found if _category_of(view, bill) == category]
    page = page_of(mine, sent, default=PAGE)
    return {
        "list": [
            {
                "category": category,
                "id": str(bill.bill_id),
                "symbol": bill.symbol,
                "coin": bill.coin,
                "type": _record_type(bill),
                "amount": text(bill.amount if bill.trade is not None else abs(bill.amount)),
                "fee": text(bill.fee),
                "balance": text(view.wallet.get(bill.coin, ZERO)),
                "ts": milliseconds(bill.at),
            }
            for bill in page
        ],
        "cursor": str(page[-1].bill_id) if page else "",
    }


def _category_of(view: AccountView, bill: Bill) -> str:
    """Where a record is listed: by its contract; what has none stands apart, by its coin."""
    if bill.symbol:
        return product_of(view.markets[bill.symbol])
    return "OTHER" if bill.coin in MARGIN_COINS.values() else "SPOT"


def _record_type(bill: Bill) -> str:
    """The venue's word; direction stands in it for all but trades, whose amounts have a sign."""
    if bill.trade is not None:
        word = trade_word(bill.trade).upper()
        return word if "_" in word else f"{word}_DEAL"
    way = "IN" if bill.amount > 0 else "OUT"
    match bill.kind:
        case LedgerKind.TRANSFER:
            return f"TRANSFER_{way}"
        case LedgerKind.FUNDING:
            return f"CONTRACT_MAIN_SETTLE_FEE_USER_{way}"
        case LedgerKind.BONUS:
            return f"CONTRACT_BONUS_{way}"
        case LedgerKind.LIQUIDATION:
            return f"BURST_CLOSE_{way}"
        case _:
            return f"UNKNOWN_{way}"


def key_info(account: Account) -> Row:
    """Return `account/info`: whose key it is and what it may do."""
    rights = ["uta_mgt"]
    rights += ["uta_trade"] if account.can_trade else []
    rights += ["withdraw"] if account.can_withdraw else []
    return {
        "userId": USER_ID,
        "inviterId": "",
        "parentId": "",
        "channelCode": "",
        "channel": "",
        "ips": "127.0.0.1" if account.is_bound_to_ip else "",
        "permType": "read-and-write" if account.can_trade else "read-only",
        "permissions": rights,
        "regisTime": "1600000000000",
    }
