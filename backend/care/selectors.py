"""Questions about a course: stored facts as engine values, the plan of any days, slot states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import cache, cached_property
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import CharField, DateField, Q, QuerySet, UUIDField

from backend.care.models import Assignment, AssignmentVersion, CheckIn, Pause, Session
from backend.clinics.models import Patient
from backend.queries import AnyGiven, Given, Written
from exercises.models import Exercise
from protocols.engine.definition import Phase, Protocol, read
from protocols.engine.plan import PhaseSpan, Prescribed, Slot, days_from, slots_on
from protocols.knowledge import rules

A_DAY = timedelta(days=1)


class DayType(StrEnum):
    TRAINING = "training"
    REST = "rest"
    PAUSED = "paused"
    NONE = "none"


class SlotStatus(StrEnum):
    DUE = "due"
    OPEN = "open"
    COMPLETED = "completed"
    PARTIAL = "partial"
    SKIPPED = "skipped"
    MISSED = "missed"
    NOT_HEARD = "not_heard"
    EXCUSED = "excused"


# The best of several sessions of one slot is what counts (two phones, or a repeat).
BEST_FIRST = (SlotStatus.COMPLETED, SlotStatus.PARTIAL, SlotStatus.OPEN, SlotStatus.SKIPPED)


def today_of(patient: Patient, now: datetime) -> date:
    return now.astimezone(patient.zone).date()


@cache
def closing_time() -> time:
    """Until when on the next date a rating is awaited, and the date with it."""
    return time(int(rules()["rating_due_hour"].number))


def closes_at(on: date, zone: ZoneInfo) -> datetime:
    """When a date closes at the latest: noon of the next date, on the patient's wall clock."""
    return datetime.combine(on + A_DAY, closing_time(), zone)


def is_closed(on: date, zone: ZoneInfo, now: datetime) -> bool:
    return closes_at(on, zone) <= now


@dataclass(frozen=True)
class Course:
    """One assignment with what is needed to say what it asks for on a date."""

    assignment: Assignment
    protocol: Protocol
    versions: tuple[AssignmentVersion, ...]  # newest first
    pauses: tuple[Pause, ...]

    @property
    def id(self) -> UUID:
        return self.assignment.pk

    @cached_property
    def _prescriptions(self) -> dict[tuple[int, str], tuple[Prescribed, ...]]:
        return {}

    def version_on(self, on: date) -> AssignmentVersion:
        """The version in force on a date; before the first one, that one."""
        for version in self.versions:
            if version.effective_date <= on:
                return version
        return self.versions[-1]

    def version_at(self, number: int) -> AssignmentVersion | None:
        """What was prescribed when the assignment stood at this version; None if it never did.

        Pausing, resuming and ending count on as well, so most numbers have no prescriptions of
        their own: those with the newest number up to it held.
        """
        if number > self.assignment.version:
            return None
        return next((version for version in self.versions if version.number <= number), None)

    def version_for_log(self, on: date, number: int | None, *, days_back: int) -> AssignmentVersion:
        """The version the phone had, if it was current shortly before; else the one in force."""
        had = None if number is None else self.version_at(number)
        if had is None or had.effective_date > on:
            return self.version_on(on)
        newer = [one for one in self.versions if one.number > had.number]
        ended = newer and newer[-1].effective_date <= on - timedelta(days=days_back)
        return self.version_on(on) if ended else had

    def span_on(self, on: date) -> PhaseSpan:
        """The phase a date lies in: the one the patient was placed in."""
        return PhaseSpan(self.assignment.start_phase_id, self.assignment.start_date)

    def phase_on(self, on: date) -> Phase:
        return self.protocol.phase(self.span_on(on).phase_id)

    def is_paused(self, on: date) -> bool:
        return any(pause.covers(on) for pause in self.pauses)

    def prescriptions(self, version: AssignmentVersion, phase_id: str) -> tuple[Prescribed, ...]:
        key = (version.number, phase_id)
        if key not in self._prescriptions:
            self._prescriptions[key] = tuple(
                read(Prescribed, row)
                for row in version.prescriptions
                if row["phase_id"] == phase_id
            )
        return self._prescriptions[key]

    def slots(self, on: date, version: AssignmentVersion | None = None) -> tuple[Slot, ...]:
        """What the course asks for on a date it covers, pauses aside."""
        version = version or self.version_on(on)
        span = self.span_on(on)
        return slots_on(
            on,
            span=span,
            prescriptions=self.prescriptions(version, span.phase_id),
            assignment_id=self.id,
            parts_of_day=version.parts_of_day,
            training_days=frozenset(version.training_days),
        )

    def knows(self, prescription_id: str) -> bool:
        return any(
            row["id"] == prescription_id
            for version in self.versions
            for row in version.prescriptions
        )


