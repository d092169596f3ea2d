"""An assignment as it is shown to staff and to its patient."""

from __future__ import annotations

from datetime import date
from typing import Any

from rest_framework import serializers

from backend.api.base import moment
from backend.api.plan_shown import DoseOut, dose_shown
from backend.care.models import Assignment
from backend.care.prescribing import warnings_of
from backend.care.selectors import Course, course_of
from backend.problems import NotFound
from protocols.engine.definition import Schedule
from protocols.engine.plan import Prescribed
from protocols.knowledge import numbers, rules

HILL_PATTERNS = ("none", "down", "up")  # by the value of the metric hill_pattern
STATUSES = ("scheduled", "active", "paused", "completed", "stopped")


def status_of(course: Course, today: date) -> str:
    """Derived from dates, so it is never out of step with them."""
    assignment = course.assignment
    if assignment.ended_on is not None:
        return assignment.end_kind
    if today < assignment.start_date:
        return "scheduled"
    return "paused" if course.is_paused(today) else "active"


def assignment_shown(
    assignment: Assignment, today: date, number: int | None = None, *, to_staff: bool = False
) -> dict[str, object]:
    """From an assignment loaded with `with_record()`."""
    course = course_of(assignment)
    shown = course_shown(course, today, number)
    return shown | hills_shown(course) if to_staff else shown


def hills_shown(course: Course) -> dict[str, object]:
    """The order in which slopes return (S-HILL), where a clinician recorded the pattern.

    It orders training and names no cause; the machine neither follows nor decides it.
    """
    state = course.state
    if state is None or state.pattern.hill is None:
        return {}
    since, value, _ = state.pattern.hill
    pattern = HILL_PATTERNS[int(value)]
    [row] = [one for one in rules().hills if one["code"] == pattern]
    return {
        "hills": {
            "pattern": pattern,
            "since": since.isoformat(),
            "order": row["order"],
            "green_days_a_step": int(numbers()["hill_green_days"]),
            "source": row["source"],
        }
    }


def course_shown(course: Course, today: date, number: int | None = None) -> dict[str, object]:
    """An assignment with everything of its record.

    `version` counts every change of the assignment, pausing and resuming too; a log names it. With
    `number`, days and prescriptions are those that held when it stood there; 404 if it never did.
    """
    assignment = course.assignment
    version = course.version_at(assignment.version if number is None else number)
    if version is None:
        raise NotFound
    span, phase = course.span_on(today), course.phase_on(today)
    shown: dict[str, object] = {
        "id": str(assignment.pk),
        "patient_id": str(assignment.patient_id),
        "episode_id": str(assignment.episode_id),
        "protocol_id": str(assignment.protocol_version.protocol_id),
        "protocol_version": assignment.protocol_version.version,
        "title": course.protocol.title,
        "version": assignment.version,
        "status": status_of(course, today),
        "side": assignment.side,
        "start_date": assignment.start_date.isoformat(),
        "phase": {
            "id": phase.id,
            "number": phase.number,
            "started_on": span.started_on.isoformat(),
        },
        "schedule": {
            "parts_of_day": version.parts_of_day,
            "days": [DAYS[n] for n in version.training_days],
        },
        "prescriptions": [
            prescription_shown(row)
            for one in course.protocol.phases
            for row in course.prescriptions(version, one.id)
        ],
        "pauses": [
            {"from": pause.from_on.isoformat(), "reason": pause.reason}
            | ({"until": pause.until_on.isoformat()} if pause.until_on else {})
            | ({"resume_reason": pause.resume_reason} if pause.resume_reason else {})
            for pause in sorted(course.pauses, key=lambda pause: (pause.from_on, pause.paused_at))
            if not pause.is_void
        ],
        "changes": [
            {
                "version": one.number,
                "by": str(one.made_by_id),
                "at": moment(one.made_at),
                "effective_date": one.effective_date.isoformat(),
                "reason": one.reason,
                "diff": one.changes,
            }
            for one in reversed(course.versions)
        ],
        "warnings": warnings_of(course),
        "created_at": moment(assignment.created_at),
        "updated_at": moment(assignment.updated_at),
    }
    if assignment.ended_on is not None:
        shown["end_date"] = assignment.ended_on.isoformat()
    return shown


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def prescription_shown(row: Prescribed) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": row.id,
        "version": row.version,
        "key": row.key,
        "phase_id": row.phase_id,
        "exercise": row.exercise,
        "order": row.order,
        "dose": dose_shown(row.dose, row.side),
        "schedule": schedule_shown(row.schedule),
        "pain_limit": {"scale": "nrs11", "during_max": row.pain_ceiling},
        "counts": row.counts,
    }
    if row.stages:
        shown["stages"] = [
            {
                "from_day": stage.from_day,
                "dose": dose_shown(stage.dose, row.side),
                "schedule": schedule_shown(stage.schedule),
            }
            for stage in row.stages
        ]
    if row.note:
        shown["note_to_patient"] = row.note
    return shown


