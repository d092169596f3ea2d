"""The plan as the phone reads it. Plain dicts: this is the hottest answer of the service."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_args

from django.conf import settings
from rest_framework import serializers

from backend.api.base import Encoded, as_json, moment
from backend.care.selectors import (
    Adjustment,
    Course,
    DayType,
    Plan,
    PlannedDay,
    PlannedSlot,
    SlotStatus,
    StopSign,
    closing_time,
)
from backend.clinics.models import Clinic
from exercises.models import Exercise
from protocols.engine.definition import Dose, Limits
from protocols.engine.glides import ANSWERS
from protocols.engine.plan import Item, Slot
from protocols.knowledge import Moment, pain_words, rules, safety

CHECK_IN_FROM = "06:00"
WINDOWS = {
    "morning": ({"from": "06:00", "to": "11:00"}, "08:00"),
    "midday": ({"from": "11:00", "to": "16:00"}, "12:30"),
    "evening": ({"from": "16:00", "to": "22:00"}, "18:00"),
    "any": ({"from": "06:00", "to": "22:00"}, "18:00"),
}
SECONDS_A_REPETITION = 4
WEEK = 7
WORST_PAIN = 10
MOMENTS = get_args(Moment)


@cache
def edition() -> str:
    """One digest of all in a plan that no counter of the patient tells of: texts and times."""
    said = (settings.SERVICE_VERSION, CHECK_IN_FROM, WINDOWS, safety(), rules())
    return hashlib.sha256(repr(said).encode()).hexdigest()


def day_closes_at() -> str:
    return f"{closing_time():%H:%M}"


def plan_shown(plan: Plan) -> dict[str, object]:
    patient = plan.patient
    items = _Items(plan.exercises)
    shown: dict[str, object] = {
        "patient_id": str(patient.pk),
        "version": patient.plan_version,
        "timezone": patient.timezone,
        "from": plan.first.isoformat(),
        "day_closes_at": day_closes_at(),
        "days": [_day(day, items) for day in plan.days],
        "on_device_advice": advice(plan.courses, patient.clinic, patient.conditions),
    }
    return shown | ({"stop": stop_shown(plan.stop)} if plan.stop else {})


def stop_shown(stop: Sequence[StopSign]) -> dict[str, object]:
    """Why everything is stopped, and what to do: first what a single sign has to say."""
    known = safety()
    level = stop[0].level
    texts = [line for sign in stop for line in known.red_flags[sign.code].patient_text]
    texts += [*known.levels[level].patient_text, known.texts[TEXTS[Adjustment.STOPPED]]]
    return {
        "since": moment(min(sign.raised_at for sign in stop)),
        "level": level,
        "codes": [sign.code for sign in stop],
        "patient_text": list(dict.fromkeys(texts)),
    }


# The texts of the safety library that say why a day asks for less.
TEXTS = {
    Adjustment.STOPPED: "stop_standing",
    Adjustment.ADVISED_REST: "advised_rest",
    Adjustment.HALF_DOSE: "half_dose",
    Adjustment.EASED: "eased",
}


def _adjustment(course: Course, why: Adjustment) -> dict[str, object]:
    known, text = safety(), TEXTS[why]
    return {
        "code": why.value,
        "assignment_id": str(course.id),
        "text": known.texts[text],
        "source": known.text_sources[text],
    }


def _day(day: PlannedDay, items: _Items) -> dict[str, object]:
    return {
        "date": day.on.isoformat(),
        "day_type": day.type.value,
        "assignments": [_assignment(course, day) for course in day.courses],
        "adjustments": [_adjustment(course, why) for course, why in day.adjustments],
        "slots": [_slot(one, items) for one in day.slots],
        "check_in": _check_in(day),
    }


def _assignment(course: Course, day: PlannedDay) -> dict[str, object]:
    span, phase = course.span_on(day.on), course.phase_on(day.on)
    version = course.assignment.protocol_version
    return {
        "assignment_id": str(course.id),
        "version": course.assignment.version,
        "protocol": {
            "id": str(version.protocol_id),
            "version": version.version,
            "title": course.protocol.title,
        },
        "phase": {
            "id": phase.id,
            "number": phase.number,
            "count": len(course.protocol.phases),
            "title": phase.title,
            "day_in_phase": span.day_of(day.on),
            "started_on": span.started_on.isoformat(),
        },
    }


def _slot(one: PlannedSlot, items: _Items) -> dict[str, object]:
    slot = one.slot
    window, remind_at = WINDOWS[slot.part_of_day]
    seconds = sum(_seconds(item.dose) for item in slot.items)
    return {
        "slot_id": str(slot.id),
        "assignment_id": str(one.course.id),
        "part_of_day": slot.part_of_day,
        "window": window,
        "remind_at": remind_at,
        "estimated_min": max(1, round(seconds / 60)),
        "counts": slot.counts,
        "status": one.status.value,
        "session_ids": [str(phone_id) for phone_id in one.session_ids],
        "items": items.of(slot),
    }


class _Items:
    """The items of slots as JSON. Most days repeat those of the day before: they are written once.

    Whatever the ids below are of lives as long as the plan.
    """

    def __init__(self, rows: Mapping[str, Exercise]) -> None:
        self._rows = rows
        self._exercises = {slug: _exercise(row) for slug, row in rows.items()}
        self._written: dict[tuple[tuple[int, int, int], ...], Encoded] = {}

    def of(self, slot: Slot) -> Encoded:
        same = tuple((id(item.prescribed), id(item.dose), item.times) for item in slot.items)
        if same not in self._written:
            shown = [self._item(order, item) for order, item in enumerate(slot.items, start=1)]
            self._written[same] = Encoded(as_json(shown).decode())
        return self._written[same]

    def _item(self, order: int, item: Item) -> dict[str, object]:
        prescribed = item.prescribed
        log_fields = self._rows[prescribed.exercise].log_fields
        shown: dict[str, object] = {
            "order": order,
            "prescription_id": prescribed.id,
            "prescription_version": prescribed.version,
            "exercise": self._exercises[prescribed.exercise],
            "dose": dose_shown(item.dose, prescribed.side),
            "pain_limit": {"scale": "nrs11", "during_max": prescribed.pain_ceiling},
            "counts": prescribed.counts,
            "log": {"per_set": log_fields, "per_exercise": ["pain", "effort"]},
        }
        if item.times > 1:
            shown["times_a_day"] = item.times
        if prescribed.note:
            shown["note"] = prescribed.note
        return shown


def _exercise(row: Exercise) -> dict[str, object]:
    return {
        "id": str(row.pk),
        "slug": row.slug,
        "version": row.version,
        "title": row.title,
        "kind": row.kind,
        "cues": row.cues,
        "media": row.media,
    }


def dose_shown(dose: Dose, side: str) -> dict[str, object]:
    """A dose without what does not apply; `side` is resolved for the patient."""
    shown: dict[str, object] = {"sets": dose.sets}
    if dose.reps is not None:
        shown["reps"] = {"min": dose.reps.min, "max": dose.reps.max}
    if dose.reps_by_set:
        shown["reps_by_set"] = list(dose.reps_by_set)
    for name in ("hold_s", "duration_s", "distance_m", "load_kg", "load_text", "tempo", "rest_s"):
        value = getattr(dose, name)
        if value is not None:
            shown[name] = value
    if dose.effort is not None:
        shown["effort"] = {
            "scale": dose.effort.scale, "min": dose.effort.min, "max": dose.effort.max,
        }  # fmt: skip
    return shown | {"side": side}


def _seconds(dose: Dose) -> int:
    reps = sum(dose.reps_by_set) or dose.sets * (dose.reps.max if dose.reps else 1)
    work = reps * (dose.hold_s or dose.duration_s or SECONDS_A_REPETITION)
    return work + max(0, dose.sets - 1) * (dose.rest_s or 0)


def _check_in(day: PlannedDay) -> dict[str, object]:
    if day.type in (DayType.NONE, DayType.PAUSED):
        return {"due": False}
    fields = ["pain_now", "stiffness", "confidence"]
    nerve = any(course.protocol.limits.nerve for course in day.courses)
    if nerve:
        fields.append("leg_symptom")
    if any((day.on - c.assignment.start_date).days % WEEK == 0 for c in day.courses):
        fields += ["nprs_worst", *(ANSWERS if nerve else ())]  # asked weekly
    window = {"from": CHECK_IN_FROM, "to": day_closes_at()}  # a rating is awaited until then
    return {"due": not day.check_in_given, "window": window, "fields": fields}


def advice(
    courses: tuple[Course, ...], clinic: Clinic, conditions: Sequence[str]
) -> dict[str, object]:
    """What the phone says offline: the strictest limits, the stop signs, and whom to call."""
    known = safety()
    said: dict[str, object] = {
        "pain_during": bands(strictest([course.protocol.limits for course in courses])),
        "stop_signs": stop_signs(),
        "review_signs": review_signs(),
        "screening": screening(courses, conditions),
        "pain_words": ticks(pain_words()),
        "worse_with": ticks(known.worse_with),
        "levels": {code: list(level.patient_text) for code, level in known.levels.items()},
        "urgent_text": known.texts["urgent"],
        "emergency_number": clinic.emergency_number,
    }
    if any("glucose_mmol_l" in one.fields and one.concerns((), conditions) for one in known.asking):
        said["glucose"] = glucose_bands()
    return said | ({"urgent_contact": clinic.urgent_contact} if clinic.urgent_contact else {})


def glucose_bands() -> list[dict[str, object]]:
    """What the phone says to a glucose value before a session; the last band has no end."""
    return [
        {
            "from": one.from_,
            "from_mg_dl": one.from_mg_dl,
            "advice": one.advice,
            "text": one.text,
        }
        | ({} if one.to is None else {"to": one.to, "to_mg_dl": one.to_mg_dl})
        for one in safety().glucose_bands
    ]


def stop_signs() -> list[dict[str, object]]:
    """What a patient can report that stops everything."""
    return [
        {"code": code, "text": sign.sign or sign.ask, "level": sign.level}
        | ({"patient_text": list(sign.patient_text)} if sign.patient_text else {})
        for code, sign in safety().red_flags.items()
        if sign.asked and sign.stops
    ]


def review_signs() -> list[dict[str, object]]:
    """What else a patient can report: a person looks at it, and the plan goes on."""
    return [
        {"code": code, "text": sign.sign or sign.ask, "level": sign.level}
        for code, sign in safety().red_flags.items()
        if sign.asked and not sign.stops
    ]


def ticks(offered: Mapping[str, str]) -> list[dict[str, object]]:
    """What a patient may tick in any check-in."""
    return [{"code": code, "text": text} for code, text in offered.items()]


def screening(courses: Sequence[Course], conditions: Sequence[str]) -> list[dict[str, object]]:
    """When the phone asks what, by itself and offline (safety.md section 3)."""
    known = safety()
    slugs = {course.protocol.slug for course in courses}
    nerve = any(course.protocol.limits.nerve for course in courses)
    told = []
    for one in known.asking:
        if not one.concerns(slugs, conditions):
            continue
        shown: dict[str, object] = {"moment": one.moment}
        fields = [*one.fields, *(one.nerve_fields if nerve else ())]
        more = {
            "text": known.texts.get(one.text),
            "all_signs": one.all_signs,
            "signs": list(one.signs),
            "fields": fields,
            "exercise": one.exercise,
            "every_days": one.every_days,
        }
        told.append(shown | {name: value for name, value in more.items() if value})
    return told


def strictest(limits: list[Limits]) -> tuple[int, int, int] | None:
    """P_prog, RED_dur and SEV, each the lowest of several plans."""
    if not limits:
        return None
    return (
        min(one.progress for one in limits),
        min(one.red for one in limits),
        min(one.severe for one in limits),
    )


def bands(limits: tuple[int, int, int] | None) -> list[dict[str, object]]:
    if limits is None:
        return []
    progress, red, severe = limits
    edges = (
        ("carry_on", 0, progress),
        ("carry_on_with_care", progress + 1, red - 1),
        ("ease_off", red, severe - 1),
        ("stop_today", severe, WORST_PAIN),
    )
    text = safety().pain_advice
    return [
        {"from": first, "to": last, "advice": code, "text": text[code]}
        for code, first, last in edges
        if first <= last
    ]


# --- The shape, for the API description -------------------------------------------------------


class RangeOut(serializers.Serializer[Any]):
    min = serializers.FloatField()
    max = serializers.FloatField()


class EffortRangeOut(RangeOut):
    scale = serializers.CharField()


class DoseOut(serializers.Serializer[Any]):
    """A range of repetitions is met at its minimum. With `hold_s`, `reps` counts the holds."""

    sets = serializers.IntegerField()
    reps = RangeOut(required=False)
    reps_by_set = serializers.ListField(child=serializers.IntegerField(), required=False)
    hold_s = serializers.IntegerField(required=False)
    duration_s = serializers.IntegerField(required=False)
    distance_m = serializers.IntegerField(required=False)
    load_kg = serializers.FloatField(required=False)
    load_text = serializers.CharField(required=False)
    effort = EffortRangeOut(required=False)
    tempo = serializers.CharField(required=False)
    rest_s = serializers.IntegerField(required=False)
    side = serializers.ChoiceField(["left", "right", "both", "alternate", "none"])


class MediaOut(serializers.Serializer[Any]):
    type = serializers.ChoiceField(["image", "video"])
    url = serializers.CharField()
    bytes = serializers.IntegerField()
    alt = serializers.CharField()
    licence = serializers.CharField(required=False)
    credit = serializers.CharField(required=False)


class PlanExerciseOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    version = serializers.CharField()
    title = serializers.CharField()
    kind = serializers.CharField()
    cues = serializers.ListField(child=serializers.CharField())
    media = MediaOut(many=True)


class PainLimitOut(serializers.Serializer[Any]):
    scale = serializers.CharField()
    during_max = serializers.IntegerField()


class LogFieldsOut(serializers.Serializer[Any]):
    per_set = serializers.ListField(child=serializers.CharField())
    per_exercise = serializers.ListField(child=serializers.CharField())


class PlanItemOut(serializers.Serializer[Any]):
    order = serializers.IntegerField()
    prescription_id = serializers.UUIDField()
    prescription_version = serializers.IntegerField()
    exercise = PlanExerciseOut()
    dose = DoseOut()
    pain_limit = PainLimitOut()
    counts = serializers.BooleanField()
    log = LogFieldsOut()
    times_a_day = serializers.IntegerField(required=False)
    note = serializers.CharField(required=False)


_Window = type(
    "WindowOut",
    (serializers.Serializer,),
    {"__module__": __name__, "from": serializers.CharField(), "to": serializers.CharField()},
)


class PlanSlotOut(serializers.Serializer[Any]):
    """One session that the plan expects; its id is the same however often the plan is read.

    On a paused day, what was not done is `excused`: not to be offered.
    """

    slot_id = serializers.UUIDField()
    assignment_id = serializers.UUIDField()
    part_of_day = serializers.ChoiceField(["morning", "midday", "evening", "any"])
    window = _Window()
    remind_at = serializers.CharField()
    estimated_min = serializers.IntegerField()
    counts = serializers.BooleanField()
    status = serializers.ChoiceField([one.value for one in SlotStatus])
    session_ids = serializers.ListField(child=serializers.UUIDField())
    items = PlanItemOut(many=True)


class PlanPhaseOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    number = serializers.IntegerField()
    count = serializers.IntegerField()
    title = serializers.CharField()
    day_in_phase = serializers.IntegerField()
    started_on = serializers.DateField()


class PlanProtocolOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    version = serializers.CharField()
    title = serializers.CharField()


class PlanAssignmentOut(serializers.Serializer[Any]):
    assignment_id = serializers.UUIDField()
    version = serializers.IntegerField()
    protocol = PlanProtocolOut()
    phase = PlanPhaseOut()


CheckInDueOut = type(
    "CheckInDueOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "due": serializers.BooleanField(),
        "window": _Window(required=False),
        "fields": serializers.ListField(child=serializers.CharField(), required=False),
    },
)


class AdjustmentOut(serializers.Serializer[Any]):
    """Why a day asks for less than the protocol does, in words for the patient."""

    code = serializers.ChoiceField([one.value for one in Adjustment])
    assignment_id = serializers.UUIDField()
    text = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # as everywhere


class StopOut(serializers.Serializer[Any]):
    """All exercise is stopped until a clinician clears it. `patient_text` is shown line by line."""

    since = serializers.DateTimeField()
    level = serializers.ChoiceField(["emergency", "urgent", "routine"])
    codes = serializers.ListField(child=serializers.CharField())
    patient_text = serializers.ListField(child=serializers.CharField())


class PlanDayOut(serializers.Serializer[Any]):
    date = serializers.DateField()
    day_type = serializers.ChoiceField([one.value for one in DayType])
    assignments = PlanAssignmentOut(many=True)
    adjustments = AdjustmentOut(many=True)
    slots = PlanSlotOut(many=True)
    check_in = CheckInDueOut()


PainAdviceOut = type(
    "PainAdviceOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "from": serializers.IntegerField(),
        "to": serializers.IntegerField(),
        "advice": serializers.ChoiceField(
            ["carry_on", "carry_on_with_care", "ease_off", "stop_today"]
        ),
        "text": serializers.CharField(),
    },
)


class StopSignOut(serializers.Serializer[Any]):
    """`patient_text` stands in place of the level's own, where the sign has one."""

    code = serializers.CharField()
    text = serializers.CharField()
    level = serializers.ChoiceField(["emergency", "urgent", "routine"])
    patient_text = serializers.ListField(child=serializers.CharField(), required=False)


