"""What a physiotherapist prescribes: assign, tailor, pause, resume, end, and the gates before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4, uuid5

from django.db import IntegrityError, transaction

from backend.care import deciding, feed
from backend.care.cataloguing import feed_version
from backend.care.flags import raise_flag, stops_of
from backend.care.models import (
    Assessment,
    Assignment,
    AssignmentVersion,
    Change,
    Pause,
    Session,
)
from backend.care.selectors import Course, catalogue_of, course_of, today_of
from backend.care.versions import rows_of
from backend.clinics.actions import lock
from backend.clinics.models import Episode, Patient, User
from backend.problems import (
    FieldError,
    Problem,
    StateConflict,
    ValidationFailed,
    VersionMismatch,
)
from exercises.models import Exercise
from protocols.engine.definition import Dose, Protocol, Reps, Schedule, read
from protocols.engine.plan import WEEK, Easier, Prescribed, Side, prescribe, sides_of
from protocols.knowledge import KeptBack, rules
from protocols.models import ProtocolVersion

A_DAY = timedelta(days=1)
DAYS_AHEAD = timedelta(days=28)  # as far as a plan is shown
LONGEST_BEFORE = timedelta(days=730)  # that a phase may have lasted before the plan
TENSIONER = "nerve_glide_tensioner"
EDUCATION = "education_self_care"  # shown and ticked off, never counted


class AssignmentGateFailed(Problem):
    """A gate before phase 1 (AG1 to AG7) does not pass. `gates` names each with what is missing."""

    code = "assignment-gate-failed"
    status = 422
    title = "The plan may not start yet"
    remedy = "Record what the failed gates ask for, then assign again."


class OverlappingAssignment(StateConflict):
    """The episode has an assignment that has not ended."""

    code = "overlapping-assignment"
    status = 409
    title = "This episode has a plan already"
    remedy = "End the running assignment first, or use another episode."


class AssignmentEnded(StateConflict):
    """The assignment has ended; it takes no more changes."""

    code = "assignment-ended"
    status = 409
    title = "This plan has ended"
    remedy = "Read it again; a new assignment can be made."


class ChangeScheduled(StateConflict):
    """A change from a later date on is scheduled already; what is tailored now builds on it."""

    code = "change-scheduled"
    status = 409
    title = "A later change is scheduled already"
    remedy = "Read it again; choose the date of the scheduled change, or a later one."


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate before phase 1, whether it passes, and why not."""

    id: str
    passed: bool
    text: str
    missing: str = ""

    def as_json(self) -> dict[str, object]:
        shown: dict[str, object] = {"id": self.id, "passed": self.passed, "text": self.text}
        return shown | ({"missing": self.missing} if self.missing else {})


@dataclass(frozen=True, slots=True)
class Wish:
    """What to assign. `changes` are the operations of tailoring, in order."""

    protocol_version: ProtocolVersion
    episode: Episode
    start_date: date
    side: str = ""
    start_phase_id: str = ""
    phase_started_on: date | None = None  # where the phase began before the plan did
    parts_of_day: tuple[str, ...] = ()
    training_days: tuple[int, ...] = ()
    changes: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def draft(*, patient: Patient, wish: Wish, by: User, now: datetime) -> Course:
    """The course this wish would make, stored nowhere. Raises as `assign` does, gates aside."""
    protocol = wish.protocol_version.definition
    phase_id = wish.start_phase_id or protocol.phases[0].id
    _check(patient, wish, protocol, phase_id, now)
    assignment = Assignment(
        id=uuid4(),
        patient=patient,
        clinic_id=patient.clinic_id,
        episode=wish.episode,
        protocol_version=wish.protocol_version,
        side=wish.side or wish.episode.side,
        start_date=wish.start_date,
        start_phase_id=phase_id,
        phase_started_on=wish.phase_started_on,
        assigned_by=by,
        created_at=now,
        updated_at=now,
    )
    version = AssignmentVersion(
        assignment=assignment,
        number=1,
        effective_date=wish.start_date,
        parts_of_day=list(wish.parts_of_day),
        training_days=list(wish.training_days),
        prescriptions=[as_document(row) for row in _prescribed(assignment, protocol, wish)],
        changes=_placed(wish.changes, phase_id),
        made_by=by,
        made_at=now,
    )
    return Course(assignment, protocol, (version,), ())


