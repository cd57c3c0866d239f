"""No free text in a record or in the lock document holds a secret; everything else is untouched."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from errors import InvariantViolation
from lock_document import LockContent, parse_lock_entries
from masking import MaskedStore, mask_lock, mask_records
from memory import AuditEntry, OrderAction, OrderRecord, ReadingRecord, Records, RequestAnswer
from model import (
    ClientOrderId,
    Done,
    IncidentId,
    Outcome,
    RefusalReason,
    Refused,
    Trust,
    Unknown,
    VenueOrderId,
)
from redaction import MASK, Redactor
from switch_model import (
    SwitchMemory,
    SwitchSetting,
    SwitchState,
    SwitchStore,
    SwitchTransition,
)
from tests.guard_files import BOOK, INCIDENT, LOCK, NOW, SCOPE, STATE, known, opened, settings_in
from tests.memory_venue import Call
from tests.virtual_house import House, play

SECRET = "swordfish-of-binance"
SAID, CLEAN = f"bad key {SECRET}!", f"bad key {MASK}!"
MASKING = Redactor((SECRET,))


def order(outcome: Outcome | None) -> OrderRecord:
    """A close with an outcome."""
    return OrderRecord(
        client_id=ClientOrderId("ks-abcd1-1-1-1"),
        incident_id=IncidentId("abcd1"),
        scope=SCOPE,
        key=None,
        action=OrderAction.CLOSE,
        symbol="SOLUSDT",
        order_side="BUY",
        quantity=Decimal(75),
        round_number=1,
        created_at=NOW,
        dry_run=False,
        outcome=outcome,
        answered_at=NOW,
    )


def records(text: str) -> Records:
    """Records with a text in every place where a text is free."""
    memory, (reading,) = known((60, 10_000.0))
    return Records(
        readings=(replace(reading, trust=Trust.SUSPECT, point=None, reasons=("odd", text)),),
        scopes=(memory,),
        books=(STATE,),
        incidents=(INCIDENT,),
        orders=(
            order(Refused(reason=RefusalReason.NOT_ALLOWED, code="-1022", message=text)),
            order(Unknown(cause=text)),
            order(Done(order_id=VenueOrderId("1"), filled=Decimal(75))),
            order(None),
        ),
        answers=(RequestAnswer(request_id=1, at=NOW, accepted=True, message=text),),
        audits=(
            AuditEntry(
                at=NOW,
                scope=BOOK,
                event="reset",
                message=text,
                details=(("reason", text), ("rounds", 3), ("abandoned", None)),
            ),
        ),
        switch=SwitchMemory(
            local=SwitchSetting(actor=text, reason=text),
            redis=SwitchSetting(actor=text, reason=text),
        ),
        transitions=(
            SwitchTransition(
                at=NOW,
                old=SwitchState.RUNNING,
                new=SwitchState.HALT,
                store=SwitchStore.REDIS,
                actor=text,
                reason=text,
            ),
        ),
    )


def test_every_free_text_is_masked_and_nothing_else_changes() -> None:
    """The whole record, compared with the same one made of clean texts."""
    assert mask_records(records(SAID), MASKING.text) == records(CLEAN)


def test_a_password_that_is_a_word_of_ours_spoils_no_decision() -> None:
    """Ids, names and symbols are what the guard finds its own state by after a restart."""
    unlucky = Redactor(("SOLUSDT", BOOK, "abcd1", "CLOSE", "NOT_ALLOWED", "SHORT"))
    kept = mask_records(records("a text"), unlucky.text)
    assert kept == records("a text")
    assert isinstance(kept.readings[0], ReadingRecord)


async def test_what_reaches_the_database_is_clean(tmp_path: Path) -> None:
    """Through the store itself: the bytes on disk."""
    settings = settings_in(tmp_path)
    with opened(settings) as store:

        class Direct:
            async def commit(self, given: Records) -> None:
                store.commit(given)

        one_order = replace(records(SAID), orders=records(SAID).orders[:1], answers=())
        await MaskedStore(Direct(), MASKING).commit(one_order)
    content = b"".join(path.read_bytes() for path in settings.state_dir.iterdir())
    assert MASK.encode() in content
    assert SECRET.encode() not in content


def test_the_details_of_the_lock_are_masked_and_its_claims_are_not() -> None:
    """A bot obeys names and reasons; a person reads details."""
    entry = replace(LOCK, details=(("fault", SAID),))
    content = LockContent(locks=(entry,), would_lock=(entry,), details=(("note", SAID),))
    clean = replace(LOCK, details=(("fault", CLEAN),))
    expected = LockContent(locks=(clean,), would_lock=(clean,), details=(("note", CLEAN),))
    assert mask_lock(content.to_document(NOW), MASKING) == expected.to_document(NOW)
    unlucky = Redactor((LOCK.reason, LOCK.mode.value, "locked", "true"))
    (read_back,) = parse_lock_entries(
        mask_lock(LockContent(locks=(LOCK,)).to_document(NOW), unlucky)
    )
    assert (read_back.reason, read_back.mode) == (LOCK.reason, LOCK.mode)


def test_a_guard_hands_masked_texts_to_disk(tmp_path: Path) -> None:
    """Exceptions with a secret in their text: readings fail, it is blind, and then it breaks."""
    faults: list[Exception] = [ValueError(SAID)]

    def trip(call: Call) -> None:
        if call.name == "fetch_reading":
            raise faults[-1]

    async def story() -> None:
        house = House(folder=tmp_path, redactor=MASKING)
        async with house.guard() as guard:
            guard.is_crashed = True
            house.venue.witness = trip
            await house.until(lambda: bool(house.audit("blind")), within_s=120, step_s=5)
            assert CLEAN in house.audit("blind")[0].message
            faults.append(InvariantViolation(SAID))
            with pytest.raises(InvariantViolation):
                await guard.running
        assert CLEAN in house.audit("task_failed")[-1].message
        assert house.lock()["details"]["fault"] == CLEAN

    play(story)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert SECRET.encode() not in content
