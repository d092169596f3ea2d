"""What becomes of a version: it is tried on people who do not exist, and others are moved to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.utils.safestring import SafeString
from rest_framework.request import Request

from backend.api.physio import caseload, progressions, protocols, simulations
from backend.care.models import Assignment, Progression
from backend.console.frame import Form, FormScreen, Screen
from backend.console.navigation import TREATING
from backend.problems import MalformedRequest, ValidationFailed
from protocols.share_plot import within_page

MOST = 200
COHORT, DAYS = 100, 120
OUTCOMES = {
    "advance": "Went on to the next phase",
    "hold": "Stayed where they were",
    "step_back": "Went a step back",
    "stop_and_review": "Stopped, to be looked at",
    "discharge": "Were done",
}
THEN = {"advance": "goes on", "hold": "stays", "step_back": "a step back",
        "stop_and_review": "stops", "discharge": "is done"}  # fmt: skip


class Try(Screen):
    """A hundred invented people go through it; the days of one of them are told one by one."""

    here = "protocols"
    roles = TREATING

    def get(self, request: Request, id: str) -> HttpResponse:
        person = _number(request.query_params.get("person", "1"))
        shown = self.ask(protocols.ProtocolOne, self._version(), id=id)
        said: dict[str, object] = {"id": id, "protocol": shown, "asked": self._version()}
        wish = {"cohort": COHORT, "days": DAYS, "trace": [person], "picture": True}
        try:
            found = self.tell(simulations.Simulations, wish | self._version(), id=id)
        except ValidationFailed as problem:
            return self.page("console/protocol_try.html", said | {"errors": problem.errors})
        titles = {one["id"]: f"{one['number']} {one['title']}" for one in shown["phases"]}
        numbers = {one["id"]: one["number"] for one in shown["phases"]}
        [told] = found["traces"]
        return self.page(
            "console/protocol_try.html",
            said
            | {
                "picture": SafeString(within_page(found["picture"])),  # its words are escaped
                "reached": [
                    one | {"title": titles.get(one["place"], one["place"].capitalize())}
                    for one in found["reached"]
                ],
                "outcomes": [
                    one | {"title": OUTCOMES[one["outcome"]]} for one in found["outcomes"]
                ],
                "cohort": COHORT,
                "days": DAYS,
                "person_number": person,
                "before": person - 1,
                "after": person % COHORT + 1,
                "told": [
                    one
                    | {
                        "phase": numbers[one["phase_id"]],
                        "outcome": THEN[one["outcome"]],
                    }
                    for one in told["days"]
                ],
            },
        )

    def _version(self) -> dict[str, str]:
        version = self.request.query_params.get("version", "")
        return {"version": version} if version else {}


def _number(said: str) -> int:
    if not (said.isascii() and said.isdigit() and 1 <= int(said[:4]) <= COHORT):
        raise MalformedRequest(f"There are people from 1 to {COHORT}.")
    return int(said)


class Older(FormScreen):
    """Whose plan is of an older version. Nobody is moved by this: it is proposed, and decided in a
    review like any other change."""

    reads, writes = "caseload_list", "progression_propose_version"
    here = "protocols"
    roles = TREATING

    def show(self, form: Form, id: str = "") -> HttpResponse:
        newest = self.ask(protocols.ProtocolOne, id=id)
        query = {"protocol_id": id, "include": "on_track", "limit": str(MOST)}
        listed = self.ask(caseload.Caseload, query)
        people = [UUID(one["patient"]["id"]) for one in listed["items"]]
        rows = (
            Assignment.objects.visible_to(self.person)
            .filter(patient__in=people, protocol_version__protocol_id=UUID(id), ended_on=None)
            .exclude(protocol_version__version=newest["version"])
            .select_related("patient", "protocol_version")
            .defer("protocol_version__document")
            .order_by("patient__family_name", "patient__given_name", "pk")
        )
        return self.page(
            "console/protocol_older.html",
            {
                "form": form,
                "protocol": newest,
                "rows": _with_proposals(self, list(rows)),
                "is_cut": listed["next_cursor"] is not None,
            },
        )

    def act(self, form: Form, id: str = "") -> HttpResponse:
        body = form.body("protocol_version", "note")
        made = self.tell(progressions.NewerVersion, body, id=str(form.value("assignment")))
        self.say("Proposed. It waits in the reviews, and changes nothing before it is approved.")
        return self.onward("review", id=made["id"])


def _with_proposals(screen: Screen, rows: list[Assignment]) -> list[Mapping[str, Any]]:
    """Each plan with what is proposed for it already. One query."""
    waiting = Progression.objects.visible_to(screen.person).filter(
        assignment__in=rows, status=Progression.Status.PROPOSED
    )
    found = dict(waiting.order_by("computed_at").values_list("assignment_id", "pk"))
    return [{"plan": row, "proposal_id": found.get(row.pk)} for row in rows]
