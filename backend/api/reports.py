"""What a clinic accounts for: how much of what was due was done, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.core import signing
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import (
    REFUSING,
    STAFF,
    CompactJSONRenderer,
    Role,
    ServiceAuthentication,
    SessionAuthentication,
    SpeaksJSON,
    StaffEndpoint,
    as_json,
    etag_of,
    is_current,
    moment,
    tagged,
    unchanged,
)
from backend.api.contract import PAGE, operation, query
from backend.api.fields import Day, In, Text, Uid, Word
from backend.api.paging import CursorInvalid, filters_of, limit_of, linked, salt_of
from backend.clinics.models import Patient, ServiceToken, User
from backend.problems import MalformedRequest
from backend.reports import adherence
from backend.reports.adherence import Group, Grouping, Scope
from backend.reports.shown import (
    csv_columns,
    csv_preamble,
    csv_row,
    flags_shown,
    group_shown,
    head_shown,
)
from protocols.engine.adherence import WHOLE
from protocols.knowledge import numbers

USUAL_DAYS, MOST_DAYS = 28, 366
MOST_DUE = 9999
GROUPINGS = tuple(Grouping)
YES_NO = ("0", "1")
VARY = "X-Session-Token, Cookie, Accept-Language, Accept"


class CSVRenderer(CompactJSONRenderer):
    """Text that was made already. Problems stay JSON."""

    media_type = "text/csv"
    format = "csv"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return data if isinstance(data, bytes) else super().render(data)


class SpeaksCSVToo(SpeaksJSON):
    """The first of the two that is asked for."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        by_json, by_csv = renderers
        for wish in (request.headers.get("Accept") or "*/*").lower().split(","):
            media_type, *said = (part.strip() for part in wish.split(";"))
            if REFUSING.intersection(said):
                continue
            if media_type in (by_csv.media_type, "text/*"):
                return by_csv, by_csv.media_type
            if media_type in self.spoken:
                break
        return super().select_renderer(request, [by_json], format_suffix)


# --- What is asked ----------------------------------------------------------------------------

AdherenceFilters = type(
    "AdherenceFilters",
    (In,),
    {
        "__module__": __name__,
        "from": Day(required=False),
        "to": Day(required=False),
        "group_by": Word(GROUPINGS, required=False),
        "physiotherapist_id": Uid(required=False),
        "protocol_id": Uid(required=False),
        "phase_id": Text(40, required=False),
        "min_due": Text(4, required=False),
        "target": Text(40, required=False),
        "heatmap": Word(("day",), required=False),
        "bom": Word(YES_NO, required=False),
        "preamble": Word(YES_NO, required=False),
    },
)
NARROWING = ("physiotherapist_id", "protocol_id", "phase_id", "min_due")


def _window(asked: Mapping[str, Any], today: date) -> tuple[date, date]:
    last = asked.get("to") or today - timedelta(days=1)
    first = asked.get("from") or last - timedelta(days=USUAL_DAYS - 1)
    if not first <= last <= first + timedelta(days=MOST_DAYS - 1):
        raise MalformedRequest(f"`from` and `to` name 1 to {MOST_DAYS} days.")
    return first, last


def _least_due(asked: Mapping[str, Any]) -> int:
    said: str = asked.get("min_due", "0")
    if not (said.isascii() and said.isdigit()):
        raise MalformedRequest(f"min_due is a whole number from 0 to {MOST_DUE}.")
    return int(said)


def _target(asked: Mapping[str, Any]) -> int:
    """In ten-thousandths."""
    try:
        wish = Decimal(asked.get("target") or str(numbers()["gate_adherence"]))
    except InvalidOperation:
        wish = Decimal(-1)
    if not (wish.is_finite() and 0 <= wish <= 1):
        raise MalformedRequest("target is a number from 0 to 1.")
    return round(wish * WHOLE)


# --- What is answered -------------------------------------------------------------------------


class AdherenceWeeksOut(serializers.Serializer[Any]):
    """Weeks with something due, and those on target. Rows of such weeks are a patient's."""

    of = serializers.IntegerField()
    on_target = serializers.IntegerField()
    current = serializers.IntegerField(required=False)
    longest = serializers.IntegerField(required=False)


class AdherencePainOut(serializers.Serializer[Any]):
    """Of the dates that told of pain during exercise, nrs11."""

    median = serializers.FloatField()
    worst = serializers.IntegerField()