def schedule_shown(schedule: Schedule) -> dict[str, object]:
    shown: dict[str, object] = {
        "kind": schedule.kind,
        "sessions_per_day": schedule.sessions_per_day,
    }
    for name in ("per_week", "every_n_days", "to_day", "not_on_days_of"):
        value = getattr(schedule, name)
        if value is not None:
            shown[name] = value
    if schedule.from_day > 1:
        shown["from_day"] = schedule.from_day
    return shown


class ScheduleOut(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(["daily", "weekly", "every_n_days", "once"])
    sessions_per_day = serializers.IntegerField()
    per_week = serializers.IntegerField(required=False)
    every_n_days = serializers.IntegerField(required=False)
    from_day = serializers.IntegerField(required=False)
    to_day = serializers.IntegerField(required=False)
    not_on_days_of = serializers.CharField(required=False)


class StageOut(serializers.Serializer[Any]):
    from_day = serializers.IntegerField()
    dose = DoseOut()
    schedule = ScheduleOut()


class PrescriptionOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    version = serializers.IntegerField()
    key = serializers.CharField()
    phase_id = serializers.CharField()
    exercise = serializers.CharField()
    order = serializers.IntegerField()
    dose = DoseOut()
    schedule = ScheduleOut()
    pain_limit = serializers.DictField()
    counts = serializers.BooleanField()
    stages = StageOut(many=True, required=False)
    note_to_patient = serializers.CharField(required=False)


class AssignmentPhaseOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    number = serializers.IntegerField()
    started_on = serializers.DateField()


class AssignmentScheduleOut(serializers.Serializer[Any]):
    parts_of_day = serializers.ListField(child=serializers.CharField())
    days = serializers.ListField(child=serializers.ChoiceField(DAYS))


class AssignmentChangeOut(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    by = serializers.UUIDField()
    at = serializers.DateTimeField()
    effective_date = serializers.DateField()
    reason = serializers.CharField(allow_blank=True)
    diff = serializers.ListField(child=serializers.DictField())


PauseOut = type(
    "PauseOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "from": serializers.DateField(),
        "until": serializers.DateField(required=False),
        "reason": serializers.CharField(),
        "resume_reason": serializers.CharField(required=False),
    },
)


class HillsOut(serializers.Serializer[Any]):
    """The order in which slopes return, for staff: each step after so many GREEN run days.

    `since` when the pattern holds in this plan: what was recorded before, from its first date on.
    """

    pattern = serializers.ChoiceField(HILL_PATTERNS)
    since = serializers.DateField()
    order = serializers.ListField(child=serializers.CharField())
    green_days_a_step = serializers.IntegerField()
    source = serializers.CharField()  # type: ignore[assignment]  # as everywhere


class AssignmentOut(serializers.Serializer[Any]):
    """One protocol version given to one patient.

    `version` grows with every change, also with a pause. `warnings` name wishes that cannot be met.
    `hills` is for staff, where a clinician recorded a hill pattern.
    """

    id = serializers.UUIDField()
    patient_id = serializers.UUIDField()
    episode_id = serializers.UUIDField()
    protocol_id = serializers.UUIDField()
    protocol_version = serializers.CharField()
    title = serializers.CharField()
    version = serializers.IntegerField()
    status = serializers.ChoiceField(STATUSES)
    side = serializers.ChoiceField(["left", "right", "both", "none"])
    start_date = serializers.DateField()
    end_date = serializers.DateField(required=False)
    phase = AssignmentPhaseOut()
    schedule = AssignmentScheduleOut()
    prescriptions = PrescriptionOut(many=True)
    pauses = PauseOut(many=True)
    changes = AssignmentChangeOut(many=True)
    warnings = serializers.ListField(child=serializers.CharField())
    hills = HillsOut(required=False)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
