"""Rows of books: what of a streak survives a restart."""

from __future__ import annotations

import pytest

from memory import BookMemory, Streak
from model import BookName, Stage
from store.codec import book_columns, book_from

STREAKS = (
    Streak(
        stage=Stage.REDUCED_TOP_RISK,
        count=3,
        last_counted_at=16.0,
        began_at=10.0,
        is_answered=True,
    ),
    Streak(stage=Stage.ALL_CLOSED, count=1, last_counted_at=16.0, began_at=16.0),
)
BOOK = BookMemory(name=BookName("binance_futures"), streaks=STREAKS)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_streak_comes_back_with_its_beginning_and_its_answer(dry_run: bool) -> None:
    """Else a restart would end the wait for records, and tell a refusal a second time."""
    assert book_from(book_columns(BOOK, dry_run=dry_run), None) == BOOK