# A member called `fields` would be in the way of the class's own, hence no class statement.
class _ScreeningFields(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, Any]:
        codes = serializers.ListField(child=serializers.CharField(), required=False)
        return super().get_fields() | {"fields": codes}


class ScreeningOut(_ScreeningFields):
    """One moment and what is asked in it: `all_signs`, or those in `signs`, by their codes; and
    these `fields` of the record. An answered screen is told by `screen` of the record; signs that
    are answered with yes are its `stop_signs`. No answer is not a no.
    """

    moment = serializers.ChoiceField(MOMENTS)
    text = serializers.CharField(required=False)
    all_signs = serializers.BooleanField(required=False)
    signs = serializers.ListField(child=serializers.CharField(), required=False)
    exercise = serializers.CharField(required=False)
    every_days = serializers.IntegerField(required=False)


GlucoseAdviceOut = type(
    "GlucoseAdviceOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": "What the phone says to a glucose value, in mmol/L, before a session.",
        "from": serializers.FloatField(),
        "to": serializers.FloatField(required=False),
        "from_mg_dl": serializers.IntegerField(),
        "to_mg_dl": serializers.IntegerField(required=False),
        "advice": serializers.CharField(),
        "text": serializers.CharField(),
    },
)


class TickOut(serializers.Serializer[Any]):
    """Something to tick in a check-in, where the patient likes to: `words`, or `worse_with`."""

    code = serializers.CharField()
    text = serializers.CharField()


class AdviceOut(serializers.Serializer[Any]):
    """What the phone says by itself, offline. Medical wording is content, not code."""

    pain_during = PainAdviceOut(many=True)
    stop_signs = StopSignOut(many=True)
    review_signs = StopSignOut(many=True)
    screening = ScreeningOut(many=True)
    pain_words = TickOut(many=True)
    worse_with = TickOut(many=True)
    glucose = GlucoseAdviceOut(many=True, required=False)
    levels = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))
    urgent_text = serializers.CharField()
    emergency_number = serializers.CharField()
    urgent_contact = serializers.CharField(required=False)


PlanOut = type(
    "PlanOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": "What to do on each day, and what became of it. Future days are a forecast.",
        "patient_id": serializers.UUIDField(),
        "version": serializers.IntegerField(),
        "timezone": serializers.CharField(),
        "from": serializers.DateField(),
        "day_closes_at": serializers.CharField(),
        "days": PlanDayOut(many=True),
        "stop": StopOut(required=False),
        "on_device_advice": AdviceOut(),
    },
)
