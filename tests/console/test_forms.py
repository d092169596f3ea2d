"""What a form keeps, and how the API's refusals find their fields."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.http import HttpResponse, QueryDict
from django.template import Context, Template
from django.test import Client, override_settings
from django.urls import include, path

from backend.api.physio import flags
from backend.audit.models import AuditEvent
from backend.console.frame import Form, FormScreen, Screen
from backend.problems import FieldError, ValidationFailed
from backend.urls import urlpatterns as usual
from tests.console.conftest import browses
from tests.service.cast import Staff


class Acknowledge(FormScreen):
    """The API's operation behind a form, as screens are built."""

    writes: ClassVar[str] = "flag_acknowledge"

    def show(self, form: Form, id: str = "") -> HttpResponse:
        return HttpResponse(
            Template("{% load console %}{% errors form %}{% field form 'note' 'Note' %}").render(
                Context({"form": form})
            )
        )

    def act(self, form: Form, id: str = "") -> HttpResponse:
        self.tell(flags.Acknowledge, form.body("action", "note"), id=id)
        self.say("Acknowledged.", undo="/console/undo")
        return self.onward("caseload")


class Messages(Screen):
    def get(self, request: Any) -> HttpResponse:
        return self.part("console/parts/messages.html", {})


urlpatterns = [
    path("console/", include(([path("acknowledge/<str:id>", Acknowledge.as_view()),
                               path("messages", Messages.as_view())], "testing"))),
    *usual,
]  # fmt: skip


def test_values_are_kept_and_errors_stand_at_their_fields() -> None:
    problem = ValidationFailed.of(
        [FieldError("#/items/0/sets", "max", "At most 10."), FieldError("", "x", "As a whole.")]
    )
    form = Form(QueryDict("items/0/sets=99&note=%3Cb%3E&day=mon&day=thu"), problem)

    assert form.value("items/0/sets") == "99"
    assert form.error("items/0/sets") == "At most 10."
    assert form.error("note") == ""
    assert form.chosen("day") == ["mon", "thu"]
    text = Template(
        "{% load console %}{% errors form %}{% field form 'items/0/sets' 'Sets' 'number' %}"
        "{% field form 'note' 'Note' 'textarea' %}"
    ).render(Context({"form": form}))
    assert 'href="#f-items-0-sets"' in text
    assert 'aria-describedby="f-items-0-sets-error" aria-invalid="true"' in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        ("note=%20&sets=3", {"sets": 3, "told": False, "days": []}),
        ("note=x&sets=2.5&told=on", {"note": "x", "sets": 2.5, "told": True, "days": []}),
        ("sets=many&days=a&days=b", {"sets": "many", "told": False, "days": ["a", "b"]}),
    ],
)
def test_a_body_for_the_api(sent: str, body: dict[str, Any]) -> None:
    form = Form(QueryDict(sent))
    assert form.body("note", numbers=["sets"], switches=["told"], lists=["days"]) == body


@pytest.fixture
def flag_id(ana: Staff, ben: Any, plan_of_ben: Any) -> str:
    day = ben.today
    ben.logs(ben.slot(day), plan_of_ben, pain_during=9)
    id: str = ana.get("flags")["items"][0]["id"]
    return id


@override_settings(ROOT_URLCONF="tests.console.test_forms")
def test_a_form_from_refusal_to_done(ana: Staff, ben: Any, flag_id: str) -> None:
    client, before = browses(ana), AuditEvent.objects.count()
    address = f"/console/acknowledge/{flag_id}"

    answer = client.post(address, {"action": "sung to", "note": "Called her"})
    assert answer.status_code == 422
    assert 'value="Called her"' in answer.content.decode()
    assert 'role="alert"' in answer.content.decode()

    answer = client.post(address, {"note": "Called her"})
    assert (answer.status_code, answer["Location"]) == (302, "/console/caseload")
    said = client.get("/console/messages").content.decode()
    assert "Acknowledged." in said
    assert 'action="/console/undo"' in said

    events = AuditEvent.objects.order_by("at")[before:]
    assert [(one.action, one.outcome, one.patient_id) for one in events] == [
        ("console.flag_acknowledge", "refused", ben.patient.pk),
        ("console.flag_acknowledge", "ok", ben.patient.pk),
    ]


@override_settings(ROOT_URLCONF="tests.console.test_forms")
def test_a_form_of_another_page_is_refused(ana: Staff, flag_id: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies["sessionid"] = ana.token
    answer = client.post(f"/console/acknowledge/{flag_id}", {"note": ""})
    assert answer.status_code == 403
    assert ana.get("flags")["items"][0]["status"] == "open"
