"""Every refusal and every failure as `application/problem+json`, with nothing about its cause."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.views.debug import ExceptionReporter
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.response import Response

from backend.api.base import as_json, request_id_of
from backend.problems import (
    Forbidden,
    InternalError,
    MalformedRequest,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    PayloadTooLarge,
    Problem,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
READS = ("GET", "HEAD")
FAILED_WITH = "backend.failed_with"

_log = structlog.stdlib.get_logger("backend.errors")

TRANSLATED: dict[type[BaseException], type[Problem]] = {
    Http404: NotFound,
    PermissionDenied: Forbidden,
    RequestDataTooBig: PayloadTooLarge,
    SuspiciousOperation: MalformedRequest,
    exceptions.ParseError: MalformedRequest,
    exceptions.UnsupportedMediaType: UnsupportedMediaType,
    exceptions.NotAcceptable: NotAcceptable,
    exceptions.NotAuthenticated: Unauthenticated,
    exceptions.AuthenticationFailed: Unauthenticated,
    exceptions.PermissionDenied: Forbidden,
    exceptions.NotFound: NotFound,
    OperationalError: Unavailable,
    RedisError: Unavailable,
    InterfaceError: Unavailable,
}


def problem_of(error: BaseException) -> Problem:
    """The problem that an exception is told as."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, exceptions.MethodNotAllowed):
        return MethodNotAllowed()
    for kind, told_as in TRANSLATED.items():
        if isinstance(error, kind):
            after = RETRY_AFTER_S if told_as is Unavailable else None
            return told_as(retry_after_s=after)
    return InternalError()


def handle(error: Exception, context: Mapping[str, Any]) -> Response:
    """Django REST Framework's exception handler."""
    problem = problem_of(error)
    request = context["request"]._request
    if problem.status >= 500 and not isinstance(error, Problem):
        _log.error("failed", problem=problem.code, exc_info=error)
    answer = refusal(problem, request)
    if isinstance(error, exceptions.MethodNotAllowed):
        answer["Allow"] = ", ".join(context["view"].allowed_methods)
    return answer


def refusal(problem: Problem, request: HttpRequest) -> Response:
    """The answer of a view that refuses."""
    return Response(
        shown(problem, request), problem.status, headers=_headers(problem), content_type=MEDIA_TYPE
    )


def shown(problem: Problem, request: HttpRequest) -> dict[str, object]:
    """As JSON. `Host` is not asked: it may be what the problem is about."""
    body = problem.as_json(base_url=settings.PUBLIC_URL)
    body["title"] = gettext(problem.title)
    body["instance"] = f"urn:uuid:{request_id_of(request)}"
    return body


def _headers(problem: Problem) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "X-Session-Token"
    return headers


def as_http(problem: Problem, request: HttpRequest) -> HttpResponse:
    """The same answer for what happens before or outside a view of ours."""
    return HttpResponse(
        as_json(shown(problem, request)),
        status=problem.status,
        content_type=MEDIA_TYPE,
        headers=_headers(problem),
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return as_http(MalformedRequest(), request)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return as_http(Forbidden(), request)


def unknown_address(request: HttpRequest) -> HttpResponse:
    return as_http(NotFound(), request)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    return as_http(Forbidden("CSRF check failed."), request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return as_http(NotFound(), request)


def server_error(request: HttpRequest) -> HttpResponse:
    return as_http(problem_of(sys.exc_info()[1] or InternalError()), request)


def reads_only(request: HttpRequest) -> HttpResponse:
    answer = as_http(MethodNotAllowed(), request)
    answer["Allow"] = ", ".join(READS)
    return answer


class NoPage(ExceptionReporter):
    """What Django asks for its page about an exception in development; the log tells it anyway."""

    def __init__(
        self,
        request: HttpRequest | None,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
        is_email: bool = False,
    ) -> None:
        super().__init__(request, exc_type, exc_value, tb, is_email)
        if request is not None:
            request.META[FAILED_WITH] = exc_value

    def get_traceback_html(self) -> SafeString:
        return SafeString()

    get_traceback_text = get_traceback_html


class NoDebugPages:
    """Middleware: in development, too, whatever fails anywhere is told as a problem."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.exception_reporter_class = NoPage
        answer = self.get_response(request)
        error = request.META.pop(FAILED_WITH, None)
        return answer if error is None else as_http(problem_of(error), request)