@transaction.atomic
def assign(*, patient: Patient, wish: Wish, by: User, now: datetime) -> Assignment:
    """Give a protocol version to a patient. The gates AG1 to AG7 are checked under the lock."""
    patient = lock(patient)
    wish = replace(
        wish,
        episode=Episode.objects.get(pk=wish.episode.pk),
        protocol_version=ProtocolVersion.objects.get(pk=wish.protocol_version.pk),
    )
    course = draft(patient=patient, wish=wish, by=by, now=now)
    gates = gates_of(patient, wish.episode, course.protocol, start=wish.start_date, now=now)
    if any(not gate.passed for gate in gates):
        raise AssignmentGateFailed(gates=[gate.as_json() for gate in gates])
    if _needs_age_review(patient, wish.episode, now):
        raise_flag(
            patient=patient,
            code="age-review",
            on=today_of(patient, now),
            source=("assignment", course.id),
            now=now,
        )
        others = deciding.recompute_all(patient=patient, now=now)  # it holds them back, too
        deciding.tell(patient, others, (), now=now)
    return place(course, patient, now)


def place(course: Course, patient: Patient, now: datetime) -> Assignment:
    """Store a drafted course, and tell the phones. The caller has the lock, and asked the gates."""
    assignment, [version] = course.assignment, course.versions
    try:
        with transaction.atomic():
            assignment.save(force_insert=True)
    except IntegrityError:
        raise OverlappingAssignment from None
    version.save(force_insert=True)
    return _judged(patient, assignment, _given(patient, _slugs_in(version.prescriptions)), now)


@transaction.atomic
def tailor(
    *,
    assignment: Assignment,
    first: date,
    reason: str,
    changes: Sequence[Mapping[str, Any]],
    by: User,
    now: datetime,
) -> Assignment:
    """Change what is prescribed from `first` on. What held before stays readable, and what was
    logged by it is judged by it. Each change builds on the newest one, so dates never go back."""
    patient, assignment = _open(assignment)
    course = course_of(assignment)
    _check_first(first, course, today_of(patient, now))
    there = course.span_on(first).phase_id
    new = change(course, changes, first, there, reason, assignment.version + 1, by, now)
    return _changed(patient, assignment, now, new)


def change(
    course: Course,
    changes: Sequence[Mapping[str, Any]],
    first: date,
    phase_id: str,
    reason: str,
    number: int,
    by: User,
    now: datetime,
) -> list[feed.Touched]:
    """A version that differs by these changes, for a patient who is in this phase then; the
    exercises that are new to the phone."""
    newest = course.versions[0]
    standing = [read(Prescribed, row) for row in rows_of(newest)]
    shelf = _Shelf.of(course.assignment, course.protocol, phase_id, changes, standing)
    made = laddered(tailored(standing, changes, shelf, at="#/changes"), shelf)
    stored = {row["id"]: row for version in reversed(course.versions) for row in rows_of(version)}
    rows = [_numbered(row, stored.get(row.id)) for row in made]
    AssignmentVersion.objects.create(
        assignment=course.assignment,
        number=number,
        effective_date=first,
        parts_of_day=newest.parts_of_day,
        training_days=newest.training_days,
        prescriptions=rows,
        changes=_placed(changes, phase_id),
        reason=reason,
        made_by=by,
        made_at=now,
    )
    known = set().union(*(_slugs_in(rows_of(one)) for one in course.versions))
    return _given(course.assignment.patient, _slugs_in(rows) - known)


