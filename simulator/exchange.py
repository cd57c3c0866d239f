"""The exchange as a whole: time, prices, accounts, and everything one may ask of it.

This is the face that the wire dialects, the control port and in-memory simulations use. It is
synchronous: a call has happened completely when it returns, consequences included (triggers,
fills, liquidations). Time only moves when `set_time` or `set_prices` says so. Refusals raise
`Rejected`. After every change each account touched gets a new view, so that `view` can answer as
of an earlier moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from model import LedgerKind, MarginMode, OrderKind, PositionMode
from simulator import margin, matching
from simulator.liquidation import liquidate_where_due
from simulator.markets import CATALOGUE, Market, default_market
from simulator.positions import book_income, change_isolated_wallet
from simulator.reasons import Reason, Rejected
from simulator.spot import SpotDesk
from simulator.spot_state import SpotRecordKind
from simulator.state import (
    ZERO,
    Account,
    AccountView,
    Cause,
    ExchangeOrder,
    Leg,
    OrderRequest,
    PositionLeg,
    SymbolSettings,
    World,
    to_decimal,
)


class Exchange:
    """One exchange in memory. Times are UTC seconds, money and quantities Decimals."""

    def __init__(self, *, now: float = 0.0, markets: Iterable[Market] = CATALOGUE) -> None:
        self.world = World(now=now, markets={market.symbol: market for market in markets})
        self.accounts: dict[str, Account] = {}
        self.spot = SpotDesk(self.world)

    @property
    def now(self) -> float:
        """The exchange's own time in UTC seconds."""
        return self.world.now

    @property
    def ledger(self) -> list[dict[str, object]]:
        """Every fill, order, refusal and cancel so far; append-only."""
        return self.world.ledger

    @property
    def markets(self) -> Mapping[str, Market]:
        """All markets by symbol."""
        return self.world.markets

    @property
    def marks(self) -> Mapping[str, Decimal]:
        """All mark prices by symbol."""
        return self.world.marks

    def account(self, api_key: str) -> Account:
        """Find an account by its key. Raises KeyError for an unknown key."""
        return self.accounts[api_key]

    def add_market(self, market: Market) -> None:
        """List a market, or change one."""
        self.world.markets = {**self.world.markets, market.symbol: market}

    def list_symbol(self, symbol: str, *, price: Decimal) -> Market:
        """Return the market of a symbol, inventing a default one for an unlisted symbol."""
        if symbol not in self.world.markets:
            self.add_market(default_market(symbol, price=price))
        return self.world.markets[symbol]

    def set_time(self, at: float) -> None:
        """Move the clock; dead-man timers that ran out cancel their orders. May go back."""
        self.world.now = at
        for account in self.accounts.values():
            due = [symbol for symbol, deadline in account.countdowns.items() if deadline <= at]
            for symbol in due:
                del account.countdowns[symbol]
                self.cancel_all(account.api_key, symbol, OrderKind.REGULAR)

    def set_prices(
        self, prices: Mapping[str, Decimal | float | str], at: float | None = None
    ) -> None:
        """Set mark prices, at `at` when given, and let orders and margin answer to them.

        Unlisted symbols get a default market. Raises ValueError for a price that is not positive.
        """
        marks = {symbol: to_decimal(price) for symbol, price in prices.items()}
        for symbol, price in marks.items():
            if price <= 0:
                raise ValueError(f"{symbol}: a price is positive")
            self.list_symbol(symbol, price=price)
        if at is not None:
            self.set_time(at)
        self.world.marks = {**self.world.marks, **marks}
        for account in self.accounts.values():
            matching.advance(self.world, account)
            self._settle(account)
        self.spot.advance()

    def seed_account(
        self,
        account: Account,
        *,
        positions: Iterable[PositionLeg] = (),
        orders: Iterable[OrderRequest] = (),
    ) -> Account:
        """Put an account in place of the one with its key: positions as they are, then orders.

        Seeded positions cost nothing: the wallet is what the account says. Isolated ones without
        a margin of their own get notional / leverage.
        """
        self.accounts[account.api_key] = account
        account.multi_assets = account.multi_assets or self.world.rules.is_one_wallet
        for asset in account.wallet:
            account.wallet_updated_at.setdefault(asset, self.now)
        for leg in positions:
            self._seed_leg(account, leg)
        for request in orders:
            matching.place(self.world, account, replace(request, cause=Cause.SEED))
        self._settle(account)
        return account

    def _seed_leg(self, account: Account, leg: PositionLeg) -> None:
        self.list_symbol(leg.symbol, price=leg.entry_price)
        if leg.symbol not in self.world.marks:
            self.world.marks = {**self.world.marks, leg.symbol: leg.entry_price}
        setting = account.setting(leg.symbol)
        if setting.margin_mode is MarginMode.ISOLATED and not leg.isolated_wallet:
            cost = abs(leg.amount) * leg.entry_price / setting.leverage
            leg = replace(leg, isolated_wallet=cost)
        account.legs[(leg.symbol, leg.leg)] = replace(leg, updated_at=self.now)
        self.world.record(
            "seed",
            account=account.api_key,
            symbol=leg.symbol,
            side=leg.side.closing_order.value,
            position_side=leg.leg.value,
            quantity=abs(leg.amount),
            price=leg.entry_price,
            reduce_only=False,
            client_id="",
            position_before=ZERO,
            position_after=leg.amount,
            cause=Cause.SEED.value,
        )

    def place(
        self, api_key: str, request: OrderRequest, *, fill_fraction: Decimal | None = None
    ) -> ExchangeOrder:
        """Take an order and return it as it stands afterwards. Raises Rejected."""
        account = self.account(api_key)
        order = matching.place(self.world, account, request, fill_fraction=fill_fraction)
        self._settle(account)
        return account.orders.get(order.order_id) or account.done[order.order_id]

    def find_order(
        self,
        api_key: str,
        symbol: str,
        *,
        kind: OrderKind = OrderKind.REGULAR,
        order_id: int | None = None,
        client_id: str | None = None,
    ) -> ExchangeOrder:
        """Find an order, open or done; the newest with a client id. Raises Rejected."""
        account = self.account(api_key)
        for order in [*reversed(account.orders.values()), *reversed(account.done.values())]:
            if order.kind is not kind or symbol not in ("", order.symbol):
                continue
            if order_id is not None:
                if order.order_id == order_id:
                    return order
            elif client_id and order.client_id == client_id:
                return order
        raise Rejected(Reason.UNKNOWN_ORDER, client_id or str(order_id))

    def cancel(
        self,
        api_key: str,
        symbol: str,
        *,
        kind: OrderKind = OrderKind.REGULAR,
        order_id: int | None = None,
        client_id: str | None = None,
    ) -> ExchangeOrder:
        """Cancel one open order. Raises Rejected UNKNOWN_ORDER when it is not open."""
        order = self.find_order(api_key, symbol, kind=kind, order_id=order_id, client_id=client_id)
        if not order.status.is_open:
            raise Rejected(Reason.UNKNOWN_ORDER, order.client_id)
        account = self.account(api_key)
        done = matching.cancel(self.world, account, order)
        self._settle(account)
        return done

    def cancel_all(self, api_key: str, symbol: str, kind: OrderKind) -> int:
        """Cancel every open order of one kind on a symbol and return how many there were."""
        account = self.account(api_key)
        mine = account.view(self.world).orders_of(kind, symbol)
        for order in mine:
            matching.cancel(self.world, account, order)
        self._settle(account)
        return len(mine)

    def arm_countdown(self, api_key: str, symbol: str, seconds: float) -> None:
        """Cancel a symbol's ordinary orders unless called again within `seconds`; 0 disarms."""
        countdowns = self.account(api_key).countdowns
        countdowns.pop(symbol, None)
        if seconds > 0:
            countdowns[symbol] = self.now + seconds

    def transfer(
        self,
        api_key: str,
        asset: str,
        amount: Decimal,
        *,
        kind: LedgerKind = LedgerKind.TRANSFER,
    ) -> None:
        """Move money in (positive) or out (negative). Raises Rejected BALANCE_INSUFFICIENT.

        Only what is not tied up as margin can leave.
        """
        account = self.account(api_key)
        view = account.view(self.world)
        free = min(view.wallet.get(asset, ZERO), margin.available(view, asset))
        if view.multi_assets:
            free = view.wallet.get(asset, ZERO)
        if amount < 0 and -amount > free:
            raise Rejected(Reason.BALANCE_INSUFFICIENT, asset)
        book_income(self.world, account, kind=kind, asset=asset, amount=amount)
        self._settle(account)

    def move_to_spot(self, api_key: str, asset: str, amount: Decimal) -> None:
        """Move money from the futures side to the spot side, or back (negative).

        Raises Rejected BALANCE_INSUFFICIENT, and then nothing has moved.
        """
        if amount > 0:
            self.transfer(api_key, asset, -amount)
        self.spot.book(api_key, asset, amount, kind=SpotRecordKind.TRANSFER)
        if amount < 0:
            self.transfer(api_key, asset, -amount)

    def apply_funding(self, rates: Mapping[str, Decimal | float | str]) -> None:
        """Charge funding: with a positive rate longs pay notional x rate and shorts receive it."""
        for account in self.accounts.values():
            view = account.view(self.world)
            for leg in view.legs.values():
                rate = to_decimal(rates.get(leg.symbol, 0))
                amount = -margin.notional(view, leg) * rate
                book_income(
                    self.world,
                    account,
                    kind=LedgerKind.FUNDING,
                    asset=margin.margin_asset(view, leg.symbol),
                    amount=amount,
                    symbol=leg.symbol,
                )
                change_isolated_wallet(account, leg, amount)
            self._settle(account)

    def set_leverage(self, api_key: str, symbol: str, leverage: int) -> None:
        """Choose a symbol's leverage. Raises Rejected LEVERAGE_OUT_OF_RANGE."""
        market = self.world.market(symbol)
        if not 1 <= leverage <= market.max_leverage:
            raise Rejected(Reason.LEVERAGE_OUT_OF_RANGE, str(leverage))
        account = self.account(api_key)
        account.settings[symbol] = replace(account.setting(symbol), leverage=leverage)
        self._settle(account)

    def set_margin_mode(self, api_key: str, symbol: str, mode: MarginMode) -> None:
        """Choose cross or isolated for a symbol; only while it has no position and no order."""
        self.world.market(symbol)
        account = self.account(api_key)
        if account.setting(symbol).margin_mode is mode:
            raise Rejected(Reason.MARGIN_MODE_UNCHANGED, symbol)
        if any(key[0] == symbol for key in account.legs):
            raise Rejected(Reason.MARGIN_MODE_HELD_BY_POSITION, symbol)
        if any(order.symbol == symbol for order in account.orders.values()):
            raise Rejected(Reason.MARGIN_MODE_HELD_BY_ORDERS, symbol)
        account.settings[symbol] = SymbolSettings(
            leverage=account.setting(symbol).leverage, margin_mode=mode
        )
        self._settle(account)

    def set_position_mode(
        self, api_key: str, mode: PositionMode, *, symbol: str | None = None
    ) -> None:
        """Choose one-way or hedge mode, of one symbol where the venue allows that.

        Only while there is no position and no order.
        """
        account = self.account(api_key)
        if mode is (account.position_mode if symbol is None else account.mode_of(symbol)):
            raise Rejected(Reason.POSITION_MODE_UNCHANGED)
        if any(symbol in (None, order.symbol) for order in account.orders.values()):
            raise Rejected(Reason.POSITION_MODE_HELD_BY_ORDERS)
        if any(symbol in (None, key[0]) for key in account.legs):
            raise Rejected(Reason.POSITION_MODE_HELD_BY_POSITION)
        if symbol is None:
            account.position_mode = mode
            account.position_modes.clear()
        else:
            account.position_modes[symbol] = mode
        self._settle(account)

    def set_multi_assets(self, api_key: str, *, enabled: bool) -> None:
        """Let all assets back all cross positions, or each its own."""
        account = self.account(api_key)
        if account.multi_assets is enabled:
            raise Rejected(Reason.MULTI_ASSETS_UNCHANGED)
        if any(account.setting(key[0]).margin_mode is MarginMode.ISOLATED for key in account.legs):
            raise Rejected(Reason.MULTI_ASSETS_HELD_BY_ISOLATED)
        account.multi_assets = enabled
        self._settle(account)

    def view(
        self, api_key: str, *, as_of: float | None = None, revision: int | None = None
    ) -> AccountView:
        """Return the account now, or as it was at a time or revision that is still kept.

        Older than everything kept answers with the oldest view.
        """
        account = self.account(api_key)
        if as_of is None and revision is None:
            return account.view(self.world)
        kept = list(account.history) or [account.view(self.world)]
        for view in reversed(kept):
            if as_of is not None and view.at > as_of:
                continue
            if revision is not None and view.revision > revision:
                continue
            return view
        return kept[0]

    def settle(self, api_key: str) -> None:
        """Draw the consequences of what was done to an account's orders one by one."""
        self._settle(self.account(api_key))

    def amount(self, api_key: str, symbol: str, leg: Leg = Leg.BOTH) -> Decimal:
        """Signed size of a position, 0 when flat."""
        return self.account(api_key).amount(symbol, leg)

    def _settle(self, account: Account) -> None:
        liquidate_where_due(self.world, account)
        self.world.revision += 1
        account.history.append(account.view(self.world))
