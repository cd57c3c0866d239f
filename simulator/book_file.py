"""Books for the simulator: what an account holds when a tape begins.

Owns the YAML form of a book and the arithmetic that turns it into a seeded account whose equity
is exactly what the file says. Refuses to know orders, margin rules and tapes beyond their prices.

    venue: binance
    position_mode: hedge          # or one_way, the default
    equity: 10000
    positions:
      - {symbol: BTCUSDT, side: long, notional: 8000}
      - {symbol: SOLUSDT, side: short, quantity: 50, entry: 142.5, leverage: 5}

`notional` is the size in quote at the price where the tape starts. `entry` is that price unless
given. Quantities are rounded down to the market's step, or one that fits the price.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from errors import KillSwitchError
from model import MarginMode, PositionMode, Side
from simulator.tape import Tape

WALLET_STEP = Decimal("0.00000001")
"""Binance states USDT with eight decimals."""


class BookFileError(KillSwitchError):
    """A book cannot be used; `problems` holds one printable line each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _upper(value: object) -> object:
    """Take enum words in either case; anything else is left to the type's own check."""
    return value.strip().upper() if isinstance(value, str) else value


def _no_truth_value(value: object) -> object:
    """Refuse `yes` and `true` where YAML would otherwise let them count as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


Amount = Annotated[Decimal, BeforeValidator(_no_truth_value), Field(gt=0)]
Leverage = Annotated[int, BeforeValidator(_no_truth_value), Field(ge=1, le=125)]


class BookPosition(BaseModel):
    """One position of a book; exactly one of `notional` (quote) and `quantity` (base) is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: Annotated[str, BeforeValidator(_upper), Field(pattern=r"^[A-Z0-9]+$")]
    side: Annotated[Side, BeforeValidator(_upper)]
    notional: Amount | None = None
    quantity: Amount | None = None
    entry: Amount | None = None
    leverage: Leverage = 3
    margin_mode: Annotated[MarginMode, BeforeValidator(_upper)] = MarginMode.CROSS

    @model_validator(mode="after")
    def _one_size(self) -> BookPosition:
        if (self.notional is None) == (self.quantity is None):
            raise ValueError("set exactly one of notional and quantity")
        return self