class AdherenceGroupOut(serializers.Serializer[Any]):
    """A row. Ratios are from 0 to 1, and absent where nothing was due.

    `small` marks groups of so few patients that figures may tell of one of them.
    """

    key = serializers.CharField()
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment]  # a row's
    due = serializers.IntegerField()
    completed = serializers.IntegerField()
    partial = serializers.IntegerField()  # type: ignore[assignment]  # slots
    skipped = serializers.IntegerField()
    missed = serializers.IntegerField()
    not_heard = serializers.IntegerField()
    excused = serializers.IntegerField()
    session_adherence = serializers.FloatField(required=False)
    session_adherence_low = serializers.FloatField(required=False)
    completed_ratio = serializers.FloatField(required=False)
    dose_adherence = serializers.FloatField(required=False)
    active_days = serializers.IntegerField()
    data_days = serializers.IntegerField()
    missed_runs = serializers.IntegerField()
    interruptions = serializers.IntegerField()
    late_ratio = serializers.FloatField(required=False)
    weeks_on_target = AdherenceWeeksOut()
    pain_during = AdherencePainOut(required=False)
    patients = serializers.IntegerField(required=False)
    small = serializers.BooleanField(required=False)
    median_session_adherence = serializers.FloatField(required=False)
    quartiles = serializers.ListField(
        child=serializers.FloatField(), min_length=2, max_length=2, required=False
    )
    patients_on_target = serializers.IntegerField(required=False)
    days = serializers.CharField(required=False)


class AdherenceTotalOut(serializers.Serializer[Any]):
    """Of everybody asked for, whatever the page and `min_due`."""

    patients = serializers.IntegerField()
    due = serializers.IntegerField()
    done = serializers.IntegerField()
    not_heard = serializers.IntegerField()
    pooled_session_adherence = serializers.FloatField(required=False)
    pooled_session_adherence_low = serializers.FloatField(required=False)
    median_session_adherence = serializers.FloatField(required=False)
    quartiles = serializers.ListField(
        child=serializers.FloatField(), min_length=2, max_length=2, required=False
    )
    patients_on_target = serializers.IntegerField()


class AdherenceFlagsOut(serializers.Serializer[Any]):
    raised = serializers.IntegerField()
    median_hours_to_acknowledge = serializers.FloatField(required=False)
    median_hours_to_resolve = serializers.FloatField(required=False)


AdherenceReportOut = type(
    "AdherenceReportOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": (
            "`as_of` is when the newest date counted closed, `data_cutoff` when one of these "
            "patients was last heard from. Until one of them changes the figures do not."
        ),
        "from": serializers.DateField(),
        "to": serializers.DateField(),
        "group_by": serializers.ChoiceField(GROUPINGS),
        "as_of": serializers.DateTimeField(required=False),
        "data_cutoff": serializers.DateTimeField(required=False),
        "target": serializers.FloatField(),
        "definition": serializers.CharField(),
        "filters": serializers.DictField(),
        "groups": AdherenceGroupOut(many=True),
        "total": AdherenceTotalOut(),
        "flags": AdherenceFlagsOut(),
        "next_cursor": serializers.CharField(allow_null=True),
    },
)


def scope_of(person: User, asked: Mapping[str, Any], *, now: datetime) -> Scope:
    """Whose dates somebody is told of, and which, as `AdherenceFilters` has them."""
    clinic = person.clinic
    assert clinic is not None
    first, last = _window(asked, now.astimezone(ZoneInfo(clinic.timezone)).date())
    patients = Patient.objects.visible_to(person)
    if not {Role.CLINIC_ADMIN, Role.SERVICE}.intersection(person.roles):
        patients = patients.filter(physiotherapist=person)
    if "physiotherapist_id" in asked:
        patients = patients.filter(physiotherapist_id=asked["physiotherapist_id"])
    return Scope(
        patients=patients, first=first, last=last, now=now, target=_target(asked),
        protocol_id=asked.get("protocol_id"), phase_id=asked.get("phase_id"),
    )  # fmt: skip


