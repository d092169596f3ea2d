"""What every endpoint shares: who may call, the clock, checked input, ETag and If-Match."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, Protocol, cast
from uuid import UUID

from allauth.core.internal.ratelimit import get_ip
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session as SignInSession
from django.core.cache import caches
from django.db import transaction
from django.db.models import CharField, UUIDField
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.utils.crypto import constant_time_compare
from django.utils.http import parse_etags, quote_etag
from redis.exceptions import RedisError
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend import tenant
from backend.api.fields import as_uuid
from backend.api.parsing import StrictJSONParser
from backend.audit.actions import note
from backend.clinics import tokens
from backend.clinics.models import Patient, ServiceToken, User
from backend.clinics.sign_in import has_second_factor, is_to_slide
from backend.problems import (
    ConsentWithdrawn,
    Forbidden,
    MalformedRequest,
    NotAcceptable,
    NotFound,
    PreconditionRequired,
    Problem,
    RateLimited,
    SecondFactorRequired,
    SessionEnded,
    Unauthenticated,
    VersionMismatch,
)
from backend.queries import Given, Written

SIGN_IN = Written(lambda: SignInSession.objects.filter(session_key=Given("token", CharField())))
PERSON = Written(
    lambda: User.objects.select_related("clinic", "patient").filter(
        pk=Given("id", UUIDField()), is_active=True
    )
)
CACHE_LEFT_ALONE_S = 30
REFUSING = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})
CLIENT = re.compile(
    r"[^/]{1,60}/(?P<version>\d{1,6}(\.\d{1,6}){0,2})\S{0,40} \((?P<platform>\w{1,20})\b.*\)",
    re.ASCII,
)


class ClientTooOld(Problem):
    """This version of the app is no longer served. `params.minimum` is the oldest that is."""

    code = "client-too-old"
    status = 400
    title = "This app is too old"
    remedy = "Update the app. Keep unsent records; they are taken afterwards."


class Role(StrEnum):
    PATIENT = "patient"
    PHYSIOTHERAPIST = "physiotherapist"
    CLINIC_ADMIN = "clinic_admin"
    SERVICE = "service"  # another system, by a token of the clinic
    ANYBODY = "anybody"  # also nobody signed in


STAFF = frozenset({Role.PHYSIOTHERAPIST, Role.CLINIC_ADMIN})
SIGNED_IN = STAFF | {Role.PATIENT}
READS = ("GET", "HEAD", "OPTIONS")


class CompactJSONRenderer(BaseRenderer):
    """JSON without spaces. The answers are plain values already; nothing is looked up here."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else as_json(data)


@dataclass(frozen=True, slots=True)
class Encoded:
    """JSON already. What an answer holds many times is written once and put in as it is."""

    json: str


PLACE = '"\\u0000"'  # the text of one NUL, as JSON: the parser lets none in


def as_json(data: object) -> bytes:
    """Members in order: PostgreSQL hands JSON back in an order of its own, and the same content
    has to have the same bytes and the same tag whether it was just made or read again."""
    encoded: list[str] = []

    def plain(value: object) -> str:
        if isinstance(value, Encoded):
            encoded.append(value.json)
            return "\0"
        return moment(value) if isinstance(value, datetime) else str(value)

    text = json.dumps(
        data,
        ensure_ascii=False,
        separators=(",", ":"),
        allow_nan=False,
        sort_keys=True,
        default=plain,
    )
    if encoded:
        first, *others = text.split(PLACE)
        text = first + "".join(a + b for a, b in zip(encoded, others, strict=True))
    return text.encode()


