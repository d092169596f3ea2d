"""What somebody does about a flag: deal with it, take that back at once, and end a stop."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.urls import reverse

from backend.api.base import Role, path_id
from backend.api.physio import flags as api
from backend.api.physio.patients import PatientOne
from backend.care import clearing
from backend.care.models import Flag
from backend.console.caseload import ACTIONS, words_of_flag
from backend.console.frame import Form, FormScreen, Screen
from backend.console.plans import plans_of
from backend.problems import NotFound

BACK = ("caseload", "patient")
LEVELS = {"emergency": "Emergency", "urgent": "Urgent", "routine": "Routine"}


class OfPatient(FormScreen):
    """A form about a patient, that goes back to where it was opened."""

    here = "caseload"
    reads = "flag_list"
    roles = frozenset({Role.PHYSIOTHERAPIST})

    def patient(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(PatientOne, id=id)
        return found | {"name": f"{found['given_name']} {found['family_name']}"}

    def back(self, form: Form) -> str:
        """`back` of the address or of the form, of the two that there are."""
        said = form.value("back") or self.request.query_params.get("back", "")
        return said if said in BACK else "caseload"

    def onward_to(self, form: Form, id: str) -> HttpResponse:
        if self.back(form) == "patient":
            return self.onward("patient", id=id)
        return self.onward("caseload")

    def way_back(self, form: Form, id: str) -> str:
        if self.back(form) == "patient":
            return reverse("console:patient", kwargs={"id": id})
        return reverse("console:caseload")


class Deal(OfPatient):
    """A flag was dealt with. One that stops all exercise is only seen: a clearance ends it."""

    writes = "flag_resolve"
    is_seen = False

    def show(self, form: Form, **address: str) -> HttpResponse:
        id, flag = address["id"], address["flag"]
        patient = self.patient(id)
        open_flags = self.ask(api.Flags, {"patient_id": id, "limit": 200})["items"]
        found = next((one for one in open_flags if one["id"] == flag), None)
        if found is None and form.problem is None:
            raise NotFound
        return self.page(
            "console/flag.html",
            {
                "patient": patient,
                "flag": found and flag_told(found),
                "form": Form({"back": self.back(form)}) if form.problem is None else form,
                "actions": ACTIONS.items(),
                "is_seen": self.is_seen,
                "back": self.way_back(form, id),
            },
        )

    def act(self, form: Form, **address: str) -> HttpResponse:
        id, flag = address["id"], address["flag"]
        if self.is_seen:
            self.tell(api.Acknowledge, form.body("note"), id=flag)
            self.say("Acknowledged. The stop stands until it is cleared.")
        else:
            said = self.tell(api.Resolve, form.body("action", "note"), id=flag)
            undo = reverse("console:flag_undo", kwargs={"id": id, "flag": flag})
            self.say(f"Handled: {words_of_flag(said['code'])}", undo=undo)
        return self.onward_to(form, id)


class See(Deal):
    writes = "flag_acknowledge"
    is_seen = True


class Undo(OfPatient):
    """Takes back what this person did about a flag a moment ago."""

    reads = ""
    writes = "flag_take_back"
    refused = Screen.refused  # there is no form to draw again

    def act(self, form: Form, **address: str) -> HttpResponse:
        rows = Flag.objects.visible_to(self.person).filter(
            pk=path_id(address["flag"]), patient=path_id(address["id"])
        )
        found = rows.select_related("patient").first()
        if found is None:
            raise NotFound
        self.concerns(found.patient, found.pk)
        clearing.take_back(flag=found, by=self.person, now=self.now)
        self.say("Taken back. It waits again.")
        return self.onward("caseload")


class ClearStop(OfPatient):
    """Exercises come back, after a reason was given."""

    writes = "stop_clear"

    def show(self, form: Form, **address: str) -> HttpResponse:
        id = address["id"]
        patient = self.patient(id)
        open_flags = self.ask(api.Flags, {"patient_id": id, "limit": 200})["items"]
        plans = self._plans(id)
        return self.page(
            "console/clear_stop.html",
            {
                "patient": patient,
                "flags": [flag_told(one) for one in open_flags if one["stops"]],
                "plans": plans,
                "form": self._begun(plans) if form.problem is None else form,
                "actions": ACTIONS.items(),
                "back": self.way_back(form, id),
            },
        )

    def _begun(self, plans: list[dict[str, Any]]) -> Form:
        chosen = {one["field"]: one["phase_id"] for one in plans}
        return Form(chosen | {"back": self.request.query_params.get("back", "patient")})

    def _plans(self, id: str) -> list[dict[str, Any]]:
        """The plans that come back, and the phases in which they can: up to the present one."""
        return [
            {
                "id": plan.shown["id"],
                "field": f"resume_phase_ids/{plan.shown['id']}",
                "title": plan.shown["title"],
                "phase_id": plan.shown["phase"]["id"],
                "options": [
                    (phase.id, f"Phase {phase.number}, {phase.title}")
                    for phase in plan.course.protocol.phases
                    if phase.number <= plan.shown["phase"]["number"]
                ],
            }
            for plan in plans_of(self.person, UUID(id), self.now)
            if plan.is_running and plan.has_begun
        ]

    def act(self, form: Form, **address: str) -> HttpResponse:
        id = address["id"]
        self.patient(id)
        plans = self._plans(id)
        body = form.body("reason", "action")
        resume = {
            one["id"]: form.value(one["field"])
            for one in plans
            if form.value(one["field"]) and form.value(one["field"]) != one["phase_id"]
        }
        if resume:
            body["resume_phase_ids"] = resume
        self.tell(api.StopClearances, body, id=id)
        self.say("The stop is cleared. Exercises come back tomorrow, at first at half dose.")
        return self.onward_to(form, id)


def flag_told(flag: dict[str, Any]) -> dict[str, Any]:
    """With what it is about, in words."""
    return flag | {
        "text": words_of_flag(flag["code"]),
        "level_words": LEVELS[flag["level"]],
        "tier": "review" if flag["level"] == Flag.Level.ROUTINE else "urgent",
        "action_words": ACTIONS.get(flag.get("action", ""), ""),
    }
