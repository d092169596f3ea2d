"""One patient's course: facts as they were given, and the feed that tells the phone of them."""

from __future__ import annotations

from datetime import date
from typing import Self, TypeVar
from uuid import uuid4

from django.db import models
from django.db.models import Q

from backend.clinics.models import Episode, Patient, User
from protocols.models import ProtocolVersion

Row = TypeVar("Row", bound=models.Model)


def _nrs11(of: str, *fields: str) -> list[models.CheckConstraint]:
    """Pain and symptom scores are whole numbers from 0 to 10."""
    return [
        models.CheckConstraint(
            name=f"{of}_{field}_is_nrs11",
            condition=Q(**{field: None}) | Q(**{f"{field}__lte": 10}),
        )
        for field in fields
    ]


class OfPatientQuerySet(models.QuerySet[Row]):
    """Rows that belong to one patient."""

    def visible_to(self, person: User) -> Self:
        return self.filter(patient__in=Patient.objects.visible_to(person))


class AssignmentQuerySet(OfPatientQuerySet["Assignment"]):
    def with_record(self) -> Self:
        """Everything an answer about an assignment needs, in a fixed number of queries.

        A protocol is known by its digest, mostly; the document is read where it is not.
        """
        rows = self.select_related("protocol_version", "patient")
        return rows.defer("protocol_version__document").prefetch_related("versions", "pauses")


