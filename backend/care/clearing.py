"""What a person does about a flag: acknowledge it, resolve it, and end a stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from django.db import transaction

from backend.care import deciding, feed, proposing
from backend.care.flags import STOPPING, open_flag, stops_of
from backend.care.models import Assignment, Event, Flag, Progression
from backend.care.selectors import OPEN, Course, course_of, today_of
from backend.clinics.actions import lock
from backend.clinics.models import Patient, User
from backend.problems import FieldError, StateConflict, ValidationFailed

A_DAY = timedelta(days=1)
# How long a slip may be taken back. A screen offers it for less, so that a slow network is no loss.
TAKEN_BACK_WITHIN = timedelta(seconds=60)


class StopStanding(StateConflict):
    """The flag stops all exercise, and such a flag ends with the stop alone."""

    code = "stop-standing"
    status = 409
    title = "A stop stands because of this flag"
    remedy = "Clear the stop with `POST /patients/{id}/stop-clearances`; that resolves its flags."


class NothingStands(StateConflict):
    """No stop stands for this patient, so there is none to clear."""

    code = "nothing-stands"
    status = 409
    title = "No stop stands"
    remedy = "Read the flags again; somebody may have cleared it."


@dataclass(frozen=True, slots=True)
class Cleared:
    """A stop that was ended, and the phase in which each plan that goes on resumes."""

    on: date
    flags: tuple[Flag, ...]
    phases: Mapping[UUID, str]

    @property
    def resumes_on(self) -> date:
        return self.on + A_DAY


# --- Flags ------------------------------------------------------------------------------------


@transaction.atomic
def acknowledge(*, flag: Flag, remark: str, by: User, now: datetime) -> Flag:
    """Somebody has seen it. Who was first stays."""
    _, flag = _unresolved(flag)
    if flag.status == Flag.Status.OPEN:
        _acknowledged(flag, by, now)
    flag.note = remark or flag.note
    flag.save()
    return flag


@transaction.atomic
def resolve(*, flag: Flag, action: Flag.Action, remark: str, by: User, now: datetime) -> Flag:
    """Somebody has dealt with it; what it held back goes on."""
    patient, flag = _unresolved(flag)
    if flag.level in STOPPING:
        raise StopStanding
    _resolved(flag, action, remark, by, now)
    Event.objects.create(
        patient=patient, kind=Event.Kind.CLOSED, on=_closes_on(flag, today_of(patient, now)),
        at=now, code=flag.code, by=by, reason=remark,
    )  # fmt: skip
    deciding.tell(patient, deciding.recompute_all(patient=patient, now=now), (), now=now)
    return flag


@transaction.atomic
def take_back(*, flag: Flag, by: User, now: datetime) -> Flag:
    """It was a slip: the flag waits as before. For who resolved it, within a minute."""
    patient = lock(flag.patient)
    standing = Flag.objects.get(pk=flag.pk)
    at = standing.resolved_at
    own = standing.status == Flag.Status.RESOLVED and standing.resolved_by_id == by.pk
    if not own or at is None or now - at > TAKEN_BACK_WITHIN or standing.level in STOPPING:
        raise StateConflict("It is too late to take this back.")
    if open_flag(patient, standing.code) is not None:
        raise StateConflict("It was raised again in the meantime, and waits.")
    Event.objects.filter(
        patient=patient, kind=Event.Kind.CLOSED, code=standing.code, by=by, at=at
    ).delete()
    if standing.acknowledged_at == at:  # until then nobody had looked at it
        standing.status, standing.note = Flag.Status.OPEN, ""
        standing.acknowledged_by = standing.acknowledged_at = None
    else:
        standing.status = Flag.Status.ACKNOWLEDGED
    standing.action = ""
    standing.resolved_by = standing.resolved_at = None
    standing.save()
    deciding.tell(patient, deciding.recompute_all(patient=patient, now=now), (), now=now)
    return standing


def _unresolved(flag: Flag) -> tuple[Patient, Flag]:
    """The patient, locked, and the flag under that lock."""
    patient = lock(flag.patient)
    standing = Flag.objects.get(pk=flag.pk)
    if standing.status not in OPEN:
        raise StateConflict("This flag is resolved.")
    return patient, standing


def _acknowledged(flag: Flag, by: User, now: datetime) -> None:
    flag.status = Flag.Status.ACKNOWLEDGED
    flag.acknowledged_by, flag.acknowledged_at = by, now


def _resolved(flag: Flag, action: Flag.Action, remark: str, by: User, now: datetime) -> None:
    if flag.acknowledged_at is None:
        _acknowledged(flag, by, now)
    flag.status, flag.action, flag.note = Flag.Status.RESOLVED, action, remark or flag.note
    flag.resolved_by, flag.resolved_at = by, now
    flag.save()


def _closes_on(flag: Flag, today: date) -> date:
    """From when on it holds nothing back. What a rule found follows from the whole of its date, so
    the answer to it counts from the next one."""
    reported = Event.objects.filter(
        patient=flag.patient_id, kind=Event.Kind.REPORTED, code=flag.code, on=flag.observed_on
    )
    return today if reported.exists() else max(today, flag.observed_on + A_DAY)


# --- Stops ------------------------------------------------------------------------------------


@transaction.atomic
def clear(
    *,
    patient: Patient,
    reason: str,
    action: Flag.Action,
    resume: Mapping[UUID, str],
    by: User,
    now: datetime,
) -> Cleared:
    """End a patient's stop. Nothing else does (rules R2, R3, NO-4).

    The plans come back on the next date, in the phase they were in, or in the earlier one that
    `resume` names for an assignment.
    """
    patient = lock(patient)
    rows = Assignment.objects.filter(patient=patient, ended_on=None).with_record()
    courses = {row.pk: course_of(row) for row in rows.order_by("start_date", "id")}
    stopped = [one for one in courses.values() if one.state is not None and one.state.stop]
    flags = tuple(stops_of(patient))
    if not flags and not stopped:
        raise NothingStands
    today = today_of(patient, now)
    _check(resume, courses, today)
    cleared = Cleared(
        today,
        flags,
        {id: resume.get(id) or _phase_of(course) for id, course in courses.items()},
    )
    # The first is for plans that are still to be made as well.
    for assignment_id, phase_id in ((None, ""), *resume.items()):
        Event.objects.create(
            patient=patient, assignment_id=assignment_id, kind=Event.Kind.CLEARED, on=cleared.on,
            at=now, phase_id=phase_id, by=by, reason=reason,
        )  # fmt: skip
    for flag in flags:
        _resolved(flag, action, reason, by, now)
    touched = _confirmed(patient, courses, reason, by, now)
    found = deciding.recompute_all(patient=patient, now=now)
    found.plan = True
    deciding.tell(patient, found, touched, now=now, is_news=True)
    return cleared


def _check(resume: Mapping[UUID, str], courses: Mapping[UUID, Course], today: date) -> None:
    errors = []
    for id, phase_id in resume.items():
        at, course = f"#/resume_phase_ids/{id}", courses.get(id)
        if course is None:
            detail = "No plan of this patient that goes on."
            errors.append(FieldError(at, "unknown-reference", detail))
            continue
        if course.assignment.start_date > today:
            detail = "This plan has not begun; it begins in the phase it was given."
            errors.append(FieldError(at, "invalid-value", detail))
            continue
        phases = [phase.id for phase in course.protocol.phases]
        most = phases.index(_phase_of(course)) + 1
        if phase_id not in phases:
            errors.append(FieldError(at, "unknown-reference", "No such phase."))
        elif phase_id not in phases[:most]:
            detail = "A stop never ends in a harder phase."
            errors.append(FieldError(at, "invalid-value", detail))
    if errors:
        raise ValidationFailed.of(errors)


def _phase_of(course: Course) -> str:
    return course.state.phase_id if course.state else course.assignment.start_phase_id


def _confirmed(
    patient: Patient, courses: Mapping[UUID, Course], reason: str, by: User, now: datetime
) -> list[feed.Touched]:
    """The clearance is the decision that an open `stop_and_review` waits for."""
    rows = Progression.objects.filter(
        patient=patient,
        status=Progression.Status.PROPOSED,
        recommendation=Progression.Recommendation.STOP_AND_REVIEW,
    )
    touched = []
    for row in rows.order_by("on", "pk"):
        row.status = Progression.Status.APPROVED
        row.decided_by, row.decided_at, row.decision_note = by, now, reason
        row.version += 1
        row.save(update_fields=["status", "decided_by", "decided_at", "decision_note", "version"])
        if row.assignment_id in courses:
            proposing.forget(courses[row.assignment_id].assignment)
        touched.append(proposing.touched(row))
    return touched
