"""What a patient comes with. A plan is given for an episode, so this is where care begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse

from backend.api.base import as_json, etag_of
from backend.api.physio import patients as api
from backend.console.frame import Form, FormScreen
from backend.console.navigation import TREATING
from backend.problems import NotFound

MOST = 200
REGIONS = tuple((one, one.replace("_", " ").capitalize()) for one in api.PROBLEM_REGIONS)
SIDES = (("left", "Left"), ("right", "Right"), ("both", "Both"), ("none", "Neither"))
END_REASONS = (
    ("completed", "Completed"),
    ("transferred", "Care goes on elsewhere"),
    ("stopped", "Stopped before its end"),
    ("other", "Another reason"),
)
DIAGNOSIS = "diagnosis_code"
ITS_PARTS = tuple(f"{DIAGNOSIS}/{part}" for part in ("text", "code", "system"))
NAMES = ("title", "body_region", "side", "onset_date", "started_on")
MAY_END = ("ended_on", "end_reason")
MAY_BE_EMPTY = ("onset_date", *MAY_END)


class OfEpisode(FormScreen):
    here = "patients"
    roles = TREATING

    def _page(self, form: Form, id: str, **said: object) -> HttpResponse:
        return self.page(
            "console/episode.html",
            {
                "form": form,
                "patient": self.ask(api.PatientOne, id=id),
                "regions": [("", "Choose"), *REGIONS],
                "sides": [("", "Choose"), *SIDES],
                "ends": [("", "It goes on"), *END_REASONS],
                **said,
            },
        )

    def _body(self, form: Form, *more: str) -> dict[str, Any]:
        body = form.body(*NAMES, *more, switches=["new_pain"])
        if diagnosis := form.body(*ITS_PARTS):
            body[DIAGNOSIS] = {name.rpartition("/")[2]: text for name, text in diagnosis.items()}
        return body


class EpisodeNew(OfEpisode):
    reads = "patient_get"
    writes = "episode_create"

    def show(self, form: Form, id: str = "") -> HttpResponse:
        if not form.values:
            today = self.now.astimezone(ZoneInfo(self.person.timezone)).date()
            form = Form({"started_on": today.isoformat()})
        return self._page(form, id)

    def act(self, form: Form, id: str = "") -> HttpResponse:
        made = self.tell(api.Episodes, self._body(form), id=id)
        self.say(f"Added: {made['title']}. Next, give a plan for it.")
        assign = reverse("console:assign", kwargs={"id": id})
        return HttpResponseRedirect(f"{assign}?{urlencode({'episode_id': made['id']})}")


class EpisodeOne(OfEpisode):
    """Put right what was said of it, or end it."""

    reads = "episode_list"
    writes = "episode_update"

    def show(self, form: Form, id: str = "", episode: str = "") -> HttpResponse:
        told = self._told(id, episode)
        if not form.values:
            form = Form(_as_fields(told))
        return self._page(form, id, episode=told, etag=etag_of(as_json(told)))

    def act(self, form: Form, id: str = "", episode: str = "") -> HttpResponse:
        self._told(id, episode)
        emptied = dict.fromkeys(NAMES, "") | dict.fromkeys((*MAY_BE_EMPTY, DIAGNOSIS))
        body = emptied | self._body(form, *MAY_END)
        told = self.tell(
            api.EpisodeOne, body, method="PATCH", if_match=form.value("etag"), id=episode
        )
        self.say(f"{'Ended' if told.get('ended_on') else 'Changed'}: {told['title']}.")
        return self.onward("patient", id=id)

    def _told(self, id: str, episode: str) -> Mapping[str, Any]:
        for one in self.ask(api.Episodes, {"limit": MOST}, id=id)["items"]:
            if one["id"] == episode:
                found: Mapping[str, Any] = one
                return found
        raise NotFound


def _as_fields(told: Mapping[str, Any]) -> dict[str, Any]:
    diagnosis = told.get(DIAGNOSIS, {})
    return dict(told) | {f"{DIAGNOSIS}/{part}": text for part, text in diagnosis.items()}
