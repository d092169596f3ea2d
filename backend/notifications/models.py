"""Telling people: when a patient wants to be reminded, and the ledger of what was told to whom."""

from __future__ import annotations

from datetime import date
from typing import Self
from uuid import UUID, uuid5

from django.db import models
from django.db.models import F, Q

from backend.clinics.models import Clinic, Device, Patient, User

KEYS = UUID("5f1c2c56-8a0e-4b1c-9d0f-0a4be5a0f7d1")  # the namespace of message ids; never changes


class ReminderSettings(models.Model):
    """When and how a patient wants to be reminded, and how far ahead that is worked out.

    `times`, `check_in_at`, `quiet_from` and `quiet_to` are on the wall clock of wherever the
    patient is. The rows of the ledger are made up to `planned_until`, for `zone` as the version
    `tzdata` of the time zones has it; `plan_due_at` says when that is to be looked at again.
    """

    patient = models.OneToOneField(
        Patient, models.PROTECT, primary_key=True, related_name="reminder_settings"
    )
    enabled = models.BooleanField(default=False)
    times = models.JSONField(default=list)  # "HH:MM"
    days = models.JSONField(default=list)  # "mon" … "sun"
    check_in_at = models.TimeField(null=True)
    nudge_after_min = models.PositiveSmallIntegerField(null=True)
    quiet_from = models.TimeField(null=True)
    quiet_to = models.TimeField(null=True)
    channels = models.JSONField(default=list)
    paused_until = models.DateField(null=True)  # up to and including this date
    weekly_summary = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=1)
    updated_at = models.DateTimeField()

    zone = models.CharField(max_length=64, blank=True)
    tzdata = models.CharField(max_length=16, blank=True)
    planned_until = models.DateTimeField(null=True)
    plan_due_at = models.DateTimeField(null=True, db_index=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="quiet_hours_begin_and_end",
                condition=Q(quiet_from=None, quiet_to=None)
                | Q(quiet_from__isnull=False, quiet_to__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return str(self.patient_id)


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, person: User) -> Self:
        """Staff see what concerns their clinic's patients, a patient what was sent to him."""
        seen = self.filter(patient__in=Patient.objects.visible_to(person))
        return seen if person.works_in_clinic else seen.filter(person=person)


class Message(models.Model):
    """One thing that somebody is to be told once, and what became of it: the ledger.

    The id follows from person, kind, day and slot, so there is one row however often and by however
    many it is made. `on` is the day it is meant for, as the person lives it; of a reminder `slot`
    is the time the patient picked, of other messages what they are about.

    While `attempt_due_at` is set, somebody has to look at it at that moment; a sender who claims it
    moves that on, so that it comes back should he die.
    """

    class Kind(models.TextChoices):
        EXERCISES = "exercises"
        NUDGE = "nudge"
        CHECK_IN = "check_in"
        PLAN_CHANGED = "plan_changed"
        MISSED = "missed"
        PATIENT_WEEK = "patient_week"
        INVITATION = "invitation"
        REVIEW = "review"
        FLAG = "flag"
        STAFF_WEEK = "staff_week"
        EXPORT = "export"

    class Status(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        SILENT = "silent"

    class Why(models.TextChoices):
        """Of what is sent: what is open. Of silence: why nothing was sent."""

        DUE = "due"
        PARTLY_DONE = "partly_done"
        ASKED = "asked"  # to be told of it
        SNOOZED = "snoozed"
        DONE = "done"
        RESTING = "resting"
        PAUSED = "paused"
        STOPPED = "stopped"
        ENDED = "ended"
        OFF = "off"
        QUIET = "quiet"
        EXPIRED = "expired"
        LOCAL = "local"  # the phone shows it by itself
        NO_CHANNEL = "no_channel"
        REFUSED = "refused"
        HANDLED = "handled"  # somebody has dealt with it meanwhile
        QUARANTINED = "quarantined"

    id = models.UUIDField(primary_key=True, editable=False)
    clinic = models.ForeignKey(Clinic, models.PROTECT, related_name="+")
    patient = models.ForeignKey(Patient, models.PROTECT, null=True, related_name="messages")
    person = models.ForeignKey(User, models.PROTECT, null=True, related_name="messages")
    kind = models.CharField(max_length=14, choices=Kind)
    on = models.DateField()
    slot = models.CharField(max_length=60)
    about_id = models.UUIDField(null=True)  # the flag, proposal, invitation or file
    params = models.JSONField(default=dict)  # numbers that the text has; nothing about a patient

    status = models.CharField(max_length=8, choices=Status, default=Status.WAITING)
    why = models.CharField(max_length=12, choices=Why, blank=True)
    due_at = models.DateTimeField()
    valid_until = models.DateTimeField()
    attempt_due_at = models.DateTimeField(null=True)
    unanswered = models.PositiveSmallIntegerField(default=0)  # tries in a row without an outcome
    retries = models.PositiveSmallIntegerField(default=0)
    failure = models.CharField(max_length=40, blank=True)  # the last one, as a code
    sent_at = models.DateTimeField(null=True)
    resent_at = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)

    # What the plan asks for on the day, as of `plan_version`; another one is looked at again.
    plan_version = models.PositiveIntegerField(null=True)
    day_type = models.CharField(max_length=8, blank=True)
    slots = models.JSONField(default=list)

    objects = MessageQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(  # in the order of a claim: very many come up at the same moment
                fields=["attempt_due_at", "id"],
                name="messages_waiting",
                condition=Q(attempt_due_at__isnull=False),
            ),
            models.Index(fields=["patient", "on"], name="messages_of_a_patient"),
        ]
        constraints = [
            models.CheckConstraint(
                name="what_is_told_or_not_says_why",
                condition=Q(status="waiting", decided_at=None)
                | (~Q(status="waiting") & Q(decided_at__isnull=False) & ~Q(why="")),
            ),
            models.CheckConstraint(
                name="a_sent_message_says_when",
                condition=~Q(status="sent") | Q(sent_at__isnull=False),
            ),
            models.CheckConstraint(
                name="what_waits_is_looked_at_again",
                condition=~Q(status="waiting") | Q(attempt_due_at__isnull=False),
            ),
            models.CheckConstraint(
                name="a_message_is_valid_once_due",
                condition=Q(valid_until__gte=F("due_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


def key_of(person_id: UUID, kind: str, on: date, slot: str) -> UUID:
    """The id of a message. Phones know a reminder by it, whichever way it reaches them."""
    return uuid5(KEYS, f"{person_id} {kind} {on.isoformat()} {slot}")


class Delivery(models.Model):
    """One message on its way to one device or mailbox. `key` is the device's own id, or the
    message's where it goes to a mailbox."""

    class Status(models.TextChoices):
        SENT = "sent"
        LATER = "later"
        GONE = "gone"
        REFUSED = "refused"

    id = models.BigAutoField(primary_key=True)
    message = models.ForeignKey(Message, models.CASCADE, related_name="deliveries")
    key = models.UUIDField()
    channel = models.CharField(max_length=16)  # the kind of address
    device = models.ForeignKey(Device, models.SET_NULL, null=True, related_name="+")
    status = models.CharField(max_length=8, choices=Status)
    failure = models.CharField(max_length=40, blank=True)
    provider_id = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField()  # of the last attempt

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "key"], name="one_delivery_an_address")
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.key}"