def moment(value: datetime) -> str:
    """An instant as we answer it: UTC, `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


class SpeaksJSON(DefaultContentNegotiation):
    """JSON is what is spoken here, whatever else is asked for; problems are JSON, too."""

    spoken = frozenset({"*/*", "application/*", "application/json", "application/problem+json"})

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        for wish in (request.headers.get("Accept") or "*/*").lower().split(","):
            media_type, *said = (part.strip() for part in wish.split(";"))
            if media_type in self.spoken and not REFUSING.intersection(said):
                [renderer] = renderers
                return renderer, renderer.media_type
        raise NotAcceptable


class SessionAuthentication(BaseAuthentication):
    """The session of the sign-in, by `X-Session-Token` (apps) or cookie with CSRF (web pages).

    Two queries: the session, and the account with its patient and clinic.
    """

    def authenticate(self, request: Request) -> tuple[User, SessionStore] | None:
        token = request.headers.get("X-Session-Token")
        by_cookie = token is None
        if by_cookie:
            token = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        if not token:
            return None
        if not (8 <= len(token) <= 40 and token.isascii() and token.isalnum()):
            raise Unauthenticated
        now = timezone.now()
        row = next(iter(SIGN_IN(token=token)), None)
        if row is None or row.expire_date <= now:
            if by_cookie:
                return None
            raise SessionEnded
        session = SessionStore(token)
        said: dict[str, Any] = session.decode(row.session_data)
        person = _person_of(said)
        if person is None:
            raise SessionEnded if SESSION_KEY in said else Unauthenticated
        patient = person.own_patient
        tenant.enter(person.clinic_id, patient_id=patient.pk if patient else None)
        if by_cookie:
            _check_csrf(request)
        if is_to_slide(row.expire_date, now):
            if by_cookie:
                request._request.session.modified = True  # saved by Django, and the cookie renewed
            else:
                lives = timedelta(seconds=settings.SESSION_COOKIE_AGE)
                SignInSession.objects.filter(session_key=token).update(expire_date=now + lives)
        session._session_cache = said  # type: ignore[attr-defined]
        return person, session

    def authenticate_header(self, request: Request) -> str:
        return "X-Session-Token"


class ServiceAuthentication(BaseAuthentication):
    """A token of the clinic, as `Authorization: Bearer`, where a view says that it takes one.

    Who asks is nobody's account: an actor with the id of the token, who sees what is the clinic's.
    """

    def authenticate(self, request: Request) -> tuple[User, ServiceToken] | None:
        said, _, token = request.headers.get("Authorization", "").partition(" ")
        if said.lower() != "bearer":
            return None
        with tenant.everywhere():  # whose it is, is what is asked
            row = tokens.found(token=token, now=timezone.now())
        if row is None:
            raise Unauthenticated
        tenant.enter(row.clinic_id)
        return tokens.actor_of(row), row


def _person_of(said: Mapping[str, Any]) -> User | None:
    """The account a session was made for, unless it was closed or its password changed since."""
    if said.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    who = said.get(SESSION_KEY)
    if not isinstance(who, str):
        return None
    with tenant.everywhere():  # where they belong is what is asked
        person = next(iter(PERSON(id=who)), None)
    if person is None:
        return None
    patient = person.own_patient
    if patient is not None and person.clinic is not None:
        patient.clinic = person.clinic  # the database sees to it that they are the same
    expected = said.get(HASH_SESSION_KEY, "")
    return person if constant_time_compare(expected, person.get_session_auth_hash()) else None


def _check_csrf(request: Request) -> None:
    def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse()

    check = CSRFCheck(answer)
    check.process_request(request._request)
    if check.process_view(request._request, answer, (), {}):
        raise Forbidden("CSRF check failed.")


class Endpoint(APIView):
    """One address. `roles` says who may call it; a view that says nothing admits nobody."""

    roles: ClassVar[frozenset[Role]] = frozenset()
    second_factor: ClassVar[bool] = True
    needs_consent: ClassVar[bool] = True
    scope: ClassVar[str] = ""  # what the token of another system has to say
    authentication_classes = (SessionAuthentication,)
    permission_classes = ()
    parser_classes: Sequence[type[BaseParser]] = (StrictJSONParser,)
    renderer_classes: Sequence[type[BaseRenderer]] = (CompactJSONRenderer,)
    content_negotiation_class: type[DefaultContentNegotiation] = SpeaksJSON
    person: User
    about: UUID | None = None  # the patient, and below the thing, that the call is about
    object_id: UUID | None = None

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        _ = self.now  # a wrong `Demo-Now` is refused before anything happens
        if Role.ANYBODY not in self.roles:
            _check_client(request.headers.get("Client", ""))
            self.person = self._signed_in(request)
            self._admit(self.person, request)
        _throttle(request, self)
        handler = getattr(self, (request.method or "").lower(), None)
        takes_body = getattr(handler, "takes", None) is not None
        if takes_body and request.stream is None:
            raise MalformedRequest("The body is empty.")
        if takes_body or "Idempotency-Key" in request.headers:
            _ = request.data  # all of it, before a transaction lets others wait for a slow sender

    def _signed_in(self, request: Request) -> User:
        person = request.user
        if not isinstance(person, User):
            raise Unauthenticated
        return person

    def _admit(self, person: User, request: Request) -> None:
        if not self.roles.intersection(person.roles):
            raise Forbidden
        if Role.SERVICE in person.roles:
            if self.scope not in person.scopes:
                raise Forbidden
        elif person.works_in_clinic:
            assert person.clinic is not None
            if (
                self.second_factor
                and person.clinic.second_factor_required
                and not has_second_factor(person, cast(SessionStore, request.auth))
            ):
                raise SecondFactorRequired
        elif self.needs_consent and person.patient.consent_withdrawn_at:
            raise ConsentWithdrawn

    def demand(self, role: Role) -> None:
        """Narrow a method of a view whose other methods more people may use."""
        if role not in self.person.roles:
            raise Forbidden

    @cached_property
    def now(self) -> datetime:
        """The edge of the service reads the clock here; demo mode lets a read set it."""
        wish = self.request.headers.get("Demo-Now")
        if wish is None:
            return timezone.now()
        if not settings.DEMO or self.request.method not in ("GET", "HEAD"):
            raise MalformedRequest("Demo-Now is understood in demo mode only, for reads.")
        try:
            moment_wished = datetime.fromisoformat(wish)
        except ValueError:
            raise MalformedRequest("Demo-Now is not a moment with offset.") from None
        if moment_wished.tzinfo is None or not 1970 < moment_wished.year < 2200:
            raise MalformedRequest("Demo-Now is not a moment with offset.")
        return moment_wished

    @property
    def is_time_pretended(self) -> bool:
        """Whether demo mode looks at another moment, of which nothing may be written down."""
        return "Demo-Now" in self.request.headers

    def options(  # type: ignore[override]  # so is it in the framework
        self, request: Request, *args: object, **kwargs: object
    ) -> Response:
        return Response(status=204)  # `Allow` says it all

    def finalize_response(
        self, request: Request, response: Response, *args: object, **kwargs: object
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        if not answer.has_header("Cache-Control"):
            patch_cache_control(answer, private=True, no_cache=True)
        answer.headers.setdefault("Vary", "X-Session-Token, Cookie, Accept-Language")
        return answer


class PatientEndpoint(Endpoint):
    """For the app of a patient, about that patient."""

    roles = frozenset({Role.PATIENT})

    @property
    def patient(self) -> Patient:
        return self.person.patient


class OfAPatient(Protocol):
    """What belongs to a patient."""

    pk: UUID
    patient_id: UUID


class StaffEndpoint(Endpoint):
    """For staff. Where it is about patients, or `is_audited` for another reason, each call leaves
    one audit event, whatever came of it.

    A write and its event are stored together or not at all. `self.about` is set by `concerns`, as
    soon as it is known; where a call ended before, its address says whom it was about.
    """

    roles = STAFF
    is_about_patients: ClassVar[bool] = False
    is_audited: ClassVar[bool] = False
    listed: Sequence[str] = ()
    before: Mapping[str, object] | None = None  # of what was set, where old and new are kept
    after: Mapping[str, object] | None = None
    _is_noted = False

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        method = (request.method or "").lower()
        handler = getattr(self, method, None)
        if self._leaves_event and request.method not in READS and handler is not None:
            setattr(self, method, self._with_event(handler))

    @property
    def _leaves_event(self) -> bool:
        return self.is_about_patients or self.is_audited

    def _with_event(self, handler: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(handler)
        def both(request: Request, *args: object, **kwargs: object) -> Response:
            try:
                with transaction.atomic():
                    answer = handler(request, *args, **kwargs)
                    self._note(request, answer.status_code)
            except BaseException:
                self.about = self.object_id = None  # what was undone is not named
                raise
            self._is_noted = True
            return answer

        return both

    def concerns(self, patient: Patient, object_id: UUID | None = None) -> None:
        """From now on the call is about this patient, whose record may be shut for writing."""
        self.about, self.object_id = patient.pk, object_id
        is_write = self.request.method not in READS
        if is_write and self.needs_consent and patient.consent_withdrawn_at:
            raise ConsentWithdrawn

    def named(self, id: UUID) -> Patient | OfAPatient | None:
        """What the id in the address means to the caller."""
        return None

    def finalize_response(
        self, request: Request, response: Response, *args: object, **kwargs: object
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        person = getattr(self, "person", None)
        if person is None or not (self._leaves_event and person.works_in_clinic):
            return answer
        if not self._is_noted and self._operation(request):
            if self.about is None:
                self._look_at_address()
            self._note(request, answer.status_code)
        return answer

    def _look_at_address(self) -> None:
        try:
            found = self.named(as_uuid(self.kwargs.get("id", "")))
        except ValueError:
            return
        if isinstance(found, Patient):
            self.about = found.pk
        elif found is not None:
            self.about, self.object_id = found.patient_id, found.pk

    def _operation(self, request: Request) -> str | None:
        handler = getattr(self, (request.method or "").lower(), None)
        return getattr(handler, "operation_id", None)

    def _note(self, request: Request, status: int) -> None:
        note(
            actor=self.person,
            action=self._operation(request) or "",
            patient_id=self.about,
            object_id=self.object_id,
            listed=self.listed,
            before=self.before,
            after=self.after,
            status=status,
            request_id=request_id_of(request._request),
            address=address_of(request._request),
            now=timezone.now(),
        )


def request_id_of(request: HttpRequest) -> UUID:
    return UUID(request.META["REQUEST_ID"])


def address_of(request: HttpRequest) -> str:
    """Where a request comes from, as far as our own proxies tell."""
    return str(get_ip(request) or "")


def path_id(text: str) -> UUID:
    """An id out of the address. A malformed one is unknown like any other."""
    try:
        return as_uuid(text)
    except ValueError:
        raise NotFound from None


def etag_of(*parts: object) -> str:
    """A strong ETag for what these values determine."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
    return quote_etag(digest[:32])


