"""Files that a clinic has asked for, and what there is of them so far."""

from __future__ import annotations

from typing import Self
from uuid import uuid4

from django.db import models
from django.db.models import Q

from backend.clinics.models import Clinic, User


class ExportQuerySet(models.QuerySet["Export"]):
    def visible_to(self, person: User) -> Self:
        """Who runs a clinic sees its exports, nobody else any."""
        if person.clinic_id is None or not person.is_clinic_admin:
            return self.none()
        return self.filter(clinic_id=person.clinic_id)


class Export(models.Model):
    """One file, written in the background part by part.

    Its parts are rows, so any worker can go on where another one died, no two machines need a
    shared disk, and what has expired is gone with them. `position` is the last patient whose logs
    are in a part; `params` is what a report was asked with; `secret` makes the pseudonyms of a
    de-identified one, and is gone once that is done; `tell_at` is when whoever asked is told.
    """

    class Kind(models.TextChoices):
        SESSIONS = "sessions"
        ADHERENCE = "adherence"

    class Format(models.TextChoices):
        CSV = "csv"
        NDJSON = "ndjson"
        XLSX = "xlsx"
        PDF = "pdf"

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        READY = "ready"
        FAILED = "failed"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    clinic = models.ForeignKey(Clinic, models.PROTECT, related_name="exports")
    asked_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=12, choices=Kind)
    format = models.CharField(max_length=8, choices=Format)
    from_on = models.DateField()
    to_on = models.DateField()
    de_identified = models.BooleanField(default=False)
    params = models.JSONField(default=dict)
    purpose = models.CharField(max_length=400)
    status = models.CharField(max_length=8, choices=Status, default=Status.QUEUED)
    created_at = models.DateTimeField()
    attempt_due_at = models.DateTimeField(null=True, db_index=True)
    unanswered = models.PositiveSmallIntegerField(default=0)  # tries in a row that came to nothing
    position = models.UUIDField(null=True)
    secret = models.CharField(max_length=64, blank=True)
    done = models.PositiveIntegerField(default=0)  # patients; of a report, steps
    total = models.PositiveIntegerField(default=0)
    rows = models.PositiveBigIntegerField(default=0)
    size = models.PositiveBigIntegerField(default=0)  # bytes
    sha256 = models.CharField(max_length=64, blank=True)
    ready_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True, db_index=True)
    tell_at = models.DateTimeField(null=True, db_index=True)

    objects = ExportQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="a_ready_export_has_a_checksum_and_an_end",
                condition=~Q(status="ready")
                | (~Q(sha256="") & Q(ready_at__isnull=False, expires_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="a_pending_export_comes_up_again",
                condition=~Q(status__in=["queued", "running"]) | Q(attempt_due_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class ExportPart(models.Model):
    """A piece of the file, compressed; together, in order, they are the file. Until that is ready
    they may be the lines that it is made of."""

    id = models.BigAutoField(primary_key=True)
    export = models.ForeignKey(Export, models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["export", "number"], name="one_part_a_number")
        ]

    def __str__(self) -> str:
        return f"{self.export_id} {self.number}"
