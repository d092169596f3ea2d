"""Lists by cursor: stable order, no totals, and a cursor that fits only the list it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.core import signing
from django.db.models import Model, Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import as_json, etag_of, is_current, unchanged
from backend.api.fields import In
from backend.problems import MalformedRequest, Problem, ValidationFailed

Row = TypeVar("Row", bound=Model)

USUAL, MOST = 50, 200


class CursorInvalid(Problem):
    """The cursor is unknown, or it was made for another list or other filters."""

    code = "cursor-invalid"
    status = 400
    title = "This cursor does not fit"
    remedy = "Start again without a cursor."


def limit_of(request: Request, *, usual: int = USUAL) -> int:
    sent = request.query_params.get("limit")
    if sent is None:
        return usual
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 4 and 1 <= int(sent) <= MOST):
        raise MalformedRequest(f"limit is a whole number from 1 to {MOST}.")
    return int(sent)


def filters_of(request: Request, shape: type[In]) -> dict[str, Any]:
    """What the query says of these filters, checked. Anything wrong in it is 400."""
    known = shape().fields
    sent = {name: str(value) for name, value in request.query_params.items() if name in known}
    try:
        if "\0" in "".join(sent.values()):
            raise MalformedRequest("A text holds a NUL.")
        return shape.checked(sent)
    except ValidationFailed as error:
        [first, *_] = error.errors
        raise MalformedRequest(f"{first.pointer.removeprefix('#/')}: {first.detail}") from None


def page(
    request: Request,
    rows: QuerySet[Row],
    *,
    order: Sequence[str],
    shown: Callable[[Row], Mapping[str, object]],
    filters: Mapping[str, object],
) -> Response:
    """One page of a list. `order` names fields, `-` for descending, the last one unique.

    The cursor holds the order values of the last row and a digest of the filters; it is signed.
    """
    limit = limit_of(request)
    salt = _salt(request, filters)
    names = [name.removeprefix("-") for name in order]
    sent = request.query_params.get("cursor")
    if sent is not None:
        rows = rows.filter(_after(order, _opened(sent, salt, len(order))))
    found = list(rows.order_by(*order)[: limit + 1])
    items, more = found[:limit], len(found) > limit
    cursor = None
    if more:
        last = items[-1]
        # Without a time in it: the same page has the same bytes, and so the same tag.
        cursor = signing.Signer(salt=salt).sign_object([_plain(getattr(last, n)) for n in names])
    answer = Response({"items": [shown(row) for row in items], "next_cursor": cursor})
    if cursor:
        asked = request.query_params.copy()
        asked["cursor"] = cursor
        answer["Link"] = f'<{request.build_absolute_uri("?" + asked.urlencode())}>; rel="next"'
    return answer


def tagged_page(request: Request, found: Response) -> Response:
    """A page with its `ETag`, or 304."""
    etag = etag_of(as_json(found.data))
    if is_current(request, etag):
        return unchanged(etag)
    found["ETag"] = etag
    return found


def _salt(request: Request, filters: Mapping[str, object]) -> str:
    said = repr((request.path, sorted((k, str(v)) for k, v in filters.items())))
    return "list " + hashlib.sha256(said.encode()).hexdigest()


def _opened(sent: str, salt: str, count: int) -> list[Any]:
    try:
        values = signing.Signer(salt=salt).unsign_object(sent)
    except signing.BadSignature:
        raise CursorInvalid from None
    if not isinstance(values, list) or len(values) != count:
        raise CursorInvalid
    return values


def _after(order: Sequence[str], values: Sequence[Any]) -> Q:
    """Everything behind the row with these order values."""
    behind, equal = Q(), Q()
    for name, value in zip(order, values, strict=True):
        field = name.removeprefix("-")
        sign = "lt" if name.startswith("-") else "gt"
        behind |= equal & Q(**{f"{field}__{sign}": value})
        equal &= Q(**{field: value})
    return behind


def _plain(value: object) -> object:
    return value if isinstance(value, str | int) else str(value)
