"""A copy of everything about a patient, row by row as it is stored, in flat memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models import F, OrderBy, Q

from backend.audit.models import AuditEvent
from backend.clinics.models import Patient, User
from backend.rights.belongings import TABLES, Person, Table, rows

AT_ONCE = 500
SEEN = ("at", "actor_role", "action", "outcome")  # of an event: who looked is told as a role
EVENTS, PEOPLE = "audit_events", "people"


def members() -> list[str]:
    """The names in a copy, in their order."""
    return [table.shown for table in reversed(TABLES) if table.shown] + [EVENTS, PEOPLE]


def pieces(patient: Patient) -> Iterator[bytes]:
    """The copy as JSON, piece by piece: a list for each table, one query each.

    `people` are those of the clinic whom the other lists name by their ids.
    """
    person, met = Person.of(patient), set[UUID]()
    yield b"{"
    for table in reversed(TABLES):
        if table.shown:
            yield from _list(table.shown, _rows(table, person, met))
            yield b","
    yield from _list(EVENTS, _events(patient))
    yield b","
    yield from _list(PEOPLE, _people(patient, met))
    yield b"}"


def _list(name: str, shown: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    yield f'"{name}":['.encode()
    between = b""
    for row in shown:
        yield between + json.dumps(row, default=_plain, ensure_ascii=False).encode()
        between = b","
    yield b"]"


def columns(table: Table) -> list[str]:
    """All but what is hidden, and keys that only count."""
    return [
        field.attname
        for field in table.model._meta.concrete_fields
        if field.name not in table.hidden and not isinstance(field, models.AutoField)
    ]


def _rows(table: Table, person: Person, met: set[UUID]) -> Iterator[dict[str, Any]]:
    names = columns(table)
    of_people = {
        field.attname for field in table.model._meta.concrete_fields if field.related_model is User
    }
    found = rows(table, person).order_by(*_moments(table), "pk").values(*names)
    for row in found.iterator(chunk_size=AT_ONCE):
        met |= {row[name] for name in of_people if row[name] is not None}
        yield {name: value for name, value in row.items() if value is not None}


def _moments(table: Table) -> list[OrderBy]:
    """The order in which it happened, on every database."""
    fields = table.model._meta.concrete_fields
    return [
        F(field.attname).asc(nulls_last=True)
        for field in fields
        if isinstance(field, models.DateField)
    ]


def _events(patient: Patient) -> Iterator[dict[str, Any]]:
    found = AuditEvent.objects.filter(_about(patient), clinic_id=patient.clinic_id)
    if patient.user_id is not None:
        found = found.exclude(actor_id=patient.user_id)
    yield from found.order_by("at", "id").values(*SEEN).iterator(chunk_size=AT_ONCE)


def _about(patient: Patient) -> Q:
    """What others did with the record, and each list that showed it."""
    shown = str(patient.pk)
    if connection.vendor == "postgresql":
        return Q(patient_id=patient.pk) | Q(listed__contains=[shown])
    return Q(patient_id=patient.pk) | Q(listed__icontains=shown)


def _people(patient: Patient, met: set[UUID]) -> Iterator[dict[str, Any]]:
    found = User.objects.filter(pk__in=met - {patient.user_id}, clinic=patient.clinic_id)
    for one in found.order_by("pk"):
        yield {"id": one.pk, "name": one.display_name, "roles": one.roles}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)
