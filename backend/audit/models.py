"""Who did what to whose data, and when."""

from __future__ import annotations

from uuid import uuid4

from django.db import models

OUTCOMES = ("ok", "denied", "refused", "failed")


class AuditEvent(models.Model):
    """One read or write of a patient's data by staff, or one of what decides over many patients:
    a protocol published or retired. Written once, never changed.

    Ids only, no foreign keys: the event outlives what it speaks of.
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    at = models.DateTimeField(db_index=True)
    clinic_id = models.UUIDField(db_index=True)
    actor_id = models.UUIDField()
    actor_role = models.CharField(max_length=40)
    action = models.CharField(max_length=60)
    patient_id = models.UUIDField(null=True)
    object_id = models.UUIDField(null=True)
    listed = models.JSONField(default=list)  # ids of the patients that a list showed
    outcome = models.CharField(max_length=10, choices=[(c, c) for c in OUTCOMES])
    request_id = models.UUIDField()

    class Meta:
        indexes = [models.Index(fields=["patient_id", "at"], name="audit_of_patient")]

    def __str__(self) -> str:
        return f"{self.action} {self.outcome}"