def course_of(assignment: Assignment) -> Course:
    """From an assignment loaded with `with_record()`."""
    return Course(
        assignment=assignment,
        protocol=assignment.protocol_version.definition,
        versions=tuple(sorted(assignment.versions.all(), key=lambda v: -v.number)),
        pauses=tuple(assignment.pauses.all()),
    )


def courses_of(patient: Patient, first: date, last: date) -> list[Course]:
    """The courses that cover any of these dates, oldest first. Two queries."""
    versions: dict[UUID, list[AssignmentVersion]] = {}
    for version in VERSIONS(patient=patient.pk, first=first, last=last):
        versions.setdefault(version.assignment_id, []).append(version)
    pauses = PAUSES(patient=patient.pk)
    courses = [
        _course(patient, found, [one for one in pauses if one.assignment_id == assignment_id])
        for assignment_id, found in versions.items()
    ]
    return sorted(courses, key=lambda course: (course.assignment.start_date, course.id))


def course_for_log(patient: Patient, assignment_id: UUID) -> Course | None:
    """What a log is judged by: without pauses, as it is taken on paused days as well. One query."""
    versions = VERSIONS_OF_ONE(patient=patient.pk, assignment=assignment_id)
    return _course(patient, versions, []) if versions else None


def courses_in_full(patient: Patient, assignments: Iterable[UUID | str]) -> list[Course]:
    """These courses with everything of their record. Two queries."""
    versions: dict[UUID, list[AssignmentVersion]] = {}
    for version in VERSIONS_IN_FULL(patient=patient.pk, ids=assignments):
        versions.setdefault(version.assignment_id, []).append(version)
    pauses = PAUSES(patient=patient.pk)
    return [
        _course(patient, found, [one for one in pauses if one.assignment_id == assignment_id])
        for assignment_id, found in versions.items()
    ]


def _course(patient: Patient, versions: list[AssignmentVersion], pauses: Sequence[Pause]) -> Course:
    assignment = versions[0].assignment
    assignment.patient = patient
    return Course(
        assignment=assignment,
        protocol=assignment.protocol_version.definition,
        versions=tuple(sorted(versions, key=lambda v: -v.number)),
        pauses=tuple(pauses),
    )


@dataclass(frozen=True)
class PlannedSlot:
    slot: Slot
    course: Course
    status: SlotStatus
    session_ids: tuple[UUID, ...]


@dataclass(frozen=True)
class PlannedDay:
    on: date
    type: DayType
    courses: tuple[Course, ...]
    slots: tuple[PlannedSlot, ...]
    check_in_given: bool


@dataclass(frozen=True)
class Plan:
    patient: Patient
    first: date
    days: tuple[PlannedDay, ...]
    exercises: Mapping[str, Exercise]

    @cached_property
    def courses(self) -> tuple[Course, ...]:
        return tuple({course.id: course for day in self.days for course in day.courses}.values())


def plan_of(patient: Patient, *, first: date, days: int, now: datetime) -> Plan:
    """What to do, and what became of it, on up to 28 days. Five queries, however long."""
    last = first + timedelta(days=days - 1)
    return plan_for(
        patient,
        courses_of(patient, first, last),
        first=first,
        days=days,
        now=now,
        sessions=SESSIONS(patient=patient.pk, first=first - A_DAY, last=last + A_DAY),
        checked_in=[on for (on,) in CHECK_INS(patient=patient.pk, first=first, last=last)],
    )


def plan_for(
    patient: Patient,
    courses: Sequence[Course],
    *,
    first: date,
    days: int,
    now: datetime,
    sessions: Iterable[tuple[UUID | None, str, UUID]] = (),
    checked_in: Iterable[date | None] = (),
) -> Plan:
    """As `plan_of`, for courses that need not be stored yet (preview)."""
    done: dict[UUID, list[tuple[str, UUID]]] = {}
    for slot_id, outcome, phone_id in sessions:
        if slot_id is not None:
            done.setdefault(slot_id, []).append((outcome, phone_id))
    given = frozenset(checked_in)
    planned = tuple(
        _day(on, courses, patient, done, on in given, now) for on in days_from(first, days)
    )
    slugs = {
        item.prescribed.exercise for day in planned for one in day.slots for item in one.slot.items
    }
    return Plan(patient, first, planned, _exercises_of(patient, slugs))


