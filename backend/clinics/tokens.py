"""Keys of other systems: made and ended by who runs the clinic, told once, kept as a digest."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from backend.clinics.models import Clinic, ServiceToken, User

PREFIX = "rehab_"  # so that scanners for leaked secrets know one
BYTES = 32


@transaction.atomic
def make(
    *, clinic: Clinic, by: User, name: str, scopes: Sequence[str], lives: timedelta, now: datetime
) -> tuple[ServiceToken, str]:
    """The row, and the token that is told this once."""
    token = PREFIX + secrets.token_urlsafe(BYTES)
    row = ServiceToken.objects.create(
        clinic=clinic,
        name=name,
        scopes=sorted(set(scopes)),
        sha256=_digest(token),
        created_by=by,
        created_at=now,
        expires_at=now + lives,
    )
    return row, token


@transaction.atomic
def revoke(*, row: ServiceToken, now: datetime) -> None:
    """It ends with the next request. The first time counts."""
    ServiceToken.objects.filter(pk=row.pk, revoked_at=None).update(revoked_at=now)


def found(*, token: str, now: datetime) -> ServiceToken | None:
    """The row of a token that is valid. Looking up a digest tells nothing about the token."""
    rows = ServiceToken.objects.select_related("clinic")
    return rows.filter(sha256=_digest(token), revoked_at=None, expires_at__gt=now).first()


def actor_of(row: ServiceToken) -> User:
    """Who asks, for everything that wants somebody: never stored, and without an account."""
    actor = User(pk=row.pk, clinic=row.clinic, is_clinic_admin=True)
    actor.is_service, actor.scopes = True, frozenset(row.scopes)
    return actor


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