class BookFile(BaseModel):
    """An account at the start of a tape; `equity` (quote) includes unrealised profit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: Literal["binance", "bybit", "bitget"] = "binance"
    position_mode: Annotated[PositionMode, BeforeValidator(_upper)] = PositionMode.ONE_WAY
    equity: Amount
    positions: Annotated[tuple[BookPosition, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_position_once(self) -> BookFile:
        hedged = self.position_mode is PositionMode.HEDGE
        seen: set[tuple[str, Side | None]] = set()
        for position in self.positions:
            key = (position.symbol, position.side if hedged else None)
            if key in seen:
                remedy = "" if hedged else ", or set position_mode: hedge"
                raise ValueError(f"{position.symbol} stands twice; merge the positions{remedy}")
            seen.add(key)
        return self

    @model_validator(mode="after")
    def _one_setting_per_symbol(self) -> BookFile:
        settings: dict[str, tuple[int, MarginMode]] = {}
        for position in self.positions:
            mine = (position.leverage, position.margin_mode)
            if settings.setdefault(position.symbol, mine) != mine:
                raise ValueError(
                    f"{position.symbol}: leverage and margin_mode belong to the symbol; "
                    "give both sides the same"
                )
        return self


def load_book(path: Path | str) -> BookFile:
    """Read a book from a YAML file.

    Raises BookFileError with one line per problem, naming file, key and remedy.
    """
    source = Path(path)
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else None
        cause = told or " ".join(str(error).split())
        raise BookFileError((f"{source}: cannot be read ({cause}); check the path",)) from error
    except yaml.YAMLError as error:
        cause = " ".join(str(error).split())
        raise BookFileError((f"{source}: is no YAML ({cause}); correct the file",)) from error
    if not isinstance(content, dict):
        raise BookFileError((f"{source}: holds no keys; begin with equity and positions",))
    try:
        return BookFile.model_validate(content)
    except ValidationError as error:
        raise BookFileError(tuple(_line(source, problem) for problem in error.errors())) from error


def default_book(tape: Tape, count: int = 6) -> BookFile:
    """A hedged book over the `count` symbols with most bars, ties by name.

    Alternately long and short, each 0.8 times the equity of 10,000. Leverage is 10, because six
    such positions need 1.6 times the equity as margin at the file's default of 3.
    """
    chosen = sorted(tape.symbols, key=lambda symbol: (-tape.bars(symbol), symbol))[:count]
    return BookFile(
        position_mode=PositionMode.HEDGE,
        equity=Decimal(10_000),
        positions=tuple(
            BookPosition(
                symbol=symbol,
                side=Side.LONG if number % 2 == 0 else Side.SHORT,
                notional=Decimal(8_000),
                leverage=10,
            )
            for number, symbol in enumerate(chosen)
        ),
    )


def demo_book() -> BookFile:
    """The hedged book of the demo: long the majors, short four small coins, 24,000 each side."""
    longs = [("BTCUSDT", 12_000), ("ETHUSDT", 12_000)]
    shorts = [("SOLUSDT", 6_000), ("XRPUSDT", 6_000), ("DOGEUSDT", 6_000), ("ADAUSDT", 6_000)]
    return BookFile(
        position_mode=PositionMode.HEDGE,
        equity=Decimal(10_000),
        positions=tuple(
            BookPosition(symbol=symbol, side=side, notional=Decimal(notional), leverage=10)
            for side, rows in ((Side.LONG, longs), (Side.SHORT, shorts))
            for symbol, notional in rows
        ),
    )


def sensible_step(price: Decimal) -> Decimal:
    """A quantity step that every ordinary market of this price accepts.

    Binance's own steps at one price differ by up to a hundred times; the coarsest common one is
    taken, so that no seeded position has a remainder which its market cannot close.
    """
    for least_price, step in (("1000", "0.001"), ("100", "0.01"), ("0.001", "1")):
        if price >= Decimal(least_price):
            return Decimal(step)
    return Decimal(1000)


def to_seed(
    book: BookFile, prices: Mapping[str, float], *, steps: Mapping[str, Decimal] | None = None
) -> dict[str, Any]:
    """The simulator's seed account for a book at these prices, ready to be written as JSON.

    Amounts are decimal strings; `prices` are passed on as they are. The wallet is chosen so that
    wallet + unrealised profit is the book's equity: a position below its entry needs a larger one.
    `steps` are the quantity steps of the markets, where known; elsewhere `sensible_step` is used.
    Raises BookFileError for a symbol without a price, a size below one step, or a wallet below 0.
    """
    problems: list[str] = []
    positions: list[dict[str, Any]] = []
    unrealised = Decimal(0)
    for position in book.positions:
        if position.symbol not in prices:
            problems.append(
                f"{position.symbol}: the tape has no price for it; remove it or choose another tape"
            )
            continue
        mark = Decimal(str(prices[position.symbol]))
        entry = mark if position.entry is None else position.entry
        step = (steps or {}).get(position.symbol) or sensible_step(mark)
        quantity = _quantity(position, mark=mark, step=step)
        if quantity == 0:
            problems.append(f"{position.symbol}: smaller than one step ({step:f}); enlarge it")
        unrealised += position.side.sign * quantity * (mark - entry)
        positions.append(
            {
                "symbol": position.symbol,
                "side": position.side.value,
                "quantity": f"{quantity:f}",
                "entry_price": f"{entry:f}",
                "leverage": position.leverage,
                "margin_mode": position.margin_mode.value,
            }
        )
    wallet = (book.equity - unrealised).quantize(WALLET_STEP, rounding=ROUND_HALF_EVEN)
    if wallet < 0 and not problems:
        problems.append(
            f"equity {book.equity:f} is less than the unrealised profit {unrealised:f}; "
            "raise equity or bring the entries nearer to the market"
        )
    if problems:
        raise BookFileError(tuple(problems))
    return {
        "api_key": "test-key",
        "api_secret": "test-secret",
        "position_mode": book.position_mode.value,
        "multi_assets": False,
        "wallet": {"USDT": f"{wallet:f}"},
        "positions": positions,
        "prices": dict(prices),
    }


def _quantity(position: BookPosition, *, mark: Decimal, step: Decimal) -> Decimal:
    """The position's size in base units, rounded down to its market's step."""
    if position.quantity is not None:
        wished = position.quantity
    else:
        assert position.notional is not None
        wished = position.notional / mark
    return (wished / step).to_integral_value(rounding=ROUND_DOWN) * step


def _line(source: Path, problem: Mapping[str, Any]) -> str:
    """One validation problem as one line: file, key, value and what is wrong with it."""
    key = ""
    for part in problem["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    message = str(problem["msg"]).removeprefix("Value error, ").replace("\n", " ")
    match problem["type"]:
        case "missing":
            return f"{source}: {key}: is missing; add it"
        case "extra_forbidden":
            return f"{source}: {key}: is no known key; remove it or correct its spelling"
        case _:
            value = problem["input"]
            shown = f" (got {value!r})" if isinstance(value, str | int | float) else ""
            return f"{source}: {key + ': ' if key else ''}{message}{shown}"
