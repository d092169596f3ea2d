"""Who did what to whose data, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self
from uuid import uuid4

from django.db import models
from django.db.models import Q

if TYPE_CHECKING:
    from backend.audit.actions import Actor

OUTCOMES = ("ok", "denied", "refused", "failed")


class AuditQuerySet(models.QuerySet["AuditEvent"]):
    def visible_to(self, person: Actor) -> Self:
        """Those of the person's clinic; who has none sees nothing."""
        if person.clinic_id is None:
            return self.none()
        return self.filter(clinic_id=person.clinic_id)


class AuditEvent(models.Model):
    """One read or write of a patient's data by staff or by a command; or one of what decides over
    many patients: a protocol published or retired, a switch of a clinic.

    Ids only, no foreign keys: the event outlives what it speaks of. It is written once. Sealing
    gives it its place in the chain of its clinic, once; the database refuses every other change
    (`guards.py`).
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    at = models.DateTimeField()
    clinic_id = models.UUIDField()
    actor_id = models.UUIDField(null=True)  # nobody's, where a command acted
    actor_role = models.CharField(max_length=40)  # or the name of the command
    action = models.CharField(max_length=60)
    patient_id = models.UUIDField(null=True)
    object_id = models.UUIDField(null=True)
    listed = models.JSONField(default=list)  # ids of the patients that a list showed
    outcome = models.CharField(max_length=10, choices=[(c, c) for c in OUTCOMES])
    request_id = models.UUIDField()
    ip_prefix = models.CharField(max_length=43, blank=True)  # a command has none, nor have old ones
    before = models.JSONField(default=dict)  # of a switch: what it was, and what it became
    after = models.JSONField(default=dict)
    seq = models.BigIntegerField(null=True)
    hash = models.CharField(max_length=64, default="")
    sealed_at = models.DateTimeField(null=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["clinic_id", "seq"], name="audit_place_in_chain"),
        ]
        indexes = [
            models.Index(fields=["clinic_id", "at", "id"], name="audit_of_clinic"),
            models.Index(fields=["clinic_id", "actor_id", "at"], name="audit_of_actor"),
            models.Index(fields=["patient_id", "at"], name="audit_of_patient"),
            models.Index(
                fields=["clinic_id", "at", "id"], condition=Q(seq=None), name="audit_unsealed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.outcome}"


class Chain(models.Model):
    """Where the chain of a clinic ends. The row is what sealing locks; no request ever does.

    `is_demo` is said before the first event or never, and lets the events be deleted.
    """

    clinic_id = models.UUIDField(primary_key=True)
    seq = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, default="")
    is_demo = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.clinic_id} {self.seq}"
