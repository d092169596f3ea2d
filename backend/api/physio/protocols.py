"""Protocols: the library and the clinic's own, and drafts until they are published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.core.validators import RegexValidator
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import (
    Role,
    StaffEndpoint,
    as_json,
    etag_of,
    match,
    moment,
    path_id,
    tagged,
)
from backend.api.contract import PAGE, FieldErrorOut, operation, query
from backend.api.fields import In, Text, Uid, Word
from backend.api.paging import CursorInvalid, filters_of, page, tagged_page
from backend.api.plan_shown import PainAdviceOut, StopSignOut, bands, stop_signs
from backend.api.schemas import page_of
from backend.care import criteria
from backend.problems import Forbidden, MalformedRequest, NotFound, StateConflict, ValidationFailed
from protocols import drafting, publishing
from protocols.drafting import NotADraft
from protocols.engine.definition import in_full
from protocols.models import ProtocolDraft, ProtocolVersion
from protocols.shape import ProtocolShape

DRAFT = "draft"
STATUSES = (DRAFT, "published", "retired")
SEMVER = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\Z"


class ProtocolFilters(In):
    condition = Text(64, required=False, allow_blank=True)
    status = Word(STATUSES, required=False)
    q = Text(120, required=False, allow_blank=True)


class ProtocolIn(In):
    copy_of = Uid(required=False)


class PublishIn(In):
    version = Text(20, validators=[RegexValidator(SEMVER, "Three numbers, as in 1.2.0.")])
    change_note = Text(500)


class ProtocolSummaryOut(serializers.Serializer[Any]):
    """A draft may lack anything but its id and status."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(STATUSES)
    slug = serializers.CharField(required=False)
    version = serializers.CharField(required=False)
    title = serializers.CharField(required=False)
    condition = serializers.CharField(required=False)
    clinic_id = serializers.UUIDField(required=False)
    change_note = serializers.CharField(required=False)
    published_by = serializers.UUIDField(required=False)
    published_at = serializers.DateTimeField(required=False)
    retired_by = serializers.UUIDField(required=False)
    retired_at = serializers.DateTimeField(required=False)
    retired_reason = serializers.CharField(required=False)
    updated_at = serializers.DateTimeField(required=False)


class CitationOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    text = serializers.CharField()
    url = serializers.CharField(required=False)
    supports = serializers.CharField()


class ProtocolOut(ProtocolSummaryOut):
    """The members of the document, and what the service knows about it."""

    stop_signs = StopSignOut(many=True)
    pain_advice = PainAdviceOut(many=True, required=False)
    citations = CitationOut(many=True)


class CriterionCountOut(serializers.Serializer[Any]):
    """Of `patients` whose plan is for the same condition, how many would have met a criterion of
    the draft on the date that was judged last, and of how many that is not known."""

    pointer = serializers.CharField()
    patients = serializers.IntegerField()
    met = serializers.IntegerField()
    unknown = serializers.IntegerField()


class ProtocolCheckOut(serializers.Serializer[Any]):
    """Pointers lead into the draft. Publishing is refused while there are errors."""

    errors = FieldErrorOut(many=True)  # type: ignore[assignment]  # the contract says so
    warnings = FieldErrorOut(many=True)
    criteria = CriterionCountOut(many=True)


def summary(row: ProtocolVersion | ProtocolDraft) -> dict[str, object]:
    if isinstance(row, ProtocolDraft):
        named = ("slug", "version", "title", "condition")
        said = {name: row.document[name] for name in named if name in row.document}
        return {
            "id": str(row.protocol_id),
            "status": DRAFT,
            **said,
            "clinic_id": str(row.clinic_id),
            "updated_at": moment(row.updated_at),
        }
    shown: dict[str, object] = {
        "id": str(row.protocol_id),
        "status": row.status,
        "slug": row.slug,
        "version": row.version,
        "title": row.title,
        "condition": row.condition,
        "change_note": row.change_note,
        "published_at": moment(row.published_at),
    }
    if row.clinic_id:
        shown["clinic_id"] = str(row.clinic_id)
    if row.published_by_id:
        shown["published_by"] = str(row.published_by_id)
    if row.retired_at:
        shown |= {"retired_at": moment(row.retired_at), "retired_reason": row.retired_reason}
    if row.retired_by_id:
        shown["retired_by"] = str(row.retired_by_id)
    return shown


