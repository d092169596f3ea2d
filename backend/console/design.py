"""Every part the screens are made of, in every state, on one page."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from backend.console.charts import samples
from backend.console.frame import Form, Screen
from backend.problems import FieldError, ValidationFailed

TIERS = ("urgent", "review", "watch", "on_track")
STATES = ("info", "ok", "warning", "error", "stale")
REGIONS = (("thigh", "Thigh"), ("knee", "Knee"), ("back", "Lower back"))

LONGEST = "timeline-year"  # shows no state that another one does not, and takes half of the page


class Design(Screen):
    def get(self, request: Request) -> HttpResponse:
        wrong = ValidationFailed.of(
            [
                FieldError("#/why", "required", "Say why."),
                FieldError("#/times", "max", "At most 10."),
            ]
        )
        return self.page(
            "console/design.html",
            {
                "form": Form({"reason": "Calf, left", "region": "knee", "sets": "3"}),
                "wrong": Form({"why": "", "times": "30"}, wrong),
                "tiers": TIERS,
                "states": STATES,
                "regions": REGIONS,
                "letters": "CPSM?X·" * 2,
                "shares": (0, 0.49, 0.79, 0.99, 1),
                "charts": [one for one in samples.charts() if one.id != LONGEST],
            },
        )
