"""Alert target, Redis and disk die in one moment: what is decided and closed stays the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from decision import Decision
from memory import CloseTarget
from model import Source, Stage
from tests.memory_redis import MemoryRedis
from tests.memory_venue import Trouble
from tests.test_alert_desk import dead, hanging, told_by
from tests.test_notifier import Receiver
from tests.virtual_house import House, play

STORE_DEADLINE_S = 1.0
"""The longest that one incident waits for a disk that hangs, and only once."""


@dataclass(kw_only=True)
class Day:
    """What one run of the story decided and closed."""

    decisions: list[Decision] = field(default_factory=list)
    closes: list[tuple[str, str, Decimal]] = field(default_factory=list)
    closed_at: list[float] = field(default_factory=list)
    told: int = 0
    locked: str = ""

    @property
    def opened(self) -> list[tuple[Stage, str, Source, tuple[CloseTarget, ...]]]:
        """The incidents as they were opened: stage, mode, who lost, what may remain."""
        incidents = (one.incident for each in self.decisions for one in each.opened)
        return [(i.stage, i.mode, i.source, i.targets) for i in incidents]


def day(folder: Path, *, disk: str) -> Day:
    """Fall to stage 1, then to stage 3; a full or hanging `disk` takes Redis and target with it."""
    lived = Day()

    async def story() -> None:
        house = House(folder=folder)
        house.redis = MemoryRedis(clock=house.clock, value="running")
        house.on_decision = lived.decisions.append
        receiver = Receiver(house.clock)
        house.make_alerts = told_by(house, receiver)
        async with house.guard() as guard:
            await house.wait(30)
            if disk:
                dead(receiver) if disk == "full" else hanging(receiver)
                house.redis.why_silent = "connection refused"
                guard.store.is_down, guard.store.is_hanging = disk == "full", disk == "hangs"
                house.lock_fails = disk == "full"
            house.venue.plan("submit_close", Trouble.LOST_AFTER, times=2)
            for price in (103, 105, 120):
                house.prices(SOL=price)
                await house.wait(45)
            lived.told = len(receiver.got)
            guard.store.is_down = guard.store.is_hanging = house.lock_fails = False
            await house.wait(30)
            lived.locked = house.lock()["mode"]
        fills = house.fills()
        lived.closes = [
            (str(f["symbol"]), str(f["side"]), Decimal(str(f["quantity"]))) for f in fills
        ]
        lived.closed_at = [float(str(f["at"])) for f in fills]

    folder.mkdir()
    play(story)
    return lived


@pytest.mark.parametrize("disk", ["full", "hangs"])
def test_alert_target_redis_and_disk_dead_at_once_change_no_decision(
    tmp_path: Path, disk: str
) -> None:
    """The same stages, losers, targets and fills; a disk that hangs may cost its deadline."""
    sound = day(tmp_path / "sound", disk="")
    ill = day(tmp_path / "ill", disk=disk)
    assert [stage for stage, *_ in sound.opened] == [Stage.REDUCED_TOP_RISK, Stage.ALL_CLOSED]
    assert sound.told > 3
    assert ill.told == 0
    assert ill.opened == sound.opened
    assert ill.closes == sound.closes
    late = [at - usual for at, usual in zip(ill.closed_at, sound.closed_at, strict=True)]
    assert max(late) <= (STORE_DEADLINE_S + 0.3 if disk == "hangs" else 0.0)
    assert ill.locked == sound.locked == "stage"
