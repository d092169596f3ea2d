"""Who: clinics, the people who work there, the people treated there."""

from __future__ import annotations

import zoneinfo
from typing import Any, ClassVar, Self
from uuid import uuid4

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower


class Clinic(models.Model):
    """The tenant."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    name = models.CharField(max_length=120)
    timezone = models.CharField(max_length=64, default="UTC")
    second_factor_required = models.BooleanField(default=True)
    typing_delay_days = models.PositiveSmallIntegerField(default=7)
    upload_delay_days = models.PositiveSmallIntegerField(default=90)
    emergency_number = models.CharField(max_length=20, default="112")
    urgent_contact = models.CharField(max_length=200, blank=True)
    urgent_email = models.EmailField(max_length=254, blank=True)
    crisis_line = models.CharField(max_length=200, blank=True)
    proposals_on = models.BooleanField(default=True)
    retention_months = models.PositiveSmallIntegerField(null=True, blank=True)  # none: for ever
    week_told_at = models.DateTimeField(null=True, db_index=True)  # when staff get the next summary
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Makes accounts. People are made by `clinics.actions`; this is for operators and tests."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """An account: a staff member, a patient who enrolled, or an operator (`is_staff`)."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    email = models.EmailField(max_length=254)
    given_name = models.CharField(max_length=80, blank=True)
    family_name = models.CharField(max_length=80, blank=True)
    clinic = models.ForeignKey(Clinic, models.PROTECT, null=True, blank=True, related_name="people")
    is_physiotherapist = models.BooleanField(default=False)
    is_clinic_admin = models.BooleanField(default=False)
    can_publish = models.BooleanField(default=False)
    locale = models.CharField(max_length=12, default="en")
    timezone = models.CharField(max_length=64, default="UTC")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    # Of no account: another system that asks in the name of a clinic, and what it may.
    is_service = False
    scopes: frozenset[str] = frozenset()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("email"), name="one_account_an_email"),
            models.CheckConstraint(
                name="staff_work_in_a_clinic",
                condition=Q(is_physiotherapist=False, is_clinic_admin=False)
                | Q(clinic__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def display_name(self) -> str:
        return f"{self.given_name} {self.family_name}".strip()

    @property
    def works_in_clinic(self) -> bool:
        return self.is_physiotherapist or self.is_clinic_admin

    @property
    def own_patient(self) -> Patient | None:
        """The patient this account belongs to; none for staff and operators."""
        return None if self.works_in_clinic else getattr(self, "patient", None)

    @property
    def roles(self) -> list[str]:
        if self.is_service:
            return ["service"]
        roles = []
        if self.is_physiotherapist:
            roles.append("physiotherapist")
        if self.is_clinic_admin:
            roles.append("clinic_admin")
        return roles or (["patient"] if self.own_patient else [])


class PatientQuerySet(models.QuerySet["Patient"]):
    def visible_to(self, person: User) -> Self:
        """Staff see their clinic's patients, a patient himself, everybody else nobody."""
        if person.clinic_id is None:
            return self.none()
        if person.works_in_clinic:
            return self.filter(clinic_id=person.clinic_id)
        return self.filter(clinic_id=person.clinic_id, user_id=person.pk)


class Patient(models.Model):
    """A person treated by a clinic, who may or may not have signed in yet.

    This row is also the one lock of everything that happens to the patient: whoever writes a fact
    takes it first, which puts the change feed in commit order and serialises two phones.
    """

    class Status(models.TextChoices):
        INVITED = "invited"
        ACTIVE = "active"
        DISCHARGED = "discharged"
        DEACTIVATED = "deactivated"

    class Sex(models.TextChoices):
        FEMALE = "female"
        MALE = "male"
        OTHER = "other"
        UNSPECIFIED = "unspecified"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    clinic = models.ForeignKey(Clinic, models.PROTECT, related_name="patients")
    user = models.OneToOneField(User, models.PROTECT, null=True, related_name="patient")
    physiotherapist = models.ForeignKey(User, models.PROTECT, null=True, related_name="caseload")
    given_name = models.CharField(max_length=80)
    family_name = models.CharField(max_length=80)
    birth_date = models.DateField()
    sex = models.CharField(max_length=12, choices=Sex, default=Sex.UNSPECIFIED)
    email = models.EmailField(max_length=254, blank=True)
    phone = models.CharField(max_length=40, blank=True)
    locale = models.CharField(max_length=12, default="en")
    timezone = models.CharField(max_length=64)
    zones = models.JSONField(default=list)  # [since, zone] of each change: past dates keep theirs
    conditions = models.JSONField(default=list)  # codes of the safety library that ask for caution
    status = models.CharField(max_length=12, choices=Status, default=Status.INVITED)
    consented_at = models.DateTimeField(null=True)
    consent_withdrawn_at = models.DateTimeField(null=True)
    erasure_asked_at = models.DateTimeField(null=True)
    legal_hold_since = models.DateTimeField(null=True)
    legal_hold_reason = models.CharField(max_length=400, blank=True)
    last_received_at = models.DateTimeField(null=True)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    # The patient's change feed: `change_seq` is the newest entry, `plan_version` counts what alters
    # the plan, `feed_epoch` moves when a backup is restored, so that old cursors are refused.
    change_seq = models.PositiveBigIntegerField(default=0)
    plan_version = models.PositiveIntegerField(default=0)
    feed_epoch = models.PositiveIntegerField(default=1)
    feed_pruned_to = models.PositiveBigIntegerField(default=0)
    plan_tell_at = models.DateTimeField(null=True)  # since when there is news to be told of

    objects = PatientQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="a_legal_hold_says_why",
                condition=Q(legal_hold_since=None, legal_hold_reason="")
                | (Q(legal_hold_since__isnull=False) & ~Q(legal_hold_reason="")),
            )
        ]
        indexes = [
            models.Index(fields=["clinic", "family_name", "given_name", "id"], name="patient_list"),
            models.Index(
                fields=["plan_tell_at"],
                name="patients_to_be_told",
                condition=Q(plan_tell_at__isnull=False),
            ),
            models.Index(
                fields=["clinic", "erasure_asked_at"],
                name="patients_asking_erasure",
                condition=Q(erasure_asked_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.timezone)

    @property
    def display_name(self) -> str:
        return f"{self.given_name} {self.family_name}".strip()


class PatientIdentifier(models.Model):
    """A number another system knows the patient by; unique within the clinic."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    clinic = models.ForeignKey(Clinic, models.PROTECT)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="identifiers")
    system = models.CharField(max_length=200)
    value = models.CharField(max_length=100)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["clinic", "system", "value"], name="one_patient_an_identifier"
            )
        ]

    def __str__(self) -> str:
        return str(self.pk)


class EpisodeQuerySet(models.QuerySet["Episode"]):
    def visible_to(self, person: User) -> Self:
        return self.filter(patient__in=Patient.objects.visible_to(person))


class Episode(models.Model):
    """One course of care for one problem."""

    class Side(models.TextChoices):
        LEFT = "left"
        RIGHT = "right"
        BOTH = "both"
        NONE = "none"

    class EndReason(models.TextChoices):
        COMPLETED = "completed"
        TRANSFERRED = "transferred"
        STOPPED = "stopped"
        OTHER = "other"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="episodes")
    title = models.CharField(max_length=200)
    body_region = models.CharField(max_length=60)
    side = models.CharField(max_length=6, choices=Side)
    onset_date = models.DateField(null=True)
    new_pain = models.BooleanField(default=True)
    diagnosis_system = models.CharField(max_length=200, blank=True)
    diagnosis_code = models.CharField(max_length=40, blank=True)
    diagnosis_text = models.CharField(max_length=400, blank=True)
    started_on = models.DateField()
    ended_on = models.DateField(null=True)
    end_reason = models.CharField(max_length=12, choices=EndReason, blank=True)
    recorded_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    objects = EpisodeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="episode_ends_after_it_starts",
                condition=Q(ended_on=None) | Q(ended_on__gte=F("started_on")),
            ),
            models.CheckConstraint(
                name="an_ended_episode_says_why",
                condition=Q(ended_on=None, end_reason="")
                | (Q(ended_on__isnull=False) & ~Q(end_reason="")),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Invitation(models.Model):
    """A one-time code that lets a patient make an account.

    The code is `locator-secret`: the locator finds the row, a wrong secret costs one of its tries.
    The secret is not stored: it follows from the id and the key of the service.
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="invitations")
    locator = models.CharField(max_length=8, unique=True)
    tries_left = models.PositiveSmallIntegerField(default=5)
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    tell_at = models.DateTimeField(null=True, db_index=True)  # by e-mail, where there is an address

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["patient"],
                condition=Q(used_at=None, ended_at=None),
                name="one_open_invitation_a_patient",
            )
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Device(models.Model):
    """A patient's phone, as the app names it, and where push messages for it go."""

    class Platform(models.TextChoices):
        ANDROID = "android"
        IOS = "ios"
        WEB = "web"

    class PushKind(models.TextChoices):
        FCM_TOKEN = "fcm_token"  # noqa: S105
        FCM_INSTALLATION = "fcm_installation"
        APNS = "apns"
        WEB_PUSH = "web_push"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.PROTECT, related_name="devices")
    device_id = models.UUIDField()
    platform = models.CharField(max_length=8, choices=Platform)
    push_kind = models.CharField(max_length=16, choices=PushKind, blank=True)
    push_token = models.CharField(max_length=4096, blank=True)
    app_version = models.CharField(max_length=40)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["patient", "device_id"], name="device_once_a_patient")
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def address_kind(self) -> PushKind:
        return address_kind(self.push_kind, self.platform)