def _placed(changes: Iterable[Mapping[str, Any]], phase_id: str) -> list[dict[str, Any]]:
    """As they are kept: an exercise that was added without a phase was added to this one, also
    where the change is made again in a newer version of the protocol."""
    return [
        ({"phase_id": phase_id} if change["op"] == "add" and "exercise" in change else {})
        | dict(change)
        for change in changes
    ]


def _numbered(row: Prescribed, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row as it is stored, its version counted on where it is not what it was before."""
    document = as_document(row)
    if before is None:
        return document
    version = before["version"]
    return document | {"version": version + (document | {"version": version} != before)}


def _check_first(first: date, course: Course, today: date) -> None:
    """Whether a change may hold from this date on."""
    assignment = course.assignment
    if first < today:
        detail = "Days that are past stay as they were."
        raise ValidationFailed.at("#/effective_date", "invalid-value", detail)
    if first < assignment.start_date:
        detail = "Must not be before the plan starts."
        raise ValidationFailed.at("#/effective_date", "time-order", detail)
    if first > max(today, assignment.start_date) + DAYS_AHEAD:
        detail = f"Must be within {DAYS_AHEAD.days} days."
        raise ValidationFailed.at("#/effective_date", "invalid-value", detail)
    scheduled = course.versions[0].effective_date
    if first < scheduled:
        raise ChangeScheduled(f"A change is scheduled from {scheduled} on.")


@transaction.atomic
def pause(
    *, assignment: Assignment, first: date, last: date | None, reason: str, by: User, now: datetime
) -> Assignment:
    """Excuse the days from `first` on, until `last` or until resumed."""
    patient, assignment = _open(assignment)
    if first < today_of(patient, now):
        raise ValidationFailed.at("#/from", "invalid-value", "Days that are past cannot be paused.")
    if last is not None and last < first:
        raise ValidationFailed.at("#/until", "time-order", "Must not be before `from`.")
    for row in assignment.pauses.all():
        ends = row.until_on or date.max
        if not row.is_void and row.from_on <= (last or date.max) and first <= ends:
            raise StateConflict("These days are paused already.")
    Pause.objects.create(
        assignment=assignment,
        from_on=first,
        until_on=last,
        reason=reason,
        paused_by=by,
        paused_at=now,
    )
    return _changed(patient, assignment, now)


@transaction.atomic
def resume(
    *, assignment: Assignment, first: date, reason: str, by: User, now: datetime
) -> Assignment:
    """Go on from `first`: the pause that covers that day, or an open one, ends the day before."""
    patient, assignment = _open(assignment)
    if first < today_of(patient, now):
        raise ValidationFailed.at(
            "#/from", "invalid-value", "Days that are past stay as they were."
        )
    running = [row for row in assignment.pauses.all() if row.covers(first)]
    if not running:
        raise StateConflict("There is no pause on that day.")
    for row in running:
        row.until_on = first - A_DAY
        row.resumed_by, row.resumed_at, row.resume_reason = by, now, reason
        row.save(update_fields=["until_on", "resumed_by", "resumed_at", "resume_reason"])
    return _changed(patient, assignment, now)


@transaction.atomic
def end(
    *,
    assignment: Assignment,
    last: date,
    kind: Assignment.EndKind,
    reason: str,
    by: User,
    now: datetime,
) -> Assignment:
    """End an assignment; `last` is its last day: today or yesterday, and no day that has a log."""
    patient, assignment = _open(assignment)
    today = today_of(patient, now)
    if last > today:
        raise ValidationFailed.at("#/from", "invalid-value", "An assignment ends today or before.")
    if last < today - A_DAY:
        raise ValidationFailed.at("#/from", "time-order", "Must not be before yesterday.")
    logs = Session.objects.standing().filter(assignment=assignment, local_date__lte=today)
    if logs.filter(local_date__gt=last).exists():
        raise ValidationFailed.at("#/from", "time-order", "Must not be before the newest log.")
    assignment.ended_on, assignment.end_kind = last, kind
    assignment.end_reason, assignment.ended_by = reason, by
    return _changed(patient, assignment, now)


def _open(assignment: Assignment) -> tuple[Patient, Assignment]:
    """The patient, locked, and the assignment under that lock: the version the caller saw."""
    patient = lock(assignment.patient)
    standing = Assignment.objects.with_record().get(pk=assignment.pk)
    if standing.ended_on is not None:
        raise AssignmentEnded
    if standing.version != assignment.version:
        raise VersionMismatch
    return patient, standing


def _changed(
    patient: Patient, assignment: Assignment, now: datetime, touched: Iterable[feed.Touched] = ()
) -> Assignment:
    assignment.version += 1
    assignment.updated_at = now
    assignment.save()
    return _judged(patient, assignment, touched, now)


def _judged(
    patient: Patient, assignment: Assignment, touched: Iterable[feed.Touched], now: datetime
) -> Assignment:
    """Judge the course with its new terms, and tell the phones of it."""
    assignment = Assignment.objects.with_record().get(pk=assignment.pk)
    assignment.patient = patient
    found = deciding.recompute(course=course_of(assignment), patient=patient, now=now)
    found.plan = True
    deciding.tell(patient, found, [_touched(assignment), *touched], now=now, is_news=True)
    return Assignment.objects.with_record().get(pk=assignment.pk)


def _slugs_in(prescriptions: Iterable[Mapping[str, Any]]) -> set[str]:
    """The exercises a patient may be shown: what is given, and what may stand in for it."""
    slugs = {row["exercise"] for row in prescriptions}
    return slugs | {row["easier"]["exercise"] for row in prescriptions if "easier" in row}


def _given(patient: Patient, slugs: Iterable[str]) -> list[feed.Touched]:
    """These exercises, for the feed."""
    kind = Change.Type.EXERCISE
    rows = catalogue_of(patient, slugs).values()
    return [feed.Touched(kind, row.pk, feed_version(row)) for row in rows]


def _touched(assignment: Assignment) -> feed.Touched:
    return feed.Touched(Change.Type.ASSIGNMENT, assignment.pk, assignment.version)


# --- What is prescribed -----------------------------------------------------------------------


def _check(patient: Patient, wish: Wish, protocol: Protocol, phase_id: str, now: datetime) -> None:
    if wish.protocol_version.status != ProtocolVersion.Status.PUBLISHED:
        raise ValidationFailed.at("#/protocol_id", "unknown-reference", "No such protocol.")
    if wish.episode.patient_id != patient.pk:
        raise ValidationFailed.at("#/episode_id", "unknown-reference", "There is no such episode.")
    if wish.episode.ended_on is not None:
        raise StateConflict("The episode has ended.")
    if all(phase.id != phase_id for phase in protocol.phases):
        raise ValidationFailed.at("#/start_phase_id", "unknown-reference", "No such phase.")
    if wish.start_date < today_of(patient, now):
        raise ValidationFailed.at("#/start_date", "invalid-value", "A plan starts today or later.")
    if (begun := wish.phase_started_on) is not None:
        if begun > wish.start_date:
            detail = "Must not be after the first day of the plan."
            raise ValidationFailed.at("#/phase_started_on", "time-order", detail)
        if begun < wish.start_date - LONGEST_BEFORE:
            detail = f"Not more than {LONGEST_BEFORE.days} days before the first day of the plan."
            raise ValidationFailed.at("#/phase_started_on", "invalid-value", detail)


def _prescribed(assignment: Assignment, protocol: Protocol, wish: Wish) -> list[Prescribed]:
    shelf = _Shelf.of(assignment, protocol, assignment.start_phase_id, wish.changes)
    usual = [row for row in shelf.written if shelf.is_given(row)]
    return laddered(tailored(usual, wish.changes, shelf, at="#/tailoring"), shelf)


@dataclass(frozen=True)
class _Shelf:
    """What tailoring may take from: the rows of the protocol for this patient, those that a
    clinician has to switch on too, and the exercises."""

    assignment: Assignment
    protocol: Protocol
    phase_id: str  # where the patient is
    written: tuple[Prescribed, ...]
    catalogue: dict[str, Exercise]

    @classmethod
    def of(
        cls,
        assignment: Assignment,
        protocol: Protocol,
        phase_id: str,
        changes: Sequence[Mapping[str, Any]],
        rows: Iterable[Prescribed] = (),
    ) -> _Shelf:
        patient = assignment.patient
        everything = [row for phase in protocol.phases for row in phase.prescriptions]
        slugs = {row.exercise for row in everything} | {row.exercise for row in rows}
        slugs |= {change["exercise"] for change in changes if "exercise" in change}
        catalogue = catalogue_of(patient, slugs)
        # One step for E1, and one more for each step that is asked for.
        for _ in range(1 + sum("to" in change for change in changes)):
            steps = {s for row in catalogue.values() for s in (row.easier_slug, row.harder_slug)}
            if not (new := steps - catalogue.keys() - {""}):
                break
            catalogue |= catalogue_of(patient, new)
        written = prescribe(
            protocol,
            assignment_id=assignment.pk,
            side=assignment.side,
            catalogue={slug: (row.side, row.dose_unit) for slug, row in catalogue.items()},
            switched_on=frozenset(row.key for row in everything),
        )
        return cls(assignment, protocol, phase_id, written, catalogue)

    def is_given(self, row: Prescribed) -> bool:
        """Whether the protocol gives it without being asked."""
        [one] = [r for r in self.protocol.phase(row.phase_id).prescriptions if r.key == row.key]
        return one.included and not one.gate

    def place(self, row: Prescribed) -> tuple[int, int]:
        return self.protocol.phase(row.phase_id).number, row.order

    def keeps_back(self, exercise: Exercise, phase_id: str) -> KeptBack | None:
        """The rule by which this exercise may not be shown in this phase (NO-7)."""
        for rule in rules().kept_back:
            means = rule.means(exercise.slug, exercise.kind, exercise.body_region)
            if means and not rule.lets(self.protocol, phase_id):
                return rule
        return None


def laddered(rows: Sequence[Prescribed], shelf: _Shelf) -> list[Prescribed]:
    """The prescriptions with what E1 has to know of each: its kind, and what is easier than it."""
    return [
        replace(row, kind=shelf.catalogue[row.exercise].kind, easier=_easier(shelf, row))
        for row in rows
    ]


def _easier(shelf: _Shelf, row: Prescribed) -> Easier | None:
    """One step down the ladder; never what a gate keeps away, or what does not count."""
    variant = shelf.catalogue.get(shelf.catalogue[row.exercise].easier_slug)
    if variant is None or variant.retired_at is not None or variant.kind in (TENSIONER, EDUCATION):
        return None
    if shelf.keeps_back(variant, row.phase_id):
        return None
    return Easier(variant.slug, variant.dose_unit, usual_dose(variant), variant.pain_ceiling)


def warnings_of(course: Course) -> list[str]:
    """Where the chosen days or times of day do not suffice, so that they are not followed."""
    version, found = course.versions[0], []
    days, parts = len(version.training_days), len(version.parts_of_day)
    for phase in course.protocol.phases:
        for row in course.prescriptions(version, phase.id):
            held = [row.schedule, *(stage.schedule for stage in row.stages)]
            a_week = max(schedule.per_week or 0 for schedule in held)
            a_day = max(schedule.sessions_per_day for schedule in held)
            if 0 < days < a_week:
                found.append(f"too-few-days: {row.key} is due {a_week} times a week")
            if 0 < parts < a_day and row.counts:
                found.append(f"too-few-parts-of-day: {row.key} is due {a_day} times a day")
    return list(dict.fromkeys(found))


class Unfit(Exception):
    """A change that cannot be made: where in it, and why."""

    def __init__(self, at: str, code: str, detail: str, **params: object) -> None:
        super().__init__(detail)
        self.at, self.code, self.detail, self.params = at, code, detail, params


def tailored(
    rows: list[Prescribed], changes: Sequence[Mapping[str, Any]], shelf: _Shelf, *, at: str
) -> list[Prescribed]:
    """The prescriptions with these changes made, in order. Every change that fits nothing is named.

    Keys name a row of the protocol ("phase-2/sg-nordic"), `prescription_id` one of the assignment.
    """
    errors = []
    for n, change in enumerate(changes):
        try:
            rows = _with(change, rows, shelf)
        except Unfit as unfit:
            errors.append(FieldError(f"{at}/{n}{unfit.at}", unfit.code, unfit.detail, unfit.params))
    if errors:
        raise ValidationFailed.of(errors)
    return rows


def _with(change: Mapping[str, Any], rows: list[Prescribed], shelf: _Shelf) -> list[Prescribed]:
    most = shelf.protocol.limits.red - 1
    if change.get("during_max", 0) > most:
        detail = f"Must be between 0 and {most}, below where this protocol eases off."
        raise Unfit("/during_max", "out-of-range", detail, min=0, max=most)
    if change["op"] == "add":
        new = _added(change, rows, shelf) if "exercise" in change else _on(change, rows, shelf)
        return sorted(rows + new, key=shelf.place)
    hit = [row for row in rows if _means(change, row)]
    if not hit:
        detail = "Nothing in this plan has this key, or a gate keeps it away."
        raise Unfit("", "unknown-reference", detail)
    match change["op"]:
        case "remove":
            return [row for row in rows if row not in hit]
        case "swap":
            new = _swapped(change, hit[0], shelf)
            place = rows.index(hit[0])
            return rows[:place] + new + [row for row in rows[place:] if row not in hit]
        case _:
            return [_told(row, change) if row in hit else row for row in rows]


def _brought(change: Mapping[str, Any], now: Prescribed | None, shelf: _Shelf) -> Exercise:
    """The exercise that an "add" or "swap" brings in: by its name, or one step on the ladder."""
    at, slug = "/exercise", change.get("exercise", "")
    if (way := change.get("to")) is not None and now is not None:
        at, slug = "/to", getattr(shelf.catalogue[now.exercise], f"{way}_slug")
        step = shelf.catalogue.get(slug)
        if step is None or step.retired_at is not None or step.kind == EDUCATION:
            detail = f"The catalogue knows nothing {way} than {now.exercise}."
            raise Unfit("/to", "end-of-ladder", detail, exercise=now.exercise)
    found = shelf.catalogue.get(slug)
    if found is None or found.retired_at is not None:
        raise Unfit(at, "unknown-reference", "There is no such exercise.")
    if found.kind == TENSIONER:  # NO-7, N-TENS: never outside its gate
        raise Unfit(at, "invalid-value", "A gate keeps tensioners away.")
    return found


def _may_stand_in(found: Exercise, phase_id: str, at: str, shelf: _Shelf) -> None:
    """NO-7: end-range stretches, Nordics and sprints stay in their phases, also as an extra."""
    if rule := shelf.keeps_back(found, phase_id):
        detail = f"{rule.text} ({rule.source})"
        raise Unfit(at, "outside-its-phase", detail, rule=rule.id, phase_id=phase_id)


def _on(change: Mapping[str, Any], rows: Sequence[Prescribed], shelf: _Shelf) -> list[Prescribed]:
    """A row of the protocol that was left open, or taken out before."""
    written = [row for row in shelf.written if row.key == change["key"]]
    if not written:
        detail = "Nothing in this protocol has this key."
        raise Unfit("/key", "unknown-reference", detail)
    if any(row.key == change["key"] for row in rows):
        raise Unfit("/key", "duplicate", "This is in the plan already.")
    return [_told(row, change) for row in written]


def _means(change: Mapping[str, Any], row: Prescribed) -> bool:
    if "prescription_id" in change:
        return bool(change["prescription_id"] == row.id)
    return bool(change.get("key") == row.key)


def _told(row: Prescribed, change: Mapping[str, Any]) -> Prescribed:
    """A row with the dose, the days and the limit that a change gives; stages give way to them."""
    if "dose" in change:
        row = replace(row, dose=_dose(change, row.unit), stages=())
    if "schedule" in change:
        row = replace(row, schedule=read(Schedule, change["schedule"]), stages=())
    if "during_max" in change:
        row = replace(row, pain_ceiling=change["during_max"])
    return row


def _swapped(change: Mapping[str, Any], row: Prescribed, shelf: _Shelf) -> list[Prescribed]:
    """Another exercise in the place of a row, for the sides that it is meant for.

    What the protocol has in this place comes back as the protocol has it.
    """
    other = _brought(change, row, shelf)
    own = [one for one in shelf.written if (one.key, one.exercise) == (row.key, other.slug)]
    if own:
        return [_told(one, change) for one in own]
    at = "/to" if "to" in change else "/exercise"
    _may_stand_in(other, row.phase_id, at, shelf)
    return [
        _told(
            replace(
                row,
                id=str(uuid5(shelf.assignment.pk, f"{row.key}={other.slug}/{side}")),
                exercise=other.slug,
                side=side,
                unit=other.dose_unit,
                dose=usual_dose(other),
                stages=(),
                pain_ceiling=other.pain_ceiling,
                counts=other.kind != EDUCATION,
                note="",
                gate="",
            ),
            change,
        )
        for side in _sides_of(other, shelf.assignment, at)
    ]


def _added(
    change: Mapping[str, Any], rows: Sequence[Prescribed], shelf: _Shelf
) -> list[Prescribed]:
    other = _brought(change, None, shelf)
    phase_id = change.get("phase_id", shelf.phase_id)
    if all(phase.id != phase_id for phase in shelf.protocol.phases):
        raise Unfit("/phase_id", "unknown-reference", "No such phase.")
    _may_stand_in(other, phase_id, "/exercise", shelf)
    key = f"{phase_id}/{other.slug}+"
    if any(row.key == key for row in rows):
        raise Unfit("/exercise", "duplicate", "Added to this phase before.")
    return [
        _told(
            Prescribed(
                id=str(uuid5(shelf.assignment.pk, f"{key}/{side}")),
                version=1,
                phase_id=phase_id,
                key=key,
                exercise=other.slug,
                order=max((row.order for row in rows), default=0) + 1,
                side=side,
                unit=other.dose_unit,
                dose=usual_dose(other),
                schedule=usual_schedule(other),
                pain_ceiling=other.pain_ceiling,
                counts=other.kind != EDUCATION,
            ),
            change,
        )
        for side in _sides_of(other, shelf.assignment, "/exercise")
    ]


def _sides_of(exercise: Exercise, assignment: Assignment, at: str) -> tuple[Side, ...]:
    sides = sides_of(exercise.side, assignment.side)
    if not sides:
        raise Unfit(at, "invalid-value", "It is for a healthy side, and there is none.")
    return sides


def usual_dose(exercise: Exercise) -> Dose:
    """The catalogue's own dose, where a protocol gives none."""
    said = exercise.dose
    reps = said.get("reps")
    return Dose(
        sets=said["sets"],
        reps=Reps(reps, reps) if reps else None,
        hold_s=said.get("hold_s"),
        duration_s=said.get("duration_s"),
        distance_m=said.get("distance_m"),
        tempo=said.get("tempo"),
        rest_s=said.get("rest_s"),
    )


def usual_schedule(exercise: Exercise) -> Schedule:
    a_week, a_day = exercise.dose["days_per_week"], exercise.dose["per_day"]
    if a_week == WEEK:
        return Schedule("daily", sessions_per_day=a_day)
    return Schedule("weekly", per_week=a_week, sessions_per_day=a_day)


def _dose(change: Mapping[str, Any], unit: str) -> Dose:
    """The dose that a change gives. One without an amount in the exercise's unit asks for nothing,
    and nothing is easily done."""
    dose = read(Dose, change["dose"])
    if getattr(dose, unit) is None:
        raise Unfit(f"/dose/{unit}", "required", "This exercise is counted in it.")
    return dose


def as_document(row: Prescribed) -> dict[str, Any]:
    """A prescription as JSON, without what was not said; `definition.read` reads it back."""
    return {name: _plain(value) for name, value in asdict(row).items() if value not in (None, ())}


def _plain(value: object) -> object:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v not in (None, ())}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


