"""Questions about the people of a clinic."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q, QuerySet

from backend.clinics.models import Patient, User


def staff_of(person: User) -> QuerySet[User]:
    """Who works or worked where this person does. Operators of the service are not staff."""
    return User.objects.filter(
        Q(is_physiotherapist=True) | Q(is_clinic_admin=True),
        clinic=person.clinic_id,
        is_staff=False,
        is_superuser=False,
    )


def clinics_of(patient_ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """The clinic of each of these patients."""
    return dict(Patient.objects.filter(pk__in=patient_ids).values_list("pk", "clinic_id"))
