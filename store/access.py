"""How the guard's event loop reaches the store: on one dedicated thread.

Owns no data. SQLite may wait for a disk or a foreign lock; on its own thread that delays nobody.
A loop in virtual time does the same work inline, so that a seed decides everything.

Rules
- A write that its caller has stopped waiting for still happens, in its order. A caller gives up at
  its deadline because closing must start; the record follows.
- An end of the process waits only so long for a disk that hangs.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from attempts import attempt, look_away
from errors import StoreError
from memory import BookMemory, Memory, OrderRecord, Records, RequestAnswer
from model import IncidentId, OperatorRequest, ScopeId
from own_thread import OwnThread
from position_store import PositionStore
from switch_model import SwitchState, SwitchTransition

CLOSE_WITHIN_S = 2.0
"""A file that does not close in time is left to the end of the process; SQLite survives that."""

Value = TypeVar("Value")


class ThreadedStore:
    """A store on a thread of its own, which also opened the file. Make it with `open`.

    Every method may raise StoreError or StoreUnreadable.

    `failure` is the error of the latest finished commit, None after one that succeeded: a caller
    that stopped waiting learns there how its commit ended.
    """

    def __init__(self, store: PositionStore, thread: OwnThread) -> None:
        self._store = store
        self._thread = thread
        self._asking: asyncio.Task[tuple[OperatorRequest, ...]] | None = None
        self.failure: StoreError | None = None

    @classmethod
    async def open(cls, path: Path, *, rng: random.Random) -> Self:
        """Open the database on its thread; raises as `PositionStore.open`."""
        thread = OwnThread("store")
        loop = asyncio.get_running_loop()
        is_ready = False
        try:
            opening = partial(PositionStore.open, path, rng=rng)
            store = await loop.run_in_executor(thread, opening)
            is_ready = True
        finally:
            if not is_ready:
                thread.close()
        return cls(store, thread)

    @property
    def is_new(self) -> bool:
        """True when there was no database before."""
        return self._store.is_new

    async def _run(self, work: Callable[[], Value]) -> Value:
        """Do `work` on the thread; a cancelled caller leaves it in the queue."""
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:
            raise StoreError("the store is closed") from error
        try:
            return await asyncio.shield(future)
        finally:
            look_away(future)

    def _commit(self, records: Records) -> None:
        try:
            self._store.commit(records)
        except StoreError as error:
            self.failure = error
            raise
        self.failure = None

    async def commit(self, records: Records) -> None:
        """Write one decision; it is written even when the caller stops waiting."""
        await self._run(partial(self._commit, records))

    async def thin(self, now: float) -> bool:
        """Delete a little of what need not be kept; a commit waits for one such step at most."""
        return await self._run(partial(self._store.thin, now))

    async def load_memory(self, *, dry_run: bool, now: float) -> Memory:
        """Rebuild what was remembered."""
        return await self._run(partial(self._store.load_memory, dry_run=dry_run, now=now))

    async def load_books(self, *, dry_run: bool) -> tuple[BookMemory, ...]:
        """The books of one kind of run."""
        return await self._run(partial(self._store.load_books, dry_run=dry_run))

    async def latest_action_at(self, *, dry_run: bool) -> float:
        """When the newest audit entry of a kind of run was made."""
        return await self._run(partial(self._store.latest_action_at, dry_run=dry_run))

    async def pending_requests(self) -> tuple[OperatorRequest, ...]:
        """Requests without an answer.

        While the disk hangs one question waits for it, however often it is asked.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run(self._store.pending_requests))
            look_away(self._asking)
        return await asyncio.shield(self._asking)

    async def add_request(
        self,
        *,
        at: float,
        actor: str,
        command: str,
        arguments: tuple[tuple[str, str], ...] = (),
        confirmation: str = "",
    ) -> int:
        """Ask for a decision."""
        request = partial(
            self._store.add_request,
            at=at,
            actor=actor,
            command=command,
            arguments=arguments,
            confirmation=confirmation,
        )
        return await self._run(request)

    async def set_switch(
        self, state: SwitchState, *, actor: str, reason: str, now: float
    ) -> SwitchTransition | None:
        """Tighten the local switch; None when it holds as much already."""
        tightening = partial(self._store.set_switch, state, actor=actor, reason=reason, now=now)
        return await self._run(tightening)

    async def answer(self, request_id: int) -> RequestAnswer | None:
        """The answer to a request."""
        return await self._run(partial(self._store.answer, request_id))

    async def order_records(
        self, incident_id: IncidentId, and_since: float = math.inf
    ) -> tuple[OrderRecord, ...]:
        """Orders and cancels of an incident, and those of any other since then."""
        return await self._run(partial(self._store.order_records, incident_id, and_since))

    async def instance_tag(self) -> str:
        """The mark of this database."""
        return await self._run(self._store.instance_tag)

    async def claim(self, scope: ScopeId, origin: str) -> str:
        """Say what kind of account a scope is; the first answer stands."""
        return await self._run(partial(self._store.claim, scope, origin))

    async def has_open_incident(self, dry_run: bool) -> bool:
        """True when an incident is not finished."""
        return await self._run(partial(self._store.has_open_incident, dry_run))

    async def aclose(self) -> None:
        """Finish the queue, close the file and end the thread, each as far as the disk allows."""
        await attempt(self._run(self._store.close), within_s=CLOSE_WITHIN_S, what="closing")
        self._thread.close()
