"""Files in the background: asked for, written part by part by whichever worker is free, and gone
after a day.

A part is written in one transaction with the place where the next one goes on. A worker who dies
loses the part it was at, and no more. What is no text line by line is gathered as lines first and
then made of them, in one go.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from backend.clinics.models import Clinic, Patient, User
from backend.problems import Problem, StateConflict, ValidationFailed
from backend.reports import figures, printed, sessions, workbook
from backend.reports.adherence import Grouping
from backend.reports.models import Export, ExportPart

Kind, Format = Export.Kind, Export.Format

LIVES = timedelta(hours=24)
LEASE = timedelta(minutes=2)  # longer than a part takes
MOST_TRIES = 5
MOST_PENDING = 5  # of one clinic
PATIENTS_A_PART = 50
LINES_A_PART = 500
A_PIECE = 1 << 20  # bytes
MOST_IN_A_WORKBOOK = 20_000  # sessions: what a worker writes within one task
MOST_ON_PAPER = 500  # patients, likewise; that is some forty pages

FORMATS: Mapping[str, frozenset[str]] = {
    Kind.SESSIONS: frozenset({Format.CSV, Format.NDJSON, Format.XLSX}),
    Kind.ADHERENCE: frozenset({Format.CSV, Format.XLSX, Format.PDF}),
}
# Files that are made of what was gathered.
MADE = {
    (Kind.SESSIONS, Format.XLSX): workbook.of_sessions,
    (Kind.ADHERENCE, Format.CSV): figures.as_csv,
    (Kind.ADHERENCE, Format.XLSX): workbook.of_adherence,
    (Kind.ADHERENCE, Format.PDF): printed.of_adherence,
}


class ExportNotReady(Problem):
    """The file is still being written, has failed, or was thrown away a day after it was ready."""

    code = "export-not-ready"
    status = 409
    title = "There is no file"
    remedy = "Ask for the export: its status says whether to wait, or to ask for a new one."


class ExportTooLarge(Problem):
    """A workbook or a PDF would have more rows than one is made for. `rows` says how many there
    are, and `most` how many it may have."""

    code = "export-too-large"
    status = 422
    title = "Too much for this format"
    remedy = (
        "Ask for `csv`, which has no limit, for other groups, for fewer patients or fewer days."
    )


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
    params: Mapping[str, object] | None = None,
) -> Export:
    """Queue a file. What it is for is kept with it."""
    if format not in FORMATS[kind]:
        known = sorted(FORMATS[kind])
        raise ValidationFailed.at("#/format", "invalid-value", _("Not of this."), known=known)
    if last < first:
        raise ValidationFailed.at("#/to", "time-order", _("Not before `from`."))
    clinic = Clinic.objects.select_for_update().get(pk=clinic.pk)
    pending = Export.objects.filter(clinic=clinic, attempt_due_at__isnull=False).count()
    if pending >= MOST_PENDING:
        raise StateConflict(_("Wait until one of those that are being written is ready."))
    row = Export(
        clinic=clinic,
        asked_by=by,
        kind=kind,
        format=format,
        from_on=first,
        to_on=last,
        de_identified=de_identified,
        params=dict(params or {}),
        purpose=purpose,
        secret=secrets.token_hex(32) if de_identified else "",
        created_at=now,
        attempt_due_at=now,
    )
    _check_size(row)
    row.save(force_insert=True)
    return row


def _check_size(export: Export) -> None:
    if (export.kind, export.format) == (Kind.SESSIONS, Format.XLSX):
        rows, most = sessions.logs_of(export).count(), MOST_IN_A_WORKBOOK
    elif export.format == Format.PDF and figures.grouping_of(export) is Grouping.PATIENT:
        rows, most = figures.scope_of(export, now=export.created_at).patients.count(), MOST_ON_PAPER
    else:
        return
    if rows > most:
        raise ExportTooLarge(rows=rows, most=most)


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


def due(*, now: datetime, limit: int, is_early: bool = True) -> list[UUID]:
    """What may be gone on with; later on only what goes in short parts."""
    rows = Export.objects.filter(attempt_due_at__lte=now).order_by("attempt_due_at", "pk")
    if not is_early:
        rows = rows.filter(kind=Kind.SESSIONS, format__in=[Format.CSV, Format.NDJSON])
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
    export = Export.objects.select_related("clinic", "asked_by").get(pk=export_id)
    if export.unanswered > MOST_TRIES:
        _fail(export, now)
        return False
    if export.kind == Kind.ADHERENCE:
        has_more = not export.done
        if has_more:
            _gather(export, now)
    else:
        has_more = _go_on(export, now)
    if not has_more:
        _finish(export, now)
    return has_more


def _gather(export: Export, now: datetime) -> None:
    """The figures of a report, all of one moment."""
    lines = figures.gathered(export, now=now)
    parts: list[bytes] = []
    count = -1  # the first line is of all
    while some := list(islice(lines, LINES_A_PART)):
        count += len(some)
        parts.append(zlib.compress("".join(f"{json.dumps(one)}\n" for one in some).encode()))
    with transaction.atomic():
        if not _is_still_ours(export, now + LEASE):
            return
        _store(export, parts)
        export.done, export.total, export.rows = 1, 2, count
        export.unanswered, export.attempt_due_at = 0, now
        export.save()


def _go_on(export: Export, now: datetime) -> bool:
    """The logs of some more patients, if there are any."""
    rows = sessions.patients_of(export)
    if not export.total:
        export.total = max(1, rows.count())
    if export.position is not None:
        rows = rows.filter(pk__gt=export.position)
    patients: list[Patient] = list(rows.order_by("pk")[:PATIENTS_A_PART])
    if not patients:
        return False
    with transaction.atomic():
        if not _is_still_ours(export, now + LEASE):
            return True
        packed, size = zlib.compressobj(), 0
        told: Iterable[tuple[str, int]] = sessions.text_of(export, patients)
        if export.position is None:
            told = ((sessions.head(export), 0), *told)
        content = bytearray()
        for text, count in told:
            encoded = text.encode()
            content += packed.compress(encoded)
            size += len(encoded)
            export.rows += count
        _store(export, [bytes(content + packed.flush())], export.parts.count())
        export.position = patients[-1].pk
        export.done += len(patients)
        export.size += size
        export.unanswered, export.attempt_due_at = 0, now
        export.save()
    return True


def _is_still_ours(export: Export, lease: datetime) -> bool:
    """Locked from here on. Who was erased meanwhile made it begin anew."""
    rows = Export.objects.select_for_update().filter(pk=export.pk, attempt_due_at=lease)
    return rows.first() is not None


def _store(export: Export, contents: Iterable[bytes], first: int = 0) -> None:
    for number, content in enumerate(contents, first):
        ExportPart.objects.create(export=export, number=number, content=content)


def _finish(export: Export, now: datetime) -> None:
    make = MADE.get((Kind(export.kind), Format(export.format)))
    if make is None:
        with transaction.atomic():
            if _is_still_ours(export, now + LEASE):
                _end(export, now)
        return
    with tempfile.TemporaryFile() as made:
        make(export, _lines(export), made)
        with transaction.atomic():
            if not _is_still_ours(export, now + LEASE):
                return
            export.parts.all().delete()
            export.size = made.seek(0, os.SEEK_END)
            made.seek(0)
            _store(export, map(zlib.compress, iter(partial(made.read, A_PIECE), b"")))
            _end(export, now)


def _lines(export: Export) -> Iterator[dict[str, Any]]:
    """What was gathered."""
    for piece in _pieces(export):
        for line in piece.splitlines():
            yield json.loads(line)


def _end(export: Export, now: datetime) -> None:
    if not export.parts.exists():
        text = sessions.head(export).encode()
        _store(export, [zlib.compress(text)])
        export.size = len(text)
    digest = hashlib.sha256()
    for piece in _pieces(export):
        digest.update(piece)
    export.sha256 = digest.hexdigest()
    export.ready_at, export.expires_at = now, now + LIVES
    _close(export, Export.Status.READY, now)


@transaction.atomic
def _fail(export: Export, now: datetime) -> None:
    export.parts.all().delete()
    _close(export, Export.Status.FAILED, now)


def _close(export: Export, status: Export.Status, now: datetime) -> None:
    export.status, export.attempt_due_at, export.secret = status, None, ""
    export.tell_at = now
    export.save()


@transaction.atomic
def throw_away(*, now: datetime) -> int:
    """Files whose day is over. That there was one stays on record."""
    old = Export.objects.filter(status=Export.Status.READY, expires_at__lte=now)
    ExportPart.objects.filter(export__in=old).delete()
    return old.update(status=Export.Status.EXPIRED)


@transaction.atomic
def withdraw(*, clinic_id: UUID, now: datetime) -> None:
    """Somebody is erased: files of the clinic that name people are gone, or begin anew.

    De-identified ones stay. Nothing in them leads back to anybody: their key is thrown away.
    """
    naming = Export.objects.select_for_update().filter(clinic_id=clinic_id, de_identified=False)
    ready = [one.pk for one in naming.filter(status=Export.Status.READY)]
    begun = [one.pk for one in naming.filter(attempt_due_at__isnull=False)]
    ExportPart.objects.filter(export__in=[*ready, *begun]).delete()
    Export.objects.filter(pk__in=ready).update(status=Export.Status.EXPIRED, expires_at=now)
    Export.objects.filter(pk__in=begun).update(
        status=Export.Status.QUEUED, attempt_due_at=now, position=None, done=0, total=0, rows=0,
        size=0,
    )  # fmt: skip
