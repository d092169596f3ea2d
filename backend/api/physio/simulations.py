"""Trying a protocol, or a draft of one, on people who do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import Role
from backend.api.contract import operation
from backend.api.fields import In, Many, Text, Truth, Whole
from backend.api.physio.protocols import DRAFT, OneProtocol
from backend.problems import ValidationFailed
from protocols import drafting, publishing
from protocols.engine import definition
from protocols.engine.case import Judged, Outcome
from protocols.models import ProtocolDraft, ProtocolVersion
from protocols.share_plot import share_plot
from protocols.simulation import Summary, Trace, cohort_of, day_of, place_of, quartiles

# A request is done within two seconds, whatever the protocol is like (docs/performance.md); more
# people and days are for the command, for which no other request waits.
MOST_PEOPLE, MOST_DAYS, MOST_TRACES = 200, 180, 10
OUTCOMES = tuple(outcome.value for outcome in Outcome)


class SimulationIn(In):
    version = Text(20, required=False)
    cohort = Whole(1, MOST_PEOPLE, required=False, default=100)
    days = Whole(1, MOST_DAYS, required=False, default=120)
    seed = Whole(0, 2**31 - 1, required=False, default=1)
    trace = Many(Whole(1, MOST_PEOPLE), MOST_TRACES, required=False, default=list)
    picture = Truth(required=False, default=False)


class QuartilesOut(serializers.Serializer[Any]):
    first = serializers.FloatField()
    median = serializers.FloatField()
    third = serializers.FloatField()


class SimulatedOutcomeOut(serializers.Serializer[Any]):
    """How many `people` it was decided for at least once, on how many `dates` in all, and on which
    day for the first time."""

    outcome = serializers.ChoiceField(OUTCOMES)
    people = serializers.IntegerField()
    dates = serializers.IntegerField()
    first_day = QuartilesOut(required=False)


class SimulatedArrivalOut(serializers.Serializer[Any]):
    """How many came to a phase, or through all of them (`completed`), and on which day."""

    place = serializers.CharField()
    people = serializers.IntegerField()
    day = QuartilesOut(required=False)


class SimulatedShareOut(serializers.Serializer[Any]):
    """Which share of the people is in a phase, `completed` or `stopped`, from day 1 on."""

    place = serializers.CharField()
    by_day = serializers.ListField(child=serializers.FloatField())


class SimulatedAlertOut(serializers.Serializer[Any]):
    level = serializers.CharField()
    code = serializers.CharField()


class SimulatedDayOut(serializers.Serializer[Any]):
    """A date as it was lived and judged. `failed` names the gates that kept somebody in a phase."""

    day = serializers.IntegerField()
    place = serializers.CharField()
    phase_id = serializers.CharField()
    planned = serializers.IntegerField()
    done = serializers.IntegerField()
    pain_before = serializers.IntegerField(required=False)
    pain_during = serializers.IntegerField(required=False)
    pain_next_morning = serializers.IntegerField(required=False)
    colour = serializers.CharField()
    outcome = serializers.ChoiceField(OUTCOMES)
    rule = serializers.CharField()
    failed = serializers.ListField(child=serializers.CharField())
    alerts = SimulatedAlertOut(many=True)


class SimulatedPersonOut(serializers.Serializer[Any]):
    person = serializers.IntegerField()
    days = SimulatedDayOut(many=True)


class SimulationOut(serializers.Serializer[Any]):
    """The same protocol, seed, people and days give the same answer. A larger cohort begins with
    the same people. `picture` is an SVG of the shares that stands by itself."""

    version = serializers.CharField()
    cohort = serializers.IntegerField()
    days = serializers.IntegerField()
    seed = serializers.IntegerField()
    outcomes = SimulatedOutcomeOut(many=True)
    reached = SimulatedArrivalOut(many=True)
    shares = SimulatedShareOut(many=True)
    traces = SimulatedPersonOut(many=True)
    picture = serializers.CharField(required=False)


class Simulations(OneProtocol):
    roles = frozenset({Role.PHYSIOTHERAPIST})

    @operation("protocol_simulate", takes=SimulationIn, gives={200: SimulationOut}, tag="protocols")
    def post(self, request: Request, id: str) -> Response:
        """What a version, or `draft`, would do to a cohort of invented people.

        Without `version` the newest one, or the draft where there is none. `trace` names the people
        by number whose days are told one by one; `picture` asks for the SVG. Nothing is stored. A
        draft with errors is refused with those of the check.
        """
        self.visible(id)
        said = SimulationIn.checked(request.data)
        found = self.one(id, said.get("version"))
        if found is None:
            raise ValidationFailed.at("#/version", "unknown-reference", "No such version.")
        for order, number in enumerate(said["trace"]):
            if number > said["cohort"]:
                detail = "The cohort has fewer people."
                raise ValidationFailed.at(f"#/trace/{order}", "unknown-reference", detail)
        wanted = set(said["trace"])
        protocol = self._protocol(found)
        summary, kept = Summary(protocol, said["days"]), []
        cohort = cohort_of(protocol, people=said["cohort"], days=said["days"], seed=said["seed"])
        for trace in cohort:
            summary.take(trace)
            if trace.number in wanted:
                kept.append(trace)
        version = DRAFT if isinstance(found, ProtocolDraft) else found.version
        return Response(_shown(summary, kept, {**said, "version": version}))

    def _protocol(self, found: ProtocolVersion | ProtocolDraft) -> definition.Protocol:
        if isinstance(found, ProtocolVersion):
            return found.definition
        if errors := publishing.errors_of(drafting.check(draft=found, by=self.person)):
            raise drafting.refusal(errors)
        return definition.parse(found.document)


def _shown(summary: Summary, kept: Sequence[Trace], said: dict[str, Any]) -> dict[str, object]:
    shown: dict[str, object] = {
        **{name: said[name] for name in ("version", "cohort", "days", "seed")},
        "outcomes": [
            {
                "outcome": outcome.value,
                "people": summary.people[outcome],
                "dates": summary.dates[outcome],
                **_quartiles("first_day", summary.first_days.get(outcome, ())),
            }
            for outcome in Outcome
        ],
        "reached": [
            {"place": place, "people": len(days), **_quartiles("day", days)}
            for place in summary.order
            if (days := summary.reached.get(place))
        ],
        "shares": [
            {"place": place, "by_day": [round(share, 4) for share in summary.shares(place)]}
            for place in summary.order
        ],
        "traces": [
            {"person": trace.number, "days": [_day(one) for one in trace.days]} for trace in kept
        ],
    }
    if said["picture"]:
        protocol = summary.protocol
        title = f"{protocol.title}: share in each phase by day"
        about = f"{said['cohort']} synthetic people over {said['days']} days, seed {said['seed']}."
        shown["picture"] = share_plot(summary, title=title, about=about)
    return shown


def _quartiles(name: str, days: Sequence[int]) -> dict[str, object]:
    found = quartiles(days)
    return {name: dict(zip(("first", "median", "third"), found, strict=True))} if found else {}


def _day(one: Judged) -> dict[str, object]:
    pains = {
        "pain_before": one.day.before,
        "pain_during": one.day.during,
        "pain_next_morning": one.day.next_morning,
    }
    return {
        "day": day_of(one),
        "place": place_of(one),
        "phase_id": one.phase_id,
        "planned": one.planned,
        "done": one.day.done,
        **{name: pain for name, pain in pains.items() if pain is not None},
        "colour": one.colour.value,
        "outcome": one.outcome.value,
        "rule": one.rule,
        "failed": list(one.failed),
        "alerts": [{"level": alert.level, "code": alert.code} for alert in one.alerts],
    }
