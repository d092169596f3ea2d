"""Clinic admins: files for other programs, written in the background."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import Role, StaffEndpoint, moment, path_id
from backend.api.contract import PAGE, operation
from backend.api.fields import Day, In, Text, Truth, Word
from backend.api.paging import CursorInvalid, page
from backend.api.schemas import page_of
from backend.problems import NotFound, StateConflict, ValidationFailed
from backend.reports import exports
from backend.reports.exports import ExportNotReady
from backend.reports.models import Export

MOST_DAYS = 3660
LOOK_AGAIN_S = 5
TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}


class _ExportIn(In):
    """`purpose` says what the file is for; it stays on record. De-identified files have no names
    and no dates, pseudonyms of their own, ages in bands of ten, and nobody of a small group."""

    kind = Word(Export.Kind.values)
    format = Word(Export.Format.values)
    to = Day()
    de_identified = Truth()
    purpose = Text(400, trim_whitespace=True)


# `from` cannot be a name in Python.
ExportIn: Any = type(
    "ExportIn",
    (_ExportIn,),
    {"__module__": __name__, "__doc__": _ExportIn.__doc__, "from": Day()},
)


class _ExportOut(serializers.Serializer[Any]):
    """A file, how far it is, and where to fetch it while it is there: a day, from `ready_at` on.

    `progress` is the share of the clinic's patients that are in it.
    """

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(Export.Kind.choices)
    format = serializers.ChoiceField(Export.Format.choices)
    to = serializers.DateField()
    de_identified = serializers.BooleanField()
    purpose = serializers.CharField()
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


def export_shown(row: Export) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": str(row.pk),
        "kind": row.kind,
        "format": row.format,
        "from": row.from_on.isoformat(),
        "to": row.to_on.isoformat(),
        "de_identified": row.de_identified,
        "purpose": row.purpose,
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
        "export_create", takes=ExportIn, gives={202: ExportOut}, refuses=[StateConflict], key=True,
        tag="exports",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        said = ExportIn.checked(request.data)
        if not said["purpose"]:
            raise ValidationFailed.at("#/purpose", "required", _("What is it for?"))
        first, last = said.pop("from"), said.pop("to")
        if (last - first).days > MOST_DAYS:
            raise ValidationFailed.at("#/to", "out-of-range", _("Ten years at most."))
        assert self.person.clinic is not None
        row = exports.ask(
            clinic=self.person.clinic, by=self.person, first=first, last=last, now=self.now, **said
        )
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