# --- Gates AG1 to AG7 -------------------------------------------------------------------------


def gates_of(
    patient: Patient, episode: Episode, protocol: Protocol, *, start: date, now: datetime
) -> tuple[Gate, ...]:
    """Every gate before phase 1, by its id in the dossier (protocols.md section 1). Two queries."""
    text = {gate.id: gate.text for gate in rules().assignment_gates}
    recorded = list(Assessment.objects.filter(patient=patient, recorded_at__lte=now))
    open_stops = list(stops_of(patient).values_list("code", flat=True))
    missing = {
        "AG1": f"open: {', '.join(sorted(open_stops))}" if open_stops else "",
        "AG2": _ag2(recorded, patient, start, now),
        "AG6": _ag6(recorded, patient, episode, now),
    }
    for need in protocol.requires:
        if not _is_recorded(need.fact, recorded, episode):
            missing[need.gate] = f"not recorded: {need.fact}"
    # AG7 lets the plan start; what it opens blocks progress until a clinician closes it.
    return tuple(
        Gate(gate_id, not missing.get(gate_id), text[gate_id], missing.get(gate_id, ""))
        for gate_id in sorted(text)
    )


def _ag2(recorded: Sequence[Assessment], patient: Patient, start: date, now: datetime) -> str:
    begins = max(now, datetime.combine(start, time.min, patient.zone)).astimezone(UTC)
    within = timedelta(hours=rules()["red_flag_screen_within_h"].number)
    screen = _latest("red_flag_screen_clear", recorded, since=begins - within)
    if screen is None:
        return "not answered within 24 h before the start: red_flag_screen_clear"
    return "" if screen.value else "the screen was not clear"


