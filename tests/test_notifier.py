"""Alerts reach real receivers over real HTTP; a target that is slow, dead or full delays nobody."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import notifier
from alerts import Alert
from clock import SystemClock
from errors import Unavailable
from memory import Records, Severity
from notifier import (
    MOST_HUNG,
    MOST_TRIES,
    MOST_WAITING,
    SEND_WITHIN_S,
    AppriseAddress,
    Deliver,
    Notifier,
    Target,
    count_recipients,
    send_each,
)
from recorder import Recorder
from redaction import NOTHING_HIDDEN, Redactor
from simulator.virtual_time import LoopClock
from supervision import Supervisor
from tests.virtual_house import EPOCH, Logbook, play
from tests.webhook import SECRET_PATH, an_alert, webhook

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL


@pytest.fixture(autouse=True, scope="module")
def with_the_library() -> None:
    """A start judges every address before anything runs; no deadline of a test pays for that."""
    assert count_recipients("json://127.0.0.1:9/")


class States:
    """What was told of failing targets."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, why: str) -> None:
        """Some fail."""
        self.told.append(why)

    def end(self) -> None:
        """None does any more."""
        self.told.append("")


class _NoStore:
    async def commit(self, records: Records) -> None:
        """Keep nothing."""


def make(states: States, *targets: Target, clock: Any = None) -> Notifier:
    """A notifier of these targets; faults of its own end up in the log that nobody reads."""
    clock, log = clock or SystemClock(), Logbook()
    recorder = Recorder(
        _NoStore(),
        on_trouble=lambda _why: None,
        on_recovery=lambda: None,
        on_loss=lambda _what: None,
        probe=lambda _why: Records(),
    )
    return Notifier(
        targets,
        clock=clock,
        supervisor=Supervisor(recorder=recorder, clock=clock, log=log, dry_run=False),  # type: ignore[arg-type]
        on_trouble=states.begin,
        on_recovery=states.end,
    )


def target(deliver: Deliver, *, name: str = "HOOK_URL", least: Severity = INFO) -> Target:
    """A target of a test."""
    return Target(name=name, min_severity=least, deliver=deliver)


def real(url: str, *, name: str = "HOOK_URL", least: Severity = INFO) -> Target:
    """A target that apprise sends to."""
    return target(
        AppriseAddress(name=name, url=url, redactor=Redactor((url,))), name=name, least=least
    )


# --- over real HTTP -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "kind"), [(INFO, "info"), (WARNING, "warning"), (CRITICAL, "failure")]
)
async def test_an_alert_arrives_with_its_words_and_severity(severity: Severity, kind: str) -> None:
    """Title, body and kind, as a webhook gets them; nothing is added and nothing reworded."""
    async with webhook() as hook:
        line = make(States(), real(hook.address))
        line.tell(an_alert(7, severity))
        await hook.until(1)
        await line.aclose(within_s=5)
    (got,) = hook.got
    assert (got["title"], got["message"], got["type"]) == ("alert 7", "body of 7", kind)


async def test_each_target_hears_what_is_severe_enough_for_it() -> None:
    """One telephone gets everything, the other only what should wake somebody."""
    async with webhook() as every, webhook() as few:
        line = make(
            States(),
            real(every.address, name="A_URL"),
            real(few.address, name="B_URL", least=CRITICAL),
        )
        for number, severity in enumerate((INFO, WARNING, CRITICAL)):
            line.tell(an_alert(number, severity))
        await every.until(3)
        await few.until(1)
        await line.aclose(within_s=5)
    assert every.titles == ["alert 0", "alert 1", "alert 2"]
    assert few.titles == ["alert 2"]


async def test_a_target_that_never_answers_delays_no_other() -> None:
    """The slow one still holds its first alert when the other has all of them."""
    async with webhook(status=0) as slow, webhook() as quick:
        line = make(States(), real(slow.address, name="A_URL"), real(quick.address, name="B_URL"))
        for number in range(3):
            line.tell(an_alert(number))
        await slow.until_waiting(1)
        await quick.until(3)
        assert slow.got == []
        await line.aclose(within_s=0.1)
    assert quick.titles == ["alert 0", "alert 1", "alert 2"]


async def test_what_a_service_refuses_is_said_without_its_address() -> None:
    """The reason of a 500, with no part of the path in it."""
    async with webhook(status=500) as hook:
        (why,) = await send_each([real(hook.address)], an_alert())
    assert "500" in why
    assert SECRET_PATH not in why


