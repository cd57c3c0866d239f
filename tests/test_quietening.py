"""Repeats are counted and told when the period is over; an acknowledgement silences them."""

from __future__ import annotations

import pytest

import quietening
from alerts import Alert
from memory import Severity
from quietening import FORGOTTEN_AFTER_S, Quietening
from tests.decision_values import NOON

PERIOD_S = 600.0
CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def alert(
    event: str = "blind",
    *,
    at: float = 0.0,
    severity: Severity = CRITICAL,
    scope: str = "a",
    subject: str = "",
) -> Alert:
    """An alert of some second."""
    return Alert(
        at=NOON + at,
        event=event,
        scope=scope,
        severity=severity,
        title=event,
        body=f"at {at:.0f}",
        subject=subject,
    )


class Pace:
    """Takes alerts at given seconds and keeps what was told, as (second, event, body)."""

    def __init__(self) -> None:
        self.quietening = Quietening(repeat_s=PERIOD_S)
        self.told: list[tuple[float, str, str]] = []

    def take(self, at: float, event: str = "blind", **changes: object) -> bool:
        """Let one alert in; whether it is told at once."""
        let = self.quietening.take(alert(event, at=at, **changes), at)  # type: ignore[arg-type]
        if let is not None:
            self.told.append((at, let.event, let.body))
        return let is not None

    def wait(self, until: float) -> None:
        """Let time pass, and tell what becomes due."""
        self.told += [(until, one.event, one.body) for one in self.quietening.due(until)]


@pytest.mark.parametrize(
    ("event", "times", "told"),
    [
        ("blind", (0,), ["at 0"]),
        ("blind", (0, 30, 60), ["at 0"]),
        ("blind", (0, 30, 60, 600), ["at 0", "at 600\nand 2 more like it"]),
        ("blind", (0, 600, 1200), ["at 0", "at 600", "at 1200"]),
        ("incident_stuck", (30, 120, 720), ["at 30", "at 120", "at 720"]),
        ("an_event_of_its_own", (0, 1, 2), ["at 0"]),
    ],
)
def test_repeats_within_the_period_are_counted(
    event: str, times: tuple[float, ...], told: list[str]
) -> None:
    """The first is told; what has a pace of its own always is."""
    pace = Pace()
    for at in times:
        pace.take(at, event)
    assert [body for _, _, body in pace.told] == told


@pytest.mark.parametrize(
    "other",
    [{"scope": "b"}, {"subject": "incident-2"}, {"event": "suspect"}, {"severity": CRITICAL}],
)
def test_what_is_new_or_more_severe_is_told_at_once(other: dict[str, object]) -> None:
    """Another account, another incident, another event, or worse than before."""
    pace = Pace()
    assert pace.take(0, severity=WARNING)
    assert not pace.take(1, severity=WARNING)
    assert pace.take(2, **{"severity": WARNING, **other})  # type: ignore[arg-type]


def test_what_was_kept_back_is_told_when_the_period_is_over() -> None:
    """What holds at last must be known although nothing comes any more."""
    pace = Pace()
    for at in (0, 100, 200):
        pace.take(at)
    assert pace.quietening.next_due() == PERIOD_S
    pace.wait(599)
    assert len(pace.told) == 1
    pace.wait(600)
    assert pace.told[1:] == [(600, "blind", "at 200\nand 1 more like it")]
    assert pace.quietening.next_due() is None
    pace.wait(5_000)
    assert len(pace.told) == 2


@pytest.mark.parametrize("last", ["blind", "sight_regained"])
def test_the_last_word_about_what_comes_and_goes_is_what_holds(last: str) -> None:
    """Blind and seeing again every ten seconds: the last one told is the last one that came."""
    pace = Pace()
    events = ("blind", "sight_regained") * 4 + (("blind",) if last == "blind" else ())
    for number, event in enumerate(events):
        pace.take(10.0 * number, event)
    pace.wait(700)
    pace.wait(1_400)
    assert pace.told[-1][1] == last
    assert len(pace.told) == 3


