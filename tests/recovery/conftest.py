"""Time is virtual in these suites, so the disk's own pace only costs."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of heartbeats need no disk that is safe from power cuts; the files are real."""
    monkeypatch.setattr("trading_lock.os.fsync", lambda _descriptor: None)
