"""The figures of an adherence report as lines: gathered at one moment, and made a file of later.

The first line is of all, as the report's answer has it; then comes one for each group. A
de-identified report names nobody, leaves out groups of few, and has no total that would tell of
them; of patients, ages in bands are all that is said.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import IO, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection, transaction

from backend.clinics.models import Patient, User
from backend.reports import adherence
from backend.reports.adherence import NOBODY, Group, Grouping, Scope, Total
from backend.reports.models import Export
from backend.reports.sessions import AGE_BAND, SMALL_GROUP, age_band, pseudonym
from backend.reports.shown import (
    Shown,
    csv_columns,
    csv_preamble,
    csv_row,
    flags_shown,
    group_shown,
    head_shown,
)
from protocols.engine.adherence import monday_of, spread_of
from protocols.models import ProtocolVersion

A_PAGE = 500  # patients
MOST_DAYS_APART = 35  # of a heat map of dates; a longer one is of weeks
A_WEEK = timedelta(days=7)
NARROWING = ("physiotherapist_id", "protocol_id", "phase_id", "min_due")
AGES = ("age_from", "age_to")


def gathered(export: Export, *, now: datetime) -> Iterator[Shown]:
    scope = scope_of(export, now=now)
    with _one_moment():
        yield from _unnamed(export, scope) if export.de_identified else _named(export, scope)


def scope_of(export: Export, *, now: datetime) -> Scope:
    asked = export.params
    patients = Patient.objects.filter(clinic=export.clinic)
    if "physiotherapist_id" in asked:
        patients = patients.filter(physiotherapist_id=asked["physiotherapist_id"])
    protocol_id = asked.get("protocol_id")
    return Scope(
        patients=patients, first=export.from_on, last=export.to_on, now=now,
        target=asked["target"], protocol_id=UUID(protocol_id) if protocol_id else None,
        phase_id=asked.get("phase_id"),
    )  # fmt: skip


@contextmanager
def _one_moment() -> Iterator[None]:
    """Whatever is read inside is as it was at the first read. Nothing is written."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    else:
        with connection.cursor() as cursor:  # one of Django's would keep others from writing
            cursor.execute("BEGIN")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")


def grouping_of(export: Export) -> Grouping:
    return Grouping(export.params["group_by"])


def _head(export: Export, scope: Scope, total: Total | None) -> Shown:
    asked = export.params
    filters = {name: asked[name] for name in NARROWING if asked.get(name, "0") != "0"}
    return head_shown(scope, grouping_of(export), filters, total)


def _named(export: Export, scope: Scope) -> Iterator[Shown]:
    flags = flags_shown(adherence.flag_times(scope))
    yield _head(export, scope, adherence.total_of(scope)) | {"flags": flags}
    for groups in _groups(export, scope):
        yield from _with_marks(export, scope, groups)


def _groups(export: Export, scope: Scope) -> Iterator[list[Group]]:
    """The groups asked for, with everything; of patients a page at a time."""
    grouping, least = grouping_of(export), export.params["min_due"]
    if grouping is not Grouping.PATIENT:
        found = [
            one for one in adherence.groups_of(scope, grouping) if one.counts.due >= int(least)
        ]
        yield adherence.in_full(scope, grouping, found)
        return
    after = None
    while ids := adherence.patients_of(scope, after=after, limit=A_PAGE, least_due=int(least)):
        yield adherence.patient_groups(scope, ids)
        after = ids[-1]


def _with_marks(export: Export, scope: Scope, groups: list[Group]) -> Iterator[Shown]:
    """With what a heat map and a plot of dots are drawn of."""
    grouping = grouping_of(export)
    is_pdf = export.format == Export.Format.PDF
    if "heatmap" in export.params or (is_pdf and has_days(export)):
        groups = adherence.with_days(scope, grouping, groups)
    lines = [group_shown(one) for one in groups]
    if is_pdf and not has_days(export):
        if grouping is Grouping.PATIENT:
            ids = [UUID(one.key) for one in groups]
            scope = replace(scope, patients=scope.patients.filter(pk__in=ids))
        weeks = adherence.weeks_lived(scope, grouping)
        for line in lines:
            lived = weeks.get(line["key"], {})
            line["weeks"] = [lived.get(on) for on in mondays(export)]
    if is_pdf and grouping is not Grouping.PATIENT:
        pairs = adherence.pairs_of(scope, grouping)
        for line in lines:
            line["dots"] = [[*pair, count] for pair, count in pairs[line["key"]].items()]
    yield from lines


def has_days(export: Export) -> bool:
    return (export.to_on - export.from_on).days < MOST_DAYS_APART