def _ag6(recorded: Sequence[Assessment], patient: Patient, episode: Episode, now: datetime) -> str:
    young = age_of(patient, now) < rules()["imaging_under_age"].number
    if not young or episode.body_region != "sit_bone":
        return ""
    decided = _is_recorded("imaging_decision_recorded", recorded, episode)
    return "" if decided else "not recorded: imaging_decision_recorded"


def _is_recorded(fact: str, recorded: Sequence[Assessment], episode: Episode) -> bool:
    """A fact of this episode. A diagnosis on the episode itself is recorded by a clinician too."""
    if fact in ("diagnosis_recorded", "grade_recorded") and episode.diagnosis_text:
        return True
    since = datetime.combine(episode.started_on - A_DAY, time.min, UTC)
    latest = _latest(fact, recorded, since=since)
    return latest is not None and latest.value >= 1


def _latest(code: str, recorded: Sequence[Assessment], *, since: datetime) -> Assessment | None:
    """The last word on a fact: what was recorded as yes can be taken back."""
    rows = [a for a in recorded if a.code == code and a.measured_at >= since]
    return max(rows, key=lambda a: (a.measured_at, a.recorded_at), default=None)


def _needs_age_review(patient: Patient, episode: Episode, now: datetime) -> bool:
    """AG7: new pain under 18 or over 50."""
    age = age_of(patient, now)
    known = rules()
    outside = age < known["age_review_under"].number or age > known["age_review_over"].number
    return episode.new_pain and outside


def age_of(patient: Patient, now: datetime) -> int:
    today, born = today_of(patient, now), patient.birth_date
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def assignment_of(person: User, assignment_id: UUID) -> Assignment | None:
    return Assignment.objects.visible_to(person).with_record().filter(pk=assignment_id).first()
