"""The catalogue: what can be prescribed, with its pictures, and where each entry comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from backend.api import exercises as api
from backend.clinics.models import User
from backend.console.frame import Form, Screen
from backend.console.wording import time_words
from exercises.models import Exercise

A_PAGE = 200
KINDS = {
    "stretch": "Stretches",
    "nerve_glide_slider": "Nerve sliders",
    "nerve_glide_tensioner": "Nerve tensioners",
    "strengthening": "Strengthening",
    "core": "Core",
    "mobility": "Mobility",
    "foam_rolling": "Foam rolling",
    "cardio_running": "Cardio and running",
    "education_self_care": "Self-care",
}
REGIONS = {
    "posterior_thigh": "Back of the thigh",
    "anterior_thigh": "Front of the thigh",
    "hip": "Hip",
    "lower_back": "Lower back",
    "trunk": "Trunk",
    "lower_leg": "Lower leg",
    "whole_body": "Whole body",
}
SIDES = {
    "affected": "the affected side",
    "unaffected": "the other side",
    "each_side": "each side",
    "bilateral": "both sides together",
    "alternating": "sides in turn",
    "none": "",
}
SOUGHT = ("kind", "body_region", "q", "cursor")


class Exercises(Screen):
    here = "exercises"

    def get(self, request: Request) -> HttpResponse:
        sent = request.query_params
        asked = {name: sent[name] for name in SOUGHT if sent.get(name)}
        shown = self.ask(api.Exercises, {"limit": str(A_PAGE)} | asked)
        order = [*KINDS]
        items = sorted(shown["items"], key=lambda one: order.index(one["kind"]))
        return self.page(
            "console/exercises.html",
            {
                "form": Form(asked),
                "groups": [
                    (KINDS[kind], [*rows])
                    for kind, rows in groupby(items, key=lambda one: one["kind"])
                ],
                "count": len(items),
                "next_cursor": shown.get("next_cursor"),
                "asked": asked,
                "kind": asked.get("kind", ""),
                "kinds": [("", "All"), *KINDS.items()],
                "kept": {name: asked[name] for name in ("body_region", "q") if name in asked},
                "regions": [("", "Every region"), *REGIONS.items()],
            },
        )


class ExerciseOne(Screen):
    here = "exercises"

    def get(self, request: Request, id: str) -> HttpResponse:
        shown = self.ask(api.ExerciseOne, id=id)
        steps = rows_of(self.person, (shown.get("easier"), shown.get("harder")))
        return self.page(
            "console/exercise.html",
            {
                "exercise": shown,
                "kind": KINDS[shown["kind"]],
                "region": REGIONS[shown["body_region"]],
                "side": SIDES[shown["side"]],
                "dose": usual_words(shown["dose"]),
                "often": often_words(shown["dose"]),
                "easier": steps.get(shown.get("easier", "")),
                "harder": steps.get(shown.get("harder", "")),
            },
        )


def rows_of(person: User, slugs: Iterable[str | None]) -> dict[str, Exercise]:
    """Exercises by slug, the clinic's own before the library's. One query."""
    rows = Exercise.objects.visible_to(person).filter(slug__in={one for one in slugs if one})
    return {row.slug: row for row in sorted(rows, key=lambda row: bool(row.clinic_id))}


def usual_words(dose: Mapping[str, Any]) -> str:
    """`3 × 10, hold 5 s, tempo 2-0-2, rest 60 s`."""
    amount = (
        str(dose["reps"]) if "reps" in dose
        else time_words(dose["duration_s"]) if "duration_s" in dose
        else f"{dose['distance_m']} m"
    )  # fmt: skip
    said = [f"{dose['sets']} × {amount}"]
    if "hold_s" in dose:
        said.append(f"hold {time_words(dose['hold_s'])}")
    if "tempo" in dose:
        said.append(f"tempo {dose['tempo']}")
    if dose.get("rest_s"):
        said.append(f"rest {time_words(dose['rest_s'])}")
    return ", ".join(said)


def often_words(dose: Mapping[str, Any]) -> str:
    days = {7: "every day", 1: "once a week"}.get(
        dose["days_per_week"], f"{dose['days_per_week']} days a week"
    )
    return days if dose["per_day"] == 1 else f"{days}, {dose['per_day']} times a day"
