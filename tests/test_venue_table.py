"""The page about the venues says what goes over the wire."""

from __future__ import annotations

from tests.venue_table import PAGE, close_table, split_page


async def test_the_page_shows_every_close_as_it_is_sent() -> None:
    """`python3 -m tests.venue_table` writes the table again."""
    _, table, _ = split_page(PAGE.read_text(encoding="utf-8"))
    assert table == await close_table()
