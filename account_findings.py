"""What an inspection means: is the key right, is the clock right, is the right account watched.

Pure: judges the values of `inspection`, asks nobody. What the venue did not tell is never fine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from findings import Finding, Level, Topic
from inspection import (
    AccountFamily,
    DeadManState,
    DeadManSwitch,
    Inspection,
    KeyRights,
    NotTold,
    Presence,
    Unwatched,
)
from model import PositionMode, Reading, ScopeId

MAX_OFFSET_S = 1.0
"""A time stamp further ahead than this is refused by Binance; and records are told apart by it."""
SLOW_S = 1.0
"""Above it a close by kill cannot begin within the second that behaviour.md 12 allows."""
EXPIRY_WARNING_S = 14 * 86_400.0
_DAY_S = 86_400.0


def judge_inspection(
    inspection: Inspection,
    *,
    reading: Reading | None,
    allow_withdrawal_keys: bool,
    watched: Collection[ScopeId],
    now: float,
) -> tuple[Finding, ...]:
    """Judge what one scope's venue told; `watched` are all the scopes that this guard watches.

    `reading` is the account as it was read beside, None when it could not be.
    """
    latency_s = inspection.latency_s
    if isinstance(latency_s, NotTold):
        # Nothing else got through either: one line says it all.
        return (_silent(latency_s),)
    judged = (
        *_judge_connection(latency_s, inspection.server_offset_s),
        *_judge_account(inspection, reading),
        *_judge_rights(inspection.rights, allow_withdrawal_keys=allow_withdrawal_keys),
        *_judge_reach(inspection.rights, now=now),
        _judge_dead_man(inspection.dead_man),
        *_judge_unwatched(inspection.unwatched, watched=watched),
    )
    return (
        *(found for found in judged if isinstance(found, Finding)),
        *_gather([found for found in judged if isinstance(found, _Open)]),
    )


@dataclass(frozen=True, slots=True)
class _Open:
    """A question that the venue did not answer, and why."""

    question: str
    reason: str


def _gather(left_open: Sequence[_Open]) -> Iterator[Finding]:
    """One finding for all questions that are open for the same reason."""
    for reason in dict.fromkeys(found.reason for found in left_open):
        questions = [found.question for found in left_open if found.reason == reason]
        yield Finding(
            level=Level.WARNING,
            topic=Topic.NOT_TOLD,
            what=f"not told: {', '.join(questions)}{f' ({reason})' if reason else ''}",
            remedy="look it up in the venue's settings",
        )


def _silent(latency_s: NotTold) -> Finding:
    return Finding(
        level=Level.FAULT,
        topic=Topic.CONNECTION,
        what=f"does not answer: {latency_s.reason}",
        remedy="see whether the venue is down and this machine may reach it; then check again",
    )


def judge_equity(reading: Reading, *, min_equity: float) -> tuple[Finding, ...]:
    """An account that holds too little is shown and not judged: no stage can fire on it."""
    if reading.equity >= min_equity:
        return ()
    return (
        Finding(
            level=Level.WARNING,
            topic=Topic.EQUITY,
            what=f"equity {reading.equity:,.2f} is below min_equity ({min_equity:g}): unless it "
            "held more before, no stage fires",
            remedy="hold more, or write a smaller min_equity",
        ),
    )


def _judge_connection(latency_s: float, offset_s: float | NotTold) -> Iterator[Finding | _Open]:
    is_slow = latency_s > SLOW_S
    yield Finding(
        level=Level.WARNING if is_slow else Level.FINE,
        topic=Topic.CONNECTION,
        what=f"answers in {latency_s * 1000:,.0f} ms",
        remedy="run the guard nearer to the venue: every close takes at least as long"
        if is_slow
        else "",
    )
    if isinstance(offset_s, NotTold):
        yield _Open("the venue's time", offset_s.reason)
        return
    is_off = abs(offset_s) > MAX_OFFSET_S
    direction = "behind" if offset_s > 0 else "ahead of"
    yield Finding(
        level=Level.FAULT if is_off else Level.FINE,
        topic=Topic.CLOCK,
        what=f"this machine's clock is {abs(offset_s):.1f} s {direction} the venue's"
        if is_off
        else f"this machine's clock is within {MAX_OFFSET_S:g} s of the venue's",
        remedy="set it by the network: timedatectl set-ntp true" if is_off else "",
    )


def _judge_account(inspection: Inspection, reading: Reading | None) -> Iterator[Finding | _Open]:
    family, mode = inspection.family, inspection.position_mode
    if isinstance(family, NotTold):
        yield _Open("what kind of account this is", family.reason)
    else:
        yield Finding(
            level=Level.FINE,
            topic=Topic.ACCOUNT_FAMILY,
            what=_words(family),
        )
    if isinstance(mode, NotTold) and reading is not None:
        # Closes go by what the reading says; some venues have a mode for each symbol.
        yield Finding(
            level=Level.FINE,
            topic=Topic.POSITION_MODE,
            what=f"{_words(reading.position_mode)} by its reading ({mode.reason})",
        )
    elif isinstance(mode, NotTold):
        yield _Open("whether it is one-way or hedged", mode.reason)
    elif reading is not None and reading.position_mode is not mode:
        yield Finding(
            level=Level.FAULT,
            topic=Topic.POSITION_MODE,
            what=f"the account is set to {mode}, and its positions are held as "
            f"{reading.position_mode}: closes may be refused for wrong parameters",
            remedy="look at the position mode in the venue's settings, then check again",
        )
    else:
        yield Finding(level=Level.FINE, topic=Topic.POSITION_MODE, what=_words(mode))


def _words(kind: AccountFamily | PositionMode) -> str:
    return kind.value.lower().replace("_", "-")


def _judge_rights(rights: KeyRights, *, allow_withdrawal_keys: bool) -> Iterator[Finding | _Open]:
    """Reading, trading, withdrawing, and the records that tell a withdrawal from a loss."""
    yield _judge_right(
        rights.can_read,
        Topic.KEY_READS,
        question="whether the key may read",
        fine="the key may read",
        fault="the key may not read: nothing is guarded",
        remedy="allow reading for this key at the venue, or make a new one",
        reason=rights.reason,
    )
    yield _judge_right(
        rights.can_trade,
        Topic.KEY_TRADES,
        question="whether the key may trade",
        fine="the key may trade",
        fault="read-only: the guard can see, cannot close",
        remedy="allow trading on this account for the key at the venue, or make a new one",
        reason=rights.reason,
    )
    if rights.can_withdraw and allow_withdrawal_keys:
        yield Finding(
            level=Level.WARNING,
            topic=Topic.KEY_WITHDRAWS,
            what="the key may withdraw, as allow_withdrawal_keys allows",
            remedy="make a key without that right: whoever steals this one takes the money",
        )
    else:
        yield _judge_right(
            None if rights.can_withdraw is None else not rights.can_withdraw,
            Topic.KEY_WITHDRAWS,
            question="whether the key may withdraw",
            fine="the key may not withdraw",
            fault="the key may withdraw: whoever steals it takes the money",
            remedy="take that right from the key at the venue, or write "
            "allow_withdrawal_keys: true for it",
            reason=rights.reason,
        )
    yield _judge_right(
        rights.can_read_transfers,
        Topic.KEY_READS_TRANSFERS,
        question="whether the key may read transfers",
        fine="the key may read transfers",
        fault="the key cannot read transfers: a withdrawal would look like a loss",
        remedy="allow reading account records for this key at the venue",
        reason=rights.reason,
    )


def _judge_right(
    is_right: bool | None,
    topic: Topic,
    *,
    question: str,
    fine: str,
    fault: str,
    remedy: str,
    reason: str,
) -> Finding | _Open:
    if is_right is None:
        return _Open(question, reason)
    if is_right:
        return Finding(level=Level.FINE, topic=topic, what=fine)
    return Finding(level=Level.FAULT, topic=topic, what=fault, remedy=remedy)


def _judge_reach(rights: KeyRights, *, now: float) -> Iterator[Finding | _Open]:
    """From where the key works, and for how long."""
    if rights.is_bound_to_ip is None:
        yield _Open("from which addresses the key works", rights.reason)
    elif rights.is_bound_to_ip:
        yield Finding(
            level=Level.FINE, topic=Topic.KEY_ADDRESSES, what="the key works from listed addresses"
        )
    else:
        yield Finding(
            level=Level.WARNING,
            topic=Topic.KEY_ADDRESSES,
            what="the key works from every address",
            remedy="bind it to this machine's address at the venue",
        )
    if rights.expires_at is None:
        return
    left_s = rights.expires_at - now
    days = f"{abs(left_s) / _DAY_S:.0f} days"
    if left_s <= 0:
        yield Finding(
            level=Level.FAULT,
            topic=Topic.KEY_EXPIRY,
            what=f"the key expired {days} ago",
            remedy="renew it at the venue, or make a new one",
        )
    else:
        is_soon = left_s < EXPIRY_WARNING_S
        yield Finding(
            level=Level.WARNING if is_soon else Level.FINE,
            topic=Topic.KEY_EXPIRY,
            what=f"the key expires in {days}",
            remedy="renew it at the venue before then" if is_soon else "",
        )


def _judge_dead_man(switch: DeadManSwitch) -> Finding:
    is_deceiving = switch.state is DeadManState.LOOKS_ARMED_BUT_IS_NOT
    return Finding(
        level=Level.WARNING if is_deceiving else Level.FINE,
        topic=Topic.DEAD_MAN_SWITCH,
        what=f"{switch.state.value.lower().replace('_', ' ')}: {switch.reason}",
        remedy="do not rely on it: it cancels orders at best and never closes"
        if is_deceiving
        else "",
    )


def _judge_unwatched(
    parts: Collection[Unwatched], *, watched: Collection[ScopeId]
) -> Iterator[Finding]:
    held: list[str] = []
    unseen: list[str] = []
    for part in parts:
        if part.covered_by is not None and part.covered_by in watched:
            continue
        match part.presence:
            case Presence.INSTEAD:
                yield Finding(
                    level=Level.FAULT,
                    topic=Topic.NOT_WATCHED,
                    what=f"the money is elsewhere and not guarded: {part.detail}",
                    remedy="this account cannot be guarded by this scope; watch it by other means",
                    subject=part.part,
                )
            case Presence.HOLDS:
                held.append(f"{part.part} ({part.detail})")
            case Presence.UNSEEN:
                unseen.append(part.part)
            case _:
                assert_never(part.presence)
    if held:
        yield Finding(
            level=Level.WARNING,
            topic=Topic.NOT_WATCHED,
            what=f"not watched, and not empty: {', '.join(held)}",
            remedy="what is there can be lost unguarded: watch it by other means",
        )
    if unseen:
        yield Finding(
            level=Level.FINE,
            topic=Topic.NOT_WATCHED,
            what=f"not watched, and could not be looked at: {', '.join(unseen)}",
        )
