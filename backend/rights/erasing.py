"""Forgetting a patient: asked for, decided, entered in the ledger, done.

The decision is one transaction and closes the account. A sweep then deletes: the line in the ledger
first, the rows after it, all or none. What died in between is taken up again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.sessions.models import Session as SignInSession
from django.db import connection, transaction

from backend.audit.actions import note_command
from backend.clinics.actions import deactivate, lock
from backend.clinics.models import Patient, User
from backend.problems import Problem
from backend.reports import exports
from backend.rights import ledger
from backend.rights.belongings import TABLES, Person, rows
from backend.rights.models import Erasure

GRACE = timedelta(minutes=1)  # requests that began before it was decided are through
LEASE = timedelta(minutes=5)


class LegalHold(Problem):
    """The record has to be kept, for the reason in `detail`. Nothing of it is erased meanwhile."""

    code = "legal-hold"
    status = 409
    title = "This record has to be kept"
    remedy = "A clinic admin lifts the hold once its reason is gone; then ask again."


# --- Asking and holding -----------------------------------------------------------------------


@transaction.atomic
def ask(*, patient: Patient, now: datetime) -> Patient:
    """The patient wants to be forgotten. The first time counts."""
    patient = lock(patient)
    if patient.erasure_asked_at is None:
        patient.erasure_asked_at = now
        patient.save(update_fields=["erasure_asked_at"])
    return patient


@transaction.atomic
def take_back(*, patient: Patient) -> Patient:
    patient = lock(patient)
    patient.erasure_asked_at = None
    patient.save(update_fields=["erasure_asked_at"])
    return patient


@transaction.atomic
def hold(*, patient: Patient, reason: str, now: datetime) -> Patient:
    """Keep the record, whatever is asked. Of one that is to be erased it is too late."""
    patient = lock(patient)
    if Erasure.objects.filter(patient_id=patient.pk).exists():
        raise ErasureDecided
    patient.legal_hold_since = patient.legal_hold_since or now
    patient.legal_hold_reason = reason
    patient.save(update_fields=["legal_hold_since", "legal_hold_reason"])
    return patient


@transaction.atomic
def lift(*, patient: Patient) -> Patient:
    patient = lock(patient)
    patient.legal_hold_since, patient.legal_hold_reason = None, ""
    patient.save(update_fields=["legal_hold_since", "legal_hold_reason"])
    return patient


class ErasureDecided(Problem):
    """It was decided to erase this record, and that is on its way."""

    code = "erasure-decided"
    status = 409
    title = "This record is being erased"
    remedy = "Nothing. What was decided cannot be taken back."


# --- Deciding ---------------------------------------------------------------------------------


@transaction.atomic
def decide(*, patient: Patient, reason: str, by: User | None, now: datetime) -> Erasure:
    """Decide that everything of a patient is deleted. The account ends at once.

    Raises `LegalHold`. Who decides twice gets the first decision.
    """
    patient = lock(patient)
    if patient.legal_hold_since is not None:
        raise LegalHold(patient.legal_hold_reason)
    person = Person.of(patient)
    erasure, is_new = Erasure.objects.get_or_create(
        patient_id=patient.pk,
        defaults={
            "clinic_id": patient.clinic_id,
            "account_id": person.account_id,
            "reason": reason,
            "decided_by": by.pk if by else None,
            "decided_at": now,
            "attempt_due_at": now + GRACE,
        },
    )
    if is_new and person.account_id is not None and patient.user is not None:
        deactivate(person=patient.user, now=now)
    return erasure


# --- Doing it ---------------------------------------------------------------------------------


def due(*, now: datetime, limit: int) -> list[UUID]:
    found = Erasure.objects.filter(attempt_due_at__lte=now).order_by("attempt_due_at", "pk")
    return list(found.values_list("pk", flat=True)[:limit])


def erase(*, erasure_id: UUID, now: datetime) -> bool:
    """Delete everything of one person; says whether this call did."""
    claimed = Erasure.objects.filter(pk=erasure_id, attempt_due_at__lte=now)
    if not claimed.update(attempt_due_at=now + LEASE):
        return False
    erasure = Erasure.objects.get(pk=erasure_id)
    ledger.append(erasure)
    _forget(erasure, action="erasure_done", now=now)
    return True


@transaction.atomic
def _forget(erasure: Erasure, *, action: str, now: datetime) -> None:
    # Nothing is added meanwhile: whoever writes of a patient holds this lock.
    Patient.objects.select_for_update().filter(pk=erasure.patient_id).first()
    exports.withdraw(clinic_id=erasure.clinic_id, now=now)
    person = Person(erasure.patient_id, erasure.account_id)
    _sign_out(person)
    for table in TABLES:
        rows(table, person).delete()
    erasure.attempt_due_at, erasure.done_at = None, now
    erasure.save()
    note_command(
        command="erasure",
        action=action,
        clinic_id=erasure.clinic_id,
        patient_id=erasure.patient_id,
        object_id=erasure.pk,
        run=uuid4(),
        now=now,
    )


def _sign_out(person: Person) -> None:
    """The sessions themselves: another table knows whose they are."""
    [known] = [table for table in TABLES if table.label == "usersessions.UserSession"]
    keys: list[Any] = list(rows(known, person).values_list("session_key", flat=True))
    SignInSession.objects.filter(session_key__in=keys).delete()


def replay(*, now: datetime) -> int:
    """After a restore: forget once more whom the ledger names. Says how many were there again."""
    count = 0
    for entry in ledger.entries():
        person = Person(entry.patient_id, entry.account_id)
        if not any(rows(table, person).exists() for table in TABLES):
            continue
        said = {name: getattr(entry, name) for name in DECISION}
        erasure, _ = Erasure.objects.update_or_create(
            patient_id=entry.patient_id,
            defaults=said | {"attempt_due_at": now, "done_at": None},
        )
        _forget(erasure, action="erasure_repeated", now=now)
        count += 1
    return count


DECISION = ("clinic_id", "account_id", "reason", "decided_by", "decided_at")


# --- What a database keeps of what was deleted ------------------------------------------------


def settle() -> bool:
    """Let go of old pages: SQLite's log has them until it is written back. Says whether it has.

    The file itself overwrites what is deleted (`secure_delete`); PostgreSQL vacuums by itself.
    """
    if connection.vendor != "sqlite":
        return True
    if connection.in_atomic_block:  # it waits for whoever is writing, which is ourselves
        return False
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        is_busy, *_ = cursor.fetchone()
    return not is_busy


def rewrite() -> None:
    """Write the whole database anew, for what was deleted before it overwrote that."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
    settle()
