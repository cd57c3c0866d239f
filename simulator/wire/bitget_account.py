"""What a classic Bitget account tells of itself: balances, positions, bills, its key.

Every function answers from an `AccountView`, so that a stale answer is the same code on an older
view. USDT and USDC contracts have an account each; in union mode the other coins of the wallet
back the first of them and stand in its list of assets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from model import LedgerKind, OrderSide
from simulator import margin
from simulator.state import ZERO, Account, AccountView, Income, Leg, PositionLeg, Trade
from simulator.wire.bitget_codes import BitgetError
from simulator.wire.bitget_shapes import (
    COIN_FUTURES,
    MARGIN_COINS,
    MARGIN_MODES,
    POSITION_MODES,
    USDT_FUTURES,
    Row,
    milliseconds,
    product_named,
    product_of,
    text,
)

PAGE = 100
"""Most rows of one answer."""
BILLS_BY_DEFAULT = 20
BILL_WINDOW_MS = 30 * 24 * 3600 * 1000
USER_ID = "1000000001"
ALL_RIGHTS = {"coow": "can_trade", "cpow": "can_trade", "stow": "can_trade", "wwow": "can_withdraw"}


def accounts(view: AccountView, sent: Mapping[str, object]) -> list[Row]:
    """Return `mix/account/accounts`: one row for the margin coin of the product.

    Nobody has coin-margined contracts here.
    """
    if sent.get("productType") == COIN_FUTURES:
        return []
    return [_account_row(view, product_named(sent.get("productType")))]


def _account_row(view: AccountView, product: str) -> Row:
    coin = MARGIN_COINS[product]
    amounts = margin.balance(view, coin)
    equity = amounts.margin_balance
    isolated = amounts.unrealised - amounts.cross_unrealised
    free = text(margin.available(view, coin))
    is_union = view.multi_assets and product == USDT_FUTURES
    row: Row = {
        "marginCoin": coin,
        "locked": text(amounts.order_initial),
        "available": text(amounts.wallet),
        "crossedMaxAvailable": free,
        "isolatedMaxAvailable": free,
        "maxTransferOut": free,
        "accountEquity": text(equity),
        "usdtEquity": text(equity * margin.usd_value(view, coin)),
        "btcEquity": "0",
        "crossedRiskRate": "0",
        "unrealizedPL": text(amounts.unrealised),
        "coupon": "0",
        "crossedUnrealizedPL": text(amounts.cross_unrealised),
        "isolatedUnrealizedPL": text(isolated),
        "grant": "0",
        "assetMode": "union" if is_union else "single",
        "isolatedMargin": "0",
        "crossedMargin": text(amounts.position_initial),
    }
    if is_union:
        row |= {
            "unionTotalMargin": text(margin.total(view).margin_balance),
            "unionAvailable": free,
            "unionMm": text(margin.total(view).maintenance),
            "assetList": [
                {"coin": asset, "balance": text(held), "available": text(held)}
                for asset, held in sorted(view.wallet.items())
                if asset not in MARGIN_COINS.values()
            ],
        }
    return row


def account(view: AccountView, sent: Mapping[str, object]) -> Row:
    """Return `mix/account/account`, which alone tells the position mode of a flat account."""
    product = product_named(sent.get("productType"))
    symbol = str(sent.get("symbol") or "").upper()
    if symbol not in view.markets:
        raise BitgetError("40034", "Parameter symbol does not exist")
    leverage = str(view.setting(symbol).leverage)
    row = _account_row(view, product)
    for name in ("unionTotalMargin", "unionAvailable", "unionMm", "assetList"):
        row.pop(name, None)
    return row | {
        "crossedMarginLeverage": leverage,
        "isolatedLongLever": leverage,
        "isolatedShortLever": leverage,
        "marginMode": MARGIN_MODES[view.setting(symbol).margin_mode],
        "posMode": POSITION_MODES[view.mode_of(symbol)],
    }


def all_positions(view: AccountView, sent: Mapping[str, object]) -> list[Row]:
    """Return `mix/position/all-position`: all that is held of a product, on one page."""
    product = product_named(sent.get("productType"))
    return [_position_row(view, leg) for leg in legs_of(view, product)]


def single_position(view: AccountView, sent: Mapping[str, object]) -> list[Row]:
    """Return `mix/position/single-position`: both legs of a symbol."""
    product = product_named(sent.get("productType"))
    symbol = str(sent.get("symbol") or "").upper()
    return [_position_row(view, leg) for leg in legs_of(view, product) if leg.symbol == symbol]


def legs_of(view: AccountView, product: str) -> list[PositionLeg]:
    """The positions of a product by symbol."""
    held = (leg for _, leg in sorted(view.legs.items()))
    return [leg for leg in held if product_of(view.markets[leg.symbol]) == product]


def _position_row(view: AccountView, leg: PositionLeg) -> Row:
    setting = view.setting(leg.symbol)
    is_isolated = margin.is_isolated(view, leg.symbol)
    liquidation = margin.liquidation_price(view, leg)
    set_aside = leg.isolated_wallet if is_isolated else margin.initial_margin(view, leg)
    total = text(abs(leg.amount))
    return {
        "marginCoin": view.markets[leg.symbol].quote,
        "symbol": leg.symbol,
        "holdSide": leg.side.value.lower(),
        "openDelegateSize": "0",
        "marginSize": text(set_aside),
        "available": total,
        "locked": "0",
        "total": total,
        "leverage": str(setting.leverage),
        "achievedProfits": "0",
        "openPriceAvg": text(leg.entry_price),
        "marginMode": MARGIN_MODES[setting.margin_mode],
        "posMode": POSITION_MODES[view.mode_of(leg.symbol)],
        "unrealizedPL": text(margin.unrealised(view, leg)),
        "liquidationPrice": text(max(ZERO, liquidation)),
        "keepMarginRate": text(view.markets[leg.symbol].maintenance_rate),
        "markPrice": text(margin.mark_of(view, leg)),
        "breakEvenPrice": text(leg.entry_price),
        "totalFee": "",
        "deductedFee": "0",
        "marginRatio": "0",
        "assetMode": "union" if view.multi_assets else "single",
        "autoMargin": "off",
        "grant": "",
        "takeProfit": "",
        "stopLoss": "",
        "takeProfitId": "",
        "stopLossId": "",
        "cTime": milliseconds(leg.updated_at),
        "uTime": milliseconds(leg.updated_at),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One record of an account: what a trade made and cost, or one other change of its wallet."""

    bill_id: int
    at: float
    kind: LedgerKind
    coin: str
    symbol: str
    amount: Decimal
    fee: Decimal
    trade: Trade | None


