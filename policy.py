"""What the operator allows: the validated settings that decisions depend on, as frozen values.

Seconds, quote money, fractions. Read from files by `settings.py`; knows no file itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from model import Asset, BookName, ScopeId, SourceMode, Stage, StageMode, Symbol


class AccountKind(StrEnum):
    """Where an account lives: what was seen of one says nothing about another."""

    LIVE = "live"
    SIMULATOR = "simulator"
    SANDBOX = "sandbox"
    DEMO = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A drawdown that breaches a stage: `fraction` over the last `window_s` seconds."""

    window_s: float
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePolicy:
    """One stage's settings (behaviour.md sections 5, 7, 9 and 15)."""

    stage: Stage
    thresholds: tuple[Threshold, ...]
    mode: StageMode
    cooldown_s: float
    confirm_consecutive: int
    source_mode: SourceMode = SourceMode.AUTO
    source_threshold: float = 0.65
    top_n: int = 3
    close_fraction: Decimal = Decimal("0.5")
    full_close_distance: float = 0.05
    blacklist: tuple[Asset, ...] = ()
    cancel_entry_orders: bool = True
    set_trading_lock: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BookPolicy:
    """The settings of one book: its scopes, stages (ascending) and what must not be touched.

    `sell_collateral`: coins that can be sold are for sale, as they always are in a spot account.
    `sell_intermediate_delta_only`: of a coin that others are sold over, only what they brought.
    """

    name: BookName
    scopes: tuple[ScopeId, ...]
    stages: tuple[StagePolicy, ...]
    never_touch: tuple[Symbol, ...] = ()
    never_touch_even_in_stage_3: bool = False
    sell_collateral: bool = False
    sell_intermediate_delta_only: bool = True
    auto_rearm: bool = True

    def stage(self, stage: Stage) -> StagePolicy | None:
        """The settings of `stage`, None when the book does not use it."""
        return next((policy for policy in self.stages if policy.stage is stage), None)


def unconfigured(name: BookName) -> BookPolicy:
    """The settings of a book that has none any more: what stands is kept, nothing is judged."""
    return BookPolicy(name=name, scopes=(), stages=())


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPolicy:
    """How the operator's switch is obeyed (behaviour.md section 12).

    `halt_suspends_stages`: a halt keeps stages 1 and 2 from opening incidents. `redis_grace_s`: a
    halt that only a silent Redis stands for cancels no order before that.
    """

    halt_suspends_stages: bool = False
    redis_grace_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The validated settings that decisions depend on. Seconds, quote money, fractions.

    `practice_scopes` are the accounts that hold no real money; nothing is decided by that.
    """

    books: tuple[BookPolicy, ...]
    dry_run: bool = True
    poll_s: float = 10.0
    alert_poll_s: float = 3.0
    max_reading_age_s: float = 25.0
    confirm_spacing_s: float = 2.0
    suspect_grace_s: float = 120.0
    suspect_limit_s: float = 600.0
    blind_alert_s: float = 60.0
    blind_lock_s: float = 120.0
    flow_poll_s: float = 60.0
    min_equity: float = 100.0
    enforce_lock_in_dry_run: bool = False
    practice_scopes: tuple[tuple[ScopeId, AccountKind], ...] = ()
    unwatched: tuple[str, ...] = ()
    instance_tag: str = "0000"
    switch: SwitchPolicy = SwitchPolicy()

    def book(self, name: BookName) -> BookPolicy | None:
        """The settings of the named book, None when it is not configured."""
        return next((book for book in self.books if book.name == name), None)

    def book_of(self, scope: ScopeId) -> BookPolicy | None:
        """The book that judges `scope`, None when no book does."""
        return next((book for book in self.books if scope in book.scopes), None)

    def kind_of(self, scope: ScopeId) -> AccountKind:
        """Where a scope lives."""
        return dict(self.practice_scopes).get(scope, AccountKind.LIVE)

    def practice_places(self) -> tuple[tuple[AccountKind, tuple[ScopeId, ...]], ...]:
        """The scopes of each kind that is for practice, in the order of the kinds."""
        kinds = sorted({kind for _, kind in self.practice_scopes}, key=list(AccountKind).index)
        return tuple(
            (kind, tuple(scope for scope, own in self.practice_scopes if own is kind))
            for kind in kinds
        )
