"""Sessions and check-ins on the wire: what a phone may say, and how a record is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

from rest_framework import serializers

from backend.api.base import etag_of, moment
from backend.api.fields import (
    Day,
    In,
    Instant,
    Many,
    Number,
    Text,
    Truth,
    Uid,
    Whole,
    Word,
    Zone,
    warnings_out,
    warnings_shown,
)
from backend.care.models import CheckIn, Revision, Session
from backend.care.recording import Receipt, Report
from backend.problems import ValidationFailed
from protocols.knowledge import pain_words, safety

SKIP_REASONS = (
    "pain",
    "illness",
    "no_time",
    "forgot",
    "no_equipment",
    "away",
    "advised_to_rest",
    "glucose",
    "other",
)
LEG_SYMPTOMS = ("none", "back_or_buttock", "thigh", "calf", "foot")
SIDES = ("left", "right", "both", "none")
SCREENS = ("intake", "session_start", "weekly")
KETONES = ("negative", "positive")
MOST_GLUCOSE = 100  # more is no reading
MOST_REVISIONS = 1_000_000

Kind = Revision.Kind


def stop_sign_codes() -> list[str]:
    """Codes a patient can report (safety library); what a rule computes is not among them."""
    return [code for code, sign in safety().red_flags.items() if sign.asked]


def pain_word_codes() -> list[str]:
    """Words for what a pain is like (safety library)."""
    return list(pain_words())


def worse_with_codes() -> list[str]:
    """What can make it worse (safety library)."""
    return list(safety().worse_with)


class PhoneIn(In):
    """An upload from a phone: unknown fields are kept out and named in `warnings`."""

    lenient = True


class SetIn(PhoneIn):
    reps = Whole(0, 200, required=False)
    hold_s = Number(0, 600, required=False)
    load_kg = Number(0, 500, required=False)
    distance_m = Number(0, 50_000, required=False)
    duration_s = Number(0, 21_600, required=False)
    side = Word(SIDES, required=False)
    pain = Whole(0, 10, required=False)
    effort = Number(0, 10, per_unit=2, required=False)


class EntryIn(PhoneIn):
    prescription_id = Uid(required=False)
    exercise_id = Uid(required=False)
    state = Word(("done", "skipped"))
    skip_reason = Word(SKIP_REASONS, required=False)
    sets = Many(SetIn(), 20, required=False)
    pain = Whole(0, 10, required=False)
    effort = Number(0, 10, per_unit=2, required=False)
    note = Text(1000, required=False, allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("prescription_id" in attrs) == ("exercise_id" in attrs):
            raise serializers.ValidationError(
                {"prescription_id": ["Either prescription_id or exercise_id."]}, code="required"
            )
        if attrs["state"] == "skipped" and "skip_reason" not in attrs:
            raise serializers.ValidationError({"skip_reason": ["Say why."]}, code="required")
        return attrs


class RecordIn(PhoneIn):
    """What sessions and check-ins have in common.

    `screen` says that this screen was answered in full: what is not among `stop_signs` is a no.
    """

    local_date = Day()
    timezone = Zone()
    recorded_at = Instant()
    leg_symptom = Word(LEG_SYMPTOMS, required=False)
    stop_signs = Many(Word(stop_sign_codes()), 40, required=False)
    screen = Word(SCREENS, required=False)
    note = Text(1000, required=False, allow_blank=True)


class SessionDataIn(RecordIn):
    """`glucose_mmol_l` and `ketones` are asked before a session where the plan's advice says so.
    Positive ketones, or `skip_reason` glucose, excuse the date."""

    assignment_id = Uid(required=False)
    assignment_version = Whole(1, MOST_REVISIONS, required=False)
    slot_id = Uid(required=False)
    started_at = Instant(required=False)
    ended_at = Instant(required=False)
    state = Word(("open", "finished", "skipped"))
    skip_reason = Word(SKIP_REASONS, required=False)
    pain_before = Whole(0, 10, required=False)
    pain_during = Whole(0, 10, required=False)
    pain_after = Whole(0, 10, required=False)
    effort = Number(0, 10, per_unit=2, required=False)
    settle_min = Whole(0, 1440, required=False)
    pop_felt = Truth(required=False)
    glucose_mmol_l = Number(0, MOST_GLUCOSE, per_unit=10, required=False)
    ketones = Word(KETONES, required=False)
    entries = Many(EntryIn(), 40, required=False)


class SessionIn(SessionDataIn):
    revision = Whole(1, MOST_REVISIONS)


class CheckInDataIn(RecordIn):
    """`words` and `worse_with` are what the patient ticks of the lists in the plan's advice. They
    are read by the physiotherapist and name no cause."""

    pain_now = Whole(0, 10, required=False)
    stiffness = Whole(0, 10, required=False)
    confidence = Whole(0, 10, required=False)
    nprs_worst = Whole(0, 10, required=False)
    night_symptoms = Truth(required=False)
    constant_symptoms = Truth(required=False)
    words = Many(Word(pain_word_codes()), 20, required=False)
    worse_with = Many(Word(worse_with_codes()), 20, required=False)


class CheckInIn(CheckInDataIn):
    revision = Whole(1, MOST_REVISIONS)


READERS: Mapping[Kind, type[RecordIn]] = {Kind.SESSION: SessionDataIn, Kind.CHECK_IN: CheckInDataIn}


def report_of(kind: Kind, phone_id: UUID, revision: int, data: object) -> Report:
    """A checked report. Raises `ValidationFailed` with pointers into `data`."""
    values, warnings = READERS[kind].checked_with_warnings(data)
    if kind is Kind.SESSION:
        _check_pair(values, "assignment_id", "assignment_version")
    return Report(kind, phone_id, revision, _plain(values), tuple(warnings))


def single_report(kind: Kind, phone_id: UUID, sent: object) -> Report:
    """As `report_of`, for a PUT, where the revision stands among the data."""
    if not isinstance(sent, dict):
        return report_of(kind, phone_id, 1, sent)
    data = dict(sent)
    revision = data.pop("revision", None)
    errors = ValidationFailed.of(())
    try:
        number = RevisionIn.checked({} if revision is None else {"revision": revision})["revision"]
    except ValidationFailed as refused:
        errors, number = refused, 1
    try:
        report = report_of(kind, phone_id, number, data)
    except ValidationFailed as refused:
        raise ValidationFailed.of([*errors.errors, *refused.errors]) from None
    if errors.errors:
        raise errors
    return report


class RevisionIn(In):
    revision = Whole(1, MOST_REVISIONS)


def _check_pair(values: Mapping[str, Any], *names: str) -> None:
    given = [name for name in names if name in values]
    if given and len(given) < len(names):
        missing = next(name for name in names if name not in values)
        raise ValidationFailed.at(f"#/{missing}", "required", f"Goes together with {given[0]}.")


def _plain(value: Any) -> Any:
    """Checked values as JSON. Whole floats become integers, so 7 and 7.0 are one content."""
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


# --- Out --------------------------------------------------------------------------------------


def record_shown(row: Session | CheckIn) -> dict[str, object]:
    """A record as it stands. A withdrawn one shows that it is, and nothing else."""
    shown: dict[str, object] = {"id": str(row.phone_id), "revision": row.revision}
    if row.withdrawn_at is not None:
        return shown | {"withdrawn": True, "received_at": moment(row.received_at)}
    return shown | {
        **(row.content or {}),
        "derived": row.derived,
        "received_at": moment(row.received_at),
        "history_count": row.history_count,
    }


def etag_of_record(row: Session | CheckIn) -> str:
    """The same for a record as stored and as read again: a database may reorder what it keeps."""
    derived = json.dumps(row.derived, sort_keys=True)
    return etag_of(row.pk, row.revision, row.sha256, row.received_at, row.history_count, derived)


def result_shown(receipt: Receipt) -> dict[str, object]:
    """What became of an upload."""
    row = receipt.row
    shown: dict[str, object] = {
        "id": str(row.phone_id),
        "status": receipt.status.value,
        "revision": row.revision,
        "warnings": warnings_shown(receipt.warnings),
        "effects": list(receipt.effects),
    }
    if receipt.plan_changes:
        shown["plan_changes"] = list(receipt.plan_changes)
    if row.derived is not None:
        shown["derived"] = row.derived
    if receipt.status in ("superseded", "conflict"):
        shown["current"] = record_shown(row)
    return shown


class DoneItemOut(serializers.Serializer[Any]):
    prescription_id = serializers.UUIDField()
    dose_unit = serializers.ChoiceField(["reps", "hold_s", "duration_s", "distance_m"])
    prescribed = serializers.FloatField()
    performed = serializers.FloatField()
    ratio = serializers.FloatField(min_value=0, max_value=1)


class DerivedOut(serializers.Serializer[Any]):
    """What the service makes of a record, never trusting the phone for it."""

    outcome = serializers.ChoiceField(Session.Outcome.choices, required=False)
    dose_ratio = serializers.FloatField(required=False, min_value=0, max_value=1)
    items = DoneItemOut(many=True, required=False)
    timeliness = serializers.ChoiceField(["on_time", "late"], required=False)
    clock = serializers.ChoiceField(["ok", "suspect"])
    duration_s = serializers.IntegerField(required=False)
    rates_session_day = serializers.DateField(required=False)
    flags = serializers.ListField(child=serializers.CharField(), required=False)


class EffectOut(serializers.Serializer[Any]):
    kind = serializers.CharField()
    code = serializers.CharField()
    flag_id = serializers.UUIDField()
    level = serializers.ChoiceField(["emergency", "urgent", "routine"])
    advice = serializers.CharField()


PlanChangeOut = type(
    "PlanChangeOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": "From a date on the plan is lighter, or in another phase: read it again.",
        "code": serializers.CharField(),
        "from": serializers.DateField(),
    },
)


class AsItStands(serializers.Serializer[Any]):
    """What the phone said. A withdrawn record says nothing but that it is."""

    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        for name in fields.keys() - {"id", "revision", "received_at"}:
            fields[name].required = False
        return fields


class SessionOut(AsItStands, SessionDataIn):
    """A session as it stands; `withdrawn` ones carry nothing but that."""

    id = serializers.UUIDField()
    revision = serializers.IntegerField()
    withdrawn = serializers.BooleanField(required=False)
    derived = DerivedOut(required=False)
    received_at = serializers.DateTimeField()
    history_count = serializers.IntegerField(required=False)


class CheckInOut(AsItStands, CheckInDataIn):
    """A check-in as it stands."""

    id = serializers.UUIDField()
    revision = serializers.IntegerField()
    withdrawn = serializers.BooleanField(required=False)
    derived = DerivedOut(required=False)
    received_at = serializers.DateTimeField()
    history_count = serializers.IntegerField(required=False)


class RecordResultOut(serializers.Serializer[Any]):
    """What became of an upload, and what the service derived from it."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(
        ["created", "updated", "unchanged", "superseded", "conflict", "rejected", "retry"]
    )
    revision = serializers.IntegerField()
    derived = DerivedOut(required=False)
    warnings = warnings_out()
    effects = EffectOut(many=True)
    plan_changes = PlanChangeOut(many=True, required=False)


class SessionResultOut(RecordResultOut):
    current = SessionOut(required=False)


class CheckInResultOut(RecordResultOut):
    current = CheckInOut(required=False)
