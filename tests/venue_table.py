"""The table of docs/venues.md: what a close looks like on each exchange, taken off the wire.

    python3 -m tests.venue_table          writes it into the page

The requests are those that the simulated exchange received; nothing here knows what they ought to
be. `tests/test_venue_table.py` holds the page to them.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from model import PositionMode, Side
from tests.venue_rigs import BTC, WAYS, Rig, hedged, rig_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "venues.md"
BEGINS, ENDS = "<!-- closes: generated -->\n", "<!-- end of closes -->\n"
OF_EVERY_REQUEST = frozenset({"timestamp", "signature", "recvWindow"})

SCENES = (
    (PositionMode.ONE_WAY, Side.LONG),
    (PositionMode.ONE_WAY, Side.SHORT),
    (PositionMode.HEDGE, Side.LONG),
    (PositionMode.HEDGE, Side.SHORT),
)


async def _close(rig: Rig, side: Side) -> str:
    """Close 0.1 BTC and return the request that did it."""
    assert rig.service is not None
    before = len(rig.service.log)
    await rig.venue.submit_close(rig.close(BTC, side, "0.1", "ks-id"))
    (request,) = [one for one in rig.service.log[before:] if one.method == "POST"]
    said = ", ".join(
        f"{name}={value}"
        for name, value in request.parameters.items()
        if name not in OF_EVERY_REQUEST
    )
    return f"`{request.method} {request.path}` | `{said}`"


async def _lines() -> list[str]:
    lines = [
        "| account | mode | closes | request | says |",
        "|---|---|---|---|---|",
    ]
    for way in sorted(WAYS):
        for mode, side in SCENES:
            is_hedged = mode is PositionMode.HEDGE
            opposite = [
                {"symbol": BTC, "side": side.value, "quantity": "0.5", "entry_price": 60000}
            ]
            changes = hedged() if is_hedged else {"positions": opposite}
            async with AsyncExitStack() as stack:
                rig = await stack.enter_async_context(rig_of(way, **changes))
                told = await _close(rig, side)
            word = "hedge" if is_hedged else "one-way"
            lines.append(f"| {way} | {word} | {side.value.lower()} | {told} |")
    return lines


async def close_table() -> str:
    """The table as Markdown."""
    return "\n".join(await _lines()) + "\n"


def split_page(page: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what comes after it."""
    head, rest = page.split(BEGINS)
    table, tail = rest.split(ENDS)
    return head, table, tail


def main() -> None:
    """Write the table into the page."""
    head, _, tail = split_page(PAGE.read_text(encoding="utf-8"))
    table = asyncio.run(close_table())
    PAGE.write_text(f"{head}{BEGINS}{table}{ENDS}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