def is_current(request: Request, etag: str) -> bool:
    """Whether the client already holds this version, so that 304 is the whole answer."""
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in wanted or etag in [tag.removeprefix("W/") for tag in wanted]


def unchanged(etag: str) -> Response:
    return Response(status=304, headers={"ETag": etag})


def tagged(request: Request, data: object, *parts: object, status: int = 200) -> Response:
    """An answer with its ETag, or 304. Without `parts` the answer itself decides."""
    etag = etag_of(*(parts or (as_json(data),)))
    if status == 200 and request.method in ("GET", "HEAD") and is_current(request, etag):
        return unchanged(etag)
    return Response(data, status, headers={"ETag": etag})


def match(request: Request, etag: str, *, required: bool) -> None:
    """Honour `If-Match`: 412 when it names another version, 428 when it is needed and missing."""
    sent = request.headers.get("If-Match")
    if sent is None:
        if required:
            raise PreconditionRequired
        return
    wanted = parse_etags(sent)
    if "*" not in wanted and etag not in wanted:
        raise VersionMismatch(current_etag=etag)


def _check_client(said: str) -> None:
    """Refuse apps below `minimum_client`. What does not name its version is let through."""
    named = CLIENT.fullmatch(said)
    if named is None:
        return
    minimum = settings.MINIMUM_CLIENT.get(named["platform"].lower())
    if minimum and _numbers(named["version"]) < _numbers(minimum):
        raise ClientTooOld(params={"minimum": minimum})


