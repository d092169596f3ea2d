"""The caseload: who needs somebody today, and why."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from backend.api.physio import caseload as api
from backend.console.frame import Screen


class Caseload(Screen):
    reads = "caseload_list"
    here = "caseload"

    def get(self, request: Request) -> HttpResponse:
        wishes = {name: value for name, value in request.query_params.items() if value}
        shown = self.ask(api.Caseload, wishes)
        return self.page("console/caseload.html", shown | {"asked": wishes})
