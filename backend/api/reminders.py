"""The app: when one wants to be reminded, what came of it, and what the phone says of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import PatientEndpoint, etag_of, match, moment, path_id, tagged
from backend.api.contract import PAGE, operation, query
from backend.api.fields import Day, In, Many, Truth, Uid, WallClock, Whole, Word, refuse
from backend.api.paging import CursorInvalid, filters_of, page
from backend.api.schemas import page_of
from backend.clinics.actions import lock
from backend.clinics.models import Patient
from backend.notifications import actions
from backend.notifications.models import Message, ReminderSettings
from backend.notifications.planning import WEEKDAYS
from backend.notifications.schedule import is_quiet
from backend.notifications.verdict import OF_SETTINGS
from backend.problems import NotFound, StateConflict, ValidationFailed

CHANNELS = ("local", "push", "email")
KINDS, STATUSES, REASONS = Message.Kind.values, Message.Status.values, Message.Why.values
MOST_TIMES = 6
MOST_RECEIPTS = 100
NUDGE_MIN, NUDGE_MAX = 15, 360
SNOOZE_MIN, SNOOZE_MAX = 5, 120


# --- The wishes -------------------------------------------------------------------------------


class ReminderSettingsIn(In):
    """Any of these. `null` where it may stand switches that off; the quiet hours go together."""

    enabled = Truth(required=False)
    times = Many(WallClock(), MOST_TIMES, required=False)
    days = Many(Word(WEEKDAYS), len(WEEKDAYS), required=False)
    check_in_at = WallClock(required=False, allow_null=True)
    nudge_after_min = Whole(NUDGE_MIN, NUDGE_MAX, required=False, allow_null=True)
    quiet_from = WallClock(required=False, allow_null=True)
    quiet_to = WallClock(required=False, allow_null=True)
    channels = Many(Word(CHANNELS), len(CHANNELS), required=False)
    paused_until = Day(required=False, allow_null=True)
    weekly_summary = Truth(required=False)

    def validate_times(self, found: list[time]) -> list[str]:
        if len(set(found)) < len(found):
            refuse("duplicate", _("One time stands twice."))
        return [f"{at:%H:%M}" for at in sorted(found)]

    def validate_days(self, found: list[str]) -> list[str]:
        return [day for day in WEEKDAYS if day in found]

    def validate_channels(self, found: list[str]) -> list[str]:
        return [channel for channel in CHANNELS if channel in found]


class ReminderSettingsOut(serializers.Serializer[Any]):
    """When and how a patient is reminded. Times are on the wall clock of wherever the phone is.

    `local`: the phone shows reminders by itself, from the plan. `paused_until` is the last date
    without any. `nudge_after_min` later comes a second one, where nothing was logged by then.
    `next_at` is the next reminder that the service knows of.
    """

    enabled = serializers.BooleanField()
    times = serializers.ListField(child=serializers.CharField())
    days = serializers.ListField(child=serializers.ChoiceField(WEEKDAYS))
    check_in_at = serializers.CharField(allow_null=True)
    nudge_after_min = serializers.IntegerField(allow_null=True)
    quiet_from = serializers.CharField(allow_null=True)
    quiet_to = serializers.CharField(allow_null=True)
    channels = serializers.ListField(child=serializers.ChoiceField(CHANNELS))
    paused_until = serializers.DateField(allow_null=True)
    weekly_summary = serializers.BooleanField()
    timezone = serializers.CharField()
    version = serializers.IntegerField()
    next_at = serializers.DateTimeField(allow_null=True)


def wishes_shown(row: ReminderSettings, patient: Patient) -> dict[str, object]:
    return {
        "enabled": row.enabled,
        "times": row.times,
        "days": row.days,
        "check_in_at": _clock(row.check_in_at),
        "nudge_after_min": row.nudge_after_min,
        "quiet_from": _clock(row.quiet_from),
        "quiet_to": _clock(row.quiet_to),
        "channels": row.channels,
        "paused_until": row.paused_until.isoformat() if row.paused_until else None,
        "weekly_summary": row.weekly_summary,
        "timezone": patient.timezone,
        "version": row.version,
    }


def _clock(at: time | None) -> str | None:
    return None if at is None else f"{at:%H:%M}"


class Settings(PatientEndpoint):
    @operation(
        "reminder_settings_get", gives={200: ReminderSettingsOut, 304: None}, tag="reminders"
    )
    def get(self, request: Request) -> Response:
        return self._answer(request, actions.settings_of(self.patient))

    @operation(
        "reminder_settings_update", takes=ReminderSettingsIn, gives={200: ReminderSettingsOut},
        match="may", tag="reminders",
    )  # fmt: skip
    def patch(self, request: Request) -> Response:
        said = ReminderSettingsIn.checked(request.data, partial=True)
        with transaction.atomic():
            patient = self.person.patient = lock(self.patient)
            row = actions.settings_of(patient)
            edition = _edition(row, patient, self._next_at())
            match(request, etag_of(*edition), required=False)
            _check(row, said)
            row = actions.set_reminders(patient=patient, changes=said, now=self.now)
        return self._answer(request, row)

    def _answer(self, request: Request, row: ReminderSettings) -> Response:
        next_at = self._next_at()
        shown = wishes_shown(row, self.patient) | {"next_at": moment(next_at) if next_at else None}
        return tagged(request, shown, *_edition(row, self.patient, next_at))

    def _next_at(self) -> datetime | None:
        waiting = Message.objects.visible_to(self.person).filter(
            kind__in=OF_SETTINGS, status=Message.Status.WAITING
        )
        return waiting.order_by("due_at").values_list("due_at", flat=True).first()


def _edition(row: ReminderSettings, patient: Patient, next_at: datetime | None) -> tuple[Any, ...]:
    """What an answer depends on. The next reminder moves on by itself, and the tag with it."""
    return "reminders", patient.pk, row.version, patient.timezone, next_at


def _check(row: ReminderSettings, said: Mapping[str, Any]) -> None:
    """What only makes sense together, with what stands already."""
    stands = {
        name: said.get(name, getattr(row, name))
        for name in ("enabled", "times", "days", "quiet_from", "quiet_to", "check_in_at")
    }
    first, last = stands["quiet_from"], stands["quiet_to"]
    if (first is None) != (last is None):
        name = "quiet_from" if first is None else "quiet_to"
        raise ValidationFailed.at(f"#/{name}", "required", _("Quiet hours begin and end."))
    if not stands["enabled"]:
        return
    if stands["times"] and not stands["days"]:
        raise ValidationFailed.at("#/days", "required", _("On at least one day of the week."))
    if first is None:
        return
    for at, name in enumerate(stands["times"]):
        if is_quiet(time.fromisoformat(name), first, last):
            raise ValidationFailed.at(f"#/times/{at}", "invalid-value", QUIET_THEN)
    if stands["check_in_at"] and is_quiet(stands["check_in_at"], first, last):
        raise ValidationFailed.at("#/check_in_at", "invalid-value", QUIET_THEN)


QUIET_THEN = "Lies in the quiet hours."


# --- The ledger -------------------------------------------------------------------------------


class ReminderOut(serializers.Serializer[Any]):
    """One message and what became of it. `why` is the reason for it, or for silence.

    A phone that shows a reminder by itself uses `id` for it as well: the one that comes by push
    has the same, so that it is shown once.
    """

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(KINDS)
    on = serializers.DateField()
    slot = serializers.CharField()
    status = serializers.ChoiceField(STATUSES)
    why = serializers.ChoiceField(REASONS, required=False)
    due_at = serializers.DateTimeField()
    valid_until = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(required=False)
    confirmed_at = serializers.DateTimeField(required=False)
    resent_at = serializers.DateTimeField(required=False)
    failure = serializers.CharField(required=False)
    retries = serializers.IntegerField()


def reminder_shown(row: Message) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": str(row.pk),
        "kind": row.kind,
        "on": row.on.isoformat(),
        "slot": row.slot,
        "status": row.status,
        "due_at": moment(row.due_at),
        "valid_until": moment(row.valid_until),
        "retries": row.retries,
    }
    for name in ("sent_at", "confirmed_at", "resent_at"):
        if (at := getattr(row, name)) is not None:
            shown[name] = moment(at)
    return shown | {name: said for name in ("why", "failure") if (said := getattr(row, name))}


class ReminderFilters(In):
    kind = Word(KINDS, required=False)
    status = Word(STATUSES, required=False)
    on = Day(required=False)


REMINDER_FILTERS = [
    query("kind", "Only these.", {"type": "string", "enum": KINDS}),
    query("status", "Only these.", {"type": "string", "enum": STATUSES}),
    query("on", "Only those for this day.", OpenApiTypes.DATE),
    *PAGE,
]


class Reminders(PatientEndpoint):
    @operation(
        "reminder_list", gives={200: page_of(ReminderOut)}, params=REMINDER_FILTERS,
        refuses=[CursorInvalid], tag="reminders",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """What is to come within two days, and what became of the rest; the newest first."""
        asked = filters_of(request, ReminderFilters)
        rows = Message.objects.visible_to(self.person).filter(**asked)
        return page(request, rows, order=("-due_at", "-id"), shown=reminder_shown, filters=asked)


class SnoozeIn(In):
    minutes = Whole(SNOOZE_MIN, SNOOZE_MAX)


class Snooze(PatientEndpoint):
    @operation(
        "reminder_snooze", takes=SnoozeIn, gives={200: ReminderOut}, refuses=[StateConflict],
        key=True, tag="reminders",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """Once more, so many minutes from now, in the place of the first."""
        said = SnoozeIn.checked(request.data)
        row = Message.objects.visible_to(self.person).filter(pk=path_id(id)).first()
        if row is None:
            raise NotFound
        row = actions.snooze(message=row, minutes=said["minutes"], now=self.now)
        return Response(reminder_shown(row))


class ReminderReceiptsIn(In):
    """Ids of reminders that the phone has shown."""

    ids = Many(Uid(), MOST_RECEIPTS)


class ReminderReceiptsOut(serializers.Serializer[Any]):
    """How many of them were not confirmed before. Unknown ones are passed over."""

    confirmed = serializers.IntegerField()


class Receipts(PatientEndpoint):
    @operation(
        "reminder_confirm", takes=ReminderReceiptsIn, gives={200: ReminderReceiptsOut},
        tag="reminders",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        said = ReminderReceiptsIn.checked(request.data)
        count = actions.confirm(patient=self.patient, ids=said["ids"], now=self.now)
        return Response({"confirmed": count})
