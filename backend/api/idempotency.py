"""`Idempotency-Key`: the same key and request within 24 h get the first answer again.

That holds for a 409 and a 422 as for a success. They are decisions about the request, and what they
depend on moves on: a queue that repeats a refused request must not carry it out hours later, when
somebody who had seen the refusal has done something else instead. A new try, corrected or not, is a
new request and takes a new key.

All other refusals are about the caller and the moment: not signed in, not allowed, not found, a
stale or missing `If-Match`, too many, our own failure. They decide nothing and are not kept, so the
same request may be sent again once that is mended. Nor is a 400, which the same bytes always get.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, OperationalError, connection, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.errors import MEDIA_TYPE, refusal
from backend.api.fields import as_uuid
from backend.api.models import IdempotencyKey
from backend.problems import MalformedRequest, Problem

if TYPE_CHECKING:
    from backend.api.base import Endpoint
    from backend.clinics.models import User

KEPT = timedelta(hours=24)
PATIENCE_MS = 2000
LASTING = frozenset({409, 422})  # refusals that are kept, as successes are
TOLD = ("ETag", "Location", "Cache-Control")  # of the first answer, carried by its repeats as well


class RequestInProgress(Problem):
    """A request with the same idempotency key is still running."""

    code = "request-in-progress"
    status = 409
    title = "The same request is still running"
    remedy = "Wait as long as `Retry-After` says, then send the same request again."


class IdempotencyKeyReused(Problem):
    """This key was used for another request within the last 24 hours."""

    code = "idempotency-key-reused"
    status = 422
    title = "This key belongs to another request"
    remedy = "Make a new key for a new request."


def keyed(handler: Callable[..., Response]) -> Callable[..., Response]:
    """Let an operation be repeated safely. Key, effects and answer commit together or not at all.

    A twin waits on the unique key in the database and then finds the answer; a request that died
    leaves nothing behind, so its repeat is simply the first.
    """

    @functools.wraps(handler)
    def once(view: Endpoint, request: Request, *args: Any, **kwargs: Any) -> Response:
        sent = request.headers.get("Idempotency-Key")
        if sent is None:
            return handler(view, request, *args, **kwargs)
        try:
            key = as_uuid(sent)
        except ValueError:
            raise MalformedRequest("Idempotency-Key is not a UUID.") from None
        row = IdempotencyKey(
            user=view.person,
            key=key,
            request_sha256=_digest(view.person, request),
            status=0,
            created_at=view.now,
        )
        try:
            with transaction.atomic():
                _wait_briefly()
                IdempotencyKey.objects.filter(
                    user=view.person, key=key, created_at__lt=view.now - KEPT
                ).delete()
                row.save(force_insert=True)
                answer = _decided(handler, view, request, *args, **kwargs)
                row.status, row.body = answer.status_code, answer.data
                row.headers = {name: answer[name] for name in TOLD if answer.has_header(name)}
                row.about, row.object_id = view.about, view.object_id
                row.save(force_update=True)
                return answer
        except IntegrityError:
            first = IdempotencyKey.objects.filter(user=view.person, key=key).first()
            if first is None:
                raise
            answer = _again(first, row.request_sha256)
            view.about, view.object_id = first.about, first.object_id
            return answer
        except OperationalError as error:
            if "lock timeout" in str(error):
                raise RequestInProgress(retry_after_s=2) from None
            raise

    return once


def _decided(
    handler: Callable[..., Response], view: Endpoint, request: Request, *args: Any, **kwargs: Any
) -> Response:
    """What the handler answers, or the refusal that is kept in its place, without its effects."""
    try:
        with transaction.atomic():
            return handler(view, request, *args, **kwargs)
    except Problem as problem:
        if problem.status not in LASTING:
            raise
        return refusal(problem, request._request)


def _again(first: IdempotencyKey, request_sha256: str) -> Response:
    if first.request_sha256 != request_sha256:
        raise IdempotencyKeyReused
    headers = {**first.headers, "Idempotency-Replayed": "true"}
    kind = MEDIA_TYPE if first.status in LASTING else None
    return Response(first.body, first.status, headers=headers, content_type=kind)


def _digest(person: User, request: Request) -> str:
    """What makes a request the same. Whoever moved to another clinic or role is another caller."""
    from backend.api.base import as_json

    said = as_json([person.clinic_id, person.roles, request.get_full_path(), request.data])
    return hashlib.sha256(said).hexdigest()


def _wait_briefly() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE_MS}")


def forget_old_keys(*, now: datetime) -> int:
    """Delete what no repeat may ask for any more. Returns how many went."""
    return IdempotencyKey.objects.filter(created_at__lt=now - KEPT).delete()[0]
