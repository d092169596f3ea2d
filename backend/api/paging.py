"""Lists by cursor: stable order, no totals, and a cursor that fits only the list it came from."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.core import signing
from django.db import connection
from django.db.models import CharField, F, Model, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Collate, Lower
from django.utils.crypto import constant_time_compare, salted_hmac
from rest_framework.request import Request
from rest_framework.response import Response

from backend import tenant
from backend.api.base import as_json, etag_of, is_current, unchanged
from backend.api.fields import In
from backend.problems import MalformedRequest, Problem, ValidationFailed

Row = TypeVar("Row", bound=Model)

USUAL, MOST = 50, 200
TAG, MOST_SEALED = 16, 32  # bytes


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


def alphabetic(name: str) -> Lower:
    """A text as lists are in order of it: A like a, letters beyond ASCII behind z, by code point.

    Left alone, each database has an order of its own.
    """
    return Lower(Collate(name, "C" if connection.vendor == "postgresql" else "BINARY"))


def page(
    request: Request,
    rows: QuerySet[Row],
    *,
    order: Sequence[str],
    shown: Callable[[Row], Mapping[str, object]],
    filters: Mapping[str, object],
    by: Mapping[str, Combinable] | None = None,
) -> Response:
    """One page of a list. `order` names fields, `-` for descending, the last one unique; `by` says
    what a name means that is no field.

    The cursor names the last row and is signed for these filters. It stands in addresses, so it
    holds no value of the row: the next page looks up where that row stands.
    """
    limit = limit_of(request)
    salt = salt_of(request, filters)
    known = by or {}
    places = {
        f"by_{name}": known.get(name) or _comparable(rows.model, name)
        for name in map(_plain, order)
    }
    order = [f"-by_{_plain(name)}" if name.startswith("-") else f"by_{name}" for name in order]
    rows = rows.alias(**places)
    sent = request.query_params.get("cursor")
    if sent is not None:
        rows = rows.filter(_after(order, _place_of(_opened(sent, salt), rows, places.values())))
    found = list(rows.order_by(*order)[: limit + 1])
    items, more = found[:limit], len(found) > limit
    cursor = None
    if more:
        last = items[-1]
        # Without a time in it: the same page has the same bytes, and so the same tag.
        cursor = signing.Signer(salt=salt).sign(str(last.pk))
    answer = Response({"items": [shown(row) for row in items], "next_cursor": cursor})
    return linked(request, answer)


def linked(request: Request, answer: Response) -> Response:
    """A page with the address of the next one."""
    if cursor := answer.data["next_cursor"]:
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


def salt_of(request: Request, filters: Mapping[str, object]) -> str:
    """A cursor fits one list with these filters, as one clinic sees it."""
    whose = tenant.current().clinic_id
    said = repr((request.path, str(whose), sorted((k, str(v)) for k, v in filters.items())))
    return "list " + hashlib.sha256(said.encode()).hexdigest()


def _opened(sent: str, salt: str) -> str:
    try:
        return signing.Signer(salt=salt).unsign(sent)
    except signing.BadSignature:
        raise CursorInvalid from None


def sealed(place: bytes, salt: str) -> str:
    """A place of up to 32 bytes as a cursor that nobody can read or make, for lists that have no
    query to look the place up in again: what a patient waits for must not stand in an address.

    The same place gives the same text. The tag that proves it also picks what hides it.
    """
    tag = _hmac(salt, place)[:TAG]
    return urlsafe_b64encode(tag + _masked(place, tag, salt)).decode().rstrip("=")


def unsealed(sent: str, salt: str) -> bytes:
    try:
        raw = urlsafe_b64decode(sent + "=" * (-len(sent) % 4))
    except ValueError:
        raise CursorInvalid from None
    tag, masked = raw[:TAG], raw[TAG:]
    place = _masked(masked, tag, salt)
    if len(masked) > MOST_SEALED or not constant_time_compare(tag, _hmac(salt, place)[:TAG]):
        raise CursorInvalid
    return place


def _masked(place: bytes, tag: bytes, salt: str) -> bytes:
    mask = _hmac(salt + " mask", tag)
    return bytes(a ^ b for a, b in zip(place, mask, strict=False))


def _hmac(salt: str, value: bytes) -> bytes:
    return salted_hmac(salt, value, algorithm="sha256").digest()


def _comparable(model: type[Row], name: str) -> F | Lower:
    return alphabetic(name) if isinstance(model._meta.get_field(name), CharField) else F(name)


def _place_of(pk: str, rows: QuerySet[Row], by: Iterable[Combinable]) -> tuple[Any, ...]:
    """The order values of a row, also of one that left the list since."""
    place: tuple[Any, ...] | None = rows.model._base_manager.filter(pk=pk).values_list(*by).first()
    if place is None:
        raise CursorInvalid
    return place


def _plain(name: str) -> str:
    return name.removeprefix("-")


def _after(order: Sequence[str], values: Sequence[Any]) -> Q:
    """Everything behind the row with these order values."""
    behind, equal = Q(), Q()
    for name, value in zip(order, values, strict=True):
        field = _plain(name)
        sign = "lt" if name.startswith("-") else "gt"
        behind |= equal & Q(**{f"{field}__{sign}": value})
        equal &= Q(**{field: value})
    return behind
