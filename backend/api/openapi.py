"""How the API description is made from the views: names, exact limits, headers, security."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, get_doc
from drf_spectacular.utils import Direction
from pydantic import TypeAdapter
from rest_framework import serializers

from backend.api.fields import In, Number, Text
from protocols.shape import ProtocolShape

Schema = dict[str, Any]

EXAMPLES = Path(__file__).with_name("examples.yaml")
NOTHING = {"type": "string", "maxLength": 0}
TAGGED = ("200", "201")
SAID = {
    "200": "As it is now.", "201": "Made.", "202": "Begun.", "204": "Gone.",
    "304": "What you have is current.",
}  # fmt: skip
HEADERS: dict[str, Schema] = {
    "RequestId": {
        "description": "Names the request, for support; `instance` of a problem is the same.",
        "schema": {"type": "string", "format": "uuid"},
    },
    "ETag": {
        "description": "Names this version, for `If-Match` and `If-None-Match`.",
        "schema": {"type": "string"},
    },
    "Link": {
        "description": 'The next page, as `<…>; rel="next"`.',
        "schema": {"type": "string"},
    },
    "RetryAfter": {
        "description": "Seconds to wait before the same request is sent again.",
        "schema": {"type": "integer"},
    },
}
ABOUT = """\
Exercises and plans for rehabilitation: an app that works offline, and a desk for physiotherapists.

* **Sign-in** is that of django-allauth under `/api/auth/app/v1/` (apps; send `X-Session-Token`) and
  `/api/auth/browser/v1/` (web pages; cookie, and `X-CSRFToken` with every write).
* **Absent** means not applicable or not given. Answers hold no `null`, except where said so.
* **Problems** are `application/problem+json`; branch on `code`. Each code has a page under
  `/problems/`.
* **Tolerate** answer fields you do not know, and words you do not know in lists of words, except
  for `state`, `side` and `day_type`, which are closed.
* **Send** `Client: name/version (platform)`, `Accept-Language`, and a `Request-Id` (UUID) if you
  like. Bodies are JSON of at most 1 MiB, optionally gzip.
* `Idempotency-Key` makes a `POST` safe to repeat for 24 hours. What was refused with 409 or 422 is
  refused again; a new try takes a new key.
