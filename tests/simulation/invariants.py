"""What must hold at every moment of every story, as pure functions of what was seen.

Each returns what is wrong in one line, empty when nothing is. The numbers are those by which
violations are reported:

1. no order of ours increases, opens or flips a position, whatever arrived twice or late;
2. stages 1 and 2 leave alone who did not lose, nothing is undershot by more than a step, no coin
   is sold, and what offsets a coin is kept up to the coin;
3. every incident ends, and what it promised holds then;
4. the stage on disk falls only by re-arm or reset; the lock is never weaker than the record,
   stands before the first close, and is lifted only after the record;
5. a dry run sends nothing;
6. what is sent was recorded before, is completed by its outcome, and survives every crash;
7. a loss that stays is acted upon in time, and nothing is without a loss;
8. nothing goes wrong that nobody planned: no stray exception, no deadlock;
9. the switch loosens only by a milder value of that store or a request that was accepted, and the
   lock on disk is never milder than what both stores say, in a dry run as well;
10. a kill leads to LOCKDOWN with nothing held, and only a reset leads out of it;
11. a halt or a pause closes nothing; what could open goes under a halt that somebody set, and under
    a silence not before its grace; protective orders stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from lock_document import EVERY_BOOK, LockMode, parse_lock_entries
from memory import CloseTarget
from model import Side, Source, Stage
from simulator.markets import Market
from simulator.state import ExchangeOrder, Leg
from switch_model import SwitchState

LOOSENING = ("rearmed", "reset")
"""Audit events of a decision that may lower the stage."""

FEES = 20.0
"""Less lost in all than this, in quote, is fees, which this judge gives to no side."""

BLAME_TOLERANCE = 0.10
"""How far the share of a side may differ between the guard's peak and the nearest moment known
here: prices move between a reading and the look of this judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What an order of ours was for: its target, and the incident's stage and source."""

    target: CloseTarget
    stage: Stage
    source: Source
    step: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What rows had made in all at one moment, by symbol and side, in quote."""

    at_s: float
    results: Mapping[tuple[str, Side], float]


def risk_added(entry: Mapping[str, object]) -> str:
    """(1) A fill of ours whose position is larger, new or turned afterwards."""
    before, after = Decimal(str(entry["position_before"])), Decimal(str(entry["position_after"]))
    is_smaller = abs(after) <= abs(before) and before * after >= 0 and before != after
    if is_smaller and before != 0:
        return ""
    return f"{entry['client_id']} took {entry['symbol']} from {before} to {after}"


def undershot(entry: Mapping[str, object], aim: Aim, *, reduced_by_others: Decimal) -> str:
    """(2) A fill of ours that leaves less than may remain, by more than a step.

    What others took from the position between the read that sized the order and its execution is
    theirs: the order was right when it was sent.
    """
    left = abs(Decimal(str(entry["position_after"])))
    missing = aim.target.may_remain - left - reduced_by_others
    if missing <= aim.step:
        return ""
    return (
        f"{entry['client_id']} left {left} of {aim.target.key.symbol}, {aim.target.may_remain} may"
    )


def wrong_side(aim: Aim) -> str:
    """(2) A stage 1 or 2 that closes on the side that its own incident does not blame."""
    side = aim.target.key.side
    if aim.stage > Stage.DOMINANT_CLOSED or aim.source not in (Source.LONG, Source.SHORT):
        return ""
    return "" if side.value == aim.source.value else f"{aim.source} lost and {side} is closed"


def blameless(
    source: Source, history: Sequence[Made], *, threshold: float, spared: Collection[str] = ()
) -> str:
    """(2) A single side that is blamed although there is no moment since which it lost the most.

    The guard counts from its peak, which this judge does not know: it looks for any.
    """
    if source not in (Source.LONG, Source.SHORT) or len(history) < 2:
        return ""
    best = 0.0
    for now in history[-8:]:
        for before in history:
            if before.at_s >= now.at_s:
                break
            best = max(best, _share(source, before, now, spared))
            if best >= threshold - BLAME_TOLERANCE:
                return ""
    return f"{source} is blamed and never lost more than {best:.0%}"


def _share(source: Source, before: Made, now: Made, spared: Collection[str]) -> float:
    lost = {Side.LONG: 0.0, Side.SHORT: 0.0}
    for key, made in now.results.items():
        if key[0] not in spared:
            lost[key[1]] += max(0.0, before.results.get(key, 0.0) - made)
    total = sum(lost.values())
    return lost[Side(source.value)] / total if total >= FEES else 1.0


def unhedged(target: CloseTarget, *, coin: Decimal, market: Market, mark: Decimal) -> str:
    """(2) A target on a short that leaves less of it than offsets the coin of its market.

    What would be too small for the venue to close later may go (behaviour.md section 9).
    """
    kept = min(coin, target.initial_quantity)
    kept -= kept % market.step
    is_too_small = kept < market.min_quantity or kept * mark < market.min_notional
    if target.key.side is not Side.SHORT or target.may_remain >= kept or is_too_small:
        return ""
    return f"{target.may_remain} of {target.key.symbol} may remain beside a coin of {coin}"


def unkept(target: CloseTarget, *, held: Decimal, is_dust: bool) -> str:
    """(3) A target of an incident that is done, and does not hold."""
    if held <= target.may_remain or is_dust:
        return ""
    return (
        f"done with {held} of {target.key.symbol} {target.key.side}, {target.may_remain} may remain"
    )


def left_behind(target: CloseTarget, orders: Iterable[ExchangeOrder]) -> str:
    """(3) An order from before an incident, of a position that went whole, after its end.

    One that can only reduce the other side is not of this position.
    """
    side = target.key.side
    for order in orders:
        only_reduces = order.reduce_only or order.close_position
        is_of_it = order.leg.value == side.value or (
            order.leg is Leg.BOTH and not (only_reduces and order.side is not side.closing_order)
        )
        if target.may_remain == 0 and order.symbol == target.key.symbol and is_of_it:
            return f"{order.order_type} {order.order_id} is left of {order.symbol} {side}"
    return ""


def unended(open_s: float, *, within_s: float) -> str:
    """(3) An incident that is still open so long after everything went well again."""
    return f"still open after {open_s:.0f} s of calm" if open_s > within_s else ""


def fell_without_reason(before: int, after: int, events: Iterable[str]) -> str:
    """(4) A stage on disk that is lower than the last one, without a re-arm or reset beside it.

    (10) LOCKDOWN is never re-armed.
    """
    reasons = LOOSENING if before < Stage.LOCKDOWN else LOOSENING[-1:]
    if after >= before or any(event in reasons for event in events):
        return ""
    return f"stage {before} became {after} without re-arm or reset"


def lock_stage(document: Mapping[str, object] | None, *, now: float) -> int:
    """The highest stage that a lock document holds bots to; raises ValueError for no document."""
    if document is None:
        return 0
    return max(
        (
            int(entry.stage)
            for entry in parse_lock_entries(document)
            if entry.mode in (LockMode.STAGE, LockMode.KILL) and entry.expires_ts > now
        ),
        default=0,
    )


def lifted_early(before: int, after: int, *, recorded: int) -> str:
    """(4) A lock that became weaker while the record still says otherwise."""
    if after >= before or recorded <= after:
        return ""
    return f"the lock fell from stage {before} to {after} while the record says {recorded}"


def closed_unlocked(locked: int, stage: Stage) -> str:
    """(4) A close that is sent before the lock of its stage stands."""
    return "" if locked >= stage else f"a close of stage {stage.value} under a lock of {locked}"


def sent_in_rehearsal(name: str, *, dry_run: bool) -> str:
    """(5) Anything that a dry run sends."""
    return f"a dry run sent {name}" if dry_run else ""


def lost_records(kept: Mapping[str, str], found: Mapping[str, str]) -> str:
    """(6) Something that was committed and is gone from the database, or says another thing."""
    gone = sorted(key for key, value in kept.items() if found.get(key) != value)
    return "" if not gone else f"committed and gone: {', '.join(gone[:3])}"


def unanswered(orders: Mapping[str, str], *, excused: Collection[str]) -> str:
    """(6) An order without its outcome, when everything has been written."""
    open_ones = sorted(key for key, value in orders.items() if not value and key not in excused)
    return "" if not open_ones else f"no outcome of {', '.join(open_ones[:3])}"


def late(lost: float, threshold: float, *, for_s: float, within_s: float) -> str:
    """(7) A loss past a threshold that stayed longer than anything may take, without an answer."""
    if for_s <= within_s:
        return ""
    return f"{lost:.2%} lost, over {threshold:.2%} for {for_s:.0f} s, and nothing was done"


def groundless(lost: float, threshold: float, *, slack: float) -> str:
    """(7) A stage that opened although less was lost in truth."""
    if lost >= threshold - slack:
        return ""
    return f"a stage of {threshold:.2%} opened after a loss of {lost:.2%}"


# --- the switch ---------------------------------------------------------------------------------

SHOWN = {
    LockMode.PAUSE: SwitchState.PAUSE,
    LockMode.HALT: SwitchState.HALT,
    LockMode.KILL: SwitchState.KILL,
}


def lock_switch(
    document: Mapping[str, object] | None, *, explicit_only: bool = False
) -> SwitchState:
    """What a lock document says of the switch, where wanted only what somebody has set."""
    if document is None or not document["locked"]:
        return SwitchState.RUNNING
    states = [
        SHOWN[entry.mode]
        for entry in parse_lock_entries(document)
        if entry.scope == EVERY_BOOK and not (explicit_only and "silent" in entry.reason)
    ]
    return max(states, key=lambda state: state.severity, default=SwitchState.RUNNING)


def unlocked(shown: SwitchState, wanted: SwitchState) -> str:
    """(9) A lock that is milder than the switch."""
    return "" if shown.severity >= wanted.severity else f"the lock says {shown}, wanted {wanted}"


def unseen(for_s: float, *, within_s: float) -> str:
    """(9) A store that nobody looks at."""
    return "" if for_s <= within_s else f"Redis was not looked at for {for_s:.0f} s"


def loosened(before: SwitchState, after: SwitchState, *, wished: Collection[str]) -> str:
    """(9) A store that became milder without an accepted request for that very state."""
    if after.severity >= before.severity or after.value in wished:
        return ""
    return f"{before} became {after} and nobody asked for it"


def forgotten(before: SwitchState, after: SwitchState) -> str:
    """(9) What was known, and is milder after a start or a write that restores it."""
    return "" if after.severity >= before.severity else f"{before} was known and became {after}"


def idle(for_s: float, *, within_s: float) -> str:
    """(10) A kill of which nothing is sent."""
    return "" if for_s <= within_s else f"killed, and nothing was closed for {for_s:.1f} s"


def unasked(about: str, *, for_s: float, within_s: float) -> str:
    """(11) A cancel without an incident, while the switch asks for none."""
    return "" if for_s <= within_s else f"{about} is cancelled and no halt asks for it"


def left_standing(order: str, *, for_s: float, within_s: float) -> str:
    """(11) An order that could open, so long under a halt that somebody set."""
    return "" if for_s <= within_s else f"{order} stands for {for_s:.0f} s under a halt"
