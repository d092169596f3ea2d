"""A patient's dates in a row on the wire, for staff and, less of it, for the patient."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request

from backend.api.contract import query
from backend.api.fields import Day, In
from backend.api.paging import filters_of
from backend.problems import MalformedRequest
from backend.reports.timeline import (
    OUTCOMES,
    Limit,
    Lived,
    Mark,
    Marker,
    Metric,
    Span,
    Timeline,
    Timeliness,
)

USUAL_DAYS, MOST_DAYS = 28, 366
SPAN = (
    query("from", "First date; 28 days up to `to` when absent.", OpenApiTypes.DATE),
    query("to", "Last date; today when absent. At most 366 days.", OpenApiTypes.DATE),
)

# `from` is a keyword, hence no class statement.
TimelineFilters = type(
    "TimelineFilters",
    (In,),
    {"__module__": __name__, "from": Day(required=False), "to": Day(required=False)},
)


def span_of(request: Request, today: date) -> tuple[date, date]:
    """The first and the last date asked for."""
    asked = filters_of(request, TimelineFilters)
    last: date = asked.get("to") or today
    first: date = asked.get("from") or last - timedelta(days=USUAL_DAYS - 1)
    if not first <= last <= first + timedelta(days=MOST_DAYS - 1):
        raise MalformedRequest(f"`from` and `to` name 1 to {MOST_DAYS} days.")
    return first, last


class TimelineLoadOut(serializers.Serializer[Any]):
    """What the exercises that count add up to, each in its unit. `session_load_au` is effort times
    minutes. What nothing was said of is absent."""

    reps = serializers.FloatField(required=False)
    hold_s = serializers.FloatField(required=False)
    duration_s = serializers.FloatField(required=False)
    distance_m = serializers.FloatField(required=False)
    session_load_au = serializers.FloatField(required=False)


class TimelineDayOut(serializers.Serializer[Any]):
    """One date with a plan or a record. `outcome` is that of its least complete slot, `dose_ratio`
    that of the slots of which anything was told, and of pain and effort it is the worst.

    What is absent was not reported; it is not zero.
    """

    date = serializers.DateField()
    due = serializers.IntegerField()
    done = serializers.IntegerField()
    outcome = serializers.ChoiceField(OUTCOMES)
    dose_ratio = serializers.FloatField(required=False, min_value=0, max_value=1)
    timeliness = serializers.ChoiceField([*Timeliness], required=False)
    pain_morning = serializers.IntegerField(required=False)
    pain_before = serializers.IntegerField(required=False)
    pain_during = serializers.IntegerField(required=False)
    pain_after = serializers.IntegerField(required=False)
    effort = serializers.FloatField(required=False)
    load = TimelineLoadOut(required=False)


TimelinePhaseOut = type(
    "TimelinePhaseOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": "A phase, from the date on which it began. Another of its plan ends it.",
        "assignment_id": serializers.UUIDField(),
        "id": serializers.CharField(),
        "number": serializers.IntegerField(),
        "title": serializers.CharField(),
        "from": serializers.DateField(),
    },
)


class TimelineMarkerOut(serializers.Serializer[Any]):
    """What stands out. `code` is that of a flag, `until` the last date of a pause that has one."""

    date = serializers.DateField()
    kind = serializers.ChoiceField([*Mark])
    text = serializers.CharField()
    code = serializers.CharField(required=False)
    until = serializers.DateField(required=False)


TimelineLimitOut = type(
    "TimelineLimitOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": "A limit of pain, 0 to 10, in a plan, from the date on which the plan began. Up "
        "to `pain_during` a date lets the plan go on.",
        "assignment_id": serializers.UUIDField(),
        "from": serializers.DateField(),
        "metric": serializers.ChoiceField([*Metric]),
        "value": serializers.IntegerField(),
    },
)
TimelineOut = type(
    "TimelineOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": "Dates in a row, oldest first, up to today, as a chart draws them. Dates with "
        "neither plan nor record are left out. What phases and pauses began before is there, too.",
        "patient_id": serializers.UUIDField(),
        "from": serializers.DateField(),
        "to": serializers.DateField(),
        "timezone": serializers.CharField(),
        "phases": TimelinePhaseOut(many=True),
        "days": TimelineDayOut(many=True),
        "markers": TimelineMarkerOut(many=True),
        "limits": TimelineLimitOut(many=True),
    },
)


def timeline_shown(found: Timeline) -> dict[str, object]:
    return {
        "patient_id": str(found.patient.pk),
        "from": found.first.isoformat(),
        "to": found.last.isoformat(),
        "timezone": found.patient.timezone,
        "phases": [_phase_shown(one) for one in found.phases],
        "days": [_day_shown(one) for one in found.days],
        "markers": [_marker_shown(one) for one in found.markers],
        "limits": [_limit_shown(one) for one in found.limits],
    }


GIVEN = ("dose_ratio", "timeliness", "pain_morning", "pain_before", "pain_during", "pain_after",
         "effort")  # fmt: skip


def _day_shown(one: Lived) -> dict[str, object]:
    shown: dict[str, object] = {
        "date": one.on.isoformat(),
        "due": one.due,
        "done": one.done,
        "outcome": one.outcome,
    }
    shown |= {name: value for name in GIVEN if (value := getattr(one, name)) is not None}
    return shown | ({"load": one.load} if one.load else {})


def _phase_shown(one: Span) -> dict[str, object]:
    return {
        "assignment_id": str(one.assignment_id),
        "id": one.phase.id,
        "number": one.phase.number,
        "title": one.phase.title,
        "from": one.begun.isoformat(),
    }


def _marker_shown(one: Marker) -> dict[str, object]:
    shown: dict[str, object] = {"date": one.on.isoformat(), "kind": one.kind, "text": one.text}
    shown |= {"code": one.code} if one.code else {}
    return shown | ({"until": one.until.isoformat()} if one.until else {})


def _limit_shown(one: Limit) -> dict[str, object]:
    return {
        "assignment_id": str(one.assignment_id),
        "from": one.since.isoformat(),
        "metric": one.metric,
        "value": one.value,
    }