def _numbers(version: str) -> list[int]:
    numbers = [int(part) for part in version.split(".")]
    return numbers + [0] * (3 - len(numbers))


def _caller(request: Request) -> str:
    """The session or service token where it is one of ours, else the address: anybody can make up
    a token."""
    try:
        known = cast(SessionStore | ServiceToken | None, request.auth)
    except (Unauthenticated, SessionEnded):
        known = None
    if isinstance(known, ServiceToken):
        return f"token {known.pk}"
    if known is not None:
        return f"session {known.session_key}"
    return f"address {address_of(request._request)}"


def _throttle(request: Request, view: Endpoint) -> None:
    """Uploads and reads per minute and caller."""
    kind = "read" if request.method in READS else "write"
    limit = settings.READS_PER_MIN if kind == "read" else settings.UPLOADS_PER_MIN
    window = int(timezone.now().timestamp()) // 60
    who = hashlib.sha256(_caller(request).encode()).hexdigest()[:24]
    if _counted(f"rate:{kind}:{who}:{window}") > limit:
        raise RateLimited(retry_after_s=60 - int(timezone.now().timestamp()) % 60)


_cache_left_alone_until = 0.0  # by this process, on its monotonic clock


def _counted(key: str) -> int:
    """How often this was counted by now.

    A cache that is away lets everybody through. It is left alone for a while then, because one
    that is silent costs every request the second in which it might have answered.
    """
    global _cache_left_alone_until
    if time.monotonic() < _cache_left_alone_until:
        return 0
    rates = caches["rates"]
    try:
        try:
            return rates.incr(key)
        except ValueError:  # the first of this minute
            return 1 if rates.add(key, 1, timeout=90) else rates.incr(key)
    except ValueError:  # thrown away in between
        return 0
    except (OSError, RedisError):
        _cache_left_alone_until = time.monotonic() + CACHE_LEFT_ALONE_S
        return 0
