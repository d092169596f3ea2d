"""Noting who did what. The only way an audit event is made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from backend.audit.models import AuditEvent


class Actor(Protocol):
    """Whoever acts: an account of a clinic."""

    @property
    def pk(self) -> UUID: ...
    @property
    def clinic_id(self) -> UUID | None: ...
    @property
    def roles(self) -> list[str]: ...


def note(
    *,
    actor: Actor,
    action: str,
    patient_id: UUID | None,
    object_id: UUID | None,
    status: int,
    request_id: UUID,
    now: datetime,
    listed: Sequence[str] = (),
) -> None:
    """One event for one call, with its outcome read off the HTTP status.

    `listed` are the patients whom a list showed.
    """
    assert actor.clinic_id is not None
    AuditEvent.objects.create(
        at=now,
        clinic_id=actor.clinic_id,
        actor_id=actor.pk,
        actor_role="+".join(actor.roles),
        action=action,
        patient_id=patient_id,
        object_id=object_id,
        listed=list(listed),
        outcome=_outcome(status),
        request_id=request_id,
    )


def _outcome(status: int) -> str:
    if status < 400:
        return "ok"
    if status >= 500:
        return "failed"
    return "denied" if status in (401, 403) else "refused"
