"""Published protocol versions, and the drafts they come from."""

from __future__ import annotations

from typing import ClassVar, Self
from uuid import uuid4

from django.conf import settings
from django.db import models
from django.db.models import Q

from exercises.models import Person
from protocols.engine import definition

_parsed: dict[str, definition.Protocol] = {}


class ProtocolQuerySet(models.QuerySet["ProtocolVersion"]):
    def visible_to(self, person: Person) -> Self:
        """The library and what the person's own clinic published. Nothing without a clinic."""
        if person.clinic_id is None:
            return self.none()
        return self.filter(Q(clinic=None) | Q(clinic_id=person.clinic_id))


class ProtocolVersion(models.Model):
    """One published version: the whole document, stored once. All that comes later is that it is
    retired.

    `protocol_id` is the same in all versions of a protocol. Library versions have no clinic.
    """

    class Status(models.TextChoices):
        PUBLISHED = "published"
        RETIRED = "retired"  # takes no new assignments, and keeps serving the old ones

    id = models.UUIDField(primary_key=True, default=uuid4)
    protocol_id = models.UUIDField()
    slug = models.SlugField(max_length=64)
    version = models.CharField(max_length=20)
    clinic = models.ForeignKey(
        "clinics.Clinic", models.PROTECT, null=True, blank=True, related_name="protocol_versions"
    )
    title = models.CharField(max_length=120)
    condition = models.CharField(max_length=64)
    document = models.JSONField()
    sha256 = models.CharField(max_length=64)
    status = models.CharField(max_length=9, choices=Status, default=Status.PUBLISHED)
    change_note = models.CharField(max_length=500, blank=True)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    published_at = models.DateTimeField()
    retired_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_reason = models.CharField(max_length=500, blank=True)

    objects: ClassVar[ProtocolQuerySet] = ProtocolQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["protocol_id", "version"], name="protocol_version_published_once"
            ),
            models.CheckConstraint(
                name="protocol_version_retired_says_when",
                condition=Q(status="published", retired_at=None, retired_by=None, retired_reason="")
                | Q(status="retired", retired_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.slug} {self.version}"

    @property
    def definition(self) -> definition.Protocol:
        """The document as values. A digest stands for one document, so each is read once."""
        if self.sha256 not in _parsed:
            _parsed[self.sha256] = definition.parse(self.document)
        return _parsed[self.sha256]


class DraftQuerySet(models.QuerySet["ProtocolDraft"]):
    def visible_to(self, person: Person) -> Self:
        """The drafts of the person's own clinic: the library is written in files."""
        if person.clinic_id is None:
            return self.none()
        return self.filter(clinic_id=person.clinic_id)


class ProtocolDraft(models.Model):
    """A clinic's protocol in the making. Changes freely, cannot be assigned."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    protocol_id = models.UUIDField(unique=True)
    clinic = models.ForeignKey("clinics.Clinic", models.PROTECT, related_name="protocol_drafts")
    document = models.JSONField()
    revision = models.PositiveIntegerField(default=1)
    updated_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    updated_at = models.DateTimeField()

    objects: ClassVar[DraftQuerySet] = DraftQuerySet.as_manager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"draft of {self.protocol_id}"
