"""What developers read: the API description, its interactive page, and one page per problem."""

from __future__ import annotations

import inspect
import json
import re
from functools import cache

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views import View
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import Endpoint, Role, etag_of, is_current, unchanged
from backend.api.errors import as_http
from backend.problems import MethodNotAllowed, NotFound, Problem

# Everything from here. Swagger UI sets styles on elements and brings its icons as data.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
READS = ("GET", "HEAD")


@cache
def description() -> dict[str, object]:
    """The OpenAPI document, made once: nothing in it changes while the service runs."""
    with translation.override("en"):
        told: dict[str, object] = SchemaGenerator().get_schema(request=None, public=True)
    return told


@extend_schema(exclude=True)
class Schema(Endpoint):
    roles = frozenset({Role.ANYBODY})
    authentication_classes = ()  # type: ignore[assignment]  # nobody is asked who they are

    def get(self, request: Request) -> Response:
        etag = _schema_tag()
        if is_current(request, etag):
            return unchanged(etag)
        headers = {"ETag": etag, "Cache-Control": "public, max-age=300"}
        return Response(description(), headers=headers)


@cache
def _schema_tag() -> str:
    return etag_of(json.dumps(description()))


class Page(View):
    """A page of HTML for everybody. What it refuses, it refuses as everything else here."""

    def http_method_not_allowed(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        return _reads_only(request)


class Docs(Page):
    def get(self, request: HttpRequest) -> HttpResponse:
        return _page(request, "api/docs.html", {})


def problem_page(request: HttpRequest, code: str) -> HttpResponse:
    """What a problem means, and what the client does next."""
    if request.method not in READS:
        return _reads_only(request)
    problem = Problem.catalogue.get(code)
    if problem is None:
        return as_http(NotFound(), request)
    context = {
        "problem": problem,
        "about": _marked(inspect.getdoc(problem) or ""),
        "remedy": _marked(problem.remedy),
        "others": sorted(Problem.catalogue.values(), key=lambda one: (one.status, one.code)),
    }
    return _page(request, "api/problem.html", context)


def _page(request: HttpRequest, template: str, context: dict[str, object]) -> HttpResponse:
    answer = render(request, template, context)
    answer["Content-Security-Policy"] = PAGE_POLICY
    return answer


def _reads_only(request: HttpRequest) -> HttpResponse:
    answer = as_http(MethodNotAllowed(), request)
    answer["Allow"] = ", ".join(READS)
    return answer


def _marked(text: str) -> SafeString:
    """Text with `code` in it as HTML."""
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))
    shown = (
        (format_html("<code>{}</code>", part) if n % 2 else part,) for n, part in enumerate(parts)
    )
    return format_html_join("", "{}", shown)