"""
TAGS = [
    {"name": "account", "description": "The service, invitations, and who one is."},
    {"name": "patient", "description": "The patient's app: plan, sessions, check-ins."},
    {"name": "sync", "description": "Upload what was recorded offline; learn what changed."},
    {"name": "exercises", "description": "What can be prescribed."},
    {"name": "protocols", "description": "Graded plans: drafts and published versions."},
    {"name": "patients", "description": "Patients, episodes, measurements, raw logs."},
    {"name": "plans", "description": "Giving a protocol to a patient, and changing that."},
    {"name": "reminders", "description": "When a patient is reminded, and what came of it."},
    {"name": "exports", "description": "Files for other programs, written in the background."},
    {"name": "progressions", "description": "What the rules propose, and what is decided on it."},
    {"name": "clinic", "description": "Running a clinic: its settings and its staff."},
    {"name": "rights", "description": "A copy of everything, being forgotten, legal holds."},
    {"name": "audit", "description": "Clinic administration: who did what to whose data."},
    {"name": "reports", "description": "What a clinic accounts for."},
]


def finish(result: Schema, **more: object) -> Schema:
    """The last hook: what belongs to the whole."""
    result["info"]["description"] = ABOUT
    result["tags"] = TAGS
    result["components"]["headers"] = HEADERS
    result["components"]["responses"] = dict(sorted(_shared_refusals(result).items()))
    return result


def _shared_refusals(result: Schema) -> dict[str, Schema]:
    """Refusals by their codes, each told once instead of with every operation."""
    told: dict[str, Schema] = {}
    for methods in result["paths"].values():
        for operation in methods.values():
            answers = operation["responses"]
            for status, answer in answers.items():
                if int(status) >= 400:
                    codes = re.findall(r"`([a-z-]+)`", answer["description"])
                    name = "Or".join(code.title().replace("-", "") for code in codes)
                    told[name] = answer
                    answers[status] = {"$ref": f"#/components/responses/{name}"}
    return told


class Description(AutoSchema):
    """`PlanOut` is told as `Plan`, `SessionIn` as `SessionWrite`: they become class names."""

    def get_serializer_name(
        self, serializer: serializers.Serializer[Any], direction: Direction
    ) -> str:
        name = type(serializer).__name__
        if name.endswith("In"):
            return name.removesuffix("In") + "Write"
        return name.removesuffix("Out")

    def _get_serializer_name(
        self, serializer: Any, direction: Direction, bypass_extensions: bool = False
    ) -> str:
        """Of a `PATCH`: `MePatch`, `EpisodePatch`."""
        name: str = super()._get_serializer_name(serializer, direction, bypass_extensions)
        if not name.startswith("Patched"):
            return name
        return name.removeprefix("Patched").removesuffix("Write").removesuffix("Change") + "Patch"

    def get_description(self) -> str:  # type: ignore[override]  # so does the class above
        """What the method itself says; its class speaks to programmers."""
        said: str = get_doc(getattr(self.view, self.method.lower()))
        return said

    def get_operation(self, *args: Any) -> Schema | None:
        operation: Schema | None = super().get_operation(*args)
        if operation is not None:
            self._tell_headers(operation)
        if operation is not None and "requestBody" in operation:
            operation["requestBody"]["required"] = True
            [told] = operation["requestBody"]["content"].values()
            if operation["operationId"] in _examples():
                told["example"] = _examples()[operation["operationId"]]
        return operation

    def _tell_headers(self, operation: Schema) -> None:
        answers: Schema = operation["responses"]
        parameters = operation.get("parameters", [])
        if "304" in answers:
            parameters.append(_header("If-None-Match", "An `ETag`: 304 where it is the same."))
            operation["parameters"] = parameters
        matches = any(parameter["name"] == "If-Match" for parameter in parameters)
        paged = any(parameter["name"] == "cursor" for parameter in parameters)
        for status, answer in answers.items():
            headers: Schema = {"Request-Id": {"$ref": "#/components/headers/RequestId"}}
            if status in TAGGED and ("304" in answers or matches):
                headers["ETag"] = {"$ref": "#/components/headers/ETag"}
            if status == "200" and paged:
                headers["Link"] = {"$ref": "#/components/headers/Link"}
            if status in ("429", "503"):
                headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
            answer["headers"] = headers
            answer["description"] = answer["description"] or SAID[status]

    def _map_serializer_field(
        self, field: Any, direction: Direction, bypass_extensions: bool = False
    ) -> Schema:
        told: Schema = super()._map_serializer_field(field, direction, bypass_extensions)
        if isinstance(field, Text) and not field.allow_blank:
            told["minLength"] = 1
        if isinstance(field, Number):
            told["multipleOf"] = 1 / field.per_unit
        told.pop("x-spec-enum-id", None)  # words alone tell lists of words apart, not their labels
        return told

    def _insert_field_validators(self, field: Any, schema: Schema) -> None:
        super()._insert_field_validators(field, schema)
        if NOTHING in schema.get("oneOf", ()):  # or a pattern: two types to a generator, so one
            told, _ = schema.pop("oneOf")
            schema.update({name: told[name] for name in ("type", "maxLength") if name in told})

    def _map_serializer(
        self, serializer: Any, direction: Direction, bypass_extensions: bool = False
    ) -> Schema:
        told: Schema = super()._map_serializer(serializer, direction, bypass_extensions)
        name = type(serializer).__name__
        if type(serializer).__doc__ is None:
            told.pop("description", None)  # that of a class above
        if isinstance(serializer, In) and name.endswith("In") and not serializer.lenient:
            told["additionalProperties"] = False
        return told


class SignIn(OpenApiAuthenticationExtension):
    """Either the header or the cookie."""

    target_class = "backend.api.base.SessionAuthentication"
    name = ["session_token", "session_cookie"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[Schema]:
        return [
            {
                "type": "apiKey",
                "in": "header",
                "name": "X-Session-Token",
                "description": "Apps: the `session_token` that `/api/auth/app/v1/` answers.",
            },
            {
                "type": "apiKey",
                "in": "cookie",
                "name": settings.SESSION_COOKIE_NAME,
                "description": (
                    "Web pages, after `/api/auth/browser/v1/`. Writes also send `X-CSRFToken`."
                ),
            },
        ]


class Service(OpenApiAuthenticationExtension):
    """A token of the clinic, for other systems."""

    target_class = "backend.api.base.ServiceAuthentication"
    name = "service_token"

    def get_security_definition(self, auto_schema: AutoSchema) -> Schema:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "Other systems: a service token of the clinic, with the right scope.",
        }


class ProtocolDocument(OpenApiSerializerExtension):
    """The document of a protocol. A draft may lack anything, so nothing in it is required."""

    target_class = "protocols.shape.ProtocolShape"
    priority = 1  # before what the library does with any model of pydantic

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str:
        return "ProtocolDocument"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        for name, part in _document_parts().items():
            component = ResolvedComponent(
                name=name, type=ResolvedComponent.SCHEMA, object=name, schema=part
            )
            auto_schema.registry.register_on_missing(component)
        return _document()


class Protocol(OpenApiSerializerExtension):
    """A protocol is its document and what the service knows about it."""

    target_class = "backend.api.physio.protocols.ProtocolOut"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        known: Schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**known, "properties": {**_document()["properties"], **known["properties"]}}


@cache
def _examples() -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(EXAMPLES.read_text())
    return found


def _document() -> Schema:
    return {name: part for name, part in _shape().items() if name != "$defs"}


def _document_parts() -> dict[str, Schema]:
    return {_part_name(name): part for name, part in _shape()["$defs"].items()}


def _shape() -> Schema:
    told: Schema = _told(TypeAdapter(ProtocolShape).json_schema(mode="serialization"))
    return told


def _told(value: Any) -> Any:
    """A schema of pydantic in the manner of ours: absent instead of null, nothing required."""
    if isinstance(value, list):
        return [_told(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return {"$ref": "#/components/schemas/" + _part_name(value["$ref"].rpartition("/")[2])}
    if "anyOf" in value:
        [only] = [option for option in value["anyOf"] if option != {"type": "null"}]
        return _told(only)
    if "const" in value:
        return {"type": "string", "enum": [value["const"]]}
    return {
        name: {key: _told(inner) for key, inner in said.items()}
        if name in ("properties", "$defs")
        else _told(said)
        for name, said in value.items()
        if name not in ("title", "default", "required", "description")
    }


def _part_name(name: str) -> str:
    return "Protocol" + name.removesuffix("Shape")


def _header(name: str, about: str) -> Schema:
    return {"in": "header", "name": name, "schema": {"type": "string"}, "description": about}
