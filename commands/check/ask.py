"""Asks every account what `check` wants to know, all of them at once, and judges the answers.

Nothing here sends an order, takes a lock or waits for a guard. An account that does not answer is
a finding; the others are shown all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from account_findings import judge_equity, judge_inspection
from attempts import Got, Missed, abandon, attempt
from clock import Clock
from closability import find_split_hedges, judge_closability
from close_previews import StagePreview, measure_distances, preview_stages
from commands.assembly import CLOSE_WITHIN_S, MakeVenue, connect
from commands.check.report import ScopeCheck
from findings import Finding, Level, Topic
from inspection import Inspection, NotTold
from model import MarketLimits, Order, Reading, ScopeId, Symbol
from policy import BookPolicy, Policy
from settings import Settings, VenueSettings
from venues.protocol import Venue

START_WITHIN_S = 10.0
READ_WITHIN_S = 20.0
"""A check may be patient: nobody waits for it to close anything."""

Tell = Callable[[str], None]
Value = TypeVar("Value")


async def check_accounts(
    settings: Settings, *, clock: Clock, tell: Tell, make_venue: MakeVenue | None = None
) -> tuple[ScopeCheck, ...]:
    """Check every account of the settings; `tell` is told what is being done.

    Raises ConfigurationError for a connection that cannot be used.
    """
    make = make_venue or partial(connect, clock=clock)
    policy = settings.to_policy()
    pairs = [(venue, scope) for venue in settings.venues for scope in venue.scopes]
    connections = [make(venue, scope) for venue, scope in pairs]
    watched = [scope for _, scope in pairs]
    waiting = dict.fromkeys(watched)

    async def check(venue: VenueSettings, scope: ScopeId, connection: Venue) -> ScopeCheck:
        done = await _check_scope(
            venue,
            scope,
            connection=connection,
            policy=policy,
            watched=watched,
            clock=clock,
        )
        del waiting[scope]
        tell(", ".join(waiting))
        return done

    tell(", ".join(waiting))
    try:
        return tuple(
            await asyncio.gather(
                *(
                    check(venue, scope, connection)
                    for (venue, scope), connection in zip(pairs, connections, strict=True)
                )
            )
        )
    finally:
        closing = [asyncio.ensure_future(connection.aclose()) for connection in connections]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_WITHIN_S)
        for task in closing:
            abandon(task)


async def _check_scope(
    venue: VenueSettings,
    scope: ScopeId,
    *,
    connection: Venue,
    policy: Policy,
    watched: Sequence[ScopeId],
    clock: Clock,
) -> ScopeCheck:
    """Ask one account everything and judge it."""
    await attempt(connection.start(), within_s=START_WITHIN_S, what="connection")
    # First, as the guard does: some venues name the base of a symbol in their market list alone.
    limits = await attempt(
        connection.fetch_market_limits(), within_s=READ_WITHIN_S, what="market rules"
    )
    reading, orders = await asyncio.gather(
        attempt(connection.fetch_reading(scope), within_s=READ_WITHIN_S, what="reading"),
        attempt(connection.fetch_orders(scope), within_s=READ_WITHIN_S, what="open orders"),
    )
    seen = reading.value if isinstance(reading, Got) else None
    held = () if seen is None else seen.positions
    sold = () if seen is None else (coin for coin in seen.coins if coin.sellable > 0)
    symbols = sorted({p.symbol for p in held} | {Symbol(coin.asset) for coin in sold})
    inspected = await attempt(
        connection.inspect(scope, symbols), within_s=READ_WITHIN_S, what="inspection"
    )
    return _judge(
        venue,
        scope,
        policy=policy,
        watched=watched,
        now=clock.now(),
        reading=reading,
        orders=orders,
        limits=limits,
        inspected=inspected,
    )


def _judge(
    venue: VenueSettings,
    scope: ScopeId,
    *,
    policy: Policy,
    watched: Sequence[ScopeId],
    now: float,
    reading: Got[Reading] | Missed,
    orders: Got[tuple[Order, ...]] | Missed,
    limits: Got[Mapping[Symbol, MarketLimits]] | Missed,
    inspected: Got[Inspection] | Missed,
) -> ScopeCheck:
    """Put one account's answers together."""
    book = policy.book_of(scope)
    seen, told = _value(reading), _value(inspected)
    open_orders, markets = _value(orders), _value(limits)
    findings: list[Finding] = []
    if isinstance(reading, Missed):
        findings.append(_unread(reading))
    if told is None:
        findings.append(_not_inspected(inspected))
    elif seen is not None or not isinstance(told.latency_s, NotTold):
        findings += judge_inspection(
            told,
            reading=seen,
            allow_withdrawal_keys=venue.allow_withdrawal_keys,
            watched=watched,
            now=now,
        )
    if seen is not None:
        findings += judge_equity(seen, min_equity=policy.min_equity)
        missed = {Topic.OPEN_ORDERS: orders, Topic.MARKETS: limits}
        findings += (
            _with_reason(finding, missed.get(finding.topic))
            for finding in judge_closability(
                reading=seen, orders=open_orders, limits=markets, book=book
            )
        )
    return ScopeCheck(
        scope=scope,
        exchange=venue.id,
        place=venue.origin,
        reading=seen,
        orders=None if open_orders is None else len(open_orders),
        markets=None if markets is None else len(markets),
        inspection=told,
        findings=tuple(findings),
        previews=_preview(seen, open_orders, markets, book=book, told=told),
        distances=()
        if seen is None or book is None
        else measure_distances(reading=seen, book=book),
    )


def _value(outcome: Got[Value] | Missed) -> Value | None:
    return outcome.value if isinstance(outcome, Got) else None


def _with_reason(finding: Finding, outcome: Got[Any] | Missed | None) -> Finding:
    """The finding with why the venue did not tell what it is about."""
    if not isinstance(outcome, Missed):
        return finding
    return replace(finding, what=f"{finding.what} ({outcome.why})")


def _unread(reading: Missed) -> Finding:
    return Finding(
        level=Level.FAULT,
        topic=Topic.READING,
        what=f"the account cannot be read: {reading.why}",
        remedy="nothing here is guarded until it can: see the reason, then check again",
    )


def _not_inspected(outcome: Got[Inspection] | Missed) -> Finding:
    why = outcome.why if isinstance(outcome, Missed) else ""
    return Finding(
        level=Level.FAULT,
        topic=Topic.CONNECTION,
        what=f"does not tell about itself: {why}",
        remedy="see whether the venue is down; then check again",
    )


def _preview(
    reading: Reading | None,
    orders: tuple[Order, ...] | None,
    limits: Mapping[Symbol, MarketLimits] | None,
    *,
    book: BookPolicy | None,
    told: Inspection | None,
) -> tuple[StagePreview, ...]:
    if reading is None or book is None:
        return ()
    latency_s = None if told is None or isinstance(told.latency_s, NotTold) else told.latency_s
    return preview_stages(
        reading=reading,
        orders=orders or (),
        limits=limits or {},
        book=book,
        costs={} if told is None else told.costs,
        pace=None if told is None or latency_s is None else told.pace,
        latency_s=latency_s or 0.0,
    )


def judge_between(checks: Sequence[ScopeCheck], policy: Policy) -> tuple[Finding, ...]:
    """What no account shows by itself: one base long in one book and short in another."""
    by_book: dict[str, list[Reading]] = {}
    for check in checks:
        book = policy.book_of(check.scope)
        if check.reading is not None and book is not None:
            by_book.setdefault(book.name, []).append(check.reading)
    return find_split_hedges(by_book)
