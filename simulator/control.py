"""The client of the control port, and a simulator process for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

START_S = 20.0
STOP_S = 5.0
REQUEST_S = 10.0
ROOT = Path(__file__).resolve().parent.parent
NEEDED_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


class ControlError(Exception):
    """The control port refused a request, in its own words."""


class ControlClient:
    """Moves a running simulator. Use as an async context manager, or call `aclose`."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self._session = aiohttp.ClientSession(
            base_url=f"http://{host}:{port}",
            timeout=aiohttp.ClientTimeout(total=REQUEST_S),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; the simulator goes on."""
        await self._session.close()

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        async with self._session.request(method, path, json=body) as response:
            content = await response.json()
            if response.status != 200:
                raise ControlError(content["error"])
            return content

    async def set_prices(self, prices: Mapping[str, Any], at: float | None = None) -> Any:
        """Set mark prices, and the time when `at` is given; returns the state."""
        return await self._call("POST", "/prices", {"prices": dict(prices), "at": at})

    async def set_time(self, at: float) -> Any:
        """Set the exchange's time in UTC seconds, which then stands still."""
        return await self._call("POST", "/time", {"at": at})

    async def seed(self, seed: Mapping[str, Any]) -> Any:
        """Replace or add an account, with its markets and prices."""
        return await self._call("POST", "/accounts", seed)

    async def transfer(
        self,
        amount: str,
        *,
        asset: str = "USDT",
        account: str | None = None,
        kind: str = "TRANSFER",
    ) -> Any:
        """Move money in (positive) or out (negative); kind BONUS for a bonus."""
        body = {"amount": amount, "asset": asset, "account": account, "kind": kind}
        return await self._call("POST", "/transfer", body)

    async def bot_order(self, account: str | None = None, **order: Any) -> Any:
        """Place another bot's order, in the words of a seed file's order."""
        return await self._call("POST", "/bot_order", {"account": account, **order})

    async def bot_cancel(self, account: str | None = None, **order: Any) -> Any:
        """Cancel another bot's order: symbol, kind, and order_id or client_id."""
        return await self._call("POST", "/bot_cancel", {"account": account, **order})

    async def apply_funding(self, rates: Mapping[str, Any]) -> Any:
        """Charge funding by symbol."""
        return await self._call("POST", "/funding", {"rates": dict(rates)})

    async def set_spot_prices(self, prices: Mapping[str, Any]) -> Any:
        """Set mids of spot markets; None empties the book of one."""
        return await self._call("POST", "/spot/prices", {"prices": dict(prices)})

    async def book_spot(self, kind: str, asset: str, amount: str, **who: Any) -> Any:
        """DEPOSIT, WITHDRAWAL (negative) or TRANSFER from the futures side of an account."""
        body = {"kind": kind, "asset": asset, "amount": amount, **who}
        return await self._call("POST", "/spot/book", body)

    async def spot_bot_order(self, account: str | None = None, **order: Any) -> Any:
        """Place another bot's spot order, in the words of a seed file's spot order."""
        return await self._call("POST", "/spot/bot_order", {"account": account, **order})

    async def add_fault(self, kind: str, **fault: Any) -> Any:
        """Schedule a fault, in the words of `faults.Fault`."""
        return await self._call("POST", "/faults", {"kind": kind, **fault})

    async def faults(self) -> list[dict[str, Any]]:
        """List scheduled faults and how often each applied."""
        answer: list[dict[str, Any]] = (await self._call("GET", "/faults"))["faults"]
        return answer

    async def clear_faults(self) -> None:
        """Forget every scheduled fault."""
        await self._call("DELETE", "/faults")

    async def held(self) -> list[dict[str, Any]]:
        """List the requests that wait for a release."""
        answer: list[dict[str, Any]] = (await self._call("GET", "/held"))["held"]
        return answer

    async def wait_until_held(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until `count` requests are held and list them; bounded by the request's time-out."""
        answer: list[dict[str, Any]] = (await self._call("GET", f"/held?count={count}"))["held"]
        return answer

    async def release(self, numbers: Sequence[int] | None = None) -> Any:
        """Release held requests, all of them unless numbers are given."""
        chosen = None if numbers is None else list(numbers)
        return await self._call("POST", "/release", {"numbers": chosen})

    async def ledger(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the ledger after its first `since` entries."""
        answer = await self._call("GET", f"/ledger?since={since}")
        entries: list[dict[str, Any]] = answer["ledger"]
        return entries

    async def requests(self, since: int = 0) -> dict[str, Any]:
        """Return the request log after its first `since` entries, and counts per endpoint."""
        answer: dict[str, Any] = await self._call("GET", f"/requests?since={since}")
        return answer

    async def state(self) -> dict[str, Any]:
        """Return time, prices and every account with wallet, equity, positions and orders."""
        answer: dict[str, Any] = await self._call("GET", "/state")
        return answer

    async def shutdown(self) -> None:
        """Ask the simulator to end."""
        await self._call("POST", "/shutdown")


@contextlib.asynccontextmanager
async def start_simulator(
    *seeds: Mapping[str, Any], venue: str = "binance", realtime: bool = False
) -> AsyncIterator[tuple[ControlClient, str]]:
    """Run a simulator process and yield its control client and its API's address.

    The process ends with the block, by its own id, and also when this process dies. Raises
    RuntimeError when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="simulator-") as folder:
        options = ["--realtime"] if realtime else []
        for number, seed in enumerate(seeds):
            path = Path(folder) / f"seed-{number}.json"
            path.write_text(json.dumps(seed, default=str), encoding="utf-8")
            options += ["--seed-account", str(path)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "simulator",
            "--venue",
            venue,
            "--exit-with-parent",
            *options,
            cwd=ROOT,
            env=_harmless_environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            ready = await _ready(process)
            async with ControlClient(ready["control_port"]) as client:
                yield client, f"http://127.0.0.1:{ready['port']}"
        finally:
            await _end(process)


def _harmless_environment() -> dict[str, str]:
    """What a Python process needs to start, and none of the keys that a shell may have exported."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in NEEDED_VARIABLES or name.startswith(("PYTHON", "LC_", "COV_"))
    }


async def _ready(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(START_S):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the simulator ended before it was ready")
    ready: dict[str, Any] = json.loads(line)
    return ready


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process, politely first, and wait until it is gone."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
