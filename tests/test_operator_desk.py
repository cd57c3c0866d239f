"""Requests are given out once, in time, and only when what they loosen can be recorded."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from errors import StoreError
from logger import Logger
from model import OperatorRequest
from operator_desk import OperatorDesk
from simulator.virtual_time import LoopClock
from tests.test_recorder import Disk, full_disk, note, recorder
from tests.virtual_house import EPOCH, Logbook, play


def asked(number: int, *, at: float = EPOCH, force: bool = False) -> OperatorRequest:
    """A reset that somebody asked for."""
    arguments = (("book", "book"), ("force", "true" if force else "false"))
    return OperatorRequest(
        request_id=number, at=at, actor="me", command="reset", arguments=arguments
    )


class Counter:
    """A desk with the rows that wait in the database."""

    def __init__(self) -> None:
        self.rows: list[OperatorRequest] = []
        self.fault: Exception | None = None
        self.delay_s = 0.0
        self.disk, self.log = Disk(), Logbook()
        self.recorder = recorder(self.disk)
        self.clock = LoopClock(epoch=EPOCH)
        self.desk = OperatorDesk(
            load=self._load,
            recorder=self.recorder,
            clock=self.clock,
            log=cast("Logger", self.log),
            deadline_s=1.0,
            dry_run=False,
        )

    async def _load(self) -> tuple[OperatorRequest, ...]:
        await asyncio.sleep(self.delay_s)
        if self.fault is not None:
            raise self.fault
        return tuple(self.rows)

    async def due(self) -> list[int]:
        """The ids that are given out now."""
        return [request.request_id for request in await self.desk.due()]


def test_a_request_is_given_out_once() -> None:
    """Its row stays until its answer is written, which may take a while."""

    async def story() -> None:
        counter = Counter()
        counter.rows = [asked(1), asked(2)]
        assert await counter.due() == [1, 2]
        assert await counter.due() == []
        counter.rows.append(asked(3))
        assert await counter.due() == [3]

    play(story)


def test_while_records_fail_only_a_forced_request_goes_ahead() -> None:
    """The others are given out when the database is well again."""

    async def story() -> None:
        counter = Counter()
        counter.disk.fault = full_disk
        await counter.recorder.record(note(1), deadline_s=1.0)
        counter.rows = [asked(1), asked(2, force=True)]
        assert await counter.due() == [2]
        counter.disk.fault = None
        assert await counter.recorder.flush(deadline_s=1.0)
        assert await counter.due() == [1]

    play(story)


@pytest.mark.parametrize(("age_s", "is_due"), [(599, True), (601, False)])
def test_a_request_older_than_ten_minutes_is_refused(age_s: float, is_due: bool) -> None:
    """With an answer, once."""

    async def story() -> None:
        counter = Counter()
        counter.rows = [asked(1, at=EPOCH - age_s)]
        assert await counter.due() == ([1] if is_due else [])
        assert await counter.due() == []
        await counter.recorder.flush(deadline_s=1.0)
        answers = [answer for records in counter.disk.written for answer in records.answers]
        assert [answer.accepted for answer in answers] == ([] if is_due else [False])

    play(story)


def test_a_database_that_cannot_be_read_is_told_once() -> None:
    """And again after it was readable in between; a hanging one is given up."""

    async def story() -> None:
        counter = Counter()
        counter.fault = StoreError("locked")
        for _ in range(3):
            assert await counter.due() == []
        counter.fault = None
        assert await counter.due() == []
        counter.delay_s = 100.0
        began = counter.clock.monotonic()
        for _ in range(3):
            assert await counter.due() == []
        assert counter.clock.monotonic() - began == pytest.approx(3.0)
        assert len(counter.log.of("requests_unreadable")) == 2

    play(story)
