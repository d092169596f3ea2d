"""The caseload: patients in order of need, with the reasons that put them there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import StaffEndpoint, moment
from backend.api.contract import PAGE, operation, query
from backend.api.fields import In, Text, Uid, Word
from backend.api.paging import (
    CursorInvalid,
    alphabetic,
    filters_of,
    limit_of,
    linked,
    salt_of,
    sealed,
    unsealed,
)
from backend.api.physio.patients import TEXT, named
from backend.care.models import Assignment
from backend.care.prescribing import age_of
from backend.clinics.models import Patient, PatientQuerySet
from backend.reports import selectors
from backend.reports.selectors import RANKS, Case, Name, Reason, Shown, Tier, name_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
A_MICROSECOND = timedelta(microseconds=1)
Place = tuple[int, datetime, Name]  # of a patient on the whole list


class CaseloadFilters(In):
    physiotherapist_id = Uid(required=False)
    tier = Word(tuple(Tier), required=False)
    protocol_id = Uid(required=False)
    q = Text(100, required=False, trim_whitespace=True)
    include = Word((Tier.ON_TRACK,), required=False)


class CaseloadPatientOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    display_name = serializers.CharField()
    age = serializers.IntegerField()


class CaseloadReasonOut(serializers.Serializer[Any]):
    """`code` is that of a flag of the safety library, or one of the words of the tier table."""

    code = serializers.CharField()
    tier = serializers.ChoiceField(tuple(Tier))
    since = serializers.DateTimeField()
    params = serializers.DictField()
    flag_id = serializers.UUIDField(required=False)
    progression_id = serializers.UUIDField(required=False)
    assignment_id = serializers.UUIDField(required=False)
    text = serializers.CharField()


class CaseloadPhaseOut(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    count = serializers.IntegerField()
    title = serializers.CharField()
    day_in_phase = serializers.IntegerField()


class CaseloadWeekOut(serializers.Serializer[Any]):
    """The last seven closed dates. What is not known of them is absent."""

    due = serializers.IntegerField()
    done = serializers.IntegerField()
    session_adherence = serializers.FloatField(required=False)
    pain_during_worst = serializers.IntegerField(required=False)
    pain_morning_last = serializers.IntegerField(required=False)


class CaseloadRowOut(serializers.Serializer[Any]):
    """A patient. `phase` is of the plan that began last; until one began there is none.

    `strip` has a letter for each of the last seven closed dates, oldest first.
    """

    patient = CaseloadPatientOut()
    tier = serializers.ChoiceField(tuple(Tier))
    waiting_since = serializers.DateTimeField(required=False)
    reasons = CaseloadReasonOut(many=True)
    phase = CaseloadPhaseOut(required=False)
    last_7_days = CaseloadWeekOut()
    strip = serializers.CharField()
    last_received_at = serializers.DateTimeField(required=False)
    physiotherapist_id = serializers.UUIDField(required=False)


class CaseloadCountsOut(serializers.Serializer[Any]):
    urgent = serializers.IntegerField()
    review = serializers.IntegerField()
    watch = serializers.IntegerField()
    on_track = serializers.IntegerField()


class CaseloadOut(serializers.Serializer[Any]):
    """One page; without `next_cursor` it is the last. `counts` are of the whole list."""

    items = CaseloadRowOut(many=True)
    counts = CaseloadCountsOut()
    next_cursor = serializers.CharField(allow_null=True)


class Caseload(StaffEndpoint):
    """Ordered by tier, then by the oldest reason of the tier, then by family name.

    Those on track come last, by name, where they are asked for.
    """

    is_about_patients = True

    @operation(
        "caseload_list", gives={200: CaseloadOut},
        params=[
            query("physiotherapist_id", "Only of this caseload.", OpenApiTypes.UUID),
            query("tier", "Only of this tier.", {"enum": [*Tier]}),
            query("protocol_id", "Only with a plan of this protocol.", OpenApiTypes.UUID),
            query("q", "Words of the name, or an identifier.", TEXT),
            query("include", "`on_track`: with those who need nobody.", {"enum": ["on_track"]}),
            *PAGE,
        ],
        refuses=[CursorInvalid], tag="patients",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        asked = filters_of(request, CaseloadFilters)
        patients = self._patients(asked)
        found = selectors.caseload_of(patients, now=self.now)
        salt, limit = salt_of(request, asked), limit_of(request)
        sent = request.query_params.get("cursor")
        after = None if sent is None else self._opened(sent, salt)
        wanted = asked.get("tier")
        cases = [
            case
            for case in found.cases
            if (wanted is None or case.tier == wanted) and (after is None or case.place > after)
        ][: limit + 1]
        places: list[tuple[UUID, Place]] = [(case.name.id, case.place) for case in cases]
        if wanted == Tier.ON_TRACK or (wanted is None and "include" in asked):
            names = _on_track(found, after, limit + 1 - len(cases))
            places += [(name.id, (RANKS[Tier.ON_TRACK], EPOCH, name)) for name in names]
        ids = [id for id, _ in places[:limit]]
        by_id = {case.name.id: case for case in cases}
        items = [
            row_shown(one, by_id.get(one.patient.pk), self.now)
            for one in selectors.shown_of(ids, patients, now=self.now)
        ]
        self.listed = [str(id) for id in ids]
        cursor = _sealed(places[limit - 1][1], salt) if len(places) > limit else None
        counts = {tier.value: count for tier, count in found.counts.items()}
        return linked(request, Response({"items": items, "counts": counts, "next_cursor": cursor}))

    def _patients(self, asked: dict[str, Any]) -> PatientQuerySet:
        rows: QuerySet[Patient] = Patient.objects.visible_to(self.person)
        if "physiotherapist_id" in asked:
            rows = rows.filter(physiotherapist_id=asked["physiotherapist_id"])
        if "protocol_id" in asked:
            plans = Assignment.objects.visible_to(self.person).filter(
                patient=OuterRef("pk"),
                ended_on=None,
                protocol_version__protocol_id=asked["protocol_id"],
            )
            rows = rows.filter(Exists(plans))
        if "q" in asked:
            rows = named(rows, asked["q"])
        return cast(PatientQuerySet, rows)

    def _opened(self, sent: str, salt: str) -> Place:
        """Where the page before ended: what the cursor says, and the name of whom it names."""
        place = unsealed(sent, salt)
        rank, since, id = place[0], int.from_bytes(place[1:9]), UUID(bytes=place[9:])
        patient = Patient.objects.visible_to(self.person).filter(pk=id).first()
        if patient is None:
            raise CursorInvalid
        return rank, EPOCH + since * A_MICROSECOND, name_of(patient)


def _sealed(place: Place, salt: str) -> str:
    rank, since, name = place
    microseconds = (since - EPOCH) // A_MICROSECOND
    return sealed(bytes([rank]) + microseconds.to_bytes(8) + name.id.bytes, salt)


def _on_track(found: selectors.Caseload, after: Place | None, limit: int) -> list[Name]:
    """The next ones by name. Those with a reason are among them in the table and are left out."""
    if limit <= 0:
        return []
    rows: QuerySet[Any] = found.on_track.annotate(
        by_family=alphabetic("family_name"), by_given=alphabetic("given_name")
    )
    if after is not None and after[0] == RANKS[Tier.ON_TRACK]:
        family, given, id = after[2].family.decode(), after[2].given.decode(), after[2].id
        of_family = Q(by_given__gt=given) | Q(by_given=given, pk__gt=id)
        rows = rows.filter(Q(by_family__gt=family) | (Q(by_family=family) & of_family))
    reasoned = found.named()
    ordered = rows.order_by("by_family", "by_given", "pk")[: limit + len(reasoned)]
    names = [name_of(row) for row in ordered.only("family_name", "given_name")]
    return [name for name in names if name.id not in reasoned][:limit]


def row_shown(one: Shown, case: Case | None, now: datetime) -> dict[str, object]:
    patient = one.patient
    shown: dict[str, object] = {
        "patient": {
            "id": str(patient.pk),
            "display_name": patient.display_name,
            "age": age_of(patient, now),
        },
        "tier": case.tier.value if case else Tier.ON_TRACK.value,
        "reasons": [_reason_shown(reason, one) for reason in case.reasons()] if case else [],
        "last_7_days": _week_shown(one.week),
        "strip": one.week.strip,
    }
    if case is not None:
        shown["waiting_since"] = moment(case.waiting_since)
    if begun := [row for row in one.assignments if row.start_date <= one.today]:
        assignment = begun[-1]
        protocol = assignment.protocol_version.definition
        span = selectors.span_of(assignment, one.today)
        phase = protocol.phase(span.phase_id)
        shown["phase"] = {
            "number": phase.number,
            "count": len(protocol.phases),
            "title": phase.title,
            "day_in_phase": span.day_of(one.today),
        }
    if patient.last_received_at is not None:
        shown["last_received_at"] = moment(patient.last_received_at)
    if patient.physiotherapist_id is not None:
        shown["physiotherapist_id"] = str(patient.physiotherapist_id)
    return shown


def _reason_shown(reason: Reason, one: Shown) -> dict[str, object]:
    shown: dict[str, object] = {
        "code": reason.code,
        "tier": reason.tier.value,
        "since": moment(reason.since),
        "params": reason.params,
        "text": selectors.words_of(reason, one.assignments),
    }
    for name in ("flag_id", "progression_id", "assignment_id"):
        if (id := getattr(reason, name)) is not None:
            shown[name] = str(id)
    return shown


def _week_shown(week: selectors.Week) -> dict[str, object]:
    shown: dict[str, object] = {"due": week.due, "done": week.done}
    if week.due:
        shown["session_adherence"] = round(week.done / week.due, 4)
    if week.pain_during_worst is not None:
        shown["pain_during_worst"] = week.pain_during_worst
    if week.pain_morning_last is not None:
        shown["pain_morning_last"] = week.pain_morning_last
    return shown
