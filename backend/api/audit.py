"""Clinic administration: who did what to whose data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import Role, StaffEndpoint, moment
from backend.api.contract import PAGE, operation, query
from backend.api.fields import In, Instant, Text, Uid
from backend.api.paging import CursorInvalid, filters_of, page
from backend.audit.models import OUTCOMES, AuditEvent
from backend.clinics.models import User

# What `object` is of, where the first word of the action does not say it.
OBJECTS = {
    "decision": "assignment",
    "explain": "assignment",
    "protocol": "protocol_version",
    "stop": "flag",
}


# `from` is a keyword, hence no class statement.
AuditFilters: type[In] = type(
    "AuditFilters",
    (In,),
    {
        "__module__": __name__,
        "actor_id": Uid(required=False),
        "patient_id": Uid(required=False),
        "action": Text(60, required=False, allow_blank=True),
        "from": Instant(required=False),
        "to": Instant(required=False),
    },
)


class AuditActorOut(serializers.Serializer[Any]):
    """`role` is what somebody was then, or the name of a command, which is nobody. `name` is what
    somebody is called now."""

    id = serializers.UUIDField(required=False)
    role = serializers.CharField()
    name = serializers.CharField(required=False)


class AuditObjectOut(serializers.Serializer[Any]):
    type = serializers.CharField()
    id = serializers.UUIDField()


class AuditEventOut(serializers.Serializer[Any]):
    """`action` is an operation id, or what a command did. `listed` are the patients whom a list
    showed. `ip_prefix` is the network that the request came from. `before` and `after` are of a
    switch.

    `seq` and `hash` are the place in the chain of the clinic; an event has them within a minute.
    """

    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    actor = AuditActorOut()
    action = serializers.CharField()
    object = AuditObjectOut(required=False)
    patient_id = serializers.UUIDField(required=False)
    listed = serializers.ListField(child=serializers.UUIDField(), required=False)
    outcome = serializers.ChoiceField(OUTCOMES)
    request_id = serializers.UUIDField()
    ip_prefix = serializers.CharField(required=False)
    before = serializers.DictField(required=False)
    after = serializers.DictField(required=False)
    seq = serializers.IntegerField(required=False)
    hash = serializers.CharField(required=False)


class AuditPageOut(serializers.Serializer[Any]):
    """One page; without `next_cursor` it is the last.

    `first_hash` and `last_hash` are those of its first and its last event that is in the chain.
    Who keeps them can show later that the chain still holds them.
    """

    items = AuditEventOut(many=True)
    next_cursor = serializers.CharField(allow_null=True)
    first_hash = serializers.CharField(required=False)
    last_hash = serializers.CharField(required=False)


class AuditEvents(StaffEndpoint):
    roles = frozenset({Role.CLINIC_ADMIN})
    is_audited = True

    @operation(
        "audit_list", gives={200: AuditPageOut},
        params=[
            query("actor_id", "Only what this person did.", OpenApiTypes.UUID),
            query("patient_id", "Only about this patient, in lists too.", OpenApiTypes.UUID),
            query("action", "Only this action.", {"type": "string", "maxLength": 60}),
            query("from", "Not before this moment.", OpenApiTypes.DATETIME),
            query("to", "Before this moment.", OpenApiTypes.DATETIME),
            *PAGE,
        ],
        refuses=[CursorInvalid], tag="audit",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The newest first."""
        asked = filters_of(request, AuditFilters)
        rows = AuditEvent.objects.visible_to(self.person).filter(_meant(asked))
        found = page(request, rows, order=("-at", "-id"), shown=event_shown, filters=asked)
        items = found.data["items"]
        self._name(item["actor"] for item in items)
        if hashes := [item["hash"] for item in items if "hash" in item]:
            found.data |= {"first_hash": hashes[0], "last_hash": hashes[-1]}
        return found

    def _name(self, actors: Iterable[dict[str, str]]) -> None:
        """Who they are, in one query. Whoever has left the clinic is an id."""
        known = [actor for actor in actors if "id" in actor]
        ids = {UUID(actor["id"]) for actor in known}
        people = User.objects.filter(pk__in=ids, clinic=self.person.clinic)
        names = {str(one.pk): one.display_name for one in people}
        for actor in known:
            if name := names.get(actor["id"]):
                actor["name"] = name


def _meant(asked: dict[str, Any]) -> Q:
    equal = {name: asked[name] for name in ("actor_id", "action") if asked.get(name)}
    meant = Q(**equal)
    if "patient_id" in asked:
        meant &= _about(asked["patient_id"])
    if "from" in asked:
        meant &= Q(at__gte=asked["from"])
    if "to" in asked:
        meant &= Q(at__lt=asked["to"])
    return meant


def _about(patient_id: UUID) -> Q:
    shown = str(patient_id)
    if connection.vendor == "postgresql":
        return Q(patient_id=patient_id) | Q(listed__contains=[shown])
    return Q(patient_id=patient_id) | Q(listed__icontains=shown)  # ids are nothing but ids


def event_shown(event: AuditEvent) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": str(event.pk),
        "at": moment(event.at),
        "actor": {"role": event.actor_role},
        "action": event.action,
        "outcome": event.outcome,
        "request_id": str(event.request_id),
    }
    if event.actor_id is not None:
        shown["actor"]["id"] = str(event.actor_id)
    if event.patient_id is not None:
        shown["patient_id"] = str(event.patient_id)
    if event.object_id is not None:
        first = event.action.removeprefix("console.").partition("_")[0]
        shown["object"] = {"type": OBJECTS.get(first, first), "id": str(event.object_id)}
    if event.seq is not None:
        shown |= {"seq": event.seq, "hash": event.hash}
    told = {name: getattr(event, name) for name in ("ip_prefix", "listed", "before", "after")}
    return shown | {name: value for name, value in told.items() if value}
