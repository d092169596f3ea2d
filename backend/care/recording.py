"""What phones report: revisions, withdrawals, and what the service derives from a record.

Whatever arrives, in whatever order and however often, the end state depends on what arrived: the
highest revision stands, and of two contents under one number the first one stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import CharField, DateField, QuerySet, UUIDField, Value
from django.db.models.fields.json import KT

from backend.care import deciding, feed
from backend.care.flags import raise_flag
from backend.care.models import Assignment, Change, CheckIn, Flag, Revision, Session
from backend.care.rating import RATING_REACH, Near, rated_days
from backend.care.selectors import Course, closes_at, course_for_log, today_of
from backend.clinics.models import Patient
from backend.problems import ConsentWithdrawn, FieldError, Problem, ValidationFailed
from backend.queries import AnyGiven, Given, Insert, Written
from exercises.models import Exercise
from protocols.engine.plan import (
    MOST_SLOTS_A_DAY,
    DoneSet,
    Prescribed,
    Slot,
    performed_amount,
    prescribed_amount,
    ratio_of,
    slot_id,
)
from protocols.knowledge import rules, safety

LONGEST_SESSION = timedelta(hours=6)
AHEAD = timedelta(minutes=10)  # a phone's clock against its own earlier reading
SKEW_IGNORED_S = 300
MOST_SKEW_S = 2**31 - 1  # what the column holds: 68 years, and no clock is righter for being worse
VERSION_DAYS_BACK = 3
A_DAY = timedelta(days=1)
HEARD_EVERY = timedelta(minutes=15)
PUSH_REACH = timedelta(days=28)

Kind = Revision.Kind
Content = dict[str, Any]
Effect = Mapping[str, object]


class RevisionConflict(Problem):
    """This number is stored with other content. The first one stands; `current` holds it."""

    code = "revision-conflict"
    status = 409
    title = "Another content has this revision number"
    remedy = "Show both; where the patient insists, send the wish as `current.revision + 1`."


class LogInFuture(Problem):
    """The record claims a time that had not come yet on the phone's own clock."""

    code = "log-in-future"
    status = 422
    title = "This lies in the future"
    remedy = "Keep the record, show it to the patient, send it again once the time is corrected."


class LogTooOld(Problem):
    """Typed in or uploaded later than the clinic takes records."""

    code = "log-too-old"
    status = 422
    title = "This is too old to be taken"
    remedy = "Keep the record and show it to the patient; the physiotherapist can be told directly."


class LogOutsideAssignment(Problem):
    """The day of the record lies outside the assignment it names."""

    code = "log-outside-assignment"
    status = 422
    title = "The assignment does not cover this day"
    remedy = "Correct the day or the assignment."


class UnknownPrescription(Problem):
    """An entry names a prescription that no version of the assignment has."""

    code = "unknown-prescription"
    status = 422
    title = "This prescription is not part of the assignment"
    remedy = "Read the plan again; an extra exercise is sent as `exercise_id`."


class SlotMismatch(Problem):
    """The slot does not belong to this assignment and day (or the day before or after)."""

    code = "slot-mismatch"
    status = 422
    title = "The slot does not fit the day"
    remedy = "Leave `slot_id` out, or send the one the plan shows for that day."


