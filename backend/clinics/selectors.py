"""Questions about the people of a clinic."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from backend.clinics.models import User


def staff_of(person: User) -> QuerySet[User]:
    """Who works or worked where this person does. Operators of the service are not staff."""
    return User.objects.filter(
        Q(is_physiotherapist=True) | Q(is_clinic_admin=True),
        clinic=person.clinic_id,
        is_staff=False,
        is_superuser=False,
    )
