"""Files in the background: asked for, written part by part by whichever worker is free, and gone
after a day.

A part is written in one transaction with the place where the next one goes on. A worker who dies
loses the part it was at, and no more.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import zlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils.translation import gettext as _

from backend.care.models import Assignment, Session
from backend.clinics.models import Clinic, Patient, User
from backend.problems import Problem, StateConflict, ValidationFailed
from backend.reports.models import Export, ExportPart
from backend.reports.tables import csv_lines

LIVES = timedelta(hours=24)
LEASE = timedelta(minutes=2)  # longer than a part takes
MOST_TRIES = 5
MOST_PENDING = 5  # of one clinic
PATIENTS_A_PART = 50
SMALL_GROUP = 5  # people who are alike; fewer could be recognised
AGE_BAND = 10

NAMED = ("patient_id", "family_name", "given_name", "birth_date", "local_date")
UNNAMED = ("patient", "age_from", "age_to", "day_of_plan")
LOGGED = (
    "session_id", "protocol", "protocol_version", "state", "outcome", "dose_ratio", "pain_before",
    "pain_during", "pain_after", "effort", "minutes", "late", "clock_suspect",
)  # fmt: skip


class ExportNotReady(Problem):
    """The file is still being written, has failed, or was thrown away a day after it was ready."""

    code = "export-not-ready"
    status = 409
    title = "There is no file"
    remedy = "Ask for the export: its status says whether to wait, or to ask for a new one."


@transaction.atomic
def ask(
    *,
    clinic: Clinic,
    by: User,
    kind: str,
    format: str,
    first: date,
    last: date,
    de_identified: bool,
    purpose: str,
    now: datetime,
) -> Export:
    """Queue a file. What it is for is kept with it."""
    if last < first:
        raise ValidationFailed.at("#/to", "time-order", _("Not before `from`."))
    clinic = Clinic.objects.select_for_update().get(pk=clinic.pk)
    pending = Export.objects.filter(clinic=clinic, attempt_due_at__isnull=False).count()
    if pending >= MOST_PENDING:
        raise StateConflict(_("Wait until one of those that are being written is ready."))
    return Export.objects.create(
        clinic=clinic,
        asked_by=by,
        kind=kind,
        format=format,
        from_on=first,
        to_on=last,
        de_identified=de_identified,
        purpose=purpose,
        secret=secrets.token_hex(32) if de_identified else "",
        created_at=now,
        attempt_due_at=now,
    )


def content_of(export: Export) -> Iterator[bytes]:
    """The file, piece by piece."""
    if export.status != Export.Status.READY:
        raise ExportNotReady
    return _pieces(export)


def _pieces(export: Export) -> Iterator[bytes]:
    parts = ExportPart.objects.filter(export=export).order_by("number")
    for content in parts.values_list("content", flat=True).iterator(chunk_size=1):
        yield zlib.decompress(bytes(content))


# --- Writing ----------------------------------------------------------------------------------


def due(*, now: datetime, limit: int) -> list[UUID]:
    rows = Export.objects.filter(attempt_due_at__lte=now).order_by("attempt_due_at", "pk")
    return list(rows.values_list("pk", flat=True)[:limit])


def clinic_of(export_id: UUID) -> UUID:
    return Export.objects.values_list("clinic_id", flat=True).get(pk=export_id)


def write(*, export_id: UUID, now: datetime) -> bool:
    """Write the next part of an export; says whether there is more to write.

    Whoever is faster claims it; the others find nothing to do.
    """
    claimed = Export.objects.filter(pk=export_id, attempt_due_at__lte=now).update(
        attempt_due_at=now + LEASE, status=Export.Status.RUNNING, unanswered=F("unanswered") + 1
    )
    if not claimed:
        return False
    export = Export.objects.select_related("clinic").get(pk=export_id)
    if export.unanswered > MOST_TRIES:
        _finish(export, Export.Status.FAILED, now)
        return False
    if not export.total:
        export.total = max(1, _patients(export).count())
    patients = list(_after(export)[:PATIENTS_A_PART])
    if not patients:
        _finish(export, Export.Status.READY, now)
        return False
    with transaction.atomic():
        text, count = _part(export, patients)
        content = zlib.compress(text.encode())
        number = export.parts.count()
        ExportPart.objects.create(export=export, number=number, content=content)
        export.position = patients[-1].pk
        export.done += len(patients)
        export.rows += count
        export.size += len(text.encode())
        export.unanswered, export.attempt_due_at = 0, now
        export.save()
    return True


@transaction.atomic
def _finish(export: Export, status: Export.Status, now: datetime) -> None:
    if status == Export.Status.READY and not export.parts.exists():
        text = _head(export)
        ExportPart.objects.create(export=export, number=0, content=zlib.compress(text.encode()))
        export.size = len(text.encode())
    digest = hashlib.sha256()
    if status == Export.Status.READY:
        for piece in _pieces(export):
            digest.update(piece)
        export.sha256 = digest.hexdigest()
        export.ready_at, export.expires_at = now, now + LIVES
    else:
        export.parts.all().delete()
    export.status, export.attempt_due_at, export.secret = status, None, ""
    export.save()


@transaction.atomic
def throw_away(*, now: datetime) -> int:
    """Files whose day is over. That there was one stays on record."""
    old = Export.objects.filter(status=Export.Status.READY, expires_at__lte=now)
    ExportPart.objects.filter(export__in=old).delete()
    return old.update(status=Export.Status.EXPIRED)


# --- What is in it ----------------------------------------------------------------------------


def _patients(export: Export) -> Any:
    return Patient.objects.filter(clinic=export.clinic)


def _after(export: Export) -> Any:
    rows = _patients(export).order_by("pk")
    return rows if export.position is None else rows.filter(pk__gt=export.position)


def _part(export: Export, patients: Sequence[Patient]) -> tuple[str, int]:
    """The lines of these patients, and how many."""
    known = {patient.pk: patient for patient in patients}
    rare = _rare(export) if export.de_identified else frozenset()
    found = Session.objects.filter(
        patient__in=patients, local_date__range=(export.from_on, export.to_on)
    ).standing()
    found = found.select_related("assignment__protocol_version").defer(
        "derived", "assignment__carried", "assignment__standing", "assignment__concerns",
        "assignment__protocol_version__document",
    )  # fmt: skip
    lines = [
        line
        for one in found.order_by("patient_id", "local_date", "pk").iterator(chunk_size=500)
        if (line := _line(export, one, known[one.patient_id], rare)) is not None
    ]
    head = "" if export.position is not None else _head(export)
    if export.format == Export.Format.CSV:
        return head + csv_lines(lines), len(lines)
    names = _names(export)
    told = (json.dumps(dict(zip(names, line, strict=True)), default=str) for line in lines)
    return "".join(f"{one}\n" for one in told), len(lines)


def _names(export: Export) -> tuple[str, ...]:
    return (*(UNNAMED if export.de_identified else NAMED), *LOGGED)


def _head(export: Export) -> str:
    return csv_lines([_names(export)]) if export.format == Export.Format.CSV else ""


Line = list[object]
Group = tuple[int, UUID | None]


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
        who = [_pseudonym(export, patient.pk), group[0], group[0] + AGE_BAND - 1, day]
    said = session.content or {}
    return [
        *who,
        _pseudonym(export, session.pk) if export.de_identified else str(session.phone_id),
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


def _pseudonym(export: Export, id: UUID) -> str:
    """The same within one file, and of no use beside any other."""
    return hmac.new(bytes.fromhex(export.secret), id.bytes, "sha256").hexdigest()[:20]


def _band(patient: Patient, export: Export) -> int:
    """The first age of the ten years that somebody was in when the span ended."""
    return _age_band(patient.birth_date, export.to_on)


def _age_band(born: date, on: date) -> int:
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
        people.setdefault((_age_band(born, export.to_on), version_id), set()).add(patient_id)
    few = {group for group, ids in people.items() if len(ids) < SMALL_GROUP}
    bands = {band for band, _ in people}
    return frozenset(few | {(band, None) for band in bands})
