"""A bot of the examples as a process of its own, and the lines it prints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Bot:
    """A running bot. It prints a line per turn."""

    process: asyncio.subprocess.Process

    async def line(self) -> str:
        """The next line; "" when the bot has ended. Raises TimeoutError when it says nothing."""
        assert self.process.stdout is not None
        told = await asyncio.wait_for(self.process.stdout.readline(), WITHIN_S)
        return told.decode().rstrip("\n")

    async def until(self, wanted: str) -> list[str]:
        """The lines before the first `wanted`; fails when the bot ends or never says it."""
        before: list[str] = []
        async with asyncio.timeout(WITHIN_S):
            while (told := await self.line()) != wanted:
                assert told, before
                before.append(told)
        return before

    async def ended(self) -> int:
        """The exit code, once it has ended by itself."""
        return await asyncio.wait_for(self.process.wait(), WITHIN_S)


@asynccontextmanager
async def bot(*command: str, cwd: Path, env: Mapping[str, str]) -> AsyncIterator[Bot]:
    """Run the command for the length of the block, and no longer."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=dict(env), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Bot(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