@pytest.mark.parametrize("status", [301, 302, 303, 307])
async def test_a_redirection_is_no_delivery(status: int) -> None:
    """A page that asks for a login says 200 to whatever it is shown; the alert is lost in it."""
    async with webhook(status=status) as hook:
        (why,) = await send_each([real(hook.address)], an_alert())
    assert str(status) in why
    assert SECRET_PATH not in why


async def test_a_test_message_says_of_each_target_whether_it_arrived() -> None:
    """One takes it, one is a closed port, one never answers: side by side, each by itself."""
    async with webhook() as hook, webhook(status=0) as slow:
        async with webhook() as gone:
            pass
        targets = [real(hook.address), real(gone.address), real(slow.address)]
        fine, dead, late = await send_each(targets, an_alert(), within_s=2.0)
    assert fine == ""
    assert dead
    assert late == "alert: no answer in 2 s"
    assert hook.titles == ["alert 0"]


async def test_sends_that_hang_hold_few_threads_and_not_the_process() -> None:
    """Three at most, all of them such that the interpreter leaves behind."""
    async with webhook(status=0) as hook:
        send = AppriseAddress(name="HOOK_URL", url=hook.address, redactor=NOTHING_HIDDEN)
        sends = [asyncio.create_task(send(an_alert())) for _ in range(MOST_HUNG)]
        await hook.until_waiting(MOST_HUNG)
        threads = [one for one in threading.enumerate() if one.name == "alert HOOK_URL"]
        assert [one.daemon for one in threads] == [True] * MOST_HUNG
        with pytest.raises(Unavailable, match="still hang"):
            await send(an_alert())
        hook.is_over.set()
        await asyncio.gather(*sends, return_exceptions=True)


async def test_nothing_that_the_library_says_reaches_the_log() -> None:
    """The library names addresses in its warnings; its log is not listened to, at any level."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    try:
        assert not count_recipients(f"nosuchservice://{SECRET_PATH}")
        async with webhook(status=500) as hook:
            await send_each([real(hook.address)], an_alert())
    finally:
        logging.getLogger().removeHandler(handler)
    assert written.getvalue() == ""


@pytest.mark.parametrize(
    ("url", "count"),
    [
        ("json://127.0.0.1:9/x", 1),
        ("jsons://example.com/x", 1),
        ("tgram://123456789:abcdefg_hijklmnop/12315544", 1),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", 1),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", 1),
        ("mailtos://user:pass@gmail.com?to=you@example.com", 1),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/77777", 2),
        ("mailtos://user:pass@gmail.com?to=you@example.com,me@example.com", 2),
        ("tgram://", 0),
        ("discord://onlyone", 0),
        ("https://example.com/hook", 0),
        ("nosuchservice://a/b", 0),
        ("not an address", 0),
    ],
)
def test_an_address_is_judged_before_anything_is_sent(url: str, count: int) -> None:
    """The services of docs/alerts.md are known, and what is incomplete is found at the start."""
    assert count_recipients(url) == count


# --- in virtual time ----------------------------------------------------------------------------


class Receiver:
    """A target in virtual time. `refuses` says why one alert is not taken, empty if it is."""

    def __init__(self, clock: LoopClock, *, takes_s: float = 0.0) -> None:
        self.clock = clock
        self.takes_s = takes_s
        self.refuses: Callable[[Alert], str] = lambda _alert: ""
        self.tried: list[tuple[float, str]] = []
        self.got: list[Alert] = []

    async def __call__(self, alert: Alert) -> None:
        """Take one alert, or not."""
        self.tried.append((self.clock.monotonic(), alert.title))
        await self.clock.sleep(self.takes_s)
        if why := self.refuses(alert):
            raise Unavailable(why)
        self.got.append(alert)


def test_a_dead_target_is_tried_again_with_growing_pauses() -> None:
    """5, 10, 20, ... and at most 300 s; told as failing after the second, and when it is back."""

    async def story() -> None:
        clock, states = LoopClock(epoch=EPOCH), States()
        receiver = Receiver(clock)
        receiver.refuses = lambda _alert: "the service is down"
        line = make(states, target(receiver), clock=clock)
        line.tell(an_alert())
        await clock.sleep(1_500)
        times = [at for at, _ in receiver.tried]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert pauses[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
        assert set(states.told) == {"HOOK_URL: the service is down"}
        receiver.refuses = lambda _alert: ""
        await clock.sleep(300)
        assert [alert.title for alert in receiver.got] == ["alert 0 (25 min late)"]
        assert states.told[-1] == ""
        line.tell(an_alert(1))
        await clock.sleep(1)
        assert [alert.title for alert in receiver.got] == ["alert 0 (25 min late)", "alert 1"]

    play(story)


def test_what_trips_over_an_alert_pauses_before_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a pause nothing else of the guard would get a turn, closes included."""

    def trip(*_given: object) -> Alert:
        raise RuntimeError("a bug of ours")

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        receiver = Receiver(clock)
        line = make(States(), target(receiver), clock=clock)
        with monkeypatch.context() as patch:
            patch.setattr(notifier, "with_delay", trip)
            line.tell(an_alert())
            # The third pause is over after 5, 10 and 20 s.
            await clock.sleep(34)
        assert receiver.got == []
        await clock.sleep(2)
        assert [alert.title for alert in receiver.got] == ["alert 0"]

    play(story)


