"""Making all that is derived anew from the facts, and telling what was not so before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from backend.care import deciding
from backend.care.models import Assignment
from backend.care.selectors import course_of
from backend.clinics.actions import lock
from backend.clinics.models import Patient

STANDING = ("standing", "carried", "judged_to", "next_close_at")


@dataclass(frozen=True, slots=True)
class Changed:
    """What of one course was stored otherwise than the facts say."""

    assignment_id: UUID
    found: deciding.Difference
    standing: tuple[str, ...]  # what the plan rests on, and what judging goes on from

    def __bool__(self) -> bool:
        return bool(self.found or self.standing)

    def __str__(self) -> str:
        told = {
            "day book": [str(on) for on in self.found.rows],
            "flags": self.found.flags,
            "proposals": self.found.proposals,
            "stored": self.standing,
        }
        said = "; ".join(f"{name}: {', '.join(found)}" for name, found in told.items() if found)
        return f"{self.assignment_id}: {said or 'the plan'}"


@transaction.atomic
def rebuild(*, patient_id: UUID, now: datetime, keep: bool = True) -> list[Changed]:
    """Judge every course of a patient from its first date on; without `keep` only to tell.

    First it is judged on from what was carried, as on any day: what is due anyway is no difference.
    Where any day would replay it as well, only dates that had closed before can tell one.
    """
    patient = lock(Patient(pk=patient_id))
    patient.change_seq += 1  # what others read of these courses is not so any more
    all_of_it, changed = deciding.Difference(), []
    for assignment in _courses(patient):
        judged_to = assignment.judged_to
        due = deciding.catch_up(course=course_of(assignment), patient=patient, now=now)
        before = {name: getattr(assignment, name) for name in STANDING}
        found = deciding.recompute(course=course_of(assignment), patient=patient, now=now)
        all_of_it += found
        if due is None:
            rows = [on for on in found.rows if judged_to is not None and on <= judged_to]
            changed.append(Changed(assignment.pk, deciding.Difference(rows=rows), ()))
            continue
        all_of_it += due
        differ = tuple(name for name in STANDING if getattr(assignment, name) != before[name])
        changed.append(Changed(assignment.pk, found, differ))
    if keep:
        deciding.tell(patient, all_of_it, (), now=now)
    else:
        transaction.set_rollback(True)
    return [one for one in changed if one]


def _courses(patient: Patient) -> Iterator[Assignment]:
    rows = Assignment.objects.filter(patient=patient).with_record()
    for assignment in rows.order_by("start_date", "id"):
        assignment.patient = patient
        yield assignment