def _day(
    on: date,
    courses: Sequence[Course],
    patient: Patient,
    done: Mapping[UUID, list[tuple[str, UUID]]],
    check_in_given: bool,
    now: datetime,
) -> PlannedDay:
    active = tuple(course for course in courses if course.assignment.covers(on))
    running = [course for course in active if not course.is_paused(on)]
    slots = tuple(
        PlannedSlot(
            slot,
            course,
            _status(slot, done.get(slot.id, []), patient, now, is_paused=course not in running),
            tuple(sorted(phone_id for _, phone_id in done.get(slot.id, []))),
        )
        for course in active
        for slot in course.slots(on)
    )
    asks = any(one.slot.counts for one in slots if one.course in running)
    if not active:
        kind = DayType.NONE
    elif not running:
        kind = DayType.PAUSED
    else:
        kind = DayType.TRAINING if asks else DayType.REST
    return PlannedDay(on, kind, active, slots, check_in_given)


def _status(
    slot: Slot,
    sessions: Sequence[tuple[str, UUID]],
    patient: Patient,
    now: datetime,
    *,
    is_paused: bool,
) -> SlotStatus:
    """What became of a slot. A pause excuses what was not done, and hides nothing that was."""
    outcomes = {outcome for outcome, _ in sessions}
    for best in BEST_FIRST:
        if best.value in outcomes:
            return best
    if is_paused:
        return SlotStatus.EXCUSED
    if not is_closed(slot.on, patient.zone, now):
        return SlotStatus.DUE
    if not slot.counts:
        return SlotStatus.EXCUSED
    heard = patient.last_received_at
    closed = closes_at(slot.on, patient.zone)
    return SlotStatus.MISSED if heard and heard >= closed else SlotStatus.NOT_HEARD


def catalogue_of(patient: Patient, slugs: Iterable[str]) -> dict[str, Exercise]:
    """The exercises with these slugs, the clinic's own before the library's. One query."""
    return _own_first(Exercise.objects.filter(slug__in=set(slugs)).visible_to(patient))


def _exercises_of(patient: Patient, slugs: Set[str]) -> dict[str, Exercise]:
    """As `catalogue_of`, with what a plan shows of an exercise."""
    return _own_first(EXERCISES(clinic=patient.clinic_id, slugs=slugs) if slugs else ())


def _own_first(rows: Iterable[Exercise]) -> dict[str, Exercise]:
    """By name, so that what follows from them has one order on every database."""
    return {row.slug: row for row in sorted(rows, key=lambda row: (row.slug, bool(row.clinic_id)))}


# --- What a plan is read from, written as SQL once --------------------------------------------

_PATIENT = Given("patient", UUIDField())
_FIRST, _LAST = Given("first", DateField()), Given("last", DateField())


def _versions(*conditions: Q) -> QuerySet[AssignmentVersion]:
    """A version's protocol is known by its digest, mostly; the document is read where it is not."""
    return (
        AssignmentVersion.objects.filter(*conditions, assignment__patient=_PATIENT)
        .select_related("assignment__protocol_version")
        .defer("changes", "assignment__protocol_version__document")
    )


VERSIONS = Written(
    lambda: _versions(
        Q(assignment__ended_on=None) | Q(assignment__ended_on__gte=_FIRST),
        Q(assignment__start_date__lte=_LAST),
    )
)
VERSIONS_OF_ONE = Written(lambda: _versions(Q(assignment=Given("assignment", UUIDField()))))
VERSIONS_IN_FULL = Written(
    lambda: (
        _versions(Q(assignment__id__in=[AnyGiven("ids", UUIDField())]))
        .defer(None)
        .defer("assignment__protocol_version__document")
    )
)
PAUSES = Written(lambda: Pause.objects.filter(assignment__patient=_PATIENT))
SESSIONS = Written(
    lambda: (
        Session.objects.filter(
            patient=_PATIENT, local_date__range=(_FIRST, _LAST), slot_id__isnull=False
        )
        .standing()
        .values_list("slot_id", "outcome", "phone_id")
    )
)
CHECK_INS = Written(
    lambda: (
        CheckIn.objects.filter(patient=_PATIENT, local_date__range=(_FIRST, _LAST))
        .standing()
        .values_list("local_date")
    )
)
_SOMEBODY: Any = SimpleNamespace(clinic_id=Given("clinic", UUIDField()))
EXERCISES = Written(
    lambda: (
        Exercise.objects.filter(slug__in=[AnyGiven("slugs", CharField())])
        .visible_to(_SOMEBODY)
        .only("slug", "clinic_id", "version", "title", "kind", "cues", "media", "log_fields")
    )
)