class Assignment(models.Model):
    """One protocol version given to one patient in one episode."""

    class EndKind(models.TextChoices):
        COMPLETED = "completed"
        STOPPED = "stopped"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="assignments")
    episode = models.ForeignKey(Episode, models.PROTECT, related_name="assignments")
    protocol_version = models.ForeignKey(ProtocolVersion, models.PROTECT, related_name="+")
    side = models.CharField(max_length=6, choices=Episode.Side)
    start_date = models.DateField()
    start_phase_id = models.CharField(max_length=40)
    version = models.PositiveIntegerField(default=1)
    assigned_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    ended_on = models.DateField(null=True)
    end_kind = models.CharField(max_length=10, choices=EndKind, blank=True)
    end_reason = models.CharField(max_length=400, blank=True)
    ended_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["episode"],
                condition=Q(ended_on=None),
                name="one_open_assignment_an_episode",
            ),
            models.CheckConstraint(
                name="an_ended_assignment_says_who_and_how",
                condition=Q(ended_on=None, end_kind="", ended_by=None)
                | (Q(ended_on__isnull=False, ended_by__isnull=False) & ~Q(end_kind="")),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    def covers(self, on: date) -> bool:
        return self.start_date <= on and (self.ended_on is None or on <= self.ended_on)


class AssignmentVersion(models.Model):
    """What was prescribed from a date on, whole. Written once; a change is a new row.

    `number` is the `version` that the assignment had when this was made. `prescriptions` is a list
    of `protocols.engine.plan.Prescribed` as JSON, for all phases, so that a log can be judged by
    the version that the phone had.
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    effective_date = models.DateField()
    parts_of_day = models.JSONField()
    training_days = models.JSONField()
    prescriptions = models.JSONField()
    changes = models.JSONField(default=list)
    reason = models.CharField(max_length=400, blank=True)
    made_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    made_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "number"], name="assignment_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.assignment_id} v{self.number}"


class Pause(models.Model):
    """Excused days of an assignment, both ends included; open-ended until resumed."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="pauses")
    from_on = models.DateField()
    until_on = models.DateField(null=True)
    reason = models.CharField(max_length=400)
    paused_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    paused_at = models.DateTimeField()
    resumed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    resumed_at = models.DateTimeField(null=True)
    resume_reason = models.CharField(max_length=400, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["assignment"], condition=Q(until_on=None), name="one_open_pause"
            ),
            models.CheckConstraint(
                name="resumed_by_and_at_together",
                condition=Q(resumed_by=None, resumed_at=None)
                | Q(resumed_by__isnull=False, resumed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def is_void(self) -> bool:
        """Resumed before it began: it ended the day before and covers none."""
        return self.until_on is not None and self.until_on < self.from_on

    def covers(self, on: date) -> bool:
        return self.from_on <= on and (self.until_on is None or on <= self.until_on)


class Assessment(models.Model):
    """A measurement or a recorded answer of a clinician; `code` is a metric of the library."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="assessments")
    code = models.CharField(max_length=60)
    value = models.DecimalField(max_digits=8, decimal_places=2)
    unit = models.CharField(max_length=40)
    side = models.CharField(max_length=6, choices=Episode.Side, default=Episode.Side.NONE)
    measured_at = models.DateTimeField()
    findings = models.JSONField(default=list)
    note = models.CharField(max_length=1000, blank=True)
    recorded_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    recorded_at = models.DateTimeField()

    objects = OfPatientQuerySet["Assessment"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["patient", "code", "measured_at"], name="assessment_latest")
        ]

    def __str__(self) -> str:
        return f"{self.code} of {self.patient_id}"


class Revision(models.Model):
    """One upload of one record, as it came. Appended, never changed: the history of the record.

    `content` is what the phone said, checked; `sha256` tells a repeat from a conflict.
    """

    class Kind(models.TextChoices):
        SESSION = "session"
        CHECK_IN = "check_in"

    id = models.BigAutoField(primary_key=True)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="revisions")
    kind = models.CharField(max_length=10, choices=Kind)
    phone_id = models.UUIDField()
    number = models.PositiveIntegerField()
    content = models.JSONField(null=True)
    withdrawn = models.BooleanField(default=False)
    sha256 = models.CharField(max_length=64)
    device_id = models.UUIDField(null=True)
    clock_skew_s = models.IntegerField(null=True)
    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["patient", "kind", "phone_id", "number"], name="revision_once_a_patient"
            ),
            models.CheckConstraint(
                name="a_withdrawal_has_no_content",
                condition=Q(withdrawn=True, content=None)
                | Q(withdrawn=False, content__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.phone_id} r{self.number}"


class RecordQuerySet(OfPatientQuerySet[Row]):
    def standing(self) -> Self:
        """Without what the patient withdrew."""
        return self.filter(withdrawn_at=None)


class Session(models.Model):
    """What the patient did: the newest revision of a log. The phone picks the id and counts."""

    class Outcome(models.TextChoices):
        OPEN = "open"
        COMPLETED = "completed"
        PARTIAL = "partial"
        SKIPPED = "skipped"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="sessions")
    phone_id = models.UUIDField()
    revision = models.PositiveIntegerField()
    history_count = models.PositiveIntegerField(default=1)
    sha256 = models.CharField(max_length=64)
    withdrawn_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    content = models.JSONField(null=True)
    derived = models.JSONField(null=True)

    # Copied out of `content` and `derived`, because plan, lists and reports ask for them.
    assignment = models.ForeignKey(Assignment, models.PROTECT, null=True, related_name="sessions")
    local_date = models.DateField(null=True)
    slot_id = models.UUIDField(null=True)
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)
    dose_ratio = models.DecimalField(max_digits=5, decimal_places=4, null=True)
    pain_before = models.PositiveSmallIntegerField(null=True)
    pain_during = models.PositiveSmallIntegerField(null=True)
    pain_after = models.PositiveSmallIntegerField(null=True)
    late = models.BooleanField(default=False)
    clock_suspect = models.BooleanField(default=False)

    objects = RecordQuerySet["Session"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["patient", "phone_id"], name="session_once_a_patient"),
            models.CheckConstraint(
                name="a_standing_session_has_a_day",
                condition=Q(withdrawn_at__isnull=False)
                | Q(local_date__isnull=False, content__isnull=False),
            ),
            models.CheckConstraint(
                name="dose_ratio_is_a_ratio",
                condition=Q(dose_ratio=None) | Q(dose_ratio__gte=0, dose_ratio__lte=1),
            ),
            *_nrs11("session", "pain_before", "pain_during", "pain_after"),
        ]
        indexes = [
            models.Index(fields=["patient", "-local_date", "-phone_id"], name="session_list"),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class CheckIn(models.Model):
    """A short symptom report not tied to a session: the newest revision of it."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="check_ins")
    phone_id = models.UUIDField()
    revision = models.PositiveIntegerField()
    history_count = models.PositiveIntegerField(default=1)
    sha256 = models.CharField(max_length=64)
    withdrawn_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    content = models.JSONField(null=True)
    derived = models.JSONField(null=True)

    local_date = models.DateField(null=True)
    pain_now = models.PositiveSmallIntegerField(null=True)
    clock_suspect = models.BooleanField(default=False)

    objects = RecordQuerySet["CheckIn"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["patient", "phone_id"], name="check_in_once_a_patient"),
            models.CheckConstraint(
                name="a_standing_check_in_has_a_day",
                condition=Q(withdrawn_at__isnull=False)
                | Q(local_date__isnull=False, content__isnull=False),
            ),
            *_nrs11("check_in", "pain_now"),
        ]
        indexes = [
            models.Index(fields=["patient", "-local_date", "-phone_id"], name="check_in_list"),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Flag(models.Model):
    """Something a person must look at. One open flag a patient and code; more of it counts up."""

    class Level(models.TextChoices):
        EMERGENCY = "emergency"
        URGENT = "urgent"
        ROUTINE = "routine"

    class Status(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        RESOLVED = "resolved"
        AUTO_RESOLVED = "auto_resolved"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="flags")
    code = models.CharField(max_length=60)
    level = models.CharField(max_length=10, choices=Level)
    status = models.CharField(max_length=14, choices=Status, default=Status.OPEN)
    occurrences = models.PositiveIntegerField(default=1)
    raised_at = models.DateTimeField()
    observed_on = models.DateField()
    source_type = models.CharField(max_length=12)
    source_id = models.UUIDField()
    params = models.JSONField(default=dict)

    objects = OfPatientQuerySet["Flag"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["patient", "code"],
                condition=Q(status__in=["open", "acknowledged"]),
                name="one_open_flag_a_patient_and_code",
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} of {self.patient_id}"


class Change(models.Model):
    """Where an object stands in its patient's change feed: one row an object, its newest place."""

    class Type(models.TextChoices):
        ASSIGNMENT = "assignment"
        EXERCISE = "exercise"
        PLAN = "plan"
        SESSION = "session"
        CHECK_IN = "check_in"
        PATIENT = "patient"

    id = models.BigAutoField(primary_key=True)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="changes")
    seq = models.PositiveBigIntegerField()
    type = models.CharField(max_length=12, choices=Type)
    object_id = models.UUIDField()
    version = models.PositiveIntegerField()
    deleted = models.BooleanField(default=False)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["patient", "type", "object_id"], name="one_feed_place_an_object"
            ),
            models.UniqueConstraint(fields=["patient", "seq"], name="feed_order_is_total"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.object_id} at {self.seq}"
