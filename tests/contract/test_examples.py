"""The examples in the description: each is right by the description, and by what reads it."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from backend.api.documents import description
from backend.api.fields import In
from backend.urls import API
from protocols import drafting, publishing
from protocols.models import ProtocolDraft
from tests.contract.test_description import operations

BODIES = {
    name: one["requestBody"]["content"]["application/json"]
    for name, one in operations().items()
    if "requestBody" in one
}


def taken_by(name: str) -> Any:
    """What reads the body of an operation."""
    for route in API:
        view = getattr(route.callback, "view_class")  # noqa: B009  # set by `as_view`
        for method in ("put", "post", "patch"):
            handler: Any = getattr(view, method, None)
            if getattr(handler, "operation_id", None) == name:
                return handler.takes
    raise LookupError(name)


@pytest.mark.parametrize("name", BODIES)
def test_an_example_fits_its_description(name):
    schema = {**BODIES[name]["schema"], "components": description()["components"]}
    found = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)

    assert [error.message for error in found.iter_errors(BODIES[name]["example"])] == []


@pytest.mark.parametrize("name", sorted(BODIES.keys() - {"protocol_update"}))
def test_an_example_is_taken(name):
    takes, example = taken_by(name), BODIES[name]["example"]
    assert issubclass(takes, In)

    _, warnings = takes.checked_with_warnings(example, partial=name.endswith("_update"))

    assert warnings == []


@pytest.mark.django_db
def test_the_example_of_a_protocol_can_be_published(ana, harbour, library):
    draft = ProtocolDraft(clinic=harbour, document=BODIES["protocol_update"]["example"])
    assert publishing.errors_of(drafting.check(draft=draft, by=ana.user)) == []


def test_a_wrong_example_would_be_noticed():
    schema = {**BODIES["session_put"]["schema"], "components": description()["components"]}
    wrong = {**BODIES["session_put"]["example"], "state": "tired"}
    assert list(Draft202012Validator(schema).iter_errors(wrong))
