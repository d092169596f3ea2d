"""Cohorts: copies are what the actions would have made of the same lives, and nothing is left over.

Two patients live the same life, one told by the actions and one copied from a third; but for ids
and names their rows are the same.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import models, transaction
from django.test import override_settings

from backend.care.models import Assignment, ClosedDay, Progression, Session
from backend.care.rebuilding import rebuild
from backend.clinics import actions
from backend.clinics.models import Clinic, Patient, PatientIdentifier, User
from backend.management.copying import ID_OR_DIGEST, NAMED, OF_PATIENT, Model, Person, make_copies
from backend.management.demo_stories import STORIES
from backend.management.demo_telling import Telling
from tests.service.cast import Staff

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 4, 20, 9, tzinfo=UTC)  # the clocks changed on the way


def make(**options: Any) -> str:
    said = StringIO()
    with time_machine.travel(NOW, tick=False), override_settings(DEMO=True):
        call_command("make_cohort", stdout=said, **{"days": 6, "patients": 5, "lives": 2} | options)
    return said.getvalue()


def told(name: str, by: User, *, chance_of: str) -> Patient:
    """A story of the demo, told by the actions; what is left to chance goes as for another name."""
    story = replace(STORIES[0], name=name, place="cohort")
    with time_machine.travel(NOW, tick=False), transaction.atomic():
        telling = Telling(story, by, 1, "cohort", NOW)
        telling.chance = random.Random(f"1/{chance_of}")
        telling.told()
    return Patient.objects.get(pk=telling.patient.pk)


def rows_of(patient: Patient) -> dict[str, list[str]]:
    """Everything that is stored of a patient, by table, without ids and names and in no order."""
    found = {}
    for model, path in OF_PATIENT:
        named = {name for of, name in NAMED if of is model} | {"password", "locator"}
        fields = [f for f in model._meta.concrete_fields if not isinstance(f, models.AutoField)]
        kept = [f.attname for f in fields if f.attname not in named]
        rows = model._default_manager.filter(**{path: patient.pk}).values(*kept)
        found[model.__name__] = sorted(_in_no_order(row) for row in rows)
    return found


def _in_no_order(said: Any) -> str:
    """Lists that are in the order of ids are in no order that two patients share."""
    if isinstance(said, dict):
        return json.dumps(sorted([_bare(str(key)), _in_no_order(one)] for key, one in said.items()))
    if isinstance(said, list):
        return json.dumps(sorted(_in_no_order(one) for one in said))
    return _bare(str(said))


def _bare(text: str) -> str:
    return ID_OR_DIGEST.sub("an id", text)


def test_a_copy_is_what_the_actions_would_have_made(
    library: None, harbour: Clinic, ana: Staff
) -> None:
    first = told("first", ana.user, chance_of="first")
    second = told("second", ana.user, chance_of="first")
    person = Person(
        name="third", email="third@cohort.demo", given_name="Tyra", family_name="Third",
        treated_by=ana.user,
    )  # fmt: skip
    with transaction.atomic():
        make_copies(Model(actions.lock(Patient(pk=first.pk))), [person])
    third = Patient.objects.get(email="third@cohort.demo")

    assert rows_of(third) == rows_of(second)
    assert Session.objects.filter(patient=third).count() > 10
    assert Progression.objects.filter(patient=third).exists(), "a life in which something happens"
    with time_machine.travel(NOW, tick=False):
        for one in (first, third):
            assert rebuild(patient_id=one.pk, now=NOW, keep=False) == []


def test_a_cohort_is_there_once(library: None) -> None:
    assert "5 patients of 6 days in 2 clinics" in make(clinics=2)
    before = {model: model._default_manager.count() for model, _ in OF_PATIENT}
    assert make(clinics=2) == "All 5 patients of this cohort are there already.\n"
    assert {model: model._default_manager.count() for model, _ in OF_PATIENT} == before

    patients = Patient.objects.filter(clinic__name__startswith="Cohort")
    assert patients.count() == PatientIdentifier.objects.count() == 5
    assert {one.clinic_id for one in patients} == {
        clinic.pk for clinic in Clinic.objects.filter(name__startswith="Cohort")
    }
    assert not any(one.user and one.user.has_usable_password() for one in patients)
    assert all(one.physiotherapist and one.physiotherapist.clinic_id == one.clinic_id
               for one in patients)  # fmt: skip
    assert ClosedDay.objects.count() >= 5 * 5
    assert {one.patient_id for one in Assignment.objects.all()} == {one.pk for one in patients}
    for one in patients:
        assert rebuild(patient_id=one.pk, now=NOW, keep=False) == []


def test_a_cohort_goes_on_where_it_was_stopped(library: None) -> None:
    make(patients=3)
    assert "2 patients of 6 days" in make(patients=5)
    assert PatientIdentifier.objects.count() == 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        pytest.param({"days": 7}, "take another seed", id="other days under the same seed"),
        pytest.param({"clinics": 9}, "At least one clinic", id="more clinics than patients"),
        pytest.param({"days": 0}, "At least one clinic", id="no days"),
    ],
)
def test_what_cannot_be_made(library: None, options: dict[str, int], why: str) -> None:
    make(patients=1, lives=1)
    with pytest.raises(CommandError, match=why):
        make(**{"patients": 1, "lives": 1} | options)


@override_settings(DEBUG=False, DEMO=False)
def test_not_beside_real_patients(library: None) -> None:
    with pytest.raises(CommandError, match="--beside-real-patients"):
        call_command("make_cohort", patients=1, days=1, lives=1)
    said = StringIO()
    call_command("make_cohort", patients=1, days=1, lives=1, beside_real_patients=True, stdout=said)
    assert "1 patients of 1 days" in said.getvalue()


def test_all_that_hangs_on_a_patient_is_copied() -> None:
    known = {model for model, _ in OF_PATIENT}
    of_patients = known - {User}
    hanging = {
        model
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if field.is_relation and field.related_model in of_patients
    }
    assert hanging <= known, "tell `copying.OF_PATIENT` of it"
