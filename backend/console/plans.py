"""The plans of a patient, as every page about the patient tells them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from backend.api.assignments_shown import course_shown, hills_shown
from backend.care.models import Assignment
from backend.care.selectors import Course, course_of, today_of
from backend.clinics.models import User

RUNNING = ("active", "paused", "scheduled")


@dataclass(frozen=True, slots=True)
class PlanOfPatient:
    """`shown` is what the API says of it."""

    course: Course
    shown: dict[str, Any]
    today: date

    @property
    def is_running(self) -> bool:
        return self.shown["status"] in RUNNING

    @property
    def has_begun(self) -> bool:
        return self.course.assignment.start_date <= self.today

    @property
    def phase(self) -> dict[str, Any]:
        phase, span = self.course.phase_on(self.today), self.course.span_on(self.today)
        return {
            "number": phase.number,
            "count": len(self.course.protocol.phases),
            "title": phase.title,
            "day": span.day_of(self.today),
            "least_days": phase.min_days,
        }

    @property
    def limit(self) -> int:
        return self.course.protocol.limits.progress


def plans_of(person: User, patient_id: UUID, now: datetime) -> list[PlanOfPatient]:
    """The one that began last comes first. A constant number of queries."""
    rows = Assignment.objects.visible_to(person).filter(patient=patient_id)
    found = []
    for row in rows.with_record().select_related("patient").order_by("-start_date", "-id"):
        course, today = course_of(row), today_of(row.patient, now)
        found.append(
            PlanOfPatient(course, course_shown(course, today) | hills_shown(course), today)
        )
    return found