def mondays(export: Export) -> list[Any]:
    first, last = monday_of(export.from_on), monday_of(export.to_on)
    return [first + n * A_WEEK for n in range((last - first).days // 7 + 1)]


# --- De-identified ----------------------------------------------------------------------------


def _unnamed(export: Export, scope: Scope) -> Iterator[Shown]:
    if grouping_of(export) is Grouping.PATIENT:
        kept, left_out = _patients_alike(export, scope)
    else:
        kept, left_out = _large_groups(export, scope)
    total: Total | None = _total(scope, [one for one, _ in kept])
    if grouping_of(export) is not Grouping.PATIENT:
        total = None if left_out else adherence.total_of(scope)
    if total is not None and total.spread.patients < SMALL_GROUP:
        total = None
    head = _head(export, scope, total and replace(total, data_cutoff=None))
    yield head | {"left_out": left_out}
    lines = [_renamed(export, one) | more for one, more in kept]
    yield from sorted(lines, key=lambda line: str(line["key"]))


def _patients_alike(export: Export, scope: Scope) -> tuple[list[tuple[Group, Shown]], int]:
    """Patients of whose age there are enough in the file."""
    found: list[tuple[Group, int]] = []
    for groups in _groups(export, scope):
        ids = [UUID(one.key) for one in groups]
        born = dict(scope.patients.filter(pk__in=ids).values_list("pk", "birth_date"))
        found += [(one, age_band(born[UUID(one.key)], export.to_on)) for one in groups]
    bands = Counter(band for _, band in found)
    kept = [
        (one, dict(zip(AGES, (band, band + AGE_BAND - 1), strict=True)))
        for one, band in found
        if bands[band] >= SMALL_GROUP
    ]
    return kept, len(found) - len(kept)


def _large_groups(export: Export, scope: Scope) -> tuple[list[tuple[Group, Shown]], int]:
    [groups] = _groups(export, scope)
    kept = [one for one in groups if one.spread is not None and not one.spread.is_small]
    return [(one, {}) for one in kept], len(groups) - len(kept)


def _total(scope: Scope, groups: Iterable[Group]) -> Total:
    """Of those who are in the file alone: what is left of a larger one would be the others."""
    counts = [one.counts for one in groups]
    return Total(
        due=sum(one.due for one in counts),
        done=sum(one.done for one in counts),
        not_heard=sum(one.not_heard for one in counts),
        spread=spread_of(Counter((one.due, one.done) for one in counts), scope.target),
        as_of=max((one.closed_at for one in groups), default=None),
        data_cutoff=None,
    )


def _renamed(export: Export, one: Group) -> Shown:
    shown = group_shown(one)
    if grouping_of(export) in (Grouping.PATIENT, Grouping.PHYSIOTHERAPIST):
        shown["label"] = ""
        if one.key != NOBODY:
            shown["key"] = pseudonym(export, UUID(one.key))
    return shown


# --- As files ---------------------------------------------------------------------------------


def as_csv(export: Export, lines: Iterator[Shown], out: IO[bytes]) -> None:
    """The very text that the report's own address answers."""
    head = next(lines)
    grouping = grouping_of(export)
    columns = csv_columns(grouping, has_days=has_letters(export))
    if has_ages(export):
        columns[2:2] = AGES
    with _text(out) as text:
        rows = csv.writer(text, lineterminator="\r\n")
        rows.writerow(csv_preamble(head))
        rows.writerow(columns)
        rows.writerows(csv_row(line, columns) for line in lines)


@contextmanager
def _text(out: IO[bytes]) -> Iterator[IO[str]]:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    yield text
    text.flush()
    text.detach()


def has_letters(export: Export) -> bool:
    return "heatmap" in export.params and not export.de_identified


def has_ages(export: Export) -> bool:
    return export.de_identified and grouping_of(export) is Grouping.PATIENT


def by_name(lines: Iterable[Shown]) -> list[Shown]:
    return sorted(lines, key=lambda line: (line["label"].casefold(), line["key"]))


def about(export: Export, head: Shown) -> list[tuple[str, str]]:
    """What a reader has to know of a report, in words."""
    zone = ZoneInfo(export.clinic.timezone)
    told = [
        ("Clinic", export.clinic.name),
        ("From", export.from_on.isoformat()),
        ("To", export.to_on.isoformat()),
        ("Rows", head["group_by"].replace("_", " ")),
        ("As of", _at(head.get("as_of"), zone)),
    ]
    if not export.de_identified:
        told.append(("Data until", _at(head.get("data_cutoff"), zone)))
    told += [
        ("Target of session adherence", f"{head['target']:.2%}"),
        ("Definition", head["definition"]),
        *_filters_in_words(head["filters"]),
        ("Purpose", export.purpose),
        ("Asked for at", _at(export.created_at.isoformat(), zone)),
    ]
    if export.de_identified:
        told.append(("De-identified", f"groups of fewer than {SMALL_GROUP} people are left out"))
        told.append(("Left out", str(head["left_out"])))
    else:
        told.append(("Asked for by", export.asked_by.display_name))
    return told


def _at(moment: str | None, zone: ZoneInfo) -> str:
    if moment is None:
        return "nothing counted"
    return f"{datetime.fromisoformat(moment).astimezone(zone):%Y-%m-%d %H:%M} ({zone.key})"


def _filters_in_words(filters: Shown) -> Iterator[tuple[str, str]]:
    if id := filters.get("physiotherapist_id"):
        person = User.objects.filter(pk=id).first()
        yield "Only patients of", person.display_name if person else id
    if id := filters.get("protocol_id"):
        versions = ProtocolVersion.objects.filter(protocol_id=id).order_by("-published_at")
        yield "Only plans of", next(iter(versions.values_list("title", flat=True)[:1]), id)
    if "phase_id" in filters:
        yield "Only dates in", filters["phase_id"]
    if "min_due" in filters:
        yield "Only rows with slots due", f"{filters['min_due']} or more"
