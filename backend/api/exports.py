"""Clinic admins: files for other programs, written in the background."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import Role, StaffEndpoint, moment, path_id
from backend.api.contract import PAGE, operation
from backend.api.fields import Day, In, Number, Text, Truth, Uid, Whole, Word
from backend.api.paging import CursorInvalid, page
from backend.api.reports import GROUPINGS, MOST_DUE, NARROWING
from backend.api.reports import MOST_DAYS as REPORT_DAYS
from backend.api.schemas import page_of
from backend.problems import NotFound, StateConflict, ValidationFailed
from backend.reports import exports
from backend.reports.adherence import Grouping
from backend.reports.exports import ExportNotReady, ExportTooLarge
from backend.reports.models import Export
from protocols.engine.adherence import WHOLE
from protocols.knowledge import numbers

MOST_DAYS = 3661
LOOK_AGAIN_S = 5
TYPES = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}


class _ExportIn(In):
    """`purpose` says what the file is for; it stays on record. De-identified files have no names
    and no dates, pseudonyms of their own, ages in bands of ten, and nobody of a small group.

    `sessions` come as `csv`, `ndjson` or `xlsx`; `adherence` as `csv`, `xlsx` or `pdf`, and what
    the report may be asked with is for it alone.
    """

    kind = Word(Export.Kind.values)
    format = Word(Export.Format.values)
    to = Day()
    de_identified = Truth()
    purpose = Text(400, trim_whitespace=True)
    group_by = Word(GROUPINGS, required=False)
    physiotherapist_id = Uid(required=False)
    protocol_id = Uid(required=False)
    phase_id = Text(40, required=False)
    min_due = Whole(0, MOST_DUE, required=False)
    target = Number(0, 1, per_unit=WHOLE, required=False)
    heatmap = Word(("day",), required=False)


OF_REPORTS = ("group_by", *NARROWING, "target", "heatmap")


# `from` cannot be a name in Python.
ExportIn: Any = type(
    "ExportIn",
    (_ExportIn,),
    {"__module__": __name__, "__doc__": _ExportIn.__doc__, "from": Day()},
)


class _ExportOut(serializers.Serializer[Any]):
    """A file, how far it is, and where to fetch it while it is there: a day, from `ready_at` on.

    `progress` is the share of the clinic's patients that are in it; of a report 0.5 says that its
    figures are there, and the file is made of them.
    """

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(Export.Kind.choices)
    format = serializers.ChoiceField(Export.Format.choices)
    to = serializers.DateField()
    de_identified = serializers.BooleanField()
    purpose = serializers.CharField()
    group_by = serializers.ChoiceField(GROUPINGS, required=False)
    physiotherapist_id = serializers.UUIDField(required=False)
    protocol_id = serializers.UUIDField(required=False)
    phase_id = serializers.CharField(required=False)
    min_due = serializers.IntegerField(required=False)
    target = serializers.FloatField(required=False)
    heatmap = serializers.ChoiceField(("day",), required=False)
    status = serializers.ChoiceField(Export.Status.choices)
    progress = serializers.FloatField()
    created_at = serializers.DateTimeField()
    asked_by = serializers.UUIDField()
    rows = serializers.IntegerField(required=False)
    size = serializers.IntegerField(required=False)
    sha256 = serializers.CharField(required=False)
    file_url = serializers.CharField(required=False)
    ready_at = serializers.DateTimeField(required=False)
    expires_at = serializers.DateTimeField(required=False)


ExportOut = type(
    "ExportOut",
    (_ExportOut,),
    {"__module__": __name__, "__doc__": _ExportOut.__doc__, "from": serializers.DateField()},
)


def _params(kind: str, asked: Mapping[str, Any]) -> dict[str, object]:
    """What a report is asked with, whole, as it is kept."""
    if kind != Export.Kind.ADHERENCE:
        for name in asked:
            raise ValidationFailed.at(f"#/{name}", "unknown-field", _("For adherence alone."))
        return {}
    target = asked.get("target", numbers()["gate_adherence"])
    ids = {name: str(asked[name]) for name in NARROWING if name in asked}
    return {
        "group_by": asked.get("group_by", Grouping.PATIENT.value),
        **ids,
        "min_due": str(asked.get("min_due", 0)),
        "target": round(target * WHOLE),
        **({"heatmap": asked["heatmap"]} if "heatmap" in asked else {}),
    }


def export_shown(row: Export) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": str(row.pk),
        "kind": row.kind,
        "format": row.format,
        "from": row.from_on.isoformat(),
        "to": row.to_on.isoformat(),
        "de_identified": row.de_identified,
        "purpose": row.purpose,
        **_params_shown(row),
        "status": row.status,
        "progress": 1.0 if row.ready_at else min(1.0, row.done / (row.total or 1)),
        "created_at": moment(row.created_at),
        "asked_by": str(row.asked_by_id),
    }
    if row.ready_at and row.expires_at:
        shown |= {
            "rows": row.rows,
            "size": row.size,
            "sha256": row.sha256,
            "ready_at": moment(row.ready_at),
            "expires_at": moment(row.expires_at),
        }
    if row.status == Export.Status.READY:
        shown["file_url"] = f"/api/v1/exports/{row.pk}/file"
    return shown


def _params_shown(row: Export) -> dict[str, object]:
    if not row.params:
        return {}
    least, target = int(row.params["min_due"]), row.params["target"] / WHOLE
    return {**row.params, "min_due": least, "target": target}


class OfExports(StaffEndpoint):
    roles = frozenset({Role.CLINIC_ADMIN})
    is_audited = True

    def found(self, id: str) -> Export:
        row = Export.objects.visible_to(self.person).filter(pk=path_id(id)).first()
        if row is None:
            raise NotFound
        self.object_id = row.pk
        return row


class Exports(OfExports):
    @operation(
        "export_create", takes=ExportIn, gives={202: ExportOut}, key=True,
        refuses=[StateConflict, ExportTooLarge], tag="exports",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        said = ExportIn.checked(request.data)
        if not said["purpose"]:
            raise ValidationFailed.at("#/purpose", "required", _("What is it for?"))
        first, last = said.pop("from"), said.pop("to")
        asked = {name: said.pop(name) for name in OF_REPORTS if name in said}
        most = REPORT_DAYS if said["kind"] == Export.Kind.ADHERENCE else MOST_DAYS
        if (last - first).days >= most:
            detail = _("At most %(max)s days.") % {"max": most}
            raise ValidationFailed.at("#/to", "out-of-range", detail, max=most)
        assert self.person.clinic is not None
        row = exports.ask(
            clinic=self.person.clinic, by=self.person, first=first, last=last, now=self.now,
            params=_params(said["kind"], asked), **said,
        )  # fmt: skip
        self.object_id = row.pk
        headers = {"Location": f"/api/v1/exports/{row.pk}", "Retry-After": str(LOOK_AGAIN_S)}
        return Response(export_shown(row), 202, headers=headers)

    @operation(
        "export_list", gives={200: page_of(ExportOut)}, params=PAGE, refuses=[CursorInvalid],
        tag="exports",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The newest first; also those that are over."""
        rows = Export.objects.visible_to(self.person)
        return page(request, rows, order=("-created_at", "-id"), shown=export_shown, filters={})


class ExportOne(OfExports):
    @operation("export_get", gives={200: ExportOut}, tag="exports")
    def get(self, request: Request, id: str) -> Response:
        row = self.found(id)
        headers = {"Retry-After": str(LOOK_AGAIN_S)} if row.attempt_due_at else {}
        return Response(export_shown(row), headers=headers)


class File(OfExports):
    @operation(
        "export_file",
        gives={(200, kind.partition(";")[0]): OpenApiTypes.BINARY for kind in TYPES.values()},
        refuses=[ExportNotReady],
        tag="exports",
    )
    def get(self, request: Request, id: str) -> Response:
        """The file itself; each time it is fetched leaves an audit event."""
        row = self.found(id)
        pieces: Iterator[bytes] = exports.content_of(row)
        name = f"{row.kind}-{row.from_on}-{row.to_on}.{row.format}"
        answer = StreamingHttpResponse(pieces, content_type=TYPES[row.format])
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        answer["Cache-Control"] = "private, no-store"
        answer["Vary"] = "X-Session-Token, Cookie, Accept-Language"
        return answer  # type: ignore[return-value]
