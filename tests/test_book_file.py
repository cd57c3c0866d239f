"""Books for the simulator: the YAML form, its faults, and the seeded account."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import MarginMode, PositionMode, Side
from simulator.book_file import (
    BookFile,
    BookFileError,
    BookPosition,
    default_book,
    demo_book,
    load_book,
    sensible_step,
    to_seed,
)
from simulator.scenarios import DEMO_START_PRICES, Scenario, demo_squeeze, generate_tape
from simulator.tape import Bar, PricePath, Tape

GOOD = """\
venue: binance
position_mode: hedge
equity: 10000
positions:
  - {symbol: BTCUSDT, side: long, notional: 8000}
  - {symbol: SOLUSDT, side: short, quantity: 50.5, entry: 142.5, leverage: 5, margin_mode: isolated}
"""


def written(folder: Path, text: str) -> Path:
    """A book file with this text."""
    path = folder / "book.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def equity_of(seed: dict[str, Any], prices: dict[str, float]) -> Decimal:
    """Wallet plus unrealised profit of a seeded account at these prices."""
    return Decimal(seed["wallet"]["USDT"]) + sum(
        Side(row["side"]).sign
        * Decimal(row["quantity"])
        * (Decimal(str(prices[row["symbol"]])) - Decimal(row["entry_price"]))
        for row in seed["positions"]
    )


def test_a_book_is_read_as_written(tmp_path: Path) -> None:
    """Every key arrives; leverage is 3 and the margin crossed unless said otherwise."""
    book = load_book(written(tmp_path, GOOD))
    assert (book.venue, book.position_mode, book.equity) == (
        "binance",
        PositionMode.HEDGE,
        Decimal(10_000),
    )
    first, second = book.positions
    assert (first.symbol, first.side, first.notional) == ("BTCUSDT", Side.LONG, Decimal(8000))
    assert (first.quantity, first.entry, first.leverage) == (None, None, 3)
    assert first.margin_mode is MarginMode.CROSS
    assert (second.quantity, second.entry) == (Decimal("50.5"), Decimal("142.5"))
    assert (second.leverage, second.margin_mode) == (5, MarginMode.ISOLATED)


def test_venue_and_position_mode_have_defaults(tmp_path: Path) -> None:
    """binance, one-way."""
    text = "equity: 1\npositions: [{symbol: btcusdt, side: LONG, quantity: 1}]"
    book = load_book(written(tmp_path, text))
    assert (book.venue, book.position_mode) == ("binance", PositionMode.ONE_WAY)
    assert book.positions[0].symbol == "BTCUSDT"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("equity: 10000", "", "equity: is missing; add it"),
        ("equity: 10000", "equity: 0", "equity: Input should be greater than 0 (got 0)"),
        ("equity: 10000", "equity: .nan", "equity: "),
        ("equity: 10000", "equity: .inf", "equity: "),
        ("equity: 10000", "equity: true", "equity: a number is needed (got True)"),
        ("equity: 10000", "equty: 10000", "equty: is no known key"),
        ("venue: binance", "venue: mtgox", "venue: "),
        ("hedge", "netting", "position_mode: "),
        ("side: long", "side: up", "positions[0].side: "),
        ("notional: 8000", "notional: -8000", "positions[0].notional: "),
        ("notional: 8000", "notional: many", "positions[0].notional: "),
        ("notional: 8000", "leverage: 3", "positions[0]: set exactly one of notional and quantity"),
        ("notional: 8000", "notional: 1, quantity: 1", "positions[0]: set exactly one of"),
        ("leverage: 5", "leverage: 0", "positions[1].leverage: "),
        ("leverage: 5", "leverage: 2.5", "positions[1].leverage: "),
        ("symbol: BTCUSDT, ", "", "positions[0].symbol: is missing"),
        ("symbol: BTCUSDT", "symbol: BTC/USDT", "positions[0].symbol: "),
        ("side: short", "side: long, symbol: BTCUSDT", "BTCUSDT stands twice; merge the positions"),
        ("equity: 10000", "equity: [", "is no YAML"),
    ],
)
def test_a_bad_book_is_refused_with_its_key(tmp_path: Path, old: str, new: str, line: str) -> None:
    """Each problem is one line that begins with the file and names the key."""
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(BookFileError) as caught:
        load_book(path)
    assert any(problem.startswith(f"{path}: {line}") for problem in caught.value.problems)
    assert not any("\n" in problem for problem in caught.value.problems)


def test_all_problems_of_a_book_are_told_at_once(tmp_path: Path) -> None:
    """Two faults, two lines."""
    path = written(tmp_path, GOOD.replace("equity: 10000", "equity: -1").replace("long", "up"))
    with pytest.raises(BookFileError) as caught:
        load_book(path)
    assert len(caught.value.problems) == 2


def test_both_sides_of_one_symbol_need_hedge_mode(tmp_path: Path) -> None:
    """In one-way mode a symbol has one net position."""
    text = (
        "position_mode: {}\nequity: 1\npositions:\n"
        "  - {{symbol: AUSDT, side: long, quantity: 1}}\n"
        "  - {{symbol: AUSDT, side: short, quantity: 1}}\n"
    )
    assert len(load_book(written(tmp_path, text.format("hedge"))).positions) == 2
    with pytest.raises(BookFileError, match="or set position_mode: hedge"):
        load_book(written(tmp_path, text.format("one_way")))


@pytest.mark.parametrize("text", ["", "- 1\n", "hello\n", "positions: []\nequity: 1\n"])
def test_a_book_without_content_is_refused(tmp_path: Path, text: str) -> None:
    """Empty, a list, a word, or no positions."""
    with pytest.raises(BookFileError):
        load_book(written(tmp_path, text))


def test_a_missing_or_unreadable_book_is_named(tmp_path: Path) -> None:
    """No file, and bytes that are no text."""
    with pytest.raises(BookFileError, match="cannot be read"):
        load_book(tmp_path / "absent.yaml")
    (tmp_path / "book.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BookFileError, match="cannot be read"):
        load_book(tmp_path / "book.yaml")


def test_the_wallet_makes_up_for_unrealised_profit() -> None:
    """Short 50 from 142.5, mark 150: unrealised -375, so the wallet holds 10,375."""
    book = BookFile.model_validate(
        {
            "equity": 10_000,
            "positions": [{"symbol": "SOLUSDT", "side": "short", "quantity": 50, "entry": 142.5}],
        }
    )
    seed = to_seed(book, {"SOLUSDT": 150.0})
    assert seed["wallet"] == {"USDT": "10375.00000000"}
    assert equity_of(seed, {"SOLUSDT": 150.0}) == 10_000


def test_a_seed_has_the_form_the_simulator_takes() -> None:
    """The whole document at once; 8000 / 61234.5 = 0.13064..., rounded down to 0.130."""
    book = BookFile.model_validate(
        {
            "position_mode": "hedge",
            "equity": 5000,
            "positions": [{"symbol": "BTCUSDT", "side": "long", "notional": 8000}],
        }
    )
    assert to_seed(book, {"BTCUSDT": 61234.5}) == {
        "api_key": "test-key",
        "api_secret": "test-secret",
        "position_mode": "HEDGE",
        "multi_assets": False,
        "wallet": {"USDT": "5000.00000000"},
        "positions": [
            {
                "symbol": "BTCUSDT",
                "side": "LONG",
                "quantity": "0.130",
                "entry_price": "61234.5",
                "leverage": 3,
                "margin_mode": "CROSS",
            }
        ],
        "prices": {"BTCUSDT": 61234.5},
    }


amounts = st.decimals("0.01", "100000", places=6)


@given(
    equity=st.decimals("100000", "10000000", places=2),
    mark=st.floats(0.0001, 90_000),
    rows=st.lists(st.tuples(st.sampled_from(Side), amounts, amounts | st.none()), max_size=4),
)
def test_equity_is_what_the_book_says_at_any_entry(
    equity: Decimal, mark: float, rows: list[tuple[Side, Decimal, Decimal | None]]
) -> None:
    """Wallet + unrealised = equity to the wallet's last decimal, or the book is refused."""
    positions = tuple(
        BookPosition(symbol=f"C{number}USDT", side=side, notional=notional, entry=entry)
        for number, (side, notional, entry) in enumerate(rows)
    )
    if not positions:
        return
    prices = {position.symbol: mark for position in positions}
    try:
        seed = to_seed(BookFile(equity=equity, positions=positions), prices)
    except BookFileError:
        return
    assert abs(equity_of(seed, prices) - equity) <= Decimal("1e-8")
    for position, row in zip(positions, seed["positions"], strict=True):
        assert position.notional is not None
        assert Decimal(row["quantity"]) * Decimal(str(mark)) <= position.notional
        assert Decimal(row["quantity"]) % sensible_step(Decimal(str(mark))) == 0


