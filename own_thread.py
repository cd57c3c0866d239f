"""A thread of its own for work that may hang with a disk.

Owns one thread and the queue before it. A write that hangs then takes no thread that connections
need (asyncio resolves names on its default ones), and a process that is told to stop does not wait
for it: the thread is a daemon, which the interpreter leaves behind.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

Given = ParamSpec("Given")
Value = TypeVar("Value")


class _Handing:
    """Hands what the body raises to whoever waits, so that no fault ends the thread."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is not None:
            self._future.set_exception(error)
        return True


class OwnThread(Executor):
    """Does what is submitted, one after the other, on a thread that begins with the first."""

    def __init__(self, name: str) -> None:
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_closed = False

    def submit(
        self, work: Callable[Given, Value], /, *given: Given.args, **named: Given.kwargs
    ) -> Future[Value]:
        """Queue the work; raises RuntimeError after `close`."""
        if self._is_closed:
            raise RuntimeError("the thread takes no more work")
        future: Future[Value] = Future()
        self._jobs.put(partial(_do, future, partial(work, *given, **named)))
        if self._thread.ident is None:
            self._thread.start()
        return future

    def close(self) -> None:
        """End the thread after what is queued, without waiting for that."""
        self._is_closed = True
        self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _do(future: Future[Value], work: Callable[[], Value]) -> None:
    if future.set_running_or_notify_cancel():
        with _Handing(future):
            future.set_result(work())
