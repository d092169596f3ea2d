"""What can be prescribed."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self
from uuid import UUID, uuid4

from django.db import models
from django.db.models import Q


class Person(Protocol):
    """Whoever asks: what they may see hangs on their clinic."""

    @property
    def clinic_id(self) -> UUID | None: ...


class ExerciseQuerySet(models.QuerySet["Exercise"]):
    def visible_to(self, person: Person) -> Self:
        """The library and what the person's own clinic added. Nothing without a clinic."""
        if person.clinic_id is None:
            return self.none()
        return self.filter(Q(clinic=None) | Q(clinic_id=person.clinic_id))


class Exercise(models.Model):
    """A catalogue entry, of the library (no clinic) or of one clinic.

    Texts are facts from the dossier. `version` goes up with every change, so that phones can keep
    what they have; published protocols carry their own doses and do not change with it.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    slug = models.SlugField(max_length=64)
    version = models.CharField(max_length=20)
    clinic = models.ForeignKey(
        "clinics.Clinic", models.PROTECT, null=True, blank=True, related_name="exercises"
    )
    title = models.CharField(max_length=120)
    kind = models.CharField(max_length=32)
    target = models.CharField(max_length=120)
    body_region = models.CharField(max_length=32)
    side = models.CharField(max_length=16)
    position = models.CharField(max_length=120)
    equipment = models.JSONField(default=list)
    description = models.TextField(blank=True)
    cues = models.JSONField(default=list)
    common_errors = models.JSONField(default=list)
    media = models.JSONField(default=list)
    dose_unit = models.CharField(max_length=16)
    dose = models.JSONField(default=dict)
    log_fields = models.JSONField(default=list)
    pain_ceiling = models.PositiveSmallIntegerField()
    contraindications = models.JSONField(default=list)
    easier_slug = models.SlugField(max_length=64, blank=True)
    harder_slug = models.SlugField(max_length=64, blank=True)
    sources = models.JSONField(default=list)
    sha256 = models.CharField(max_length=64)
    updated_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[ExerciseQuerySet] = ExerciseQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["clinic", "slug"], name="exercise_once_a_clinic"),
            # NULLs differ in a unique index, so the library needs its own
            models.UniqueConstraint(
                fields=["slug"],
                condition=Q(clinic=None),
                name="exercise_once_in_the_library",
            ),
            models.CheckConstraint(name="pain_ceiling_is_nrs11", condition=Q(pain_ceiling__lte=10)),
        ]

    def __str__(self) -> str:
        return self.title
