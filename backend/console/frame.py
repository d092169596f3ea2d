"""What every screen shares: who may see it, its one audit event, its refusals, its forms.

A screen is an endpoint like those of the API and is admitted, counted and audited by the same code;
it differs in what it takes (forms) and gives (pages). What it shows it asks of the API's own
operations, in this process, so no screen can show what the API would not.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast
from urllib.parse import urlencode

import structlog
from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import READS, Endpoint, SessionAuthentication, StaffEndpoint, as_json
from backend.api.errors import problem_of
from backend.clinics.models import User
from backend.clinics.sign_in import has_factor_set_up
from backend.console.navigation import navigation_of
from backend.problems import (
    FieldError,
    Forbidden,
    MalformedRequest,
    NotFound,
    Problem,
    SecondFactorRequired,
    SessionEnded,
    Unauthenticated,
)

CHANNEL = "console."  # stands before the action of every event that a screen leaves
SEEN = "console_seen_at"  # in the session: when its owner last asked for a screen
NOTED_EVERY = timedelta(minutes=1)
SHOWN_ON_THE_FORM = frozenset({409, 412, 422, 428})
UNDO = "undo:"
BARE = "console/entrance.html"  # a page without the shell
FOR_STAFF = "These pages are for the staff of a clinic. Your exercises are in the app."

_log = structlog.stdlib.get_logger("backend.console")


class ByCookie(SessionAuthentication):
    """The session of a browser, and no other: what is posted here has to carry the CSRF token."""

    def authenticate(self, request: Request) -> tuple[User, SessionStore] | None:
        if "X-Session-Token" in request.headers:
            raise Unauthenticated
        return super().authenticate(request)


class Pages(BaseRenderer):
    media_type = "text/html"
    format = "html"


class SpeaksHTML(DefaultContentNegotiation):
    """Whatever a browser asks for, it gets a page."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        [renderer] = renderers
        return renderer, renderer.media_type


