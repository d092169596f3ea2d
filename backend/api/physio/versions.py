"""The versions of a protocol: listed, compared, and retired when they are not to be used again."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import Role, as_json, etag_of, match, tagged
from backend.api.contract import PAGE, operation, query
from backend.api.fields import In, Text
from backend.api.paging import CursorInvalid, filters_of, page, tagged_page
from backend.api.physio.protocols import (
    OneProtocol,
    ProtocolOut,
    ProtocolSummaryOut,
    answer,
    protocol_shown,
    summary,
)
from backend.api.schemas import page_of
from backend.problems import Forbidden, NotFound, StateConflict, ValidationFailed
from protocols import publishing
from protocols.differences import KINDS, Change, Part, PhasePart, differences

VERSION = {"type": "string", "minLength": 1, "maxLength": 20}
CompareFilters = type(
    "CompareFilters", (In,), {"__module__": __name__, "from": Text(20), "to": Text(20)}
)


class RetireIn(In):
    version = Text(20)
    reason = Text(500)


class DifferenceOut(serializers.Serializer[Any]):
    """One member, `dose.sets` for one of the dose; `prescriptions.order` and `exit.order` tell
    that what stands in both was put in another order.

    `before` is absent where it was not there before, `after` where it is not there any more.
    """

    field = serializers.CharField()
    before = serializers.JSONField(required=False)
    after = serializers.JSONField(required=False)


class PartDifferenceOut(serializers.Serializer[Any]):
    """One of several, by its `id`; a prescription by its exercise, a requirement by its fact. A
    second one of the same name gets `-2`. What was added or removed is told member by member.
    """

    id = serializers.CharField()
    kind = serializers.ChoiceField(KINDS)
    changes = DifferenceOut(many=True)


class PhaseDifferenceOut(PartDifferenceOut):
    """A phase, known by its number; only where something in it differs."""

    title = serializers.CharField()
    prescriptions = PartDifferenceOut(many=True)
    exit = PartDifferenceOut(many=True)


ProtocolDifferencesOut = type(
    "ProtocolDifferencesOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": "In the order of the document. Everything is empty where both say the same.",
        "id": serializers.UUIDField(),
        "from": serializers.CharField(),
        "to": serializers.CharField(),
        "changes": DifferenceOut(many=True),
        "limits": DifferenceOut(many=True),
        "requires": PartDifferenceOut(many=True),
        "phases": PhaseDifferenceOut(many=True),
        "sources": PartDifferenceOut(many=True),
    },
)


class Versions(OneProtocol):
    @operation(
        "protocol_versions", gives={200: page_of(ProtocolSummaryOut), 304: None}, params=PAGE,
        refuses=[CursorInvalid], tag="protocols",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        """All that were ever published, the last one first: by whom, when and why."""
        rows = self.visible(id).defer("document")
        order = ("-published_at", "-version", "id")
        return tagged_page(request, page(request, rows, order=order, shown=summary, filters={}))


class Compare(OneProtocol):
    @operation(
        "protocol_diff", gives={200: ProtocolDifferencesOut, 304: None},
        params=[
            query("from", "The version that is older, or `draft`.", VERSION, required=True),
            query("to", "The version that is newer, or `draft`.", VERSION, required=True),
        ],
        tag="protocols",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        """What differs between two versions, or a version and the draft, for a reader."""
        self.visible(id)
        asked = filters_of(request, CompareFilters)
        before, after = (self.one(id, asked[name]) for name in ("from", "to"))
        if before is None or after is None:
            raise NotFound
        found = differences(before.document, after.document)
        shown = {
            "id": str(before.protocol_id),
            **asked,
            "changes": _changes(found.changes),
            "limits": _changes(found.limits),
            "requires": [_part(one) for one in found.requires],
            "phases": [_phase(one) for one in found.phases],
            "sources": [_part(one) for one in found.sources],
        }
        return tagged(request, shown)


class Retire(OneProtocol):
    roles = frozenset({Role.PHYSIOTHERAPIST})
    is_audited = True  # it decides what patients can be told to do

    @operation(
        "protocol_retire", takes=RetireIn, gives={200: ProtocolOut}, key=True, match="must",
        refuses=[StateConflict], tag="protocols",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """Give a version to nobody any more, for those who may publish.

        Plans that are made of it go on. `If-Match` is the tag of that version.
        """
        if not self.person.can_publish:
            raise Forbidden("Ask somebody who may publish.")
        rows = self.visible(id)
        if rows.filter(clinic=None).exists():
            raise Forbidden("A protocol of the library is the same everywhere.")
        said = RetireIn.checked(request.data)
        row = rows.filter(version=said["version"]).first()
        if row is None:
            raise ValidationFailed.at("#/version", "unknown-reference", "No such version.")
        match(request, etag_of(as_json(protocol_shown(row))), required=True)
        retired = publishing.retire(
            version=row, reason=said["reason"], by=self.person, now=self.now
        )
        self.object_id = retired.pk
        return answer(retired)


def _changes(found: tuple[Change, ...]) -> list[dict[str, object]]:
    return [
        {
            name: value
            for name in ("field", "before", "after")
            if (value := getattr(change, name)) is not None
        }
        for change in found
    ]


def _part(part: Part) -> dict[str, object]:
    return {"id": part.id, "kind": part.kind, "changes": _changes(part.changes)}


def _phase(phase: PhasePart) -> dict[str, object]:
    return _part(phase) | {
        "title": phase.title,
        "prescriptions": [_part(one) for one in phase.prescriptions],
        "exit": [_part(one) for one in phase.exit],
    }
