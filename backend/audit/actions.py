"""Noting who did what. The only way an audit event is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol
from uuid import UUID

from backend.audit.models import AuditEvent, Chain

PREFIX = {4: 24, 6: 48}
Told = Mapping[str, str | int | bool | None]  # values of switches; never what a patient said


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
    address: str = "",
    listed: Sequence[str] = (),
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """One event for one call, with its outcome read off the HTTP status.

    Of `address` the network is kept. `listed` are the patients whom a list showed; `before` and
    `after` hold what a setting was and is, and nothing of patients.
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
        before=dict(before or {}),
        after=dict(after or {}),
        outcome=_outcome(status),
        request_id=request_id,
        ip_prefix=network_of(address),
    )


def network_of(address: str) -> str:
    """The network of an address: enough to tell a clinic from elsewhere, no more. Else nothing."""
    try:
        found = ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    return str(ip_network((found, PREFIX[found.version]), strict=False))


def note_command(
    *,
    command: str,
    action: str,
    clinic_id: UUID,
    run: UUID,
    now: datetime,
    patient_id: UUID | None = None,
    object_id: UUID | None = None,
    has_failed: bool = False,
    before: Told | None = None,
    after: Told | None = None,
) -> None:
    """One event for what somebody at the console did to one patient or one clinic.

    `run` is shared by all events of one call of the command, as a request's id is.
    """
    AuditEvent.objects.create(
        at=now,
        clinic_id=clinic_id,
        actor_role=command,
        action=action,
        patient_id=patient_id,
        object_id=object_id,
        outcome="failed" if has_failed else "ok",
        request_id=run,
        before=dict(before or {}),
        after=dict(after or {}),
    )


def begin_demo(*, clinic_id: UUID) -> None:
    """Before the first event of a demo clinic, so that a reset may delete what follows.

    Where there are events already, the database refuses it: nothing becomes a demo afterwards.
    """
    Chain.objects.create(clinic_id=clinic_id, is_demo=True)


def _outcome(status: int) -> str:
    if status < 400:
        return "ok"
    if status >= 500:
        return "failed"
    return "denied" if status in (401, 403) else "refused"
