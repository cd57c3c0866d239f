"""Invented tapes: seeded scenarios for tests and benchmarks, and the script of the demo.

Owns the shapes of the scenarios and the waypoints of the demo, both as data. Refuses to know
accounts: which book loses how much in them is `book_file.py`'s and the guard's business.

A coin of beta 1 is multiplied by (1 + depth) at the top of a rise, by (1 - depth) at the bottom of
a fall; beta is the exponent, so that no beta can make a price negative. Noise is a small
mean-reverting walk with a generator of its own per symbol: adding a symbol changes no other one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from simulator.tape import PricePath, Tape, TapeError

DEFAULT_STARTS_AT = 1_767_225_600.0
"""2026-01-01 00:00 UTC, for tapes whose date means nothing."""
NOISE_MEMORY = 0.9
"""Share of the noise that is left one step later; the noise is at most 10 times its step."""
LARGEST_NOISE_FRACTION = 0.02
"""Ten such steps are a fifth of the price, the most that may still be called noise."""
LARGEST_STEP_COUNT = 2_000_000
"""Steps per symbol; more is a mistyped duration and would fill the memory."""


class Scenario(StrEnum):
    """What the market does between the calm beginning and the end."""

    CRASH = "crash"
    SHORT_SQUEEZE = "short_squeeze"
    SLOW_BLEED = "slow_bleed"
    V_RECOVERY = "v_recovery"
    FLAT = "flat"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioCoin:
    """A symbol of a scenario; `beta` is how strongly it follows the common move."""

    symbol: str
    start_price: float
    beta: float


Corners = tuple[tuple[float, float], ...]
"""(when, how far): times or shares of the duration, and moves or shares of the full move.

Between two corners the price goes in a straight line.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A scenario's course: corners from 0 to 1, its direction and its ordinary depth."""

    corners: Corners
    rises: bool
    depth_fraction: float


SHAPES: Mapping[Scenario, Shape] = {
    # Two waves with a bounce between them, the way liquidation cascades go.
    Scenario.CRASH: Shape(
        corners=((0.0, 0.0), (0.15, 0.0), (0.35, 0.45), (0.45, 0.3), (0.7, 1.0), (1.0, 0.85)),
        rises=False,
        depth_fraction=0.20,
    ),
    Scenario.SHORT_SQUEEZE: Shape(
        corners=((0.0, 0.0), (0.2, 0.0), (0.4, 0.35), (0.5, 0.25), (0.8, 1.0), (1.0, 0.9)),
        rises=True,
        depth_fraction=0.15,
    ),
    Scenario.SLOW_BLEED: Shape(corners=((0.0, 0.0), (1.0, 1.0)), rises=False, depth_fraction=0.08),
    Scenario.V_RECOVERY: Shape(
        corners=((0.0, 0.0), (0.2, 0.0), (0.5, 1.0), (0.8, 0.1), (1.0, 0.0)),
        rises=False,
        depth_fraction=0.15,
    ),
    Scenario.FLAT: Shape(corners=((0.0, 0.0), (1.0, 0.0)), rises=False, depth_fraction=0.0),
}


def _coins(*rows: tuple[str, float, float]) -> tuple[ScenarioCoin, ...]:
    return tuple(
        ScenarioCoin(symbol=symbol, start_price=price, beta=beta) for symbol, price, beta in rows
    )


FALLING_COINS = _coins(
    ("ADAUSDT", 0.45, 1.5),
    ("AVAXUSDT", 30.0, 1.6),
    ("BNBUSDT", 600.0, 0.9),
    ("BTCUSDT", 60_000.0, 0.8),
    ("DOGEUSDT", 0.12, 1.8),
    ("ETHUSDT", 3_000.0, 1.0),
    ("LINKUSDT", 15.0, 1.4),
    ("SOLUSDT", 150.0, 1.5),
    ("XLMUSDT", 0.10, 1.3),
    ("XRPUSDT", 0.60, 1.2),
)
"""In a fall everything goes together, the small coins further than the majors."""

