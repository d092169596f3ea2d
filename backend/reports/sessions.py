"""The lines of a file of sessions: one each, of whom it may name and of whom not."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from backend.care.models import Assignment, Session
from backend.clinics.models import Patient
from backend.reports.models import Export
from backend.reports.tables import csv_lines

SMALL_GROUP = 5  # people who are alike; fewer could be recognised
AGE_BAND = 10
AT_ONCE = 500  # lines

NAMED = ("patient_id", "family_name", "given_name", "birth_date", "local_date")
UNNAMED = ("patient", "age_from", "age_to", "day_of_plan")
LOGGED = (
    "session_id", "protocol", "protocol_version", "state", "outcome", "dose_ratio", "pain_before",
    "pain_during", "pain_after", "effort", "minutes", "late", "clock_suspect",
)  # fmt: skip

Line = list[object]
Group = tuple[int, UUID | None]


def names_of(export: Export) -> tuple[str, ...]:
    return (*(UNNAMED if export.de_identified else NAMED), *LOGGED)


def head(export: Export) -> str:
    return csv_lines([names_of(export)]) if export.format == Export.Format.CSV else ""


def patients_of(export: Export) -> QuerySet[Patient]:
    return Patient.objects.filter(clinic=export.clinic)


def logs_of(export: Export) -> QuerySet[Session]:
    window = export.from_on, export.to_on
    return Session.objects.filter(
        patient__clinic=export.clinic, local_date__range=window
    ).standing()


def text_of(export: Export, patients: Sequence[Patient]) -> Iterator[tuple[str, int]]:
    """The lines of these patients, and how many, a few at a time."""
    lines, names = _lines(export, patients), names_of(export)
    while some := list(islice(lines, AT_ONCE)):
        if export.format == Export.Format.CSV:
            yield csv_lines(some), len(some)
        else:
            told = (json.dumps(dict(zip(names, one, strict=True)), default=str) for one in some)
            yield "".join(f"{one}\n" for one in told), len(some)


def _lines(export: Export, patients: Sequence[Patient]) -> Iterator[Line]:
    known = {patient.pk: patient for patient in patients}
    rare = _rare(export) if export.de_identified else frozenset()
    found = logs_of(export).filter(patient__in=patients)
    found = found.select_related("assignment__protocol_version").defer(
        "derived", "assignment__carried", "assignment__standing", "assignment__concerns",
        "assignment__protocol_version__document",
    )  # fmt: skip
    ordered = found.order_by("patient_id", "local_date", "pk")
    for one in ordered.iterator(chunk_size=AT_ONCE):
        if (line := _line(export, one, known[one.patient_id], rare)) is not None:
            yield line


def _line(
    export: Export, session: Session, patient: Patient, rare: frozenset[Group]
) -> Line | None:
    version = session.assignment.protocol_version if session.assignment else None
    who: Line = [
        str(patient.pk), patient.family_name, patient.given_name, str(patient.birth_date),
        str(session.local_date),
    ]  # fmt: skip
    if export.de_identified:
        group = _band(patient, export), version.pk if version else None
        if group in rare:
            return None
        first = session.assignment.start_date if session.assignment else session.local_date
        assert first is not None
        assert session.local_date is not None
        day = (session.local_date - first).days + 1
        who = [pseudonym(export, patient.pk), group[0], group[0] + AGE_BAND - 1, day]
    said = session.content or {}
    return [
        *who,
        pseudonym(export, session.pk) if export.de_identified else str(session.phone_id),
        version.slug if version else None,
        version.version if version else None,
        said.get("state"),
        session.outcome or None,
        float(session.dose_ratio) if session.dose_ratio is not None else None,
        session.pain_before,
        session.pain_during,
        session.pain_after,
        said.get("effort"),
        _minutes(said),
        session.late,
        session.clock_suspect,
    ]


def _minutes(said: dict[str, Any]) -> int | None:
    if not (said.get("started_at") and said.get("ended_at")):
        return None
    first, last = (datetime.fromisoformat(said[name]) for name in ("started_at", "ended_at"))
    return round((last - first).total_seconds() / 60)


def pseudonym(export: Export, id: UUID) -> str:
    """The same within one file, and of no use beside any other."""
    return hmac.new(bytes.fromhex(export.secret), id.bytes, "sha256").hexdigest()[:20]


def _band(patient: Patient, export: Export) -> int:
    """The first age of the ten years that somebody was in when the span ended."""
    return age_band(patient.birth_date, export.to_on)


def age_band(born: date, on: date) -> int:
    age = on.year - born.year - ((on.month, on.day) < (born.month, born.day))
    return age // AGE_BAND * AGE_BAND


def _rare(export: Export) -> frozenset[Group]:
    """Groups of one age band and protocol with too few people in them."""
    rows = Assignment.objects.filter(patient__clinic=export.clinic).filter(
        Q(ended_on=None) | Q(ended_on__gte=export.from_on), start_date__lte=export.to_on
    )
    people: dict[Group, set[UUID]] = {}
    named = rows.values_list("patient_id", "patient__birth_date", "protocol_version_id").distinct()
    for patient_id, born, version_id in named.iterator():
        people.setdefault((age_band(born, export.to_on), version_id), set()).add(patient_id)
    few = {group for group, ids in people.items() if len(ids) < SMALL_GROUP}
    bands = {band for band, _ in people}
    return frozenset(few | {(band, None) for band in bands})
