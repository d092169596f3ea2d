"""One patient's course: facts as they were given, and the feed that tells the phone of them."""

from __future__ import annotations

from datetime import date
from typing import Self, TypeVar
from uuid import uuid4

from django.db import models
from django.db.models import Q

from backend.clinics.models import Clinic, Episode, Patient, User
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
    # That of the patient (a trigger looks, `tenancy`), by which PostgreSQL keeps clinics apart: a
    # report reads each row of a clinic, and a lookup for each would be most of what it costs.
    clinic = models.ForeignKey(
        Clinic, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    episode = models.ForeignKey(Episode, models.PROTECT, related_name="assignments")
    protocol_version = models.ForeignKey(ProtocolVersion, models.PROTECT, related_name="+")
    side = models.CharField(max_length=6, choices=Episode.Side)
    start_date = models.DateField()
    start_phase_id = models.CharField(max_length=40)
    phase_started_on = models.DateField(null=True)  # where the phase began before the plan did
    version = models.PositiveIntegerField(default=1)
    assigned_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    ended_on = models.DateField(null=True)
    end_kind = models.CharField(max_length=10, choices=EndKind, blank=True)
    end_reason = models.CharField(max_length=400, blank=True)
    ended_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    # Derived, made anew by `deciding`: what the plan of open and later dates rests on, what judging
    # goes on from, what of it a clinician's list has to name, and when the next date closes.
    standing = models.JSONField(null=True)
    carried = models.JSONField(null=True)
    concerns = models.JSONField(null=True)  # `accounting.Concern`s; none is NULL
    judged_to = models.DateField(null=True)
    next_close_at = models.DateTimeField(null=True, db_index=True)
    is_behind = models.BooleanField(default=False)  # a fact is stored and not judged yet

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
        indexes = [
            models.Index(
                fields=["patient"],
                condition=Q(concerns__isnull=False),
                name="assignment_of_concern",
            )
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


class Record(models.Model):
    """The newest revision of what a phone reported, as it came, and what follows from it."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    phone_id = models.UUIDField()
    revision = models.PositiveIntegerField()
    history_count = models.PositiveIntegerField(default=1)
    sha256 = models.CharField(max_length=64)
    withdrawn_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    content = models.JSONField(null=True)
    derived = models.JSONField(null=True)

    class Meta:
        abstract = True


class Session(Record):
    """What the patient did: the newest revision of a log. The phone picks the id and counts."""

    class Outcome(models.TextChoices):
        OPEN = "open"
        COMPLETED = "completed"
        PARTIAL = "partial"
        SKIPPED = "skipped"

    patient = models.ForeignKey(Patient, models.PROTECT, related_name="sessions")

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


class CheckIn(Record):
    """A short symptom report not tied to a session: the newest revision of it."""

    patient = models.ForeignKey(Patient, models.PROTECT, related_name="check_ins")

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


class Event(models.Model):
    """What was reported, raised or decided on a date. Appended, never changed.

    Together with the records of the phone and the assessments these are the facts that a course is
    replayed from. A stop rests on what was reported, whatever becomes of the record that said so.
    Without an assignment it concerns every course of the patient.
    """

    class Kind(models.TextChoices):
        REPORTED = "reported"  # a code of the safety library, by a record or a person
        CLOSED = "closed"  # a person has dealt with the code
        CLEARED = "cleared"  # a clinician ended the stop
        APPROVED = "approved"  # a clinician put the patient into a phase from this date on
        ENDED = "ended"  # a clinician approved completion

    id = models.BigAutoField(primary_key=True)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="events")
    assignment = models.ForeignKey(Assignment, models.PROTECT, null=True, related_name="events")
    kind = models.CharField(max_length=8, choices=Kind)
    on = models.DateField()
    at = models.DateTimeField()
    code = models.CharField(max_length=60, blank=True)
    phase_id = models.CharField(max_length=40, blank=True)
    since = models.DateField(null=True)  # of an approval: when the phase began that it leads out of
    source_type = models.CharField(max_length=12, blank=True)
    source_id = models.UUIDField(null=True)
    by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=1000, blank=True)

    objects = OfPatientQuerySet["Event"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="what_people_decide_has_a_name",
                condition=Q(by__isnull=False) | Q(kind="reported"),
            ),
        ]
        indexes = [models.Index(fields=["patient", "on"], name="event_of_patient")]

    def __str__(self) -> str:
        return f"{self.kind} {self.code} on {self.on}"


class ClosedDay(models.Model):
    """The day book: one lived and closed date of an assignment, as judged. Derived and disposable.

    `day` is what was known of it, `after` what the next date inherits (`engine.storing`). The slots
    are counted as sessions stand now (`accounting`): of those due, what is neither done nor skipped
    was missed, or is unknown while the phone has not been heard from since `closed_at`. `kinds` has
    the same counts, the dose in ten-thousandths, of the slots that ask for each kind of exercise.
    """

    id = models.BigAutoField(primary_key=True)
    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="closed_days")
    clinic = models.ForeignKey(  # as `Assignment.clinic`
        Clinic, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    on = models.DateField()
    phase_id = models.CharField(max_length=40)
    phase_started_on = models.DateField()
    colour = models.CharField(max_length=6)
    rule = models.CharField(max_length=3)
    outcome = models.CharField(max_length=16)
    planned_sets = models.PositiveSmallIntegerField()
    done_sets = models.PositiveSmallIntegerField()
    is_half = models.BooleanField(default=False)
    is_excused = models.BooleanField(default=False)
    is_stopped = models.BooleanField(default=False)
    eased = models.JSONField(default=list)
    open_gates = models.JSONField(default=list)
    alerts = models.JSONField(default=list)
    pain_before = models.PositiveSmallIntegerField(null=True)
    pain_during = models.PositiveSmallIntegerField(null=True)
    pain_next = models.PositiveSmallIntegerField(null=True)
    day = models.JSONField()
    after = models.JSONField()
    closed_at = models.DateTimeField()
    slots_due = models.PositiveSmallIntegerField()
    slots_completed = models.PositiveSmallIntegerField()
    slots_partial = models.PositiveSmallIntegerField()
    slots_skipped = models.PositiveSmallIntegerField()
    slots_excused = models.PositiveSmallIntegerField()
    dose_ratios = models.FloatField()  # the best of each slot that was done, added up
    kinds = models.JSONField(default=dict)
    sessions = models.PositiveSmallIntegerField(default=0)  # of this plan, whatever they did
    sessions_late = models.PositiveSmallIntegerField(default=0)  # typed in when it had closed
    is_active = models.BooleanField(default=False)  # one of the sessions did something
    is_told = models.BooleanField(default=False)  # there is a session or a check-in

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "on"], name="one_verdict_a_date"),
            *_nrs11("closed_day", "pain_before", "pain_during", "pain_next"),
        ]

    def __str__(self) -> str:
        return f"{self.assignment_id} on {self.on}: {self.rule}"


class Progression(models.Model):
    """A proposal to change a plan, with its reasons as found, and a physiotherapist's decision.

    Never edited but for what becomes of it. At most one of an assignment is open.
    """

    class Recommendation(models.TextChoices):
        ADVANCE = "advance"
        HOLD = "hold"
        STEP_BACK = "step_back"
        STOP_AND_REVIEW = "stop_and_review"
        DISCHARGE = "discharge"

    class Status(models.TextChoices):
        PROPOSED = "proposed"
        APPROVED = "approved"
        DECLINED = "declined"
        MODIFIED = "modified"
        SUPERSEDED = "superseded"
        EXPIRED = "expired"
        WITHDRAWN = "withdrawn"

    class ReasonCode(models.TextChoices):
        CLINICAL_JUDGEMENT = "clinical_judgement"
        PATIENT_PREFERENCE = "patient_preference"
        NEW_FINDING = "new_finding"
        DATA_UNRELIABLE = "data_unreliable"
        OTHER = "other"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="progressions")
    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="progressions")
    assignment_version = models.PositiveIntegerField()
    version = models.PositiveIntegerField(default=1)
    recommendation = models.CharField(max_length=15, choices=Recommendation)
    rule = models.CharField(max_length=3)
    status = models.CharField(max_length=10, choices=Status, default=Status.PROPOSED)
    from_phase_id = models.CharField(max_length=40)
    to_phase_id = models.CharField(max_length=40, blank=True)  # empty: completion, or no change
    to_protocol_version = models.ForeignKey(
        ProtocolVersion, models.PROTECT, null=True, related_name="+"
    )
    on = models.DateField()
    window_from = models.DateField()
    waiting_since = models.DateTimeField()
    computed_at = models.DateTimeField()
    valid_until = models.DateTimeField()
    tell_at = models.DateTimeField(null=True, db_index=True)  # when the physiotherapist is told
    engine_version = models.CharField(max_length=20)
    inputs = models.JSONField(default=dict)
    inputs_sha256 = models.CharField(max_length=64)
    criteria = models.JSONField(default=list)
    failed_gates = models.JSONField(default=list)
    reasons = models.JSONField(default=list)
    data_quality = models.JSONField(default=dict)
    proposed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    proposal_note = models.CharField(max_length=1000, blank=True)
    decided_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    reason_code = models.CharField(max_length=18, choices=ReasonCode, blank=True)
    decision_note = models.CharField(max_length=1000, blank=True)
    note_to_patient = models.CharField(max_length=1000, blank=True)
    effective_date = models.DateField(null=True)
    decided_version = models.PositiveIntegerField(null=True)
    changes = models.JSONField(default=list)

    objects = OfPatientQuerySet["Progression"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["assignment"],
                condition=Q(status="proposed"),
                name="one_open_proposal_an_assignment",
            ),
            models.CheckConstraint(
                name="a_decision_has_a_name_and_a_moment",
                condition=(
                    Q(status__in=["approved", "declined", "modified"])
                    & Q(decided_by__isnull=False, decided_at__isnull=False)
                )
                | (
                    ~Q(status__in=["approved", "declined", "modified"])
                    & Q(decided_by=None, decided_at=None)
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["status", "waiting_since"], name="progression_queue"),
            models.Index(fields=["assignment", "computed_at"], name="progression_history"),
        ]

    def __str__(self) -> str:
        return f"{self.recommendation} of {self.assignment_id}"


class Flag(models.Model):
    """Something a person must look at. One open flag a patient and code; more of it counts up.

    `respond_by` is when somebody has to have looked at it, by its level.
    """

    class Action(models.TextChoices):
        CONTACTED = "contacted"
        PLAN_CHANGED = "plan_changed"
        ADVISED = "advised"
        REFERRED = "referred"
        NO_ACTION = "no_action"

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
    respond_by = models.DateTimeField(null=True, db_index=True)
    tell_at = models.DateTimeField(null=True, db_index=True)  # when somebody is told, the next time
    told = models.PositiveSmallIntegerField(default=0)
    acknowledged_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    acknowledged_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    resolved_at = models.DateTimeField(null=True)
    action = models.CharField(max_length=12, choices=Action, blank=True)
    note = models.CharField(max_length=1000, blank=True)

    objects = OfPatientQuerySet["Flag"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="acknowledged_by_and_at_together",
                condition=Q(acknowledged_by=None, acknowledged_at=None)
                | Q(acknowledged_by__isnull=False, acknowledged_at__isnull=False),
            ),
            models.CheckConstraint(
                name="a_resolved_flag_says_who_and_what",
                condition=~Q(status="resolved")
                | (Q(resolved_by__isnull=False, resolved_at__isnull=False) & ~Q(action="")),
            ),
            models.UniqueConstraint(
                fields=["patient", "code"],
                condition=Q(status__in=["open", "acknowledged"]),
                name="one_open_flag_a_patient_and_code",
            ),
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
        PROGRESSION = "progression"
        REMINDER_SETTINGS = "reminder_settings"

    id = models.BigAutoField(primary_key=True)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="changes")
    seq = models.PositiveBigIntegerField()
    type = models.CharField(max_length=20, choices=Type)
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