SQUEEZED_COINS = _coins(
    ("ADAUSDT", 0.45, 1.1),
    ("AVAXUSDT", 30.0, 1.0),
    ("BNBUSDT", 600.0, 0.2),
    ("BTCUSDT", 60_000.0, 0.1),
    ("DOGEUSDT", 0.12, 1.2),
    ("ETHUSDT", 3_000.0, 0.2),
    ("LINKUSDT", 15.0, 0.8),
    ("SOLUSDT", 150.0, 1.0),
    ("XLMUSDT", 0.10, 2.2),
    ("XRPUSDT", 0.60, 2.0),
)
"""In a squeeze the small coins run away from the majors that were meant to hedge them."""


def generate_tape(
    scenario: Scenario,
    *,
    seed: int = 0,
    starts_at: float = DEFAULT_STARTS_AT,
    duration_s: float = 3600.0,
    step_s: float = 1.0,
    coins: Sequence[ScenarioCoin] | None = None,
    depth_fraction: float | None = None,
    noise_fraction: float = 0.0002,
) -> Tape:
    """Invent the tape of a scenario; the same arguments give the same tape in every process.

    `depth_fraction` is the full move of a coin with beta 1, `noise_fraction` the largest noise of
    one step; both are fractions of the price. Raises TapeError for arguments that make no tape.
    """
    shape = SHAPES[scenario]
    depth = shape.depth_fraction if depth_fraction is None else depth_fraction
    if coins is None:
        coins = SQUEEZED_COINS if shape.rises else FALLING_COINS
    if not 0.0 <= depth < 1.0:
        raise TapeError(f"{scenario}: depth {depth:g} is no fraction from 0 to below 1")
    if not (math.isfinite(duration_s) and duration_s > 0.0):
        raise TapeError(f"{scenario}: duration {duration_s:g} s is not above 0")
    extreme = math.log1p(depth if shape.rises else -depth)
    corners = tuple((starts_at + share * duration_s, level) for share, level in shape.corners)
    return _tape(
        {
            coin.symbol: (
                coin.start_price,
                tuple((at, math.exp(extreme * coin.beta * level) - 1.0) for at, level in corners),
            )
            for coin in coins
        },
        seed=seed,
        step_s=step_s,
        noise_fraction=noise_fraction,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoint:
    """A moment of the demo, `at_s` seconds after its start, and how far symbols have moved by then.

    Moves are fractions of the start price; a symbol that is not named stays where it was.
    """

    at_s: float
    moves: Mapping[str, float]
    what: str


DEMO_START_PRICES: Mapping[str, float] = {
    "ADAUSDT": 0.45,
    "BTCUSDT": 60_000.0,
    "DOGEUSDT": 0.12,
    "ETHUSDT": 3_000.0,
    "SOLUSDT": 150.0,
    "XRPUSDT": 0.60,
}

DEMO_WAYPOINTS: tuple[Waypoint, ...] = (
    Waypoint(at_s=300.0, moves={}, what="five calm minutes"),
    Waypoint(
        at_s=320.0,
        moves={
            "ADAUSDT": 0.003,
            "BTCUSDT": 0.002,
            "DOGEUSDT": 0.017,
            "ETHUSDT": 0.002,
            "SOLUSDT": 0.05,
            "XRPUSDT": 0.025,
        },
        what="SOL, XRP and DOGE squeeze their shorts",
    ),
    Waypoint(at_s=480.0, moves={}, what="a pause"),
    Waypoint(
        at_s=500.0,
        moves={
            "ADAUSDT": 0.053,
            "BTCUSDT": 0.004,
            "ETHUSDT": 0.004,
            "SOLUSDT": 0.06,
            "XRPUSDT": 0.03,
        },
        what="ADA follows",
    ),
    Waypoint(at_s=660.0, moves={}, what="a pause"),
    Waypoint(
        at_s=680.0,
        moves={
            "ADAUSDT": 0.09,
            "BTCUSDT": -0.013,
            "DOGEUSDT": 0.07,
            "ETHUSDT": -0.013,
            "SOLUSDT": 0.12,
            "XRPUSDT": 0.09,
        },
        what="the shorts run on while the majors fall",
    ),
    Waypoint(at_s=960.0, moves={}, what="a rest"),
)
"""The demo's script, made for `book_file.demo_book()` and the default thresholds.

Drawdown of the account after each step, in % of its 10,000, without slippage:

    step   book left alone   guarded (stage 1 halves SOL, XRP, DOGE; stage 2 closes all shorts)
    320 s        5.22              5.22    over stage 1 (4.5)
    500 s        8.64              8.19    over stage 2 (7)
    680 s       25.32             12.27    over stage 3 (10): the longs lose after the shorts went

The plateaus leave each stage time to confirm, close and settle; all steps lie within 15 minutes
of the calm, so that the shortest window still sees the peak.
"""


def demo_squeeze(
    *,
    seed: int = 0,
    starts_at: float = DEFAULT_STARTS_AT,
    waypoints: Sequence[Waypoint] = DEMO_WAYPOINTS,
    step_s: float = 1.0,
    noise_fraction: float = 0.0001,
) -> Tape:
    """Play the demo's script: calm, three steps against a hedged book, a rest.

    Raises TapeError for waypoints that are not in order of time or name an unknown symbol.
    """
    corners: dict[str, list[tuple[float, float]]] = {
        symbol: [(starts_at, 0.0)] for symbol in DEMO_START_PRICES
    }
    for waypoint in waypoints:
        unknown = sorted(set(waypoint.moves) - set(corners))
        if unknown:
            raise TapeError(f"demo: waypoint at {waypoint.at_s:g} s names {', '.join(unknown)}")
        for symbol, points in corners.items():
            at = starts_at + waypoint.at_s
            if not at > points[-1][0]:
                raise TapeError(f"demo: waypoint at {waypoint.at_s:g} s is not after the last one")
            points.append((at, waypoint.moves.get(symbol, points[-1][1])))
    return _tape(
        {symbol: (DEMO_START_PRICES[symbol], tuple(points)) for symbol, points in corners.items()},
        seed=seed,
        step_s=step_s,
        noise_fraction=noise_fraction,
    )


def _tape(
    courses: Mapping[str, tuple[float, Corners]],
    *,
    seed: int,
    step_s: float,
    noise_fraction: float,
) -> Tape:
    """Walk every symbol's (start price, (time, move) corners) in steps, with noise."""
    if not 0.0 <= noise_fraction <= LARGEST_NOISE_FRACTION:
        raise TapeError(f"noise {noise_fraction:g} is not between 0 and {LARGEST_NOISE_FRACTION:g}")
    if not (math.isfinite(step_s) and step_s > 0.0):
        raise TapeError(f"step {step_s:g} s is not above 0")
    return Tape.of(
        PricePath.of_points(
            symbol,
            _walk(
                start_price,
                corners,
                step_s=step_s,
                noise_fraction=noise_fraction,
                source=random.Random(f"{seed}:{symbol}"),
            ),
        )
        for symbol, (start_price, corners) in courses.items()
    )


def _walk(
    start_price: float,
    corners: Corners,
    *,
    step_s: float,
    noise_fraction: float,
    source: random.Random,
) -> Iterator[tuple[float, float]]:
    """Give (time, price) for every step of one symbol; the first price is the start price."""
    starts_at, ends_at = corners[0][0], corners[-1][0]
    step_count = math.ceil((ends_at - starts_at) / step_s)
    if step_count > LARGEST_STEP_COUNT:
        raise TapeError(f"{step_count} steps are too many; take a longer step")
    noise, corner = 0.0, 1
    yield starts_at, start_price
    for number in range(1, step_count + 1):
        at = min(starts_at + number * step_s, ends_at)
        while corners[corner][0] < at:
            corner += 1
        (begin, before), (end, after) = corners[corner - 1], corners[corner]
        move = before + (after - before) * (at - begin) / (end - begin)
        noise = NOISE_MEMORY * noise + noise_fraction * source.uniform(-1.0, 1.0)
        yield at, start_price * (1.0 + move) * (1.0 + noise)
