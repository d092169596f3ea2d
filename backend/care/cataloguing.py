"""Exercises as people meet them: what a patient was given, and what a clinic adds of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from backend.care import feed
from backend.care.models import AssignmentVersion, Change
from backend.care.selectors import catalogue_of
from backend.clinics.models import Clinic, Patient
from backend.problems import FieldError, ValidationFailed
from exercises.loader import LOG_FIELDS, next_patch, semver
from exercises.models import Exercise

FIRST_VERSION = "1.0.0"
AT_A_TIME = 200  # patients locked together while phones are told
LADDER = {"easier": "easier_slug", "harder": "harder_slug"}
NO_CONTENT = {"id", "clinic", "version", "sha256", "updated_at", "retired_at"}


def given_to(patient: Patient) -> list[UUID]:
    """The exercises that stand in any version of the patient's plans."""
    versions = AssignmentVersion.objects.filter(assignment__patient=patient)
    slugs = {
        row["exercise"] for rows in versions.values_list("prescriptions", flat=True) for row in rows
    }
    return [row.pk for row in catalogue_of(patient, slugs).values()]


@transaction.atomic
def add(*, clinic: Clinic, content: Mapping[str, Any], now: datetime) -> Exercise:
    """A new exercise of the clinic. `content` holds fields of the model."""
    lock(clinic)
    row = Exercise(clinic=clinic, version=FIRST_VERSION, updated_at=now, **content)
    known = _known_to(clinic)
    if row.slug in known:
        raise ValidationFailed.at("#/slug", "duplicate", "There is an exercise of this name.")
    _settle(row, known)
    row.save(force_insert=True)
    return row


def change(*, exercise: Exercise, content: Mapping[str, Any], now: datetime) -> Exercise:
    """The next version of a clinic's own exercise, read under the `lock` that the caller holds.

    The caller has phones told once it is stored (`tell`).
    """
    assert exercise.clinic is not None
    for name, value in content.items():
        setattr(exercise, name, value)
    before = exercise.sha256
    _settle(exercise, _known_to(exercise.clinic))
    if exercise.sha256 != before:
        exercise.version, exercise.updated_at = next_patch(exercise.version), now
        exercise.save()
    return exercise


def tell(rows: Iterable[Exercise], *, now: datetime) -> None:
    """Have the phones that hold an older version of one of these exercises read it again.

    Called once the new ones are stored: whoever is given one from then on is given that. A few
    patients at a time, so that none waits for all the others; what was cut short can be repeated.
    """
    told = {row.pk: feed.Touched(Change.Type.EXERCISE, row.pk, feed_version(row)) for row in rows}
    held: dict[UUID, list[feed.Touched]] = {}
    places = Change.objects.filter(type=Change.Type.EXERCISE, object_id__in=told)
    for pk, exercise, version in places.order_by("patient", "seq").values_list(
        "patient", "object_id", "version"
    ):
        if version != told[exercise].version:
            held.setdefault(pk, []).append(told[exercise])
    holders = sorted(held)
    for start in range(0, len(holders), AT_A_TIME):
        few = Patient.objects.filter(pk__in=holders[start : start + AT_A_TIME]).order_by("pk")
        with transaction.atomic():
            for patient in few.select_for_update(of=("self",)):
                feed.touch_plan(patient, held[patient.pk], now=now)


def feed_version(row: Exercise) -> int:
    """A version as one number that grows with it."""
    major, minor, patch = semver(row.version)
    return major * 1_000_000 + minor * 1_000 + patch


def lock(clinic: Clinic) -> None:
    """One editor a clinic, while rows that only refer to it may come and go."""
    Clinic.objects.select_for_update(no_key=True).get(pk=clinic.pk)


def _known_to(clinic: Clinic) -> dict[str, Exercise]:
    rows = Exercise.objects.filter(clinic=None) | Exercise.objects.filter(clinic=clinic)
    return {row.slug: row for row in rows}


def _settle(row: Exercise, known: Mapping[str, Exercise]) -> None:
    """Check what hangs together, then derive the rest."""
    errors = [*_dose_errors(row), *_ladder_errors(row, known)]
    if errors:
        raise ValidationFailed.of(errors)
    education = row.kind == "education_self_care"
    row.log_fields = [] if education else LOG_FIELDS[row.dose_unit]  # type: ignore[index]
    said = {
        field.attname: getattr(row, field.attname)
        for field in Exercise._meta.concrete_fields
        if field.name not in NO_CONTENT
    }
    row.sha256 = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _dose_errors(row: Exercise) -> list[FieldError]:
    amounts = [name for name in ("reps", "duration_s", "distance_m") if name in row.dose]
    errors = []
    if len(amounts) != 1:
        detail = "Exactly one of reps, duration_s and distance_m."
        errors.append(FieldError("#/dose", "invalid-value", detail, {"known": amounts}))
    if "hold_s" in row.dose and "reps" not in row.dose:
        errors.append(FieldError("#/dose/reps", "required", "A hold needs a number of holds."))
    if row.dose_unit not in row.dose:
        errors.append(FieldError("#/dose_unit", "invalid-value", "The dose has no such amount."))
    return errors


def _ladder_errors(row: Exercise, known: Mapping[str, Exercise]) -> list[FieldError]:
    """Easier and harder exercises exist, and neither way runs in a circle."""
    errors = []
    for name, attribute in LADDER.items():
        pointer, step = f"#/{name}", getattr(row, attribute)
        if step and (step not in known or known[step].retired_at):
            errors.append(FieldError(pointer, "unknown-reference", "There is no such exercise."))
            continue
        walked = set()
        while step and step in known and step not in walked and step != row.slug:
            walked.add(step)
            step = getattr(known[step], attribute)
        if step == row.slug:
            errors.append(FieldError(pointer, "invalid-value", "Leads back to this exercise."))
    return errors
