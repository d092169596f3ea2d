"""The entries at the left, in their order, and who sees which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import NoReverseMatch, reverse

from backend.api.base import STAFF, Role
from backend.care.models import Progression
from backend.clinics.models import User

TREATING = frozenset({Role.PHYSIOTHERAPIST})
ADMINS = frozenset({Role.CLINIC_ADMIN})


def waiting_reviews(person: User) -> int:
    """How many proposals wait in the clinic, as the API lists them."""
    waiting = Progression.objects.visible_to(person).filter(status=Progression.Status.PROPOSED)
    return waiting.count()


@dataclass(frozen=True, slots=True)
class Entry:
    """`count` is shown beside the name where it is not nought; it costs one query a page."""

    route: str
    name: str
    roles: frozenset[Role]
    count: Callable[[User], int] | None = None


ENTRIES = (
    Entry("caseload", "Caseload", STAFF),
    Entry("reviews", "Reviews", TREATING, waiting_reviews),
    Entry("patients", "Patients", STAFF),
    Entry("protocols", "Protocols", STAFF),
    Entry("exercises", "Exercises", STAFF),
    Entry("reports", "Reports", STAFF),
    Entry("exports", "Exports", ADMINS),
    Entry("staff", "Staff", ADMINS),
    Entry("audit", "Audit", ADMINS),
    Entry("settings", "Settings", ADMINS),
)


@dataclass(frozen=True, slots=True)
class Shown:
    name: str
    address: str
    count: int
    is_here: bool


def navigation_of(person: User, here: str) -> list[Shown]:
    """What this person sees. An entry without a screen is left out."""
    return [
        Shown(
            entry.name,
            address,
            entry.count(person) if entry.count else 0,
            entry.route == here,
        )
        for entry in ENTRIES
        if entry.roles.intersection(person.roles) and (address := _address(entry.route))
    ]


def _address(route: str) -> str:
    try:
        return reverse(f"console:{route}")
    except NoReverseMatch:
        return ""
