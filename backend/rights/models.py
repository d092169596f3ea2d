"""Who is to be forgotten, and who was."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.db.models import Q


class Erasure(models.Model):
    """One patient of whom everything is to be deleted, or was. Ids only: it outlives the person.

    While `attempt_due_at` is set it is not done; who claims it moves that on, so that it comes
    back should he die.
    """

    class Reason(models.TextChoices):
        ASKED = "asked"  # by the patient, in the app or otherwise
        MISTAKE = "mistake"  # the record should never have been
        ORDERED = "ordered"  # by a court or an authority
        RETENTION = "retention"  # the clinic has no reason to keep it any longer

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    clinic_id = models.UUIDField()
    patient_id = models.UUIDField(unique=True)
    account_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=10, choices=Reason)
    decided_by = models.UUIDField(null=True)  # nobody, where the time was over
    decided_at = models.DateTimeField()
    attempt_due_at = models.DateTimeField(null=True, db_index=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="an_erasure_is_done_or_comes_up_again",
                condition=Q(attempt_due_at=None, done_at__isnull=False)
                | Q(attempt_due_at__isnull=False, done_at=None),
            )
        ]

    def __str__(self) -> str:
        return f"{self.patient_id} {self.reason}"
