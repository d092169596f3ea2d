"""Clinics, people, patients and episodes, as many as wanted; also for the demo and benchmarks."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.utils.timezone import now
from factory.declarations import Iterator, LazyFunction, SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory
from factory.helpers import post_generation

from backend.clinics.models import Clinic, Episode, Patient, User

PASSWORD = "a long password"
GIVEN = ("Ada", "Tomas", "Ines", "Åsa", "Karim", "Mei", "Olu", "Sofia", "Jonas", "Leila")
FAMILY = ("Nilsson", "Berg", "Okafor", "Öberg", "Haddad", "Lin", "Adeyemi", "Rossi", "Lund", "Ek")


class ClinicFactory(DjangoModelFactory[Clinic]):
    class Meta:
        model = Clinic

    name = Sequence("Clinic {}".format)
    timezone = "Europe/Stockholm"
    second_factor_required = False
    created_at = LazyFunction(now)


class StaffFactory(DjangoModelFactory[User]):
    """A physiotherapist, unless told otherwise."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    clinic = SubFactory(ClinicFactory)
    email = Sequence("staff-{}@example.org".format)
    given_name = Iterator(GIVEN)
    family_name = Iterator(FAMILY)
    is_physiotherapist = True
    timezone = "Europe/Stockholm"

    @post_generation
    def password(self, create: bool, extracted: str | None, **_: Any) -> None:
        self.set_password(extracted or PASSWORD)  # type: ignore[attr-defined]
        if create:
            self.save()  # type: ignore[attr-defined]


class PatientFactory(DjangoModelFactory[Patient]):
    """Treated by a physiotherapist of the same clinic; without an account."""

    class Meta:
        model = Patient

    physiotherapist = SubFactory(StaffFactory)
    clinic = SelfAttribute("physiotherapist.clinic")
    given_name = Iterator(GIVEN)
    family_name = Sequence(lambda n: f"{FAMILY[n * 7 % len(FAMILY)]} {n}")
    birth_date = Sequence(lambda n: date(1950, 1, 1) + timedelta(days=97 * (n % 200)))
    timezone = "Europe/Stockholm"
    created_at = LazyFunction(now)
    updated_at = SelfAttribute("created_at")


class EpisodeFactory(DjangoModelFactory[Episode]):
    class Meta:
        model = Episode

    patient = SubFactory(PatientFactory)
    title = "Right hamstring"
    body_region = "posterior_thigh"
    side = "right"
    started_on = LazyFunction(lambda: now().date() - timedelta(days=30))
    recorded_by = SelfAttribute("patient.physiotherapist")
    created_at = LazyFunction(now)
    updated_at = SelfAttribute("created_at")


def caseload(physiotherapist: User, size: int, **more: Any) -> list[Patient]:
    """Many patients of one physiotherapist, in one query."""
    rows = PatientFactory.build_batch(
        size, physiotherapist=physiotherapist, clinic=physiotherapist.clinic, **more
    )
    return Patient.objects.bulk_create(rows)
