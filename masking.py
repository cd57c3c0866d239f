"""The last look before disk: no free text in a record or in the lock document holds a secret.

Adapters mask what a venue says already; this is for what nobody thought of, such as the text of an
exception that an odd answer raised deep inside a library. Only texts that people read are touched.
What decisions stand on (names, ids, quantities, times, the reason of a lock) stays as it is, even
where a badly chosen password happens to be a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from memory import AuditEntry, Detail, OrderRecord, Records
from model import Outcome, Refused, Unknown
from recorder import AsyncStore
from redaction import Redactor
from switch_model import SwitchMemory, SwitchSetting

Mask = Callable[[str], str]


class MaskedStore:
    """A store that is never handed a secret."""

    def __init__(self, store: AsyncStore, redactor: Redactor) -> None:
        self._store = store
        self._mask = redactor.text

    async def commit(self, records: Records) -> None:
        """Write in one transaction, or raise StoreError."""
        await self._store.commit(mask_records(records, self._mask))


def mask_records(records: Records, mask: Mask) -> Records:
    """The records with every free text masked."""
    return replace(
        records,
        readings=tuple(
            replace(record, reasons=tuple(map(mask, record.reasons))) for record in records.readings
        ),
        orders=tuple(_mask_order(order, mask) for order in records.orders),
        answers=tuple(replace(answer, message=mask(answer.message)) for answer in records.answers),
        audits=tuple(_mask_audit(entry, mask) for entry in records.audits),
        switch=None if records.switch is None else _mask_switch(records.switch, mask),
        transitions=tuple(
            replace(one, actor=mask(one.actor), reason=mask(one.reason))
            for one in records.transitions
        ),
    )


def _mask_switch(switch: SwitchMemory, mask: Mask) -> SwitchMemory:
    """What anybody with access to Redis may have written beside the state is free text."""

    def masked(setting: SwitchSetting) -> SwitchSetting:
        return replace(setting, actor=mask(setting.actor), reason=mask(setting.reason))

    redis = None if switch.redis is None else masked(switch.redis)
    return replace(switch, local=masked(switch.local), redis=redis)


def _mask_order(order: OrderRecord, mask: Mask) -> OrderRecord:
    """Orders wait for their intents to be written: what says nothing is not copied."""
    outcome = _mask_outcome(order.outcome, mask)
    return order if outcome is order.outcome else replace(order, outcome=outcome)


def _mask_outcome(outcome: Outcome | None, mask: Mask) -> Outcome | None:
    match outcome:
        case Refused():
            return replace(outcome, message=mask(outcome.message))
        case Unknown():
            return Unknown(cause=mask(outcome.cause))
        case _:
            return outcome


def _mask_audit(entry: AuditEntry, mask: Mask) -> AuditEntry:
    details: tuple[tuple[str, Detail], ...] = tuple(
        (name, mask(value) if isinstance(value, str) else value) for name, value in entry.details
    )
    return replace(entry, message=mask(entry.message), details=details)


def mask_lock(document: Mapping[str, object], redactor: Redactor) -> dict[str, object]:
    """The lock document with its details masked, those of every single lock included."""
    return {name: _mask_part(name, value, redactor) for name, value in document.items()}


def _mask_part(name: str, value: object, redactor: Redactor) -> object:
    if name == "details" and isinstance(value, Mapping):
        return {key: redactor.value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_lock(item, redactor) if isinstance(item, Mapping) else item for item in value]
    return value
