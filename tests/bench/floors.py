"""The floors: the least an honest answer costs, for the benchmark only (docs/performance.md)."""

from __future__ import annotations

import json
from uuid import UUID

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend import tenant
from backend.api.base import CompactJSONRenderer
from backend.clinics.models import Patient, User
from backend.urls import urlpatterns as of_the_service

TABLE = """
    CREATE TABLE bench_set (
        session_id CHAR(36), entry INTEGER, number INTEGER, patient_id CHAR(36),
        reps INTEGER, load_kg REAL, pain INTEGER, PRIMARY KEY (session_id, entry, number)
    )
"""


def _who(token: str) -> str:
    """The session lookup of the sign-in."""
    who: str = SessionStore(token).load()[SESSION_KEY]
    return who


def f0(request: HttpRequest, size: int) -> HttpResponse:
    """The frame: the same middleware, no database, as many bytes as the job answers."""
    return HttpResponse(b" " * size, content_type="application/json")


def f1(request: HttpRequest, size: int) -> HttpResponse:
    """The least a signed-in request costs: the session, and one row by its key."""
    User.objects.get(pk=_who(request.headers["X-Session-Token"]))
    return HttpResponse(b" " * size, content_type="application/json")


class F2(APIView):
    """F1, by way of Django REST Framework."""

    authentication_classes = ()
    permission_classes = ()
    renderer_classes = (CompactJSONRenderer,)

    def get(self, request: Request, size: int) -> Response:
        User.objects.get(pk=_who(request.headers["X-Session-Token"]))
        return Response(" " * (size - 2))


@csrf_exempt
@transaction.atomic
def f3(request: HttpRequest, id: UUID, size: int) -> HttpResponse:
    """The least an upload costs: one transaction, one lock, one statement for all its sets."""
    who = _who(request.headers["X-Session-Token"])
    tenant.enter_everywhere()
    patient = Patient.objects.select_for_update().get(user_id=who)
    rows = [
        (str(id), n, m, str(patient.pk), one.get("reps"), one.get("load_kg"), one.get("pain"))
        for n, entry in enumerate(json.loads(request.body)["entries"])
        for m, one in enumerate(entry["sets"])
    ]
    places = ",".join(["(%s,%s,%s,%s,%s,%s,%s)"] * len(rows))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO bench_set VALUES {places} ON CONFLICT DO NOTHING",
            [value for row in rows for value in row],
        )
    return HttpResponse(b" " * size, status=201, content_type="application/json")


urlpatterns = [
    path("floor/0/<int:size>", f0),
    path("floor/1/<int:size>", f1),
    path("floor/2/<int:size>", F2.as_view()),
    path("floor/3/<uuid:id>/<int:size>", f3),
    *of_the_service,
]