def protocol_shown(row: ProtocolVersion | ProtocolDraft) -> dict[str, object]:
    document = in_full(row.document)
    assert isinstance(document, dict)
    shown = document | summary(row) | {"stop_signs": stop_signs()}
    limits = document.get("limits", {})
    edges = tuple(limits[name] for name in ("progress", "red", "severe") if name in limits)
    if len(edges) == 3:
        shown["pain_advice"] = bands(edges)
    return shown | {"citations": [citation_shown(source) for source in document.get("sources", ())]}


def citation_shown(source: Mapping[str, str]) -> dict[str, str]:
    said = {"id": "id", "text": "text", "read": "supports"}
    shown = {name: source.get(key, "") for key, name in said.items()}
    where = source.get("where", "")
    return shown | ({"url": where} if where.startswith("http") else {})


class Protocols(StaffEndpoint):
    @operation(
        "protocol_list", gives={200: page_of(ProtocolSummaryOut), 304: None},
        params=[
            query("condition", "Only for this condition.", {"type": "string", "maxLength": 64}),
            query("status", "`draft` lists drafts, `retired` what has no published version left; "
                  "without it, what is published.", enum=STATUSES),
            query("q", "A part of the title, the slug or the condition.",
                  {"type": "string", "maxLength": 120}),
            *PAGE,
        ],
        refuses=[CursorInvalid], tag="protocols",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The newest published version of each protocol, by title; drafts as they were saved."""
        asked = filters_of(request, ProtocolFilters)
        if asked.get("status") == DRAFT:
            drafts = ProtocolDraft.objects.visible_to(self.person)
            fitting = [row.pk for row in drafts if _fits(summary(row), asked)]
            found = page(
                request, drafts.filter(pk__in=fitting), order=("-updated_at", "id"),
                shown=summary, filters=asked,
            )  # fmt: skip
        else:
            versions = ProtocolVersion.objects.visible_to(self.person).defer("document")
            newest = drafting.newest(self.person).values()
            fitting = [row.pk for row in newest if _fits(summary(row), asked)]
            found = page(
                request, versions.filter(pk__in=fitting), order=("title", "id"),
                shown=summary, filters=asked,
            )  # fmt: skip
        return tagged_page(request, found)

    @operation(
        "protocol_create", takes=ProtocolIn, gives={201: ProtocolOut}, key=True,
        refuses=[StateConflict], tag="protocols",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """A draft: empty, or a copy.

        A copy of the clinic's own protocol is its next version, any other one a new protocol.
        """
        self.demand(Role.PHYSIOTHERAPIST)
        said = ProtocolIn.checked(request.data)
        assert self.person.clinic is not None
        draft = drafting.open_draft(
            of=self._original(said["copy_of"]) if "copy_of" in said else None,
            clinic=self.person.clinic,
            by=self.person,
            now=self.now,
        )
        return answer(draft, 201)

    def _original(self, id: UUID) -> ProtocolVersion | ProtocolDraft:
        newest = drafting.newest(self.person).get(id)
        draft = ProtocolDraft.objects.visible_to(self.person).filter(protocol_id=id).first()
        if newest is None and draft is None:
            raise ValidationFailed.at("#/copy_of", "unknown-reference", "No such protocol.")
        return newest or draft  # type: ignore[return-value]  # one of them is there


class OneProtocol(StaffEndpoint):
    """A protocol the person may see; a draft of it where it is to be changed."""

    def visible(self, id: str) -> QuerySet[ProtocolVersion]:
        """Its published and retired versions. 404 where there is not even a draft."""
        protocol_id = path_id(id)
        rows = ProtocolVersion.objects.visible_to(self.person).filter(protocol_id=protocol_id)
        drafts = ProtocolDraft.objects.visible_to(self.person).filter(protocol_id=protocol_id)
        if not rows.exists() and not drafts.exists():
            raise NotFound
        return rows

    def one(self, id: str, version: str | None) -> ProtocolVersion | ProtocolDraft | None:
        """This version, or `draft`. None asks for the newest, or the draft where there is none."""
        protocol_id = path_id(id)
        versions = ProtocolVersion.objects.visible_to(self.person).filter(protocol_id=protocol_id)
        if version is None:
            newest = drafting.newest(self.person).get(protocol_id)
            if newest is not None:
                return versions.get(pk=newest.pk)
        elif version != DRAFT:
            return next((row for row in versions if row.version == version), None)
        drafts = ProtocolDraft.objects.visible_to(self.person).select_related("clinic")
        return drafts.filter(protocol_id=protocol_id).first()

    def draft(self, id: str) -> ProtocolDraft:
        self.demand(Role.PHYSIOTHERAPIST)
        protocol_id = path_id(id)
        drafts = ProtocolDraft.objects.visible_to(self.person).select_related("clinic")
        found = drafts.filter(protocol_id=protocol_id).first()
        if found is None:
            versions = ProtocolVersion.objects.visible_to(self.person)
            known = versions.filter(protocol_id=protocol_id).exists()
            raise NotADraft if known else NotFound
        return found


class ProtocolOne(OneProtocol):
    @operation(
        "protocol_get", gives={200: ProtocolOut, 304: None},
        params=[query("version", "This version, or `draft`; the newest when absent.",
                      {"type": "string", "maxLength": 20})],
        tag="protocols",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        found = self.one(id, request.query_params.get("version"))
        if found is None:
            raise NotFound
        return tagged(request, protocol_shown(found))


class Draft(OneProtocol):
    roles = frozenset({Role.PHYSIOTHERAPIST})

    @operation(
        "protocol_update", takes=ProtocolShape, gives={200: ProtocolOut}, match="must",
        refuses=[NotADraft], tag="protocols",
    )  # fmt: skip
    def put(self, request: Request, id: str) -> Response:
        """Save the draft whole. Members may be missing until it is published."""
        draft = self.draft(id)
        if not isinstance(request.data, dict):
            raise MalformedRequest("The body is not an object.")
        match(request, etag_of(as_json(protocol_shown(draft))), required=True)
        return answer(
            drafting.save(draft=draft, document=request.data, by=self.person, now=self.now)
        )


class Check(OneProtocol):
    roles = frozenset({Role.PHYSIOTHERAPIST})
    is_audited = True  # it reads what many patients reported

    @operation(
        "protocol_check", gives={200: ProtocolCheckOut}, refuses=[NotADraft], tag="protocols"
    )
    def post(self, request: Request, id: str) -> Response:
        """What publishing would refuse and warn of, and who would meet its criteria today."""
        draft = self.draft(id)
        findings = drafting.check(draft=draft, by=self.person)
        counts = criteria.counted(document=draft.document, by=self.person)
        errors = publishing.errors_of(findings)
        warnings = [finding for finding in findings if finding not in errors]
        return Response(
            {
                "errors": [drafting.error_of(finding).as_json() for finding in errors],
                "warnings": [drafting.error_of(finding).as_json() for finding in warnings],
                "criteria": [asdict(one) for one in counts],
            }
        )


class Publish(OneProtocol):
    roles = frozenset({Role.PHYSIOTHERAPIST})
    is_audited = True  # it decides what patients can be told to do

    @operation(
        "protocol_publish", takes=PublishIn, gives={201: ProtocolOut}, key=True, match="must",
        refuses=[NotADraft], tag="protocols",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """Freeze the draft as a version, for those who may. `errors` are those of the check."""
        if not self.person.can_publish:
            raise Forbidden("Ask somebody who may publish.")
        draft = self.draft(id)
        said = PublishIn.checked(request.data)
        match(request, etag_of(as_json(protocol_shown(draft))), required=True)
        published = drafting.publish(
            draft=draft,
            version=said["version"],
            change_note=said["change_note"],
            by=self.person,
            now=self.now,
        )
        self.object_id = published.pk
        return answer(published, 201)


def answer(row: ProtocolVersion | ProtocolDraft, status: int = 200) -> Response:
    shown = protocol_shown(row)
    return Response(shown, status, headers={"ETag": etag_of(as_json(shown))})


def _fits(shown: Mapping[str, object], asked: Mapping[str, Any]) -> bool:
    """In Python, because databases disagree about letters. There are few protocols."""
    told = " ".join(str(shown.get(name, "")) for name in ("title", "slug", "condition")).casefold()
    status = asked.get("status", "published")
    wanted = status, asked.get("condition", shown.get("condition"))
    return wanted == (shown["status"], shown.get("condition")) and (
        asked.get("q", "").casefold() in told
    )