@pytest.mark.parametrize(
    ("position", "complaint"),
    [
        ({"symbol": "AUSDT", "side": "long", "quantity": 1}, "AUSDT: the tape has no price"),
        ({"symbol": "BTCUSDT", "side": "long", "notional": 50}, "smaller than one step"),
        (
            {"symbol": "BTCUSDT", "side": "long", "quantity": 1, "entry": 100},
            "less than the unrealised profit",
        ),
    ],
)
def test_a_book_that_cannot_exist_is_refused(position: dict[str, Any], complaint: str) -> None:
    """No price, below one step (0.001 BTC are 60), or more profit than equity."""
    book = BookFile.model_validate({"equity": 1000, "positions": [position]})
    with pytest.raises(BookFileError, match=complaint):
        to_seed(book, {"BTCUSDT": 60_000.0})


@pytest.mark.parametrize(
    ("price", "step"),
    [("60000", "0.001"), ("150", "0.01"), ("30", "1"), ("0.12", "1"), ("0.00001", "1000")],
)
def test_a_step_fits_the_price(price: str, step: str) -> None:
    """Dear coins trade in thousandths, the cheapest in thousands."""
    assert sensible_step(Decimal(price)) == Decimal(step)


def test_a_known_step_is_used_instead_of_a_guessed_one() -> None:
    """10 / 0.6 = 16.66...: 16 at the guessed step of 1, 16.6 at the market's 0.1."""
    book = BookFile.model_validate(
        {"equity": 100, "positions": [{"symbol": "XRPUSDT", "side": "long", "notional": 10}]}
    )
    for steps, quantity in (({}, "16"), ({"XRPUSDT": Decimal("0.1")}, "16.6")):
        seed = to_seed(book, {"XRPUSDT": 0.6}, steps=steps)
        assert seed["positions"][0]["quantity"] == quantity


