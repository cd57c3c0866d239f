"""What a check found: how bad it is, what it is about, and what to do.

Pure values. A FAULT keeps the guard from closing, or lets money be lost that it cannot see; a
WARNING is something that it copes with and the operator should know; FINE is said so that silence
never passes for health.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is, the worst first."""

    FAULT = "FAULT"
    WARNING = "WARNING"
    FINE = "FINE"


class Topic(StrEnum):
    """What a finding is about; a word for machines and for telling one change from another."""

    CONNECTION = "CONNECTION"
    CLOCK = "CLOCK"
    ACCOUNT_FAMILY = "ACCOUNT_FAMILY"
    POSITION_MODE = "POSITION_MODE"
    KEY_READS = "KEY_READS"
    KEY_TRADES = "KEY_TRADES"
    KEY_WITHDRAWS = "KEY_WITHDRAWS"
    KEY_READS_TRANSFERS = "KEY_READS_TRANSFERS"
    KEY_ADDRESSES = "KEY_ADDRESSES"
    KEY_EXPIRY = "KEY_EXPIRY"
    DEAD_MAN_SWITCH = "DEAD_MAN_SWITCH"
    NOT_TOLD = "NOT_TOLD"
    NOT_WATCHED = "NOT_WATCHED"
    READING = "READING"
    EQUITY = "EQUITY"
    OPEN_ORDERS = "OPEN_ORDERS"
    MARKETS = "MARKETS"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    NOT_TRADABLE = "NOT_TRADABLE"
    TOO_SMALL = "TOO_SMALL"
    OFF_STEP = "OFF_STEP"
    MARKET_MAXIMUM = "MARKET_MAXIMUM"
    SMALL_REMAINDER = "SMALL_REMAINDER"
    ORDERS_IN_THE_WAY = "ORDERS_IN_THE_WAY"
    ORDERS_ON_FLAT_SYMBOL = "ORDERS_ON_FLAT_SYMBOL"
    CLOSABLE = "CLOSABLE"
    SPLIT_HEDGE = "SPLIT_HEDGE"
    STORE = "STORE"
    LOCK_FILE = "LOCK_FILE"
    DISK = "DISK"
    ALERTS = "ALERTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found. `subject` names what it is about (`BTCUSDT LONG`), if anything."""

    level: Level
    topic: Topic
    what: str
    remedy: str = ""
    subject: str = ""


def worth_telling(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Faults first, then warnings; what is fine is left out."""
    found = tuple(findings)
    return tuple(
        finding
        for level in (Level.FAULT, Level.WARNING)
        for finding in found
        if finding.level is level
    )