def bills_of(view: AccountView, account: Account) -> list[Bill]:
    """The records up to the view's time, newest first; one for each trade."""
    trades = {trade.trade_id: trade for trade in account.trades}
    bills: dict[int, Bill] = {}
    for record in account.income:
        if record.at > view.at:
            continue
        trade = None if record.trade_id is None else trades.get(record.trade_id)
        key = record.record_id if record.trade_id is None else record.trade_id
        bills.setdefault(key, _bill(key, record, trade))
    return sorted(bills.values(), key=lambda bill: -bill.bill_id)


def _bill(key: int, record: Income, trade: Trade | None) -> Bill:
    return Bill(
        bill_id=key,
        at=record.at,
        kind=record.kind if trade is None else LedgerKind.REALISED,
        coin=record.asset,
        symbol=record.symbol,
        amount=record.amount if trade is None else trade.realised,
        fee=ZERO if trade is None else -trade.fee,
        trade=trade,
    )


def trade_word(trade: Trade) -> str:
    """What a trade did: `open_long`, `close_short`, or in one-way mode `buy` and `sell`."""
    if trade.leg is Leg.BOTH:
        return trade.side.value.lower()
    opens = trade.side is (OrderSide.BUY if trade.leg is Leg.LONG else OrderSide.SELL)
    return f"{'open' if opens else 'close'}_{trade.leg.value.lower()}"