def test_an_acknowledgement_silences_the_repeats_of_all_that_was_told() -> None:
    """Also what comes at its own pace, as the incident that is stuck does every ten minutes."""
    pace = Pace()
    pace.take(0, "incident_stuck", subject="i1")
    pace.take(1, "store_trouble")
    pace.quietening.acknowledge()
    assert not pace.take(600, "incident_stuck", subject="i1")
    assert not pace.take(1_200, "incident_stuck", subject="i1")
    assert not pace.take(1_201, "store_trouble")
    pace.wait(2_000)
    assert len(pace.told) == 2
    assert pace.quietening.next_due() is None


@pytest.mark.parametrize(
    ("event", "severity", "ends"),
    [("suspect", WARNING, True), ("suspect", INFO, False), ("rearmed", INFO, False)],
)
def test_something_new_ends_the_acknowledgement_unless_it_only_informs(
    event: str, severity: Severity, ends: bool
) -> None:
    """Things got worse: whoever thought he knew must hear all of it again."""
    pace = Pace()
    pace.take(0, "incident_stuck")
    pace.quietening.acknowledge()
    assert not pace.take(600, "incident_stuck")
    assert pace.take(700, event, severity=severity)
    assert pace.take(1_200, "incident_stuck") is ends
    if ends:
        assert pace.told[-1][2] == "at 1200\nand 1 more like it"


def test_something_more_severe_ends_the_acknowledgement() -> None:
    """The same event, louder."""
    pace = Pace()
    pace.take(0, severity=WARNING)
    pace.quietening.acknowledge()
    assert not pace.take(700, severity=WARNING)
    assert pace.take(701, severity=CRITICAL)


@pytest.mark.parametrize("severity", [CRITICAL, WARNING, INFO])
@pytest.mark.parametrize("event", ["switch_changed", "follow_up", "reset", "rearmed"])
def test_no_acknowledgement_silences_an_event_of_its_own(event: str, severity: Severity) -> None:
    """Who has seen the halt has not seen the kill, nor that somebody set it back to running."""
    pace = Pace()
    pace.take(0, event, severity=severity, subject="i1")
    pace.take(1, "incident_stuck")
    pace.quietening.acknowledge()
    assert pace.take(60, event, severity=severity, subject="i1")
    assert pace.take(61, "incident_stuck") is (severity is not INFO)


def test_what_is_over_and_comes_again_is_news_in_spite_of_an_acknowledgement() -> None:
    """Who acknowledged a blindness has not seen the next one."""
    pace = Pace()
    pace.take(0)
    pace.quietening.acknowledge()
    assert pace.take(300, "sight_regained", severity=INFO)
    assert pace.take(700)


def test_an_acknowledgement_is_not_of_what_came_back_and_was_kept_back() -> None:
    """Blind, seeing, blind within the period: whoever acknowledges then has read "sees again"."""
    pace = Pace()
    pace.take(0)
    pace.take(60, "sight_regained", severity=INFO)
    assert not pace.take(120)
    pace.quietening.acknowledge()
    pace.wait(600)
    assert pace.told[-1] == (600, "blind", "at 120")


def test_what_was_silent_for_long_is_news_again() -> None:
    """An acknowledgement of Monday must not silence Friday."""
    pace = Pace()
    pace.take(0)
    pace.quietening.acknowledge()
    assert not pace.take(1_000)
    assert pace.take(1_001 + FORGOTTEN_AFTER_S)
    assert pace.told[-1][2] == f"at {1_001 + FORGOTTEN_AFTER_S:.0f}"


def test_what_waits_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept back and not acknowledged, it is told however late somebody looks."""
    pace = Pace()
    pace.take(0)
    pace.take(1)
    assert pace.take(5_000, "suspect")
    pace.wait(5_001)
    assert [event for _, event, _ in pace.told] == ["blind", "suspect", "blind"]
    monkeypatch.setattr(quietening, "MOST_KEPT", 1)
    pace.take(5_002, "forced_trust")
    pace.take(5_003, "reset")
    assert pace.take(5_004, "suspect"), "of too many the longest silent are forgotten"