# --- Forms ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Form:
    """What stands in a form, and what was wrong with it.

    A field is named by its JSON pointer in the body of the API's operation, without `#/`: `note`,
    `items/0/sets`. So the API's refusals find their fields by themselves.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None

    def value(self, name: str) -> Any:
        return self.values.get(name, "")

    def chosen(self, name: str) -> list[str]:
        """All values of a field that may have several."""
        if isinstance(self.values, QueryDict):
            return self.values.getlist(name)
        said = self.values.get(name, ())
        return [str(one) for one in (said if isinstance(said, list | tuple) else [said])]

    def errors(self) -> list[tuple[str, FieldError]]:
        """Each error with the name of its field."""
        found = self.problem.errors if self.problem else ()
        return [(error.pointer.removeprefix("#").removeprefix("/"), error) for error in found]

    def error(self, name: str) -> str:
        return " ".join(error.detail for where, error in self.errors() if where == name)

    def body(
        self,
        *names: str,
        numbers: Iterable[str] = (),
        switches: Iterable[str] = (),
        lists: Iterable[str] = (),
    ) -> dict[str, Any]:
        """The body for the API: what was left empty is absent, a number that is none stays text,
        so that the API says what is wrong with it."""
        said: dict[str, Any] = {}
        for name in (*names, *numbers):
            text = str(self.value(name)).strip()
            if text:
                said[name] = _number(text) if name in tuple(numbers) else text
        said |= {name: bool(self.value(name)) for name in switches}
        return said | {name: self.chosen(name) for name in lists}


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# --- Screens ----------------------------------------------------------------------------------


class Screen(StaffEndpoint):
    """One page. `reads` and `writes` name the action of the audit event that a GET and a POST
    leaves, like the operation of the API that does the same; a page about nobody names none.
    """

    reads: ClassVar[str] = ""
    writes: ClassVar[str] = ""
    here: ClassVar[str] = ""  # the entry of the navigation this page belongs to
    _last: StaffEndpoint | None = None
    schema = None  # no part of the API's description
    authentication_classes = (ByCookie,)
    parser_classes = (FormParser, MultiPartParser)
    renderer_classes = (Pages,)
    content_negotiation_class = SpeaksHTML

    # Who

    def _signed_in(self, request: Request) -> User:
        person = super()._signed_in(request)
        _note_seen(request._request, self.now)
        return person

    def _admit(self, person: User, request: Request) -> None:
        if not person.works_in_clinic:
            raise Forbidden(FOR_STAFF)
        super()._admit(person, request)

    def _operation(self, request: Request) -> str | None:
        name = self.reads if request.method in READS else self.writes
        return CHANNEL + name if name else None

    @property
    def _leaves_event(self) -> bool:
        return self._operation(self.request) is not None

    def _look_at_address(self) -> None:
        """Whom a refused call was about, as the operation it was told to reads its address."""
        if self._last is None:
            return super()._look_at_address()
        self._last.about = self._last.object_id = None
        self._last._look_at_address()
        self.about, self.object_id = self._last.about, self._last.object_id
        return None

    # What it shows and does

    def ask(
        self,
        endpoint: type[Endpoint],
        query: Mapping[str, object] | None = None,
        **address: str,
    ) -> Any:
        """What the API answers this person to `GET`, as JSON. It counts as part of this screen:
        whom it is about is taken over, and no event of its own is left."""
        asked = QueryDict(mutable=True)
        for name, value in (query or {}).items():
            asked[name] = str(value)
        return self._called(endpoint, "GET", asked, None, {}, address)

    def tell(
        self,
        endpoint: type[Endpoint],
        body: Mapping[str, Any] | None = None,
        *,
        method: str = "POST",
        if_match: str = "",
        **address: str,
    ) -> Any:
        """Have the API's own operation do it; what it refuses, it refuses here."""
        headers = {"HTTP_IF_MATCH": if_match} if if_match else {}
        return self._called(endpoint, method, QueryDict(), dict(body or {}), headers, address)

    def etag(self, endpoint: type[Endpoint], **address: str) -> str:
        """The version of a thing as the API names it, for a hidden field of a form."""
        answer = self._answer(endpoint, "GET", QueryDict(), None, {}, address)
        return str(answer.headers.get("ETag", ""))

    def file(
        self,
        endpoint: type[StaffEndpoint],
        query: Mapping[str, str] | None = None,
        media_type: str = "*/*",
        **address: str,
    ) -> HttpResponse:
        """What the API answers as a file, to be kept by the browser."""
        asked = QueryDict(mutable=True)
        asked.update(dict(query or {}))
        answer: HttpResponse = self._answer(
            endpoint, "GET", asked, None, {"HTTP_ACCEPT": media_type}, address
        )
        if not isinstance(answer, Response):  # it comes piece by piece
            return answer
        kept = {"Content-Disposition": answer.headers["Content-Disposition"]}
        return HttpResponse(answer.data, content_type=answer.content_type, headers=kept)

    def _called(self, *call: Any) -> Any:
        data = self._answer(*call).data
        return None if data is None else json.loads(as_json(data))

    def _answer(
        self,
        endpoint: type[Endpoint],
        method: str,
        query: QueryDict,
        body: dict[str, Any] | None,
        headers: Mapping[str, str],
        address: Mapping[str, str],
    ) -> Response:
        if not endpoint.roles.intersection(self.person.roles):
            raise Forbidden
        outer = self.request._request
        inner = copy.copy(outer)
        inner.__dict__.pop("headers", None)  # is made of META, once
        inner.method, inner.GET = method, query  # type: ignore[assignment]
        unsaid = ("HTTP_IF_", "HTTP_IDEMPOTENCY")
        kept = {name: value for name, value in outer.META.items() if not name.startswith(unsaid)}
        inner.META = kept | {"HTTP_ACCEPT": "*/*"} | dict(headers)
        request = Request(inner)
        request.user, request.auth = self.person, self.request.auth
        request._data = request._full_data = body or {}  # type: ignore[attr-defined]
        view = endpoint()
        view.request, view.args, view.kwargs = request, (), dict(address)
        view.headers = {}
        view.person, view.now, view.format_kwarg = self.person, self.now, None
        accepted = view.perform_content_negotiation(request)
        request.accepted_renderer, request.accepted_media_type = accepted
        if not isinstance(view, StaffEndpoint):  # one that patients call, too, is about nobody
            shared: Response = getattr(view, method.lower())(request, **address)
            return shared
        self._last = view
        answer: Response = getattr(view, method.lower())(request, **address)
        self.about = view.about or self.about
        self.object_id = view.object_id or self.object_id
        self.listed = list(view.listed) or self.listed
        self.before = view.before or self.before
        self.after = view.after or self.after
        return answer

    def page(self, template: str, said: Mapping[str, object] | None = None, status: int = 200
             ) -> HttpResponse:  # fmt: skip
        """A template in the shell of the console."""
        shell = {
            "person": self.person,
            "clinic": self.person.clinic,
            "navigation": navigation_of(self.person, self.here),
            "now": self.now,
            "zone": self.person.timezone,
        }
        return render(self.request._request, template, shell | dict(said or {}), status=status)

    def part(self, template: str, said: Mapping[str, object], status: int = 200) -> HttpResponse:
        """A piece of a page, for htmx, without the shell."""
        return render(self.request._request, template, {"now": self.now} | dict(said), None, status)

    @property
    def wants_part(self) -> bool:
        """Whether htmx asks, which puts the answer into the page."""
        return "HX-Request" in self.request.headers

    def say(self, text: str, *, undo: str = "") -> None:
        """A message for the next page, with the address that takes back what was done."""
        messages.success(self.request._request, text, extra_tags=f"{UNDO}{undo}" if undo else "")

    def onward(self, route: str, **address: str) -> HttpResponse:
        """To another screen, after something was done."""
        return HttpResponseRedirect(reverse(f"console:{route}", kwargs=address or None))

    # What goes wrong

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]
        problem = problem_of(exc)
        if problem.status >= 500 and not isinstance(exc, Problem):
            _log.error("failed", problem=problem.code, exc_info=exc)
        try:
            return self.refused(problem)
        except Problem as another:
            return self._problem_page(another)

    def refused(self, problem: Problem) -> HttpResponse:
        """The page that tells of a refusal."""
        if isinstance(problem, (Unauthenticated, SessionEnded)):
            return self._to_sign_in(problem)
        if isinstance(problem, SecondFactorRequired):
            ask = "mfa_reauthenticate" if has_factor_set_up(self.person) else "mfa_activate_totp"
            return self._elsewhere(f"{reverse(ask)}?{urlencode({'next': self._back()})}")
        return self._problem_page(problem)

    def _problem_page(self, problem: Problem) -> HttpResponse:
        person = getattr(self, "person", None)
        inside = person is not None and person.works_in_clinic and problem.status < 500
        said = {"problem": problem, "parent": "console/page.html" if inside else BARE}
        if inside:
            answer = self.page("console/problem.html", said, problem.status)
        else:
            answer = render(
                self.request._request, "console/problem.html", said, status=problem.status
            )
        if problem.retry_after_s is not None:
            answer["Retry-After"] = str(problem.retry_after_s)
        return answer

    def _to_sign_in(self, problem: Problem) -> HttpResponse:
        said = {"next": self._back()} | problem.members
        return self._elsewhere(f"{reverse('account_login')}?{urlencode(said)}")

    def _elsewhere(self, address: str) -> HttpResponse:
        if self.wants_part:
            return HttpResponse(status=204, headers={"HX-Redirect": address})
        return HttpResponseRedirect(address)

    def _back(self) -> str:
        """Where to go on after signing in: what was looked at, never what was posted."""
        request = self.request._request
        return request.get_full_path() if request.method == "GET" else reverse("console:home")

    def finalize_response(
        self, request: Request, response: Response, *args: object, **kwargs: object
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"
        return answer


class FormScreen(Screen):
    """A page with a form. `show` draws it, also with what was refused; `act` does it and says
    where to go on."""

    def show(self, form: Form, *args: Any, **address: Any) -> HttpResponse:  # by its own names
        raise NotFound

    def act(self, form: Form, *args: Any, **address: Any) -> HttpResponse:
        raise NotFound

    def get(self, request: Request, **address: str) -> HttpResponse:
        return self.show(Form(), **address)

    def post(self, request: Request, **address: str) -> HttpResponse:
        return self.act(Form(_sent(request)), **address)

    def refused(self, problem: Problem) -> HttpResponse:
        """What can be put right is put right where it was said, and nothing has to be typed
        twice."""
        again = self.request.method == "POST" and problem.status in SHOWN_ON_THE_FORM
        if not again:
            return super().refused(problem)
        answer = self.show(Form(_sent(self.request), problem), **self.kwargs)
        answer.status_code = problem.status
        return answer


class Home(Screen):
    """Where one comes in."""

    def get(self, request: Request) -> HttpResponse:
        return self.onward("caseload")


class Unknown(Screen):
    """An address that is none."""

    def get(self, request: Request, rest: str = "") -> HttpResponse:
        raise NotFound

    post = get


def _sent(request: Request) -> QueryDict:
    said = request._request.POST
    if any("\0" in text for _, texts in said.lists() for text in texts):
        raise MalformedRequest("A text holds a NUL.")
    return said


# --- Idle sign-out ----------------------------------------------------------------------------


def _note_seen(request: HttpRequest, now: datetime) -> None:
    """End a session that nobody used for too long; write at most once a minute that it is used."""
    now = timezone.now()  # demo mode may look at another moment; sessions live in ours
    seen = _last_seen(request.session)
    if seen is not None and now - seen > timedelta(minutes=settings.CONSOLE_IDLE_MINUTES):
        logout(request)
        raise SessionEnded(ended="idle")
    if SEEN not in request.session or seen is None or now - seen > NOTED_EVERY:
        request.session[SEEN] = now.timestamp()


def _last_seen(session: SessionBase) -> datetime | None:
    """The last screen, or the sign-in where that was later."""
    used = cast(list[Mapping[str, Any]], session.get(AUTHENTICATION_METHODS_SESSION_KEY) or [])
    times = [float(one["at"]) for one in used if "at" in one]
    times += [float(session[SEEN])] if SEEN in session else []
    return datetime.fromtimestamp(max(times), timezone.get_default_timezone()) if times else None
