"""What an inspection means: key, clock, account, and what is not watched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from account_findings import EXPIRY_WARNING_S, judge_equity, judge_inspection
from findings import Finding, Level, Topic
from inspection import (
    AccountFamily,
    DeadManState,
    DeadManSwitch,
    Inspection,
    KeyRights,
    NotTold,
    OrderPace,
    Presence,
    Unwatched,
)
from model import PositionMode, Reading, ScopeId
from tests.closing_values import LONG as LONG_SIDE
from tests.closing_values import SCOPE, position, reading

NOW = 1_750_000_000.0
DAY_S = 86_400.0
RIGHTS = KeyRights(
    can_read=True, can_trade=True, can_withdraw=False, can_read_transfers=True, is_bound_to_ip=True
)
SOUND = Inspection(
    scope=SCOPE,
    asked_at=NOW,
    latency_s=0.05,
    server_offset_s=0.1,
    family=AccountFamily.SINGLE_ASSET,
    position_mode=PositionMode.ONE_WAY,
    rights=RIGHTS,
    dead_man=DeadManSwitch(state=DeadManState.NOT_ARMED, reason="nobody armed it"),
    pace=OrderPace(most=10, within_s=1.0),
)


def judge(
    inspection: Inspection,
    *,
    of: Reading | None = None,
    allow_withdrawal_keys: bool = False,
    watched: tuple[str, ...] = (SCOPE,),
) -> tuple[Finding, ...]:
    """What is found."""
    return judge_inspection(
        inspection,
        reading=of,
        allow_withdrawal_keys=allow_withdrawal_keys,
        watched=[ScopeId(scope) for scope in watched],
        now=NOW,
    )


def told(found: tuple[Finding, ...]) -> list[tuple[Level, Topic]]:
    """What is not fine."""
    return [(one.level, one.topic) for one in found if one.level is not Level.FINE]


def with_rights(**changes: object) -> Inspection:
    """A sound account with another key."""
    return replace(SOUND, rights=replace(RIGHTS, **changes))  # type: ignore[arg-type]


def test_a_sound_account_has_nothing_but_fine_findings() -> None:
    """One for each matter, so that nothing is passed over in silence."""
    found = judge(SOUND, of=reading(position("SOL", LONG_SIDE, "1")))
    assert told(found) == []
    assert len({one.topic for one in found}) == len(found) == 10


def test_a_venue_that_does_not_answer_is_one_fault() -> None:
    """What it did not tell besides has the same reason."""
    silent = NotTold(reason="timed out")
    lost = replace(SOUND, latency_s=silent, server_offset_s=silent, family=silent)
    (found,) = judge(lost)
    assert (found.level, found.topic) == (Level.FAULT, Topic.CONNECTION)
    assert "timed out" in found.what


def test_a_slow_venue_is_a_warning() -> None:
    """Every close takes at least as long."""
    assert told(judge(replace(SOUND, latency_s=1.2))) == [(Level.WARNING, Topic.CONNECTION)]


@pytest.mark.parametrize(
    ("offset_s", "words"),
    [(2.0, "2.0 s behind the venue's"), (-2.0, "2.0 s ahead of the venue's")],
)
def test_a_clock_that_is_off_by_more_than_a_second_is_a_fault(offset_s: float, words: str) -> None:
    """The venue's clock minus ours is positive: ours is behind."""
    found = judge(replace(SOUND, server_offset_s=offset_s))
    assert told(found) == [(Level.FAULT, Topic.CLOCK)]
    assert any(words in one.what for one in found)


@pytest.mark.parametrize("offset_s", [1.0, -1.0])
def test_a_clock_within_a_second_is_fine(offset_s: float) -> None:
    """Exactly a second still is."""
    assert told(judge(replace(SOUND, server_offset_s=offset_s))) == []


@pytest.mark.parametrize(
    ("right", "value", "topic"),
    [
        ("can_read", False, Topic.KEY_READS),
        ("can_trade", False, Topic.KEY_TRADES),
        ("can_withdraw", True, Topic.KEY_WITHDRAWS),
        ("can_read_transfers", False, Topic.KEY_READS_TRANSFERS),
    ],
)
def test_a_wrong_right_of_the_key_is_a_fault(right: str, value: bool, topic: Topic) -> None:
    """Each by itself."""
    assert told(judge(with_rights(**{right: value}))) == [(Level.FAULT, topic)]


def test_a_read_only_key_can_see_and_cannot_close() -> None:
    """In these words."""
    assert any("can see, cannot close" in one.what for one in judge(with_rights(can_trade=False)))


def test_a_withdrawal_right_that_is_allowed_stays_a_warning() -> None:
    """The operator knows; whoever reads the screen later may not."""
    found = judge(with_rights(can_withdraw=True), allow_withdrawal_keys=True)
    assert told(found) == [(Level.WARNING, Topic.KEY_WITHDRAWS)]


def test_allowing_withdrawals_changes_nothing_for_a_key_without_that_right() -> None:
    """It is fine, and not warned of."""
    assert told(judge(SOUND, allow_withdrawal_keys=True)) == []


