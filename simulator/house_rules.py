"""What venues do differently with one and the same order.

The exchange is neutral: a dialect hands it the rules of its venue, taken from the venue's own
pages. The defaults are those of Binance USD-M.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from model import OrderKind


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseRules:
    """The rules of one venue.

    `takes_flag_when_hedged`: an order may say that it only reduces in hedge mode too.
    `clips_hedged_closes`: a hedged close larger than its leg is cut down to it, else refused.
    `resting_reducers_block`: resting orders that already reduce the position keep others from it.
    `hedged_closes_take_the_rest`: of a hedged leg that resting closes claim in part, a larger
    close takes what they leave; only where they leave nothing it is refused as blocked.
    `newer_reducers_win`: in one-way mode older resting reducers are cancelled until a new one fits.
    `splits_large_reducers`: an order that can only reduce knows no largest size.
    `reducers_skip_min_notional`: such an order may be worth less than the minimum.
    `client_ids_stay_taken`: an id is taken for ever, else for as long as its order is open; spot
    markets have a rule of their own.
    `max_orders` are the most that may be open, of the account or of each symbol.
    `is_one_wallet`: all assets together back all positions, whatever an account asks for.
    """

    takes_flag_when_hedged: bool = False
    clips_hedged_closes: bool = False
    resting_reducers_block: bool = True
    hedged_closes_take_the_rest: bool = False
    newer_reducers_win: bool = False
    splits_large_reducers: bool = False
    reducers_skip_min_notional: bool = True
    client_ids_stay_taken: bool = False
    spot_client_ids_stay_taken: bool = False
    client_id: re.Pattern[str] = re.compile(r"^[.A-Z:/a-z0-9_-]{1,36}$")
    max_orders: Mapping[OrderKind, int] = field(
        default_factory=lambda: {OrderKind.REGULAR: 200, OrderKind.CONDITIONAL: 200}
    )
    counts_orders_by_symbol: bool = False
    is_one_wallet: bool = False