def test_one_failure_in_between_is_told_to_nobody() -> None:
    """A network that loses one request is no news."""

    async def story() -> None:
        clock, states = LoopClock(epoch=EPOCH), States()
        receiver = Receiver(clock)
        receiver.refuses = lambda _alert: "" if len(receiver.tried) > 1 else "a hiccup"
        line = make(states, target(receiver), clock=clock)
        line.tell(an_alert())
        await clock.sleep(60)
        assert len(receiver.got) == 1
        assert [state for state in states.told if state] == []

    play(story)


def test_a_full_queue_loses_the_oldest_of_the_least_severe_and_says_so() -> None:
    """67 came and 64 wait: both INFOs go, then the oldest CRITICAL; the next has the count."""

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        receiver = Receiver(clock)
        receiver.refuses = lambda _alert: "down"
        line = make(States(), target(receiver), clock=clock)
        line.tell(an_alert(0))
        line.tell(an_alert(1, INFO))
        line.tell(an_alert(2, INFO))
        for number in range(3, MOST_WAITING + 2):
            line.tell(an_alert(number))
        line.tell(an_alert(99))
        await clock.sleep(1)
        receiver.refuses = lambda _alert: ""
        await clock.sleep(600)
        kept = [*range(3, MOST_WAITING + 2), 99]
        assert [alert.title for alert in receiver.got] == [f"alert {number}" for number in kept]
        lost = [alert.body for alert in receiver.got if "could not be delivered" in alert.body]
        assert len(lost) == 1
        assert lost[0].endswith("3 earlier alerts could not be delivered here")

    play(story)


def test_what_is_lost_while_an_alert_is_on_its_way_is_counted_in_the_next() -> None:
    """Ten seconds of a slow target are enough for a storm."""

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        receiver = Receiver(clock, takes_s=10)
        line = make(States(), target(receiver), clock=clock)
        line.tell(an_alert(0))
        await clock.sleep(5)
        for number in range(1, MOST_WAITING + 3):
            line.tell(an_alert(number, INFO))
        await clock.sleep(20)
        first, second = (alert.body.splitlines()[1:] for alert in receiver.got[:2])
        assert (first, second) == ([], ["3 earlier alerts could not be delivered here"])

    play(story)


def test_an_alert_that_is_refused_again_and_again_lets_the_others_pass() -> None:
    """A text that one service will never take must not silence it for ever."""

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        receiver = Receiver(clock)
        receiver.refuses = lambda alert: "too odd" if alert.title.startswith("alert 0") else ""
        line = make(States(), target(receiver), clock=clock)
        for number in range(4):
            line.tell(an_alert(number))
        await clock.sleep(60)
        assert [alert.title for alert in receiver.got] == ["alert 1", "alert 2", "alert 3"]
        await clock.sleep(MOST_TRIES * 300)
        assert sum(title.startswith("alert 0") for _, title in receiver.tried) == MOST_TRIES
        line.tell(an_alert(4))
        await clock.sleep(1)
        assert "1 earlier alert could" in receiver.got[-1].body

    play(story)


