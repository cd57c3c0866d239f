"""A thread for work that may hang: in order, with its faults, and left behind at the end."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from own_thread import OwnThread

Where = tuple[str, bool]


def here() -> Where:
    """The thread that this runs on."""
    thread = threading.current_thread()
    return thread.name, thread.daemon


def test_work_is_done_in_order_on_one_thread_that_nobody_waits_for() -> None:
    """The interpreter joins every thread that is no daemon: a hung one would keep it for ever."""
    thread = OwnThread("disk")
    done: list[int] = []
    futures: list[Future[None]] = [thread.submit(done.append, number) for number in range(50)]
    assert thread.submit(here).result(10) == ("disk", True)
    assert done == list(range(50))
    assert all(future.done() for future in futures)
    thread.close()


def test_a_fault_reaches_who_waits_and_ends_nothing() -> None:
    """The next work is done all the same."""
    thread = OwnThread("disk")
    broken = thread.submit(int, "no number")
    with pytest.raises(ValueError, match="no number"):
        broken.result(10)
    assert thread.submit(int, "7").result(10) == 7
    thread.close()


def test_work_that_was_given_up_before_it_began_is_left_out() -> None:
    """What nobody wants any more takes no time of the disk."""
    thread, begun, go_on = OwnThread("disk"), threading.Event(), threading.Event()
    done: list[int] = []

    def hang() -> None:
        begun.set()
        assert go_on.wait(10)

    hanging = thread.submit(hang)
    assert begun.wait(10)
    assert thread.submit(done.append, 1).cancel()
    last = thread.submit(done.append, 2)
    go_on.set()
    hanging.result(10)
    last.result(10)
    assert done == [2]
    thread.close()


def test_a_closed_thread_finishes_and_takes_no_more() -> None:
    """What was queued before is done."""
    thread = OwnThread("disk")
    last = thread.submit(here)
    thread.close()
    assert last.result(10)[0] == "disk"
    with pytest.raises(RuntimeError):
        thread.submit(here)