@pytest.mark.parametrize("difference", ["leverage: 5", "margin_mode: isolated"])
def test_both_sides_of_a_symbol_share_their_settings(tmp_path: Path, difference: str) -> None:
    """The venue keeps leverage and margin mode per symbol, so a book cannot differ by side."""
    text = (
        "position_mode: hedge\nequity: 1\npositions:\n"
        "  - {symbol: AUSDT, side: long, quantity: 1}\n"
        "  - {symbol: AUSDT, side: short, quantity: 1, " + difference + "}\n"
    )
    with pytest.raises(BookFileError, match="AUSDT: leverage and margin_mode belong"):
        load_book(written(tmp_path, text))


def test_the_default_book_takes_the_symbols_with_most_bars() -> None:
    """CUSDT has two bars, the others one: C first, then by name, alternating sides."""
    bar = Bar(0.0, 10.0, 10.0, 10.0, 10.0)
    tape = Tape.of(
        PricePath.of_bars(
            f"{letter}USDT", [bar, bar._replace(start=60.0)] if letter == "C" else [bar], bar_s=60.0
        )
        for letter in "BACD"
    )
    book = default_book(tape, 3)
    assert [(row.symbol, row.side, row.notional) for row in book.positions] == [
        ("CUSDT", Side.LONG, Decimal(8000)),
        ("AUSDT", Side.SHORT, Decimal(8000)),
        ("BUSDT", Side.LONG, Decimal(8000)),
    ]
    assert book.equity == 10_000
    assert book.position_mode is PositionMode.HEDGE


def test_the_default_book_could_exist_with_its_leverage() -> None:
    """Six times 0.8 times the equity at 10x needs 48 % of the equity as margin."""
    book = default_book(generate_tape(Scenario.FLAT, duration_s=60.0))
    assert len(book.positions) == 6
    margin = sum((row.notional or Decimal(0)) / row.leverage for row in book.positions)
    assert margin / book.equity == Decimal("0.48")


def test_the_demo_book_loses_what_the_demo_promises() -> None:
    """Left alone: 5.22, 8.64 and 25.32 % (6,000 per short, 12,000 per long, equity 10,000)."""
    tape = demo_squeeze(noise_fraction=0.0)
    seed = to_seed(demo_book(), tape.prices_at(tape.starts_at))
    drawdowns = [
        1.0 - float(equity_of(seed, tape.prices_at(tape.starts_at + at_s))) / 10_000.0
        for at_s in (300.0, 320.0, 500.0, 680.0, 960.0)
    ]
    # 320 s: 300 + 150 + 102 + 18 - 48 = 522; 500 s: 360 + 180 + 102 + 318 - 96 = 864,
    # 680 s: 720 + 540 + 420 + 540 + 312 = 2532.
    assert drawdowns == pytest.approx([0.0, 0.0522, 0.0864, 0.2532, 0.2532], abs=0.0001)


def test_the_demo_reaches_every_stage_of_a_guarded_account() -> None:
    """Closing at the plateaus: half of SOL, XRP, DOGE, then all shorts, leaves 5, 8 and 12 %."""
    tape = demo_squeeze(noise_fraction=0.0)
    sizes = {
        row.symbol: row.side.sign * (row.notional or Decimal(0)) for row in demo_book().positions
    }
    moves = {
        at_s: {
            symbol: Decimal(str(tape.price_at(symbol, tape.starts_at + at_s) / start - 1.0))
            for symbol, start in DEMO_START_PRICES.items()
        }
        for at_s in (0.0, 320.0, 500.0, 680.0)
    }
    equity, drawdowns = Decimal(10_000), []
    for before, after in ((0.0, 320.0), (320.0, 500.0), (500.0, 680.0)):
        equity += sum(
            size * (moves[after][symbol] - moves[before][symbol]) for symbol, size in sizes.items()
        )
        drawdowns.append(float(1 - equity / 10_000))
        if after == 320.0:
            for symbol in ("SOLUSDT", "XRPUSDT", "DOGEUSDT"):
                sizes[symbol] /= 2
        else:
            sizes = {symbol: size for symbol, size in sizes.items() if size > 0}
    assert drawdowns == pytest.approx([0.0522, 0.0819, 0.1227], abs=0.0005)