class Status(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class Report:
    """One record as the phone reports it, already checked for shape. No content: withdrawn."""

    kind: Kind
    phone_id: UUID
    revision: int
    content: Content | None
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[Kind, UUID]:
        return self.kind, self.phone_id

    @cached_property
    def sha256(self) -> str:
        said = json.dumps(self.content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Upload:
    """How it came: our clock, the phone's clock when it sent (pushes say so), and which phone."""

    received_at: datetime
    sent_at: datetime | None = None
    device_id: UUID | None = None

    @property
    def skew_s(self) -> int | None:
        if self.sent_at is None:
            return None
        skew = round((self.received_at - self.sent_at).total_seconds())
        return max(-MOST_SKEW_S, min(MOST_SKEW_S, skew))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a report. `row` is the record as it stands now."""

    status: Status
    row: Session | CheckIn
    warnings: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    plan_changes: tuple[Effect, ...] = ()


@dataclass
class Batch:
    """What several reports of one patient share, so that it is read once.

    All of it holds as long as the patient's `change_seq`; what is stored is decided under the lock,
    where that is compared.
    """

    wanted: set[tuple[Kind, UUID]] = field(default_factory=set)
    change_seq: int = -1
    courses_at: int = -1
    courses: dict[UUID, Course] = field(default_factory=dict)
    running: list[Assignment] | None = None
    heads: dict[tuple[Kind, UUID], Session | CheckIn] = field(default_factory=dict)
    near: dict[tuple[Kind, UUID], Near] = field(default_factory=dict)
    near_days: tuple[date, date] = (date.max, date.min)
    defers: bool = False  # judging waits for `settle`
    unsettled: dict[UUID | None, date] = field(default_factory=dict)  # None: every course
    behind: set[UUID | None] = field(default_factory=set)  # those of them that rows say it of

    def forget(self) -> None:
        self.change_seq = self.courses_at = -1
        self.behind.clear()


def put(*, patient: Patient, report: Report, upload: Upload, batch: Batch | None = None) -> Receipt:
    """Take a record as the phone reports it.

    Raises a `Problem` for what can never be taken as it is; then nothing is stored. A repeat takes
    no lock: revisions only grow, so what was read stays true.
    """
    batch = batch if batch is not None else Batch()
    if batch.change_seq < 0:
        _read_heads(patient, report, batch)
    head = batch.heads.get(report.key)
    if head is not None and report.revision == head.revision:
        return _repeated(patient, head, report, upload)
    unsettled = dict(batch.unsettled)
    try:
        return _store(patient=patient, report=report, upload=upload, batch=batch)
    except BaseException:
        batch.forget()  # what was rolled back must not be believed
        batch.unsettled = unsettled
        raise


@transaction.atomic
def _store(*, patient: Patient, report: Report, upload: Upload, batch: Batch) -> Receipt:
    patient = _locked(patient)
    if batch.change_seq != patient.change_seq or report.key not in batch.wanted:
        _read_heads(patient, report, batch)
    head = batch.heads.get(report.key)
    if head is not None and report.revision == head.revision:
        return _repeated(patient, head, report, upload)
    if head is not None and report.revision < head.revision:
        return _place_behind(patient, head, report, upload, batch)
    course = _checked(patient, report, upload, batch)
    row = head or MODELS[report.kind](patient=patient, phone_id=report.phone_id, history_count=0)
    was_on, was_of = row.local_date, getattr(row, "assignment_id", None)
    was_rating = _rated_by(row.derived)
    slot_days = _slot_days(course, head.content if head else None, report.content)
    severe = _severe_on(patient, report, course, batch)
    _fill(row, report, upload, course, severe)
    _append(patient, row, report, upload)
    if head is None:
        NEW[report.kind](row)
    else:
        row.save(force_update=True)
    batch.heads[report.key] = row
    _keep_near(batch, report)
    effects, is_news = _raise_flags(patient, report, severe, upload.received_at)
    rated, dates = _rate_again(patient, {was_on, row.local_date}, batch)
    dates |= was_rating | slot_days | {on for on in (was_on, row.local_date) if on is not None}
    if course is not None and course.assignment.is_behind and course.id not in batch.unsettled:
        dates.add(course.assignment.start_date)  # a push that did not come to its end
    alone = course is not None and not is_news and not rated and was_of in (None, course.id)
    found = deciding.Difference()
    if dates:
        found = _judge_again(
            patient,
            course if alone else None,
            speaks_of=min(dates),
            is_news=is_news,
            now=upload.received_at,
            batch=batch,
        )
    found.plan = found.plan or (is_news and _stops(effects))
    _tell(patient, [row, *rated], found, upload, batch, is_news=_is_grave(found, effects))
    status = Status.UPDATED if head else Status.CREATED
    told = _merged(effects, found.effects)
    return Receipt(status, row, report.warnings, told, tuple(found.plan_changes))


def _judge_again(
    patient: Patient,
    course: Course | None,
    *,
    speaks_of: date,
    is_news: bool,
    now: datetime,
    batch: Batch,
) -> deciding.Difference:
    """What a record means for its course, or, where it is not about one alone, for all.

    News of a stop are judged at once. Of other records of a push it is only noted that they are to
    be judged, so that one replay does for all of them.
    """
    if is_news:
        speaks_of = min([speaks_of, *batch.unsettled.values()])
        batch.unsettled.clear()
    elif batch.defers:
        _put_off(patient, course, speaks_of, now, batch)
        return deciding.Difference()
    since = None if is_news else speaks_of
    if course is not None:
        return deciding.recompute(course=course, patient=patient, now=now, since=since)
    batch.courses.clear()
    return deciding.recompute_all(patient=patient, now=now, since=since, speaks_of=speaks_of)


def _put_off(
    patient: Patient, course: Course | None, speaks_of: date, now: datetime, batch: Batch
) -> None:
    """Should this process end before it settles, a sweep finds what is behind."""
    key = None if course is None else course.id
    batch.unsettled[key] = min(speaks_of, batch.unsettled.get(key, speaks_of))
    if key in batch.behind:
        return
    batch.behind.add(key)
    rows = deciding.judged_with(patient, speaks_of)
    if course is not None:
        rows = Assignment.objects.filter(pk=course.id)
        course.assignment.is_behind, course.assignment.next_close_at = True, now
    rows.update(is_behind=True, next_close_at=now)


@transaction.atomic
def settle(*, patient: Patient, batch: Batch, now: datetime) -> deciding.Difference:
    """Judge what the records of a push speak of, all of them together."""
    found = deciding.Difference()
    if not batch.unsettled:
        return found
    patient = _locked(patient)
    courses = [batch.courses.get(id) for id in batch.unsettled if id is not None]
    if None in batch.unsettled or None in courses or batch.courses_at != patient.change_seq:
        speaks_of = min(batch.unsettled.values())
        found = deciding.recompute_all(patient=patient, now=now, speaks_of=speaks_of)
    else:
        for course in courses:
            assert course is not None
            since = batch.unsettled[course.id]
            found += deciding.recompute(course=course, patient=patient, now=now, since=since)
    batch.unsettled.clear()
    batch.behind.clear()
    deciding.tell(patient, found, (), now=now, is_news=_is_grave(found))
    batch.change_seq = patient.change_seq
    return found


def _merged(effects: Iterable[Effect], more: Iterable[Effect]) -> tuple[Effect, ...]:
    """Every flag once."""
    found = {one["code"]: one for one in (*more, *effects)}
    return tuple(found.values())


def _locked(patient: Patient) -> Patient:
    [locked] = LOCKED(id=patient.pk)
    if locked.consent_withdrawn_at:
        raise ConsentWithdrawn
    return locked


def heard_from(patient: Patient, at: datetime) -> None:
    """A phone that repeats itself, or reads its feed, was heard; note it now and then.

    Takes no lock: where another call noted something meanwhile, that will do.
    """
    last = patient.last_received_at
    if last is None or at - last > HEARD_EVERY:
        Patient.objects.filter(pk=patient.pk, last_received_at=last).update(last_received_at=at)
        patient.last_received_at = at


# --- Revisions --------------------------------------------------------------------------------


def _read_heads(patient: Patient, report: Report, batch: Batch) -> None:
    batch.wanted.add(report.key)
    if batch.change_seq != patient.change_seq:
        batch.behind.clear()  # who wrote meanwhile has judged as well
    batch.change_seq = patient.change_seq
    batch.heads.clear()
    batch.near_days = (date.max, date.min)
    for kind, heads in HEADS.items():
        ids = [phone_id for of, phone_id in batch.wanted if of == kind]
        if ids:
            for row in heads(patient=patient.pk, ids=ids):
                batch.heads[kind, row.phone_id] = row


def _repeated(patient: Patient, head: Session | CheckIn, report: Report, upload: Upload) -> Receipt:
    """A number that stands. What it caused is told again: the first answer may have got lost."""
    heard_from(patient, upload.received_at)
    if head.sha256 != report.sha256:
        return Receipt(Status.CONFLICT, head, report.warnings)
    codes = (head.derived or {}).get("flags", ())
    return Receipt(Status.UNCHANGED, head, report.warnings, _effects_of(patient, codes))


def _place_behind(
    patient: Patient, head: Session | CheckIn, report: Report, upload: Upload, batch: Batch
) -> Receipt:
    """An older revision that came late joins the history, as it would have in time."""
    heard_from(patient, upload.received_at)
    superseded = Receipt(Status.SUPERSEDED, head, report.warnings)
    if Revision.objects.filter(patient=patient, number=report.revision, **_which(report)).exists():
        return superseded
    try:
        course = _checked(patient, report, upload, batch)
    except Problem:
        return superseded  # it would not have been stored in time either
    severe = _severe_on(patient, report, course, batch)
    _append(patient, head, report, upload)
    head.save(update_fields=["history_count"])
    effects, is_news = _raise_flags(patient, report, severe, upload.received_at)
    found = deciding.Difference()
    if is_news:
        said = report.content or {}
        found = _judge_again(
            patient,
            None,
            speaks_of=date.fromisoformat(said["local_date"]),
            is_news=True,
            now=upload.received_at,
            batch=batch,
        )
        found.plan = found.plan or _stops(effects)
    _tell(patient, [head], found, upload, batch, is_news=_is_grave(found, effects))
    told = _merged(effects, found.effects)
    return Receipt(Status.SUPERSEDED, head, report.warnings, told, tuple(found.plan_changes))


def _which(report: Report) -> dict[str, Any]:
    return {"kind": report.kind, "phone_id": report.phone_id}


def _append(patient: Patient, row: Session | CheckIn, report: Report, upload: Upload) -> None:
    revision = Revision(
        patient=patient,
        number=report.revision,
        content=report.content,
        withdrawn=report.content is None,
        sha256=report.sha256,
        device_id=upload.device_id,
        clock_skew_s=upload.skew_s,
        received_at=upload.received_at,
        **_which(report),
    )
    APPEND(revision)
    row.history_count += 1


def _tell(
    patient: Patient,
    rows: Iterable[Session | CheckIn],
    found: deciding.Difference,
    upload: Upload,
    batch: Batch,
    *,
    is_news: bool = False,
) -> None:
    patient.last_received_at = upload.received_at
    is_known = batch.courses_at == patient.change_seq
    deciding.tell(patient, found, map(_touched, rows), now=upload.received_at, is_news=is_news)
    batch.change_seq = patient.change_seq
    if is_known:
        batch.courses_at = patient.change_seq


def _fill(
    row: Session | CheckIn,
    report: Report,
    upload: Upload,
    course: Course | None,
    severe: int | None,
) -> None:
    """Make a row say what this revision says, and what follows from it."""
    row.revision = report.revision
    row.received_at = upload.received_at
    row.content = report.content
    row.sha256 = report.sha256
    content = report.content
    if content is None:
        row.withdrawn_at = upload.received_at
        row.derived = None
        return
    row.withdrawn_at = None
    row.local_date = date.fromisoformat(content["local_date"])
    row.clock_suspect = is_clock_suspect(content, upload)
    derived: Content = {"clock": "suspect" if row.clock_suspect else "ok"}
    if codes := _codes_in(content, severe):
        derived["flags"] = codes
    if isinstance(row, CheckIn):
        row.pain_now = content.get("pain_now")
        row.derived = derived
        return
    derived |= derive(content, course)
    row.assignment = course.assignment if course else None
    row.slot_id = UUID(content["slot_id"]) if "slot_id" in content else None
    row.late = is_late(content)
    row.outcome = derived["outcome"]
    row.dose_ratio = derived.get("dose_ratio")
    for name in ("pain_before", "pain_during", "pain_after"):
        setattr(row, name, content.get(name))
    row.derived = derived | {"timeliness": "late" if row.late else "on_time"}


def _touched(row: Session | CheckIn) -> feed.Touched:
    kind = Change.Type.SESSION if isinstance(row, Session) else Change.Type.CHECK_IN
    return feed.Touched(kind, row.phone_id, deleted=row.withdrawn_at is not None)


# --- Checks that need the course or the clock -------------------------------------------------


def _checked(patient: Patient, report: Report, upload: Upload, batch: Batch) -> Course | None:
    content = report.content
    if content is None:
        return None
    _check_times(content, report.kind, upload, patient)
    if report.kind is not Kind.SESSION:
        return None
    course = _course(patient, content, batch)
    if course is not None:
        _check_against(course, content)
    elif "slot_id" in content or _prescriptions_in(content):
        raise ValidationFailed.at(
            "#/assignment_id", "required", "Slots and prescriptions belong to an assignment."
        )
    _check_extra_exercises(patient, content)
    return course


def _check_times(content: Content, kind: Kind, upload: Upload, patient: Patient) -> None:
    zone = ZoneInfo(content["timezone"])
    on = date.fromisoformat(content["local_date"])
    recorded = _moment(content, "recorded_at")
    started, ended = _moment_or_none(content, "started_at"), _moment_or_none(content, "ended_at")
    assert recorded is not None
    errors = []
    if started and abs((started.astimezone(zone).date() - on).days) > 1:
        detail = f"Must be within one day of started_at in {content['timezone']}."
        errors.append(FieldError("#/local_date", "date-mismatch", detail))
    if (started is None) != (ended is None) and content.get("state") != "open":
        missing = "ended_at" if ended is None else "started_at"
        errors.append(FieldError(f"#/{missing}", "required", "Both times, or neither."))
    if started and ended and not timedelta(0) <= ended - started <= LONGEST_SESSION:
        detail = "Must be at or after started_at, at most 6 h later."
        errors.append(FieldError("#/ended_at", "time-order", detail))
    if errors:
        raise ValidationFailed.of(errors)
    if content.get("state") == "skipped" and "skip_reason" not in content:
        raise ValidationFailed.at("#/skip_reason", "required", "Say why it was skipped.")
    # The phone's own clock is compared with itself: when it sent, else when it recorded.
    phone_now = upload.sent_at or recorded
    begun_ahead = started is not None and started > phone_now + AHEAD
    if begun_ahead or recorded > phone_now + AHEAD:
        raise LogInFuture
    if on > recorded.astimezone(zone).date() + A_DAY:
        raise LogInFuture
    typed_in = recorded.astimezone(zone) - datetime.combine(on + A_DAY, datetime.min.time(), zone)
    if typed_in > timedelta(days=patient.clinic.typing_delay_days):
        raise LogTooOld("It was typed in too long after the day.", delay="typing")
    uploaded_after = (upload.sent_at or upload.received_at) - recorded
    if uploaded_after > timedelta(days=patient.clinic.upload_delay_days):
        raise LogTooOld("It was uploaded too long after it was recorded.", delay="upload")


def is_clock_suspect(content: Content, upload: Upload) -> bool:
    """Whether the phone's clock was wrong by over five minutes. Nothing is rewritten for it."""
    if upload.skew_s is not None:
        return abs(upload.skew_s) > SKEW_IGNORED_S
    ahead = _moment(content, "recorded_at") - upload.received_at
    return ahead.total_seconds() > SKEW_IGNORED_S


def is_late(content: Content) -> bool:
    """Whether it was typed in after the day had closed."""
    closed = closes_at(date.fromisoformat(content["local_date"]), ZoneInfo(content["timezone"]))
    return _moment(content, "recorded_at") > closed


def _course(patient: Patient, content: Content, batch: Batch) -> Course | None:
    if "assignment_id" not in content:
        return None
    _keep_up(batch, patient)
    wanted = UUID(content["assignment_id"])
    if wanted not in batch.courses:
        course = course_for_log(patient, wanted)
        if course is None:
            raise ValidationFailed.at(
                "#/assignment_id", "unknown-reference", "There is no such assignment."
            )
        batch.courses[wanted] = course
    return batch.courses[wanted]


def _severe_on(patient: Patient, report: Report, course: Course | None, batch: Batch) -> int | None:
    """SEV for this record: of its plan, else of the strictest plan that runs on its day."""
    content = report.content
    if content is None or not _pains_in(content):
        return None
    if course is not None:
        return course.protocol.limits.severe
    _keep_up(batch, patient)
    if batch.running is None:
        rows = Assignment.objects.filter(patient=patient).select_related("protocol_version")
        batch.running = list(rows)
    on = date.fromisoformat(content["local_date"])
    running = [row.protocol_version.definition for row in batch.running if row.covers(on)]
    return min((protocol.limits.severe for protocol in running), default=None)


def _keep_up(batch: Batch, patient: Patient) -> None:
    if batch.courses_at != patient.change_seq:
        batch.courses.clear()
        batch.running = None
        batch.courses_at = patient.change_seq


def _check_against(course: Course, content: Content) -> None:
    on = date.fromisoformat(content["local_date"])
    if not course.assignment.covers(on):
        raise LogOutsideAssignment
    if "slot_id" in content and _slot_place(course, content) is None:
        raise SlotMismatch
    unknown = [
        FieldError(f"#/entries/{n}/prescription_id", "unknown-reference", "Not in the assignment.")
        for n, prescription_id in _prescriptions_in(content).items()
        if course.named(prescription_id) is None
    ]
    if unknown:
        raise UnknownPrescription(errors=unknown)


def _prescriptions_in(content: Content) -> dict[int, str]:
    """The prescriptions that entries name, by the place of the entry."""
    return {
        n: entry["prescription_id"]
        for n, entry in enumerate(content.get("entries", ()))
        if "prescription_id" in entry
    }


def _check_extra_exercises(patient: Patient, content: Content) -> None:
    extra = {
        entry["exercise_id"]: n
        for n, entry in enumerate(content.get("entries", ()))
        if "exercise_id" in entry
    }
    if not extra:
        return
    known = Exercise.objects.filter(pk__in=extra).visible_to(patient).values_list("pk", flat=True)
    if unknown := extra.keys() - {str(pk) for pk in known}:
        raise ValidationFailed.of(
            FieldError(f"#/entries/{n}/exercise_id", "unknown-reference", "Unknown.")
            for n in sorted(extra[one] for one in unknown)
        )


def _slot_place(course: Course, content: Content) -> tuple[date, str] | None:
    """The date and key that a slot id was made from, looked for around the session's day."""
    wanted = UUID(content["slot_id"])
    on = date.fromisoformat(content["local_date"])
    for day in (on, on - A_DAY, on + A_DAY):
        for key in map(str, range(1, MOST_SLOTS_A_DAY + 1)):
            if slot_id(course.id, day, key) == wanted:
                return day, key
    return None


def _slot_days(course: Course | None, *said: Content | None) -> set[date]:
    """The dates of the slots that these name, which are counted there."""
    if course is None:
        return set()
    places = [_slot_place(course, one) for one in said if one is not None and "slot_id" in one]
    return {place[0] for place in places if place is not None}


# --- What follows from a record ---------------------------------------------------------------


def derive(content: Content, course: Course | None) -> Content:
    """Outcome and dose ratio, never taken from the phone."""
    entries = content.get("entries", ())
    any_done = any(entry["state"] == "done" and entry.get("sets") for entry in entries)
    items = _items(content, course) if course else []
    derived: Content = {"items": items}
    ratios = [ratio_of(item["performed"], item["prescribed"]) for item in items]
    if ratios:
        derived["dose_ratio"] = round(sum(ratios) / len(ratios), 4)
    enough = rules()["completed_item_ratio"].number
    if content["state"] == "open":
        derived["outcome"] = Session.Outcome.OPEN
    elif content["state"] == "skipped" or not any_done:
        derived["outcome"] = Session.Outcome.SKIPPED
    elif all(ratio >= enough for ratio in ratios):
        derived["outcome"] = Session.Outcome.COMPLETED
    else:
        derived["outcome"] = Session.Outcome.PARTIAL
    started, ended = _moment_or_none(content, "started_at"), _moment_or_none(content, "ended_at")
    if started and ended:
        derived["duration_s"] = int((ended - started).total_seconds())
    return derived


def _items(content: Content, course: Course) -> list[Content]:
    """Each counted exercise of the slot with what was asked and done; left out counts 0."""
    logged: dict[str, list[Content]] = {}
    for entry in content.get("entries", ()):
        if "prescription_id" in entry and entry["state"] == "done":
            logged.setdefault(entry["prescription_id"], []).extend(entry.get("sets", ()))
    named = set(_prescriptions_in(content).values())
    items = []
    for prescribed, dose in _asked(content, course, named):
        wanted = prescribed_amount(dose, prescribed.unit)
        done = performed_amount(
            map(_done_set, logged.get(prescribed.id, ())), dose, prescribed.unit
        )
        items.append(
            {
                "prescription_id": prescribed.id,
                "dose_unit": prescribed.unit,
                "prescribed": _tidy(wanted),
                "performed": _tidy(done),
                "ratio": _tidy(ratio_of(done, wanted)),
            }
        )
    return items


def _asked(content: Content, course: Course, named: set[str]) -> list[tuple[Prescribed, Any]]:
    on = date.fromisoformat(content["local_date"])
    version = course.version_for_log(
        on, content.get("assignment_version"), days_back=VERSION_DAYS_BACK
    )
    place = _slot_place(course, content) if "slot_id" in content else None
    slots: list[Slot] = []
    if place is not None:
        day, key = place
        if course.assignment.covers(day):
            slots = [slot for slot in course.slots(day, version) if slot.key == key]
    if slots:
        return [(i.prescribed, i.dose) for i in slots[0].items if i.prescribed.counts]
    # An extra session, or one whose slot the plan no longer has: judged by what it names.
    span = course.span_on(on)
    rows = [
        row
        for phase in course.protocol.phases
        for row in course.prescriptions(version, phase.id)
        if row.id in named and row.counts
    ]
    return [(row, row.on_day(span.day_of(on))[0]) for row in rows]


def _done_set(one: Content) -> DoneSet:
    return DoneSet(one.get("reps"), one.get("hold_s"), one.get("duration_s"), one.get("distance_m"))


def _tidy(number: float) -> float | int:
    rounded = round(number, 4)
    return int(rounded) if rounded == int(rounded) else rounded


def _rate_again(
    patient: Patient, dates: Iterable[date | None], batch: Batch
) -> tuple[list[CheckIn], set[date]]:
    """Bring `rates_session_day` of the check-ins around these dates into step (rule T3).

    The check-ins that changed, and the session days that they rated and rate.
    """
    changed: list[CheckIn] = []
    days: set[date] = set()
    for day in filter(None, dates):
        rows = _near_to(patient, day, batch)
        check_ins = [row for row in rows if row.kind == Kind.CHECK_IN]
        rated = rated_days(rows)
        for row in check_ins:
            if abs(row.on - day) > RATING_REACH:
                continue  # only here to compete for the session days
            rates = rated[row.phone_id].isoformat() if row.phone_id in rated else None
            if rates != row.rates:
                days |= {date.fromisoformat(one) for one in (rates, row.rates) if one}
                changed.append(_rate(patient, row, rates, batch))
    return changed, days


def _rated_by(derived: Content | None) -> set[date]:
    rated = (derived or {}).get("rates_session_day")
    return {date.fromisoformat(rated)} if rated else set()


def _near_to(patient: Patient, day: date, batch: Batch) -> list[Near]:
    """What a rating of this day is decided by. A push reads further, as it goes from day to day."""
    first, last = day - 3 * RATING_REACH, day + 2 * RATING_REACH
    if not (batch.near_days[0] <= first and last <= batch.near_days[1]):
        further = PUSH_REACH if len(batch.wanted) > 1 else timedelta()
        batch.near_days = first - further, last + further
        rows = NEAR(patient=patient.pk, first=batch.near_days[0], last=batch.near_days[1])
        batch.near = {(row.kind, row.phone_id): row for row in (Near(*one) for one in rows)}
    return [row for row in batch.near.values() if first <= row.on <= last]


def _keep_near(batch: Batch, report: Report) -> None:
    """As `NEAR` would find it from now on."""
    batch.near.pop(report.key, None)
    if report.content is not None:
        near = Near.of(report.kind, report.phone_id, report.content)
        if near is not None:
            batch.near[report.key] = near


def _rate(patient: Patient, near: Near, rates: str | None, batch: Batch) -> CheckIn:
    key = Kind.CHECK_IN, near.phone_id
    row: CheckIn
    [row] = HEADS[Kind.CHECK_IN](patient=patient.pk, ids=[near.phone_id])
    derived = {k: v for k, v in (row.derived or {}).items() if k != "rates_session_day"}
    row.derived = derived | ({"rates_session_day": rates} if rates else {})
    row.save(update_fields=["derived"])
    batch.near[key] = replace(near, rates=rates)
    if held := batch.heads.get(key):
        held.derived = row.derived
    return row


# --- Stop signs -------------------------------------------------------------------------------


def _codes_in(content: Content | None, severe: int | None) -> list[str]:
    """What a record reports that a person must look at: its stop signs, a pop, pain at or above SEV
    (safety.md section 4, protocols.md R4), a glucose far too low (section 10).
    """
    if content is None:
        return []
    codes = list(content.get("stop_signs", ()))
    too_much = severe is not None and any(pain >= severe for pain in _pains_in(content))
    if content.get("pop_felt") or too_much:
        codes.append("severe")
    if "glucose_mmol_l" in content and (flag := safety().glucose_flag(content["glucose_mmol_l"])):
        codes.append(flag)
    return list(dict.fromkeys(codes))


def _pains_in(content: Content) -> list[int]:
    entries = content.get("entries", ())
    said = [content.get(name) for name in ("pain_now", "pain_before", "pain_during", "pain_after")]
    said += [one.get("pain") for entry in entries for one in (entry, *entry.get("sets", ()))]
    return [pain for pain in said if pain is not None]


def _raise_flags(
    patient: Patient, report: Report, severe: int | None, now: datetime
) -> tuple[tuple[Effect, ...], bool]:
    """Raise what the record reports, in the transaction that stores it, once a record and code.

    With what the app says at once, and whether any of it is news.
    """
    content = report.content
    codes = _codes_in(content, severe)
    if content is None or not codes:
        return (), False
    others = Revision.objects.filter(patient=patient, **_which(report)).exclude(
        number=report.revision
    )
    told = {code for said in others for code in _codes_in(said.content, severe)}
    # A date that has not come yet does not put a stop off.
    on = min(date.fromisoformat(content["local_date"]), today_of(patient, now))
    for code in codes:
        if code not in told:
            raise_flag(
                patient=patient,
                code=code,
                on=on,
                source=(report.kind.value, report.phone_id),
                now=now,
            )
    return _effects_of(patient, codes), not told.issuperset(codes)


def _is_grave(found: deciding.Difference, effects: Iterable[Effect] = ()) -> bool:
    """Whether a patient is told by a message, too, of what the answer to an upload says already."""
    return _stops((*effects, *found.effects)) or any(
        change["code"] == "phase_changed" for change in found.plan_changes
    )


def _stops(effects: Iterable[Effect]) -> bool:
    """Whether the plan says that it is stopped, also where there is no course to stop."""
    return any(one["level"] != Flag.Level.ROUTINE for one in effects)


def _effects_of(patient: Patient, codes: Sequence[str]) -> tuple[Effect, ...]:
    """What the app says at once, with the newest flag of each code."""
    if not codes:
        return ()
    flags = Flag.objects.filter(patient=patient, code__in=codes).order_by("raised_at", "pk")
    newest = {flag.code: flag for flag in flags}
    return tuple(deciding.flag_effect(newest[code]) for code in codes if code in newest)


def _moment(content: Mapping[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(content[name])


def _moment_or_none(content: Mapping[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(content[name]) if name in content else None


MODELS: Mapping[Kind, type[Session] | type[CheckIn]] = {
    Kind.SESSION: Session,
    Kind.CHECK_IN: CheckIn,
}


# --- What a record is judged by, written as SQL once ------------------------------------------

_PATIENT = Given("patient", UUIDField())
_NEAR = (Given("first", DateField()), Given("last", DateField()))

LOCKED = Written(
    lambda: (
        Patient.objects.select_for_update(of=("self",))
        .select_related("clinic")
        .filter(pk=Given("id", UUIDField()))
    )
)


def _heads_of(model: type[Session] | type[CheckIn]) -> Written[Any]:
    rows: Any = model.objects
    return Written(
        lambda: rows.filter(patient=_PATIENT, phone_id__in=[AnyGiven("ids", UUIDField())])
    )


APPEND = Insert(Revision)
NEW: Mapping[Kind, Insert[Any]] = {kind: Insert(model) for kind, model in MODELS.items()}
HEADS = {kind: _heads_of(model) for kind, model in MODELS.items()}


def _near(rows: QuerySet[Any], kind: Kind, began: Any, rates: Any) -> QuerySet[Any, Any]:
    """As `Near` has them."""
    found: QuerySet[Any, Any] = rows.annotate(kind=Value(kind.value, CharField())).values_list(
        *("kind", "phone_id", "local_date", KT("content__timezone")),
        *(began, KT("content__recorded_at"), rates),
    )
    return found


_NOTHING = Value(None, CharField())
# Sessions that began, and check-ins that rate: both are wanted together, so they come together.
NEAR = Written(
    lambda: _near(
        Session.objects.filter(patient=_PATIENT, local_date__range=_NEAR)
        .standing()
        .exclude(outcome=Session.Outcome.SKIPPED),
        Kind.SESSION,
        began=KT("content__started_at"),
        rates=_NOTHING,
    ).union(
        _near(
            CheckIn.objects.filter(
                patient=_PATIENT, local_date__range=_NEAR, pain_now__isnull=False
            ).standing(),
            Kind.CHECK_IN,
            began=_NOTHING,
            rates=KT("derived__rates_session_day"),
        ),
        all=True,
    )
)