def _business_type(bill: Bill) -> str:
    if bill.trade is not None:
        return trade_word(bill.trade)
    is_in = bill.amount > 0
    match bill.kind:
        case LedgerKind.TRANSFER:
            return "trans_from_exchange" if is_in else "trans_to_exchange"
        case LedgerKind.BONUS:
            return "bonus_issue" if is_in else "bonus_recycle"
        case LedgerKind.FUNDING:
            return "contract_settle_fee"
        case LedgerKind.LIQUIDATION:
            return "burst_long_loss_query"
        case _:
            return "unknown"


def bills(view: AccountView, account: Account, sent: Mapping[str, object]) -> Row:
    """Return a page of `mix/account/bill`, newest first, older than `idLessThan`."""
    product = product_named(sent.get("productType"))
    start, end = number(sent, "startTime"), number(sent, "endTime")
    if start is not None and end is not None and end - start > BILL_WINDOW_MS:
        raise BitgetError("40017", "Parameter verification failed startTime")
    wanted = [
        bill
        for bill in within(bills_of(view, account), start=start, end=end)
        if _product_of_bill(view, bill) == product
    ]
    page = page_of(wanted, sent, default=BILLS_BY_DEFAULT)
    return {
        "bills": [
            {
                "billId": str(bill.bill_id),
                "symbol": bill.symbol,
                "amount": text(bill.amount),
                "fee": text(bill.fee),
                "feeByCoupon": "",
                "businessType": _business_type(bill),
                "coin": bill.coin,
                "balance": text(view.wallet.get(bill.coin, ZERO)),
                "cTime": milliseconds(bill.at),
            }
            for bill in page
        ],
        "endId": str(page[-1].bill_id) if page else None,
    }


def _product_of_bill(view: AccountView, bill: Bill) -> str:
    if bill.symbol:
        return product_of(view.markets[bill.symbol])
    return next((name for name, coin in MARGIN_COINS.items() if coin == bill.coin), USDT_FUTURES)


def within(found: Iterable[Bill], *, start: int | None, end: int | None) -> list[Bill]:
    """The bills of a span of milliseconds; None leaves an end open."""
    return [
        bill
        for bill in found
        if (start is None or bill.at * 1000 >= start) and (end is None or bill.at * 1000 <= end)
    ]


def page_of(found: list[Bill], sent: Mapping[str, object], *, default: int) -> list[Bill]:
    """The bills of one page: those older than the named one, newest first."""
    last = number(sent, "idLessThan") or number(sent, "cursor")
    older = [bill for bill in found if last is None or bill.bill_id < last]
    return older[: page_size(sent, default=default)]


def page_size(sent: Mapping[str, object], *, default: int) -> int:
    """How many rows an answer has; more than the most are cut to it."""
    return min(number(sent, "limit") or default, PAGE)


def number(sent: Mapping[str, object], name: str) -> int | None:
    """A parameter that is a whole number, None when it was not sent. Raises BitgetError."""
    value = str(sent.get(name) or "")
    if not value:
        return None
    if not value.isdigit():
        raise BitgetError("40020", f"Parameter {name} error")
    return int(value)


def key_info(account: Account) -> Row:
    """Return `spot/account/info`: whose key it is and what it may do."""
    rights = [name for name, flag in ALL_RIGHTS.items() if getattr(account, flag)]
    return {
        "userId": USER_ID,
        "inviterId": "",
        "ips": "127.0.0.1" if account.is_bound_to_ip else "",
        "authorities": [*rights, "coor", "cpor", "stor", "wtor"],
        "parentId": 0,
        "traderType": "not_trader",
        "channelCode": "",
        "channel": "",
        "regisTime": "1600000000000",
    }
