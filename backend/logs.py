"""What is logged and how: one line an event, found by request id, without personal data."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.http import HttpRequest, HttpResponse
from structlog.typing import EventDict, Processor, WrappedLogger

_log = structlog.stdlib.get_logger("backend.request")
ASKED_BY_MACHINES = {"healthz", "readyz"}  # every few seconds; their answers tell all
BY_GUNICORN = ("Error handling request", "Invalid request from")
_ROOT = Path(__file__).resolve().parent.parent


class RequestIdMiddleware:
    """Names each request, tells the client the name, and logs one line when it is answered.

    The line holds the route's pattern, never the path: a path may hold a secret or a person's id.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = _request_id(request.headers.get("Request-Id", ""))
        request.META["REQUEST_ID"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            started = time.perf_counter()
            response = self.get_response(request)
            route = request.resolver_match.route if request.resolver_match else None
            if route not in ASKED_BY_MACHINES:
                _log.info(
                    "request",
                    method=request.method,
                    route=route,
                    status=response.status_code,
                    ms=round((time.perf_counter() - started) * 1000, 1),
                )
        response["Request-Id"] = request_id
        return response


def _request_id(offered: str) -> str:
    """The client's own id where it is a UUID; whatever else it sends is not repeated."""
    try:
        return str(UUID(offered))
    except ValueError:
        return str(uuid4())


def logging_settings(*, for_people: bool) -> dict[str, Any]:
    """Django's LOGGING: coloured text with tracebacks for people, else JSON lines without data."""
    last: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if for_people
        else [_say_where_not_what, structlog.processors.JSONRenderer(sort_keys=True)]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _CHAIN,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            }
        },
        "filters": {
            "with a reason": {
                "()": "django.utils.log.CallbackFilter",
                "callback": lambda record: record.exc_info,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            "django": {"handlers": [], "level": "INFO"},
            # Each answer has its line from the middleware; this adds the reason of a failed one.
            "django.request": {"filters": ["with a reason"]},
            "celery": {"level": "WARNING"},  # its lines repeat arguments and results
            # Below INFO these repeat what is sent, and to whom.
            **{name: {"level": "INFO"} for name in ("httpcore", "hpack", "h2")},
            "gunicorn.error": {"handlers": [], "level": "INFO", "propagate": True},
        },
    }


def _without_path(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Django and gunicorn put the path into the message of a failed request."""
    said = str(event["event"])
    if event.get("logger") == "django.request" or said.startswith(BY_GUNICORN):
        event["event"] = "request failed"
    return event


def _say_where_not_what(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """An exception as its type and the lines it passed: messages may quote what a person wrote."""
    found = event.pop("exc_info", None)
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["exception"] = type(error).__qualname__
        event["at"] = [
            f"{_short(frame.filename)}:{frame.lineno} {frame.name}"
            for frame in extract_tb(error.__traceback__)
        ]
    return event


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else path.name


_CHAIN: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _without_path,
]

structlog.configure(
    processors=[*_CHAIN, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    cache_logger_on_first_use=True,
)
