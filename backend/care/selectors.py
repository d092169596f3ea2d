"""Questions about a course: stored facts as engine values, the plan of any days, slot states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import cache, cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import CharField, DateField, Q, QuerySet, UUIDField

from backend.care.models import (
    Assignment,
    AssignmentVersion,
    CheckIn,
    ClosedDay,
    Flag,
    Pause,
    Session,
)
from backend.care.versions import Unread, prescribed_as, prescribed_in
from backend.clinics.models import Patient
from backend.queries import AnyGiven, Given, Written
from exercises.models import Exercise
from protocols.engine.case import State
from protocols.engine.definition import Phase, Protocol
from protocols.engine.glides import glides_on
from protocols.engine.plan import (
    PhaseSpan,
    Prescribed,
    Slot,
    Terms,
    days_from,
    halved,
    slots_on,
)
from protocols.engine.progression import decided, in_force
from protocols.engine.storing import day_from_json, state_from_json
from protocols.knowledge import numbers, rules

A_DAY = timedelta(days=1)


N_TENS = "N-TENS"
OPEN = (Flag.Status.OPEN, Flag.Status.ACKNOWLEDGED)
AFTER_REPAIR = "hamstring_tendon_repair"  # as protocols name the condition


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
    def _named(self) -> dict[str, Prescribed | None]:
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

    def terms_on(self, on: date) -> Terms:
        """What the course makes of the plan of a date: as it was lived, as it stands, or as it is
        to be expected."""
        if on not in self._terms:
            judged_to = self.assignment.judged_to
            if judged_to is not None and on <= judged_to:
                row = ClosedDay.objects.filter(assignment=self.id, on=on).first()
                self._terms[on] = self._lived(row) if row else self._placed
            else:
                self._look_ahead_to(on)
        return self._terms[on]

    def know(self, rows: Iterable[ClosedDay]) -> None:
        """Take dates of the day book, so that they need not be looked up one by one."""
        self._terms.update({row.on: self._lived(row) for row in rows})

    def _lived(self, row: ClosedDay) -> Terms:
        """S-PRE: a date on which rest was advised is told by the pain before it."""
        limits, before = self.protocol.limits, row.pain_before
        hurt = before is not None and limits.red <= before < limits.severe
        terms = terms_of_row(row)
        return replace(terms, rested=hurt and row.is_excused and not row.done_sets)

    def forget(self) -> None:
        """Judging made what the plan rests on anew."""
        for name in ("_terms", "_ahead", "_slots", "state"):
            self.__dict__.pop(name, None)

    @cached_property
    def _terms(self) -> dict[date, Terms]:
        standing = self.assignment.standing
        return {} if standing is None else dict(map(_terms_of_open, standing["open"]))

    @property
    def _coming(self) -> Sequence[Mapping[str, Any]]:
        """What a person approved for dates to come."""
        standing = self.assignment.standing or {}
        found: Sequence[Mapping[str, Any]] = standing.get("coming", ())
        return found

    @property
    def comes_on(self) -> date | None:
        """When the next change that a person approved begins."""
        return min((day_from_json(one).on for one in self._coming), default=None)

    @cached_property
    def _placed(self) -> Terms:
        """Where a clinician put the patient."""
        assignment = self.assignment
        begun = assignment.phase_started_on or assignment.start_date
        return Terms(span=PhaseSpan(assignment.start_phase_id, begun))

    @cached_property
    def state(self) -> State | None:
        """What the next date inherits, where the course was judged already."""
        standing = self.assignment.standing
        return None if standing is None else state_from_json(standing["state"])

    def _look_ahead_to(self, until: date) -> None:
        """Each date is worked out once, however many are asked for."""
        standing = self.assignment.standing
        if standing is None:
            self._terms[until] = self._placed
            return
        if until < date.fromisoformat(standing["from"]):
            self._terms[until] = next(self._looking_ahead(until))[1]
            return
        for on, terms in self._ahead:
            self._terms.setdefault(on, terms)
            if on >= until:
                return

    @cached_property
    def _ahead(self) -> Iterator[tuple[date, Terms]]:
        standing = self.assignment.standing
        assert standing is not None
        return self._looking_ahead(date.fromisoformat(standing["from"]))

    def _looking_ahead(self, on: date) -> Iterator[tuple[date, Terms]]:
        """The dates to come from this one on, without end, if all goes on as it stands.

        A half dose, and an exercise that is eased once, are used up by the next dates that have
        sessions. A return after a gap is one as well (R9).
        """
        state = self.state
        assert state is not None
        known = numbers()
        half = state.half_left
        if state.missed >= known["missed_gap"]:
            half = max(half, int(known["gap_half_dose_sessions"]))
        once = {id for id, tally in state.eases.items() if tally.hurt_last}
        coming = {day.on: day for day in map(day_from_json, self._coming)}
        while True:
            if on in coming:
                state = decided(state, in_force(self.protocol, state, coming[on]))
                half = state.half_left
            stays = {id for id, tally in state.eases.items() if tally.stays(on)}
            terms = Terms(
                span=PhaseSpan(state.phase_id, state.started_on),
                half=half > 0,
                stopped=bool(state.stop),
                ended=state.ended,
                eased=frozenset(once | stays),
                open_gates=self.open_gates(state, on),
            )
            yield on, terms
            if (half or once) and not self.is_paused(on):
                due = self._due_ids(on, terms)
                half -= bool(half and due)
                once -= due
            on += A_DAY

    def _due_ids(self, on: date, terms: Terms) -> set[str]:
        slots = self._slots_by(terms, on, self.version_on(on))
        return {item.prescribed.id for slot in slots for item in slot.items}

    def open_gates(self, state: State, on: date) -> frozenset[str]:
        """The gates of exercises that pass on a date. Asked only where something waits for one."""
        if not any(row.gate for row in self.prescriptions(self.version_on(on), state.phase_id)):
            return frozenset()
        _, findings = glides_on(state, on, self.protocol, numbers(), self._repaired_on)
        passes = all(finding.passed for finding in findings)
        return frozenset({N_TENS}) if passes else frozenset()

    @property
    def _repaired_on(self) -> date | None:
        """The day before day 1 of a plan after a repair (worked case C6: day 1 is the next one)."""
        if self.protocol.condition != AFTER_REPAIR:
            return None
        return self._placed.span.started_on - A_DAY

    def span_on(self, on: date) -> PhaseSpan:
        """The phase a date lies in, and since when."""
        return self.terms_on(on).span

    def phase_on(self, on: date) -> Phase:
        return self.protocol.phase(self.span_on(on).phase_id)

    def is_paused(self, on: date) -> bool:
        return any(pause.covers(on) for pause in self.pauses)

    def prescriptions(self, version: AssignmentVersion, phase_id: str) -> tuple[Prescribed, ...]:
        return prescribed_in(version, phase_id)

    def slots(self, on: date, version: AssignmentVersion | None = None) -> tuple[Slot, ...]:
        """What the course asks for on a date it covers, pauses aside."""
        version = version or self.version_on(on)
        key = on, version.number
        if key not in self._slots:
            self._slots[key] = self.slots_under(self.terms_on(on), on, version)
        return self._slots[key]

    @cached_property
    def _slots(self) -> dict[tuple[date, int], tuple[Slot, ...]]:
        return {}

    def slots_under(
        self, terms: Terms, on: date, version: AssignmentVersion | None = None
    ) -> tuple[Slot, ...]:
        """As `slots`, where what the plan of the date rests on is known already."""
        if terms.ended:
            return ()
        slots = self._slots_by(terms, on, version or self.version_on(on))
        return halved(slots, numbers()["half_dose_ratio"]) if terms.half else slots

    def _slots_by(self, terms: Terms, on: date, version: AssignmentVersion) -> tuple[Slot, ...]:
        return slots_on(
            on,
            span=terms.span,
            prescriptions=self.prescriptions(version, terms.span.phase_id),
            assignment_id=self.id,
            parts_of_day=version.parts_of_day,
            training_days=frozenset(version.training_days),
            eased=terms.eased,
            eased_ratio=numbers()["half_dose_ratio"],
            open_gates=terms.open_gates,
        )

    def named(self, prescription_id: str) -> Prescribed | None:
        """A prescription as its newest version has it; None where there never was one."""
        if prescription_id not in self._named:
            found = (prescribed_as(version, prescription_id) for version in self.versions)
            self._named[prescription_id] = next(filter(None, found), None)
        return self._named[prescription_id]


def terms_of_row(row: ClosedDay) -> Terms:
    return Terms(
        span=PhaseSpan(row.phase_id, row.phase_started_on),
        half=row.is_half,
        stopped=row.is_stopped,
        eased=frozenset(row.eased),
        open_gates=frozenset(row.open_gates),
    )


def terms_as_json(on: date, terms: Terms) -> dict[str, Any]:
    told: dict[str, Any] = {
        "on": on.isoformat(),
        "phase_id": terms.span.phase_id,
        "started_on": terms.span.started_on.isoformat(),
    }
    for name in ("half", "stopped", "rested", "ended"):
        if getattr(terms, name):
            told[name] = True
    for name in ("eased", "open_gates"):
        if found := getattr(terms, name):
            told[name] = sorted(found)
    return told


def _terms_of_open(told: Mapping[str, Any]) -> tuple[date, Terms]:
    return date.fromisoformat(told["on"]), Terms(
        span=PhaseSpan(told["phase_id"], date.fromisoformat(told["started_on"])),
        half=told.get("half", False),
        stopped=told.get("stopped", False),
        rested=told.get("rested", False),
        ended=told.get("ended", False),
        eased=frozenset(told.get("eased", ())),
        open_gates=frozenset(told.get("open_gates", ())),
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
    judged = [course for course in courses if (course.assignment.judged_to or first) >= first]
    if any(course.assignment.judged_to for course in judged):
        rows = list(LIVED(patient=patient.pk, first=first, last=last))
        for course in judged:
            course.know(row for row in rows if row.assignment_id == course.id)
    return sorted(courses, key=lambda course: (course.assignment.start_date, course.id))


def course_for_log(patient: Patient, assignment_id: UUID) -> Course | None:
    """What a log is taken and judged by. Two queries."""
    versions = VERSIONS_OF_ONE(patient=patient.pk, assignment=assignment_id)
    if not versions:
        return None
    pauses = PAUSES(patient=patient.pk)
    return _course(patient, versions, [one for one in pauses if one.assignment_id == assignment_id])


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


class Adjustment(StrEnum):
    """Why a plan asks for less on a date than the protocol does."""

    STOPPED = "stopped"
    ADVISED_REST = "advised_rest"
    HALF_DOSE = "half_dose"
    EASED = "eased"


@dataclass(frozen=True)
class PlannedDay:
    on: date
    type: DayType
    courses: tuple[Course, ...]
    slots: tuple[PlannedSlot, ...]
    check_in_given: bool
    adjustments: tuple[tuple[Course, Adjustment], ...] = ()


class StopSign(NamedTuple):
    """An open flag that stops all exercise."""

    code: str
    level: str
    raised_at: datetime


@dataclass(frozen=True)
class Plan:
    """`stop` holds why all exercise is stopped at present, the gravest first."""

    patient: Patient
    first: date
    days: tuple[PlannedDay, ...]
    exercises: Mapping[str, Exercise]
    stop: tuple[StopSign, ...] = ()

    @cached_property
    def courses(self) -> tuple[Course, ...]:
        return tuple({course.id: course for day in self.days for course in day.courses}.values())


def plan_of(patient: Patient, *, first: date, days: int, now: datetime) -> Plan:
    """What to do, and what became of it, on up to 28 days. Six queries, however long."""
    last = first + timedelta(days=days - 1)
    plan = plan_for(
        patient,
        courses_of(patient, first, last),
        first=first,
        days=days,
        now=now,
        sessions=SESSIONS(patient=patient.pk, first=first - A_DAY, last=last + A_DAY),
        checked_in=[on for (on,) in CHECK_INS(patient=patient.pk, first=first, last=last)],
    )
    stop = sorted(map(StopSign._make, STOPS(patient=patient.pk)), key=_gravest_first)
    return replace(plan, stop=tuple(stop))


def _gravest_first(sign: StopSign) -> tuple[int, datetime, str]:
    return Flag.Level.values.index(sign.level), sign.raised_at, sign.code


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
    paused = [course for course in active if course.is_paused(on)]
    found = [(course, why) for course in active for why in adjustments_of(course.terms_on(on))]
    halted = [course for course, why in found if why in HALTING]
    running = [course for course in active if course not in paused and course not in halted]
    slots = tuple(
        PlannedSlot(
            slot,
            course,
            _status(slot, done.get(slot.id, []), patient, now, is_paused=course not in running),
            tuple(sorted(phone_id for _, phone_id in done.get(slot.id, []))),
        )
        for course in active
        if course not in halted or is_closed(on, patient.zone, now)
        for slot in course.slots(on)
        if course not in halted or slot.id in done
    )
    asks = any(one.slot.counts for one in slots if one.course in running)
    if not active:
        kind = DayType.NONE
    elif asks or running:
        kind = DayType.TRAINING if asks else DayType.REST
    else:
        stopped = any(why is Adjustment.STOPPED for _, why in found)
        kind = DayType.PAUSED if stopped or paused else DayType.REST
    return PlannedDay(on, kind, active, slots, check_in_given, tuple(found))


HALTING = (Adjustment.STOPPED, Adjustment.ADVISED_REST)


def adjustments_of(terms: Terms) -> tuple[Adjustment, ...]:
    told = {
        Adjustment.STOPPED: terms.stopped,
        Adjustment.ADVISED_REST: terms.rested,
        Adjustment.HALF_DOSE: terms.half,
        Adjustment.EASED: bool(terms.eased),
    }
    return tuple(one for one, is_so in told.items() if is_so)


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
        .defer(
            "changes",
            "assignment__protocol_version__document",
            "assignment__carried",
            "assignment__concerns",
        )
    )


_LATER: Any = {"json": Unread, "of": ("prescriptions",)}
VERSIONS = Written(
    lambda: _versions(
        Q(assignment__ended_on=None) | Q(assignment__ended_on__gte=_FIRST),
        Q(assignment__start_date__lte=_LAST),
    ),
    **_LATER,
)
VERSIONS_OF_ONE = Written(
    lambda: (
        AssignmentVersion.objects.filter(
            assignment=Given("assignment", UUIDField()), assignment__patient=_PATIENT
        )
        .select_related("assignment__protocol_version")
        .defer("changes", "assignment__protocol_version__document")
    ),
    **_LATER,
)
LIVED = Written(
    lambda: ClosedDay.objects.filter(assignment__patient=_PATIENT, on__range=(_FIRST, _LAST)).defer(
        "day", "after"
    )
)
VERSIONS_IN_FULL = Written(
    lambda: (
        _versions(Q(assignment__id__in=[AnyGiven("ids", UUIDField())]))
        .defer(None)
        .defer("assignment__protocol_version__document", "assignment__carried")
    ),
    **_LATER,
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
STOPS = Written(
    lambda: (
        Flag.objects.filter(patient=_PATIENT, status__in=OPEN)
        .exclude(level=Flag.Level.ROUTINE)
        .values_list(*StopSign._fields)
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
