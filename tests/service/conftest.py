"""The cast: Ana treats Ben at Harbour, which Cleo runs; Olga works elsewhere and sees nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db.models import Model
from django.utils import timezone

from backend.clinics.models import Clinic, Episode
from exercises.models import Exercise
from protocols.models import ProtocolVersion
from tests.service.cast import (
    OwnPhone,
    Somebody,
    Staff,
    make_clinic,
    make_episode,
    make_patient,
    make_staff,
)


@pytest.fixture(autouse=True)
def no_rates_remembered(settings: Any) -> Iterator[None]:
    """Rate limits have tests of their own; elsewhere nobody runs into them."""
    settings.UPLOADS_PER_MIN = settings.READS_PER_MIN = 1_000_000
    for cache in caches.all():
        cache.clear()
    yield
    for cache in caches.all():
        cache.clear()


LOADED: dict[type[Model], list[Any]] = {}  # what the library wrote


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """The library is there once, as in every installation."""
    with django_db_blocker.unblock():
        call_command("load_library", verbosity=0)
        LOADED.update(
            {one: list(one._default_manager.all()) for one in (Exercise, ProtocolVersion)}
        )


@pytest.fixture
def library(db: None) -> None:
    """The library again, where a test with real transactions emptied the database."""
    if not ProtocolVersion.objects.exists():
        for model, rows in LOADED.items():
            model._default_manager.bulk_create(rows)


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def harbour(library: None, now: datetime) -> Clinic:
    return make_clinic("Harbour", now)


@pytest.fixture
def elsewhere(db: None, now: datetime) -> Clinic:
    return make_clinic("Elsewhere", now)


@pytest.fixture
def ana(harbour: Clinic) -> Staff:
    return make_staff(harbour, "Ana", is_physiotherapist=True, can_publish=True)


@pytest.fixture
def cleo(harbour: Clinic) -> Staff:
    return make_staff(harbour, "Cleo", is_clinic_admin=True)


@pytest.fixture
def olga(elsewhere: Clinic) -> Staff:
    return make_staff(elsewhere, "Olga", is_physiotherapist=True, is_clinic_admin=True)


@pytest.fixture
def ben(harbour: Clinic, ana: Staff, now: datetime) -> OwnPhone:
    return make_patient(harbour, "Ben", now, ana.user)


@pytest.fixture
def bea(harbour: Clinic, ana: Staff, now: datetime) -> OwnPhone:
    """Another patient of the same clinic."""
    return make_patient(harbour, "Bea", now, ana.user)


@pytest.fixture
def nobody() -> Somebody:
    return Somebody()


@pytest.fixture
def thigh(ben: OwnPhone, ana: Staff, now: datetime) -> Episode:
    return make_episode(ben.patient, ana.user, now)


@pytest.fixture
def grade_1(library: None) -> ProtocolVersion:
    return ProtocolVersion.objects.get(slug="hs-grade-1", version="1.0.0")


@pytest.fixture
def plan_of_ben(ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion) -> Any:
    """Ben has the grade I protocol from today on; the assignment as answered."""
    return ana.assigns(grade_1, to=ben.patient, episode=thigh, on=ben.today)
