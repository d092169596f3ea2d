"""What a refusal is: an error the client can act on, known by its code (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One value that cannot be accepted. `pointer` is a JSON pointer into the request body."""

    pointer: str
    code: str
    detail: str
    params: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        shown: dict[str, object] = {
            "pointer": self.pointer,
            "code": self.code,
            "detail": self.detail,
        }
        if self.params:
            shown["params"] = dict(self.params)
        return shown


class Problem(Exception):
    """A refusal with a stable code. Subclasses stand beside the action that raises them.

    The docstring of a subclass is the text of its page at `/problems/{code}`; `remedy` says there
    what the client does next. Extra keyword arguments become members of the answer.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    remedy: ClassVar[str]
    catalogue: ClassVar[dict[str, type[Problem]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Problem.catalogue[cls.code] = cls

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Iterable[FieldError] = (),
        retry_after_s: int | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.members = members

    def as_json(self, *, base_url: str = "") -> dict[str, object]:
        body: dict[str, object] = {
            "type": f"{base_url}/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = [error.as_json() for error in self.errors]
        return body | self.members


class MalformedRequest(Problem):
    """The request could not be read: not JSON, a wrong type at the top, or a bad query."""

    code = "malformed-request"
    status = 400
    title = "The request cannot be read"
    remedy = "Correct the request. The same bytes will be refused again."


class ValidationFailed(Problem):
    """The request was read, and some of its values cannot be accepted. `errors` names each one."""

    code = "validation-failed"
    status = 422
    title = "Some values cannot be accepted"
    remedy = "Correct the values that `errors` points at, then send again."

    @classmethod
    def of(cls, errors: Iterable[FieldError]) -> ValidationFailed:
        found = tuple(errors)
        count = len(found)
        noun = "value" if count == 1 else "values"
        return cls(f"{count} {noun} cannot be accepted.", errors=found)

    @classmethod
    def at(cls, pointer: str, code: str, detail: str, **params: object) -> ValidationFailed:
        return cls.of([FieldError(pointer, code, detail, params)])


class Unauthenticated(Problem):
    """No session token was sent, or the token is unknown."""

    code = "unauthenticated"
    status = 401
    title = "Sign in first"
    remedy = "Sign in and send the request again. Keep unsent records; they are not refused."


class SessionEnded(Problem):
    """The session expired, was ended from another device, or the account was closed."""

    code = "session-ended"
    status = 401
    title = "Your session has ended"
    remedy = "Sign in again and send the request again. Keep unsent records; they are not refused."


class Forbidden(Problem):
    """The clinic is right, the role or scope is not."""

    code = "forbidden"
    status = 403
    title = "Your role does not allow this"
    remedy = "Ask a colleague with the right role."


class SecondFactorRequired(Problem):
    """This clinic asks its staff for a second factor, and this session has none."""

    code = "second-factor-required"
    status = 403
    title = "Set up your second factor"
    remedy = "Set up an authenticator app under `/api/auth/`, sign in with it, then go on."


class ConsentWithdrawn(Problem):
    """The patient withdrew consent; processing is stopped."""

    code = "consent-withdrawn"
    status = 403
    title = "Processing is stopped for this patient"
    remedy = "Nothing is stored until consent is given again with `PATCH /me`. Keep unsent records."


class NotFound(Problem):
    """There is nothing here, or it belongs to somebody else, which is the same answer."""

    code = "not-found"
    status = 404
    title = "Not found"
    remedy = "Check the address and the id."


class MethodNotAllowed(Problem):
    """The address exists; this method does not."""

    code = "method-not-allowed"
    status = 405
    title = "This method is not offered here"
    remedy = "See the `Allow` header and the API description."


class NotAcceptable(Problem):
    """None of the formats in `Accept` is spoken here."""

    code = "not-acceptable"
    status = 406
    title = "This format is not offered"
    remedy = "Ask for `application/json`."


class StateConflict(Problem):
    """The thing is not in a state that allows this."""

    code = "state-conflict"
    status = 409
    title = "Not possible in the present state"
    remedy = "Read it again, then decide."


class VersionMismatch(Problem):
    """`If-Match` names a version that is no longer the newest."""

    code = "version-mismatch"
    status = 412
    title = "Somebody changed this in the meantime"
    remedy = "Read it again; `current_etag` names the newest version."


class PreconditionRequired(Problem):
    """This change alters what a patient is told to do, so it must name the version it changes."""

    code = "precondition-required"
    status = 428
    title = "Say which version you change"
    remedy = "Read the thing, then send its `ETag` in `If-Match`."


class PayloadTooLarge(Problem):
    """The body, or a batch in it, is larger than what is taken. `params.limit` says how much."""

    code = "payload-too-large"
    status = 413
    title = "Too much at once"
    remedy = "Send it in smaller parts."


class UnsupportedMediaType(Problem):
    """The body is in a format that is not taken here."""

    code = "unsupported-media-type"
    status = 415
    title = "This format is not taken"
    remedy = "Send `application/json`, UTF-8, optionally gzip."


class RateLimited(Problem):
    """Too many requests from this session or address."""

    code = "rate-limited"
    status = 429
    title = "Too many requests"
    remedy = "Wait as long as `Retry-After` says, then send the same bytes again."


class InternalError(Problem):
    """Our fault. Nothing about the cause is disclosed; `instance` names the request for support."""

    code = "internal-error"
    status = 500
    title = "Something went wrong on our side"
    remedy = "Send the same bytes again later. Records are not lost and not doubled by that."


class Unavailable(Problem):
    """The service cannot answer just now."""

    code = "unavailable"
    status = 503
    title = "Not available just now"
    remedy = "Wait as long as `Retry-After` says, then send the same bytes again."
