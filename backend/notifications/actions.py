"""What patients do about reminders: set them, put one off, confirm that one was shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from backend.care import feed
from backend.care.models import Change
from backend.clinics.actions import lock
from backend.clinics.models import Patient
from backend.notifications.models import Delivery, Message, ReminderSettings
from backend.notifications.planning import plan_for, valid_until
from backend.notifications.verdict import REMINDERS
from backend.problems import StateConflict


def settings_of(patient: Patient) -> ReminderSettings:
    """A patient's wishes; where none were set, nothing is sent."""
    found = ReminderSettings.objects.filter(patient=patient).first()
    return found or ReminderSettings(
        patient=patient,
        times=["18:00"],
        days=["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        channels=["local", "push"],
        version=0,
        updated_at=patient.created_at,
    )


@transaction.atomic
def set_reminders(
    *, patient: Patient, changes: Mapping[str, Any], now: datetime
) -> ReminderSettings:
    """Change the wishes, and with them the rows of the days to come."""
    patient = lock(patient)
    row = settings_of(patient)
    for name, value in changes.items():
        setattr(row, name, value)
    row.version += 1
    row.updated_at = now
    row.save()
    plan_for(patient, row, now=now, is_anew=True)
    changed = feed.Touched(Change.Type.REMINDER_SETTINGS, patient.pk, row.version)
    feed.touch(patient, [changed], now=now)
    return row


@transaction.atomic
def replan(*, patient: Patient, now: datetime) -> None:
    """After a change of the patient's zone. The caller may hold the patient's lock."""
    row = ReminderSettings.objects.filter(patient=patient).first()
    if row is not None and row.zone != patient.timezone:
        plan_for(patient, row, now=now, is_anew=True)


@transaction.atomic
def snooze(*, message: Message, minutes: int, now: datetime) -> Message:
    """Put a reminder that was shown off: it comes once more, in the place of the first."""
    assert message.patient is not None
    patient = lock(message.patient)
    row = Message.objects.get(pk=message.pk)
    due_at = now + timedelta(minutes=minutes)
    ends = valid_until(row.kind, due_at, row.on, patient.zone)
    if row.kind not in REMINDERS or row.status != Message.Status.SENT:
        raise StateConflict("Only a reminder that was sent can be put off.")
    if now.astimezone(patient.zone).date() != row.on or ends < due_at:
        raise StateConflict("The day that this reminder was for is over.")
    row.status, row.why = Message.Status.WAITING, Message.Why.SNOOZED
    row.due_at = row.attempt_due_at = due_at
    row.valid_until = ends
    row.decided_at = row.confirmed_at = row.resent_at = None
    row.retries = row.unanswered = 0
    row.save()
    return row


def confirm(*, patient: Patient, ids: Iterable[UUID], now: datetime) -> int:
    """The phone has shown these. Says how many were news."""
    return Message.objects.filter(
        pk__in=list(ids), patient=patient, person_id=patient.user_id, confirmed_at=None
    ).update(confirmed_at=now)


def forget_old_messages(*, now: datetime, kept: timedelta) -> int:
    """Throw away what is older than the ledger is kept."""
    old = Message.objects.filter(due_at__lt=now - kept, attempt_due_at=None)
    Delivery.objects.filter(message__in=old).delete()
    return old.delete()[0]