USUAL_PUSH = {
    Device.Platform.ANDROID.value: Device.PushKind.FCM_TOKEN,
    Device.Platform.IOS.value: Device.PushKind.APNS,
    Device.Platform.WEB.value: Device.PushKind.WEB_PUSH,
}


def address_kind(push_kind: str, platform: str) -> Device.PushKind:
    """What a device's token is; where the phone did not say, what is usual on its platform."""
    return Device.PushKind(push_kind) if push_kind else USUAL_PUSH[platform]


class PasswordTries(models.Model):
    """When passwords were lately tried for one account, or from one address, known by a hash.

    A row and not the cache: processes without Redis share no cache, and a limit must not double.
    """

    key = models.CharField(primary_key=True, max_length=64)
    at = models.JSONField(default=list)  # Unix times
    last_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class ServiceTokenQuerySet(models.QuerySet["ServiceToken"]):
    def visible_to(self, person: User) -> Self:
        """Who runs a clinic sees its tokens, nobody else any."""
        if person.clinic_id is None or not person.is_clinic_admin:
            return self.none()
        return self.filter(clinic_id=person.clinic_id)


class ServiceToken(models.Model):
    """A key with which another system asks in a clinic's name, for what its scopes say.

    The token was shown once and is not kept: it is found by its SHA-256, which is no secret, for
    the token is 256 random bits.
    """

    class Scope(models.TextChoices):
        REPORTS_READ = "reports.read"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    clinic = models.ForeignKey(Clinic, models.PROTECT, related_name="service_tokens")
    name = models.CharField(max_length=120)
    scopes = models.JSONField(default=list)
    sha256 = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    objects = ServiceTokenQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.pk)
