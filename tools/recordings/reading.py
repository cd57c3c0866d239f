"""What every venue's readers share: rows as they were recorded, and that nothing of them is lost.

A reader takes a recording, reads it with the project's own parsers, compares every row with what
was recorded, and says in a few words what was read. It raises `Lost` or the parser's `Malformed`
when something is not there, and `NotAsked` for an answer that the guard never asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, assert_never

from model import (
    Asset,
    ClientOrderId,
    Done,
    LedgerKind,
    Order,
    Outcome,
    Position,
    Refused,
    ScopeId,
    Unknown,
)
from tools.recordings.answers import Recording

STABLES = (Asset("USDT"), Asset("USDC"))
SCOPE = ScopeId("recorded_futures")
ALONE = ClientOrderId("recorded")

Row = Mapping[str, Any]
Reader = Callable[[Recording], str]


class Lost(Exception):
    """Something that was recorded is not in what was read."""


class NotAsked(Exception):
    """The guard does not ask for this; the text says why, or what it asks for instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """What is known of one exchange's endpoints, by method and path.

    `reads` are those the guard asks; `instead` says of others why not, or what is asked in
    their place.
    """

    reads: Mapping[str, Reader]
    instead: Mapping[str, str]
    is_error: Callable[[object], bool]


def rows_at(answer: Any, *names: str) -> list[Row]:
    """The list under these names, found without any parser; null is a list of none."""
    for name in names:
        answer = answer[name]
    return list(answer or ())


def number(row: Row, name: str) -> Decimal:
    """A number as it was recorded."""
    try:
        return Decimal(str(row[name]))
    except (KeyError, InvalidOperation):
        raise Lost(f"{name} is not recorded as a number") from None


def amount(row: Row, name: str) -> Decimal:
    """A number as it was recorded, 0 where there is none."""
    return number(row, name) if row.get(name) not in (None, "") else Decimal(0)


def same(read: object, recorded: object, what: str) -> None:
    """Raise Lost unless both are the same; a float is the same as the number it stands for."""
    if isinstance(read, float) and isinstance(recorded, Decimal):
        recorded = float(recorded)
    if read != recorded:
        raise Lost(f"{what}: recorded {recorded}, read {read}")


def as_many(read: int, recorded: int, what: str) -> None:
    """Raise Lost unless as many were read as there are rows."""
    if read != recorded:
        raise Lost(f"{recorded} {what} recorded, {read} read")


def close_to(read: float, recorded: Decimal, what: str) -> None:
    """The same but for the rounding of a sum of floats."""
    if abs(read - float(recorded)) > 1e-9 * max(1.0, abs(read)):
        raise Lost(f"{what}: recorded {recorded}, read {read}")


def counted(count: int, noun: str) -> str:
    """`1 order`, `2 orders`."""
    many = noun.removesuffix("y") + "ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else many}"


def listed(*parts: str) -> str:
    """Parts that are not empty, with commas between them."""
    return ", ".join(part for part in parts if part)


def told_positions(rows: Sequence[Row], positions: Sequence[Position], *, size: str) -> str:
    """Compare positions with the rows they come from, `size` being the name of the size."""
    held = [row for row in rows if number(row, size)]
    as_many(len(positions), len(held), "positions")
    for row, position in zip(held, positions, strict=True):
        same(str(position.symbol), str(row["symbol"]).upper(), "symbol")
        same(position.quantity, abs(number(row, size)), f"size of {position.symbol}")
    empty = len(rows) - len(held)
    return listed(
        counted(len(held), "position"), f"{counted(empty, 'row')} of size zero" if empty else ""
    )


def same_figures(row: Row, position: Position, *, entry: str, mark: str, profit: str) -> None:
    """Compare the prices and the profit of a position; a price of 0 was worked out instead."""
    same(position.unrealised_pnl, number(row, profit), f"profit of {position.symbol}")
    for name, read in ((entry, position.entry_price), (mark, position.mark_price)):
        if number(row, name):
            same(read, number(row, name), f"{name} of {position.symbol}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderNames:
    """How a list of orders names what is compared."""

    order_id: str
    client_id: str
    quantity: str
    executed: str = ""


def told_orders(rows: Sequence[Row], orders: Sequence[Order], names: OrderNames) -> str:
    """Compare open orders with the rows they come from."""
    as_many(len(orders), len(rows), "orders")
    for row, order in zip(rows, orders, strict=True):
        same(order.order_id, str(row[names.order_id]), "order id")
        same(order.client_id, str(row.get(names.client_id) or ""), f"own id of {order.order_id}")
        same(str(order.symbol), str(row["symbol"]).upper(), f"symbol of {order.order_id}")
        left = amount(row, names.quantity) - (amount(row, names.executed) if names.executed else 0)
        if not order.close_position:
            same(order.quantity, left, f"quantity of {order.order_id}")
    return counted(len(rows), "order")


def told_records(count: int, kinds: Iterable[LedgerKind], *, beside: str = "") -> str:
    """`3 records: 2 flows`; `beside` are rows that make no entry of the ledger."""
    flows = sum(1 for kind in kinds if kind.is_flow)
    return f"{counted(count, 'record')}: {listed(counted(flows, 'flow'), beside)}"


def told_outcome(outcome: Outcome, *, noun: str = "order") -> str:
    """What an answer about an order proves; Lost when it proves nothing."""
    match outcome:
        case Done(filled=None):
            return f"1 {noun}: taken"
        case Done(filled=filled):
            return f"1 {noun}: filled {filled}"
        case Refused(reason=reason, code=code):
            return f"1 {noun}: refused, {code} {reason.value}"
        case Unknown(cause=cause):
            raise Lost(f"it proves nothing: {cause}")
        case _:
            assert_never(outcome)


def beside_profit(equity: Decimal, without: Decimal, name: str) -> str:
    """Name the figure that does not hold the profit where it differs from the equity."""
    return f"not {name}, which is {without}" if without != equity else ""