def test_after_an_outage_the_last_first_line_is_not_taken_for_what_holds() -> None:
    """Blind while nothing reaches the target either; then "sees again" comes first: 5 min late."""

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        receiver = Receiver(clock)
        receiver.refuses = lambda _alert: "no network"
        line = make(States(), target(receiver), clock=clock)
        line.tell(an_alert(0))
        await clock.sleep(300)
        receiver.refuses = lambda _alert: ""
        line.tell(an_alert(1))
        await clock.sleep(600)
        assert [alert.title for alert in receiver.got] == ["alert 1", "alert 0 (5 min late)"]

    play(story)


def test_what_is_critical_ends_the_pause_of_a_target_that_failed() -> None:
    """The network is back since a minute, and the next try would come in four: not for this."""

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        receiver = Receiver(clock)
        receiver.refuses = lambda _alert: "no network"
        line = make(States(), target(receiver), clock=clock)
        line.tell(an_alert(0, INFO))
        await clock.sleep(700)
        receiver.refuses = lambda _alert: ""
        line.tell(an_alert(1, WARNING))
        await clock.sleep(10)
        assert receiver.got == []
        line.tell(an_alert(2))
        await clock.sleep(1)
        assert {"alert 1", "alert 2"} <= {alert.title for alert in receiver.got}

    play(story)


def test_a_send_that_hangs_is_given_up_at_its_deadline() -> None:
    """15 s, and then the next try."""

    async def story() -> None:
        clock, states = LoopClock(epoch=EPOCH), States()
        receiver = Receiver(clock, takes_s=10_000)
        line = make(states, target(receiver), clock=clock)
        line.tell(an_alert())
        await clock.sleep(2 * SEND_WITHIN_S + 6)
        assert [at for at, _ in receiver.tried] == [0, SEND_WITHIN_S + 5]
        assert states.told == [f"HOOK_URL: alert: no answer in {SEND_WITHIN_S:g} s"]

    play(story)


def test_two_failing_targets_are_named_together() -> None:
    """One that is back does not hide the other."""

    async def story() -> None:
        clock, states = LoopClock(epoch=EPOCH), States()
        one, two = Receiver(clock), Receiver(clock)
        one.refuses = two.refuses = lambda _alert: "down"
        line = make(states, target(one, name="A_URL"), target(two, name="B_URL"), clock=clock)
        line.tell(an_alert())
        await clock.sleep(60)
        assert states.told[-1] == "A_URL: down; B_URL: down"
        one.refuses = lambda _alert: ""
        await clock.sleep(100)
        assert states.told[-1] == "B_URL: down"
        two.refuses = lambda _alert: ""
        await clock.sleep(300)
        assert states.told[-1] == ""

    play(story)


@pytest.mark.parametrize(
    ("is_down", "takes_s", "lasts_s", "got"), [(False, 1, 2, 2), (True, 0, 0, 0), (False, 60, 5, 0)]
)
def test_the_last_alerts_of_a_run_get_a_few_seconds(
    is_down: bool, takes_s: float, lasts_s: float, got: int
) -> None:
    """Two that take a second each arrive; what is down is tried once more; nobody waits longer."""

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        receiver = Receiver(clock, takes_s=takes_s)
        receiver.refuses = lambda _alert: "down" if is_down else ""
        line = make(States(), target(receiver), clock=clock)
        line.tell(an_alert(0))
        line.tell(an_alert(1))
        began = clock.monotonic()
        await line.aclose(within_s=5)
        assert clock.monotonic() - began == lasts_s
        assert len(receiver.got) == got

    play(story)


def test_a_target_in_a_long_pause_gets_its_last_try_at_the_end() -> None:
    """A pause of minutes does not outlast the wish to end."""

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        receiver = Receiver(clock)
        receiver.refuses = lambda _alert: "down"
        line = make(States(), target(receiver), clock=clock)
        line.tell(an_alert())
        await clock.sleep(1_000)
        receiver.refuses = lambda _alert: ""
        began = clock.monotonic()
        await line.aclose(within_s=5)
        assert clock.monotonic() == began
        assert len(receiver.got) == 1

    play(story)


def test_no_target_and_nothing_told_is_closed_at_once() -> None:
    """A target that never heard anything has no task to end."""

    async def story() -> None:
        clock = LoopClock(epoch=EPOCH)
        await make(States(), target(Receiver(clock)), clock=clock).aclose(within_s=5)
        assert clock.monotonic() == 0
        assert notifier.MAX_PAUSE_S == 300

    play(story)
