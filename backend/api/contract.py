"""How a view's method says what it promises: its operation id, input, answers and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from backend.api.base import ClientTooOld
from backend.api.idempotency import IdempotencyKeyReused, RequestInProgress, keyed
from backend.problems import (
    ConsentWithdrawn,
    Forbidden,
    InternalError,
    MalformedRequest,
    NotAcceptable,
    NotFound,
    PayloadTooLarge,
    PreconditionRequired,
    Problem,
    RateLimited,
    SecondFactorRequired,
    SessionEnded,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    VersionMismatch,
)

Handler = TypeVar("Handler", bound=Callable[..., Any])

ALWAYS = (MalformedRequest, NotAcceptable, RateLimited, InternalError, Unavailable)
SIGNED_IN = (
    Unauthenticated, SessionEnded, Forbidden, SecondFactorRequired, ConsentWithdrawn, ClientTooOld,
)  # fmt: skip
WITH_BODY = (PayloadTooLarge, UnsupportedMediaType, ValidationFailed)


class FieldErrorOut(serializers.Serializer[Any]):
    pointer = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()
    params = serializers.DictField(required=False)


class ProblemOut(serializers.Serializer[Any]):
    """RFC 9457. Clients branch on `code` only."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField(required=False)
    instance = serializers.CharField(required=False)
    errors = FieldErrorOut(many=True, required=False)  # type: ignore[assignment]  # RFC 9457 says so


def query(name: str, about: str, type_: Any = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    """A query parameter."""
    return OpenApiParameter(name, type_, OpenApiParameter.QUERY, description=about, **more)


PAGE = (
    query(
        "limit",
        "How many, 1 to 200; 50 when absent.",
        {"type": "integer", "minimum": 1, "maximum": 200},
    ),
    query(
        "cursor", "Where the page before ended, as it said.", {"type": "string", "maxLength": 2000}
    ),
)


def operation(
    operation_id: str,
    *,
    gives: Mapping[Any, Any],  # by status, or by status and media type
    takes: Any = None,
    refuses: Iterable[type[Problem]] = (),
    params: Iterable[OpenApiParameter] = (),
    key: bool = False,
    match: Literal["no", "may", "must"] = "no",
    public: bool = False,
    tag: str = "",
) -> Callable[[Handler], Handler]:
    """Name an operation, describe it, and let it take an `Idempotency-Key` where `key` says so.

    `match` describes `If-Match`; the view itself calls `base.match`, because only it knows the tag.
    """

    def named(handler: Handler) -> Handler:
        refusals: list[type[Problem]] = [*ALWAYS, *refuses]
        headers = list(params)
        if not public:
            refusals += SIGNED_IN
        refusals.append(NotFound)
        if takes is not None:
            refusals += WITH_BODY
        if key:
            refusals += [RequestInProgress, IdempotencyKeyReused]
            headers.append(_header("Idempotency-Key", "The same key and request: the same answer."))
        if match != "no":
            refusals += [VersionMismatch] + ([PreconditionRequired] if match == "must" else [])
            headers.append(
                OpenApiParameter(
                    "If-Match",
                    str,
                    OpenApiParameter.HEADER,
                    required=match == "must",
                    description="The `ETag` that is to be changed.",
                )
            )
        described: Any = extend_schema(
            operation_id=operation_id,
            request=takes,
            responses={**gives, **_by_status(refusals)},
            parameters=headers,
            auth=[] if public else None,
            tags=[tag] if tag else None,
        )(keyed(handler) if key else handler)
        described.operation_id = operation_id
        described.takes = takes
        return cast(Handler, described)

    return named


def _header(name: str, about: str) -> OpenApiParameter:
    return OpenApiParameter(
        name, OpenApiTypes.UUID, OpenApiParameter.HEADER, required=False, description=about
    )


def _by_status(refusals: Iterable[type[Problem]]) -> dict[tuple[int, str], OpenApiResponse]:
    codes: dict[int, list[str]] = {}
    for refusal in refusals:
        found = codes.setdefault(refusal.status, [])
        if refusal.code not in found:
            found.append(refusal.code)
    return {
        (status, "application/problem+json"): OpenApiResponse(
            ProblemOut, description=", ".join(f"`{code}`" for code in names)
        )
        for status, names in sorted(codes.items())
    }