class Adherence(StaffEndpoint):
    """A physiotherapist who is no clinic admin sees the own caseload; another system, the
    clinic's."""

    roles = STAFF | {Role.SERVICE}
    scope = ServiceToken.Scope.REPORTS_READ
    authentication_classes = (SessionAuthentication, ServiceAuthentication)  # type: ignore[assignment]
    is_about_patients = True
    renderer_classes = (CompactJSONRenderer, CSVRenderer)
    content_negotiation_class = SpeaksCSVToo

    @operation(
        "report_adherence",
        gives={
            (200, "application/json"): AdherenceReportOut,
            (200, "text/csv"): OpenApiTypes.STR,
            304: None,
        },
        params=[
            query("from", "First date; 28 days up to `to` when absent.", OpenApiTypes.DATE),
            query("to", "Last date; yesterday when absent. At most 366 days.", OpenApiTypes.DATE),
            query("group_by", "What a row is of; `patient` when absent.", {"enum": [*GROUPINGS]}),
            query("physiotherapist_id", "Only of this caseload.", OpenApiTypes.UUID),
            query("protocol_id", "Only plans of this protocol.", OpenApiTypes.UUID),
            query("phase_id", "Only dates in a phase of this id.",
                  {"type": "string", "minLength": 1, "maxLength": 40}),
            query("min_due", "Only groups with so many slots due.",
                  {"type": "integer", "minimum": 0, "maximum": MOST_DUE}),
            query("target", "Session adherence that a week has to reach; as gate GG4 when absent.",
                  {"type": "number", "minimum": 0, "maximum": 1}),
            query("heatmap", "`day`: a letter for each date.", {"enum": ["day"]}),
            query("bom", "CSV: `1` begins with a byte order mark.", {"enum": [*YES_NO]}),
            query("preamble", "CSV: `0` leaves out the first line.", {"enum": [*YES_NO]}),
            *PAGE,
        ],
        refuses=[CursorInvalid], tag="reports",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Of closed dates, both ends included, in each patient's own days. CSV has all groups."""
        asked = filters_of(request, AdherenceFilters)
        scope = scope_of(self.person, asked, now=self.now)
        grouping = Grouping(asked.get("group_by", Grouping.PATIENT))
        if getattr(request, "accepted_renderer").format == "csv":  # noqa: B009  # set by DRF
            return self._as_csv(request, scope, grouping, asked)
        groups, cursor = self._page(request, scope, grouping, asked)
        if "heatmap" in asked:
            groups = adherence.with_days(scope, grouping, groups)
        filters = {name: asked[name] for name in NARROWING if name in asked}
        answer = {
            **head_shown(scope, grouping, filters, adherence.total_of(scope)),
            "groups": [group_shown(one) for one in groups],
            "flags": flags_shown(adherence.flag_times(scope)),
            "next_cursor": cursor,
        }
        found = tagged(request, answer, self.person.pk, as_json(answer))
        return found if found.status_code == 304 else linked(request, found)

    def finalize_response(
        self, request: Request, response: Response, *args: object, **kwargs: object
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Vary"] = VARY
        return answer

    def _page(
        self, request: Request, scope: Scope, grouping: Grouping, asked: Mapping[str, Any]
    ) -> tuple[list[Group], str | None]:
        least, limit = _least_due(asked), limit_of(request)
        shown = {"from": scope.first, "to": scope.last, "group_by": grouping}
        salt = salt_of(request, {**asked, **shown})
        after = _opened(request, salt)
        if grouping is Grouping.PATIENT:
            start = UUID(after) if after else None
            ids = adherence.patients_of(scope, after=start, limit=limit + 1, least_due=least)
            groups = adherence.patient_groups(scope, ids[:limit])
            self.listed = [one.key for one in groups]
            has_more = len(ids) > limit
        else:
            found = adherence.groups_of(scope, grouping)
            found = [one for one in found if one.counts.due >= least]
            found = [one for one in found if after is None or one.key > after]
            groups = adherence.in_full(scope, grouping, found[:limit])
            has_more = len(found) > limit
        return groups, signing.Signer(salt=salt).sign(groups[-1].key) if has_more else None

    def _as_csv(
        self, request: Request, scope: Scope, grouping: Grouping, asked: Mapping[str, Any]
    ) -> Response:
        every, least = adherence.groups_of(scope, grouping), _least_due(asked)
        groups = [one for one in every if one.counts.due >= least]
        if "heatmap" in asked:
            groups = adherence.with_days(scope, grouping, groups)
        if grouping is Grouping.PATIENT:
            self.listed = [one.key for one in groups]
        text = io.StringIO()
        if asked.get("bom") == "1":
            text.write("\ufeff")
        rows = csv.writer(text, lineterminator="\r\n")
        if asked.get("preamble") != "0":
            as_of = max((one.closed_at for one in every), default=None)
            shown = head_shown(scope, grouping, {}, None)
            rows.writerow(csv_preamble(shown | ({"as_of": moment(as_of)} if as_of else {})))
        columns = csv_columns(grouping, has_days="heatmap" in asked)
        rows.writerow(columns)
        rows.writerows(csv_row(group_shown(one), columns) for one in groups)
        content = text.getvalue().encode()
        etag = etag_of(self.person.pk, content)
        return _file(request, content, etag, f"adherence-{scope.first}-{scope.last}.csv")


def _opened(request: Request, salt: str) -> str | None:
    """The key of the last group of the page before."""
    sent = request.query_params.get("cursor")
    if sent is None:
        return None
    try:
        return signing.Signer(salt=salt).unsign(sent)
    except signing.BadSignature:
        raise CursorInvalid from None


def _file(request: Request, content: bytes, etag: str, name: str) -> Response:
    if is_current(request, etag):
        return unchanged(etag)
    headers = {"ETag": etag, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, headers=headers, content_type="text/csv; charset=utf-8")