def test_what_the_venue_does_not_tell_is_one_warning_for_each_reason() -> None:
    """Five questions left open by one refusal, and one by another."""
    no_rights = KeyRights(reason="HTTP 403")
    found = judge(replace(SOUND, rights=no_rights, family=NotTold(reason="HTTP 500")))
    assert told(found) == [(Level.WARNING, Topic.NOT_TOLD)] * 2
    account, key = (one.what for one in found if one.topic is Topic.NOT_TOLD)
    assert account == "not told: what kind of account this is (HTTP 500)"
    assert key.count("whether the key may") == 4 and key.endswith("works (HTTP 403)")


def test_the_clock_alone_may_be_untold() -> None:
    """Latency and offset come from one answer, whose time may make no sense; no reason is fine."""
    found = judge(replace(SOUND, server_offset_s=NotTold(reason="")))
    (one,) = (one for one in found if one.topic is Topic.NOT_TOLD)
    assert one.what == "not told: the venue's time"


def test_a_key_that_works_from_everywhere_is_a_warning() -> None:
    """Bound to an address, a stolen key is worth nothing."""
    assert told(judge(with_rights(is_bound_to_ip=False))) == [(Level.WARNING, Topic.KEY_ADDRESSES)]


@pytest.mark.parametrize(
    ("left_s", "level", "words"),
    [
        (-2 * DAY_S, Level.FAULT, "expired 2 days ago"),
        (3 * DAY_S, Level.WARNING, "expires in 3 days"),
        (EXPIRY_WARNING_S, Level.FINE, "expires in 14 days"),
    ],
)
def test_the_end_of_a_key_is_told_in_time(left_s: float, level: Level, words: str) -> None:
    """Two weeks before it."""
    found = judge(with_rights(expires_at=NOW + left_s))
    (one,) = (one for one in found if one.topic is Topic.KEY_EXPIRY)
    assert (one.level, one.what) == (level, f"the key {words}")


def test_the_mode_of_the_positions_must_be_that_of_the_account() -> None:
    """Closes would carry the parameters of one and meet the other."""
    held = reading(position("SOL", LONG_SIDE, "1"), mode=PositionMode.HEDGE)
    assert told(judge(SOUND, of=held)) == [(Level.FAULT, Topic.POSITION_MODE)]


def test_a_mode_that_nobody_tells_is_a_warning() -> None:
    """Neither the venue nor a reading."""
    found = judge(replace(SOUND, position_mode=NotTold(reason="HTTP 500")))
    assert told(found) == [(Level.WARNING, Topic.NOT_TOLD)]


def test_a_mode_that_only_the_reading_tells_is_fine() -> None:
    """Closes go by it, and some venues have a mode for each symbol."""
    untold = replace(SOUND, position_mode=NotTold(reason="every symbol has its own"))
    found = judge(untold, of=reading(position("SOL", LONG_SIDE, "1")))
    assert told(found) == []
    (one,) = (one for one in found if one.topic is Topic.POSITION_MODE)
    assert one.what == "one-way by its reading (every symbol has its own)"


def test_a_dead_man_switch_that_only_looks_armed_is_a_warning() -> None:
    """Whoever trusts in it is worse off than without."""
    deceiving = DeadManSwitch(state=DeadManState.LOOKS_ARMED_BUT_IS_NOT, reason="no socket")
    assert told(judge(replace(SOUND, dead_man=deceiving))) == [
        (Level.WARNING, Topic.DEAD_MAN_SWITCH)
    ]


def test_parts_of_the_venue_that_are_not_watched_are_named() -> None:
    """What holds something is a warning, what cannot be seen is said."""
    parts = (
        Unwatched(part="options", presence=Presence.UNSEEN, detail="HTTP 401"),
        Unwatched(part="coin-margined futures", presence=Presence.HOLDS, detail="ETH"),
        Unwatched(part="sub-accounts", presence=Presence.HOLDS, detail="2"),
    )
    found = judge(replace(SOUND, unwatched=parts))
    assert told(found) == [(Level.WARNING, Topic.NOT_WATCHED)]
    assert [one.what for one in found if one.topic is Topic.NOT_WATCHED] == [
        "not watched, and not empty: coin-margined futures (ETH), sub-accounts (2)",
        "not watched, and could not be looked at: options",
    ]


def test_a_part_that_another_scope_watches_is_watched() -> None:
    """Spot beside futures, when both are configured."""
    spot = Unwatched(
        part="spot", presence=Presence.HOLDS, detail="BTC", covered_by=ScopeId("binance_spot")
    )
    one_scope = replace(SOUND, unwatched=(spot,))
    assert told(judge(one_scope, watched=(SCOPE, "binance_spot"))) == []
    assert told(judge(one_scope)) == [(Level.WARNING, Topic.NOT_WATCHED)]


@pytest.mark.parametrize(("least", "count"), [(10_000.0, 0), (10_001.0, 1)])
def test_an_account_below_min_equity_is_not_judged_and_that_is_told(
    least: float, count: int
) -> None:
    """It holds 10,000: exactly the least is enough."""
    found = judge_equity(reading(), min_equity=least)
    assert told(found) == [(Level.WARNING, Topic.EQUITY)] * count


def test_money_that_is_in_another_account_altogether_is_a_fault() -> None:
    """A futures endpoint that answers 0 because the account is a portfolio-margin one."""
    instead = Unwatched(part="portfolio margin", presence=Presence.INSTEAD, detail="equity 5,000")
    found = judge(replace(SOUND, unwatched=(instead,)))
    assert told(found) == [(Level.FAULT, Topic.NOT_WATCHED)]
