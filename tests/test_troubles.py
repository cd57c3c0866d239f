"""What fails on the guard's machine is told once for each reason, and shown since it began."""

from __future__ import annotations

import asyncio
import errno
from typing import cast

import pytest

from logger import Logger
from memory import AuditEntry, Records, Severity
from simulator.virtual_time import LoopClock
from tests.virtual_house import EPOCH, Logbook, play
from troubles import TELL_AGAIN_S, Troubles, may_pass


def test_a_trouble_is_told_for_each_reason_and_its_end_once() -> None:
    """`since` stays where it began; the end says since when and why."""

    async def story() -> None:
        log, recorded = Logbook(), list[AuditEntry]()
        troubles = Troubles(clock=LoopClock(epoch=EPOCH), log=cast("Logger", log), dry_run=True)

        def record(records: Records) -> None:
            recorded.extend(records.audits)

        troubles.record = record
        for why in ("slow", "slow", "full", "full"):
            troubles.begin("store", why)
            await asyncio.sleep(10)
        assert troubles.details() == {"trouble_store": "since 2023-11-14 22:13:20 UTC: full"}
        for _ in range(2):
            troubles.end("store")
        assert troubles.details() == {}
        assert [(entry.event, entry.message, entry.severity) for entry in recorded] == [
            ("store_trouble", "slow", Severity.CRITICAL),
            ("store_trouble", "full", Severity.CRITICAL),
            (
                "store_recovered",
                "in order again; it was not since 2023-11-14 22:13:20 UTC: full",
                Severity.INFO,
            ),
        ]
        assert {entry.dry_run for entry in recorded} == {True}
        assert [event for event, _ in log.lines] == [entry.event for entry in recorded]

    play(story)


def test_reasons_that_are_never_the_same_are_not_kept_for_ever() -> None:
    """An exchange that puts the time into its refusal would fill the memory within months."""

    async def story() -> None:
        troubles = Troubles(
            clock=LoopClock(epoch=EPOCH), log=cast("Logger", Logbook()), dry_run=False
        )
        troubles.record = lambda _records: None
        for number in range(1_000):
            troubles.begin("ledger", f"refused at {number}")
            await asyncio.sleep(60)
        assert len(troubles._told_at) <= TELL_AGAIN_S / 60

    play(story)


def test_a_trouble_of_one_account_neither_hides_nor_ends_that_of_another() -> None:
    """Each is told, shown and ended under the name of its account."""

    async def story() -> None:
        log, recorded = Logbook(), list[AuditEntry]()
        troubles = Troubles(clock=LoopClock(epoch=EPOCH), log=cast("Logger", log), dry_run=False)
        troubles.record = lambda records: recorded.extend(records.audits)
        for scope in ("one", "two", "one"):
            troubles.begin("ledger", "refused", scope=scope)
        troubles.end("ledger", scope="one")
        since = "since 2023-11-14 22:13:20 UTC: refused"
        assert troubles.details() == {"trouble_ledger two": since}
        assert [(entry.event, entry.scope) for entry in recorded] == [
            ("ledger_trouble", "one"),
            ("ledger_trouble", "two"),
            ("ledger_recovered", "one"),
        ]

    play(story)


def test_a_trouble_that_comes_and_goes_is_told_now_and_then() -> None:
    """A slow disk at every tick: it stands in the lock each time, and in the log every 5 minutes.

    360 turns of 10 s are 3,600 s: 12 times 300 s.
    """

    async def story() -> None:
        log, recorded = Logbook(), list[AuditEntry]()
        troubles = Troubles(clock=LoopClock(epoch=EPOCH), log=cast("Logger", log), dry_run=False)

        def record(records: Records) -> None:
            recorded.extend(records.audits)

        troubles.record = record
        for _ in range(360):
            troubles.begin("lock", "slow")
            assert list(troubles.details()) == ["trouble_lock"]
            troubles.end("lock")
            await asyncio.sleep(10)
        assert [entry.event for entry in recorded] == ["lock_trouble", "lock_recovered"] * 12
        troubles.begin("lock", "another")
        assert recorded[-1].message == "another"

    play(story)


@pytest.mark.parametrize(
    ("number", "passes"),
    [
        (errno.ENOSPC, True),
        (errno.EDQUOT, True),
        (errno.EMFILE, True),
        (errno.EIO, True),
        (errno.ETIMEDOUT, True),
        (errno.EACCES, False),
        (errno.EROFS, False),
        (errno.ENOTDIR, False),
        (None, False),
    ],
)
def test_a_want_may_pass_and_a_wrong_path_does_not(number: int | None, passes: bool) -> None:
    """The first must not keep a guard from guarding, the second must be told at the start."""
    assert may_pass(number) is passes
