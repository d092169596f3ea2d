"""How the upload tests speak to the service: records, pushes, and the two ways to send one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone

from tests.service.cast import OwnPhone

PATHS = {"session": "me/sessions", "check_in": "me/check-ins"}


def body_of(answer: HttpResponse) -> Any:
    return json.loads(answer.content)


def item(kind: str, id: UUID | str, revision: int, data: object = None) -> dict[str, Any]:
    """One item of a push; without data a withdrawal."""
    named: dict[str, Any] = {"type": kind, "id": str(id), "revision": revision}
    return named | ({"withdrawn": True} if data is None else {"data": data})


def push(phone: OwnPhone, *items: object, sent_at: datetime | None = None, **more: Any) -> Any:
    """Everything in one request; the whole answer."""
    sent = (sent_at or timezone.now()).isoformat()
    return phone.post("me/sync/push", {"sent_at": sent, "items": list(items), **more}, 200)


def pushed(phone: OwnPhone, *items: object, sent_at: datetime | None = None) -> list[Any]:
    """As `push`; one result an item."""
    results: list[Any] = push(phone, *items, sent_at=sent_at)["results"]
    assert [result["index"] for result in results] == list(range(len(items)))
    return results


@dataclass(frozen=True)
class Sent:
    """What became of one record, in the words of a push, whichever way it went."""

    status: str
    code: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def problem(self) -> dict[str, Any]:
        return {name: self.body.get(name) for name in ("code", "status", "title", "type", "errors")}


Way = Callable[[OwnPhone, str, UUID, int, "dict[str, Any] | None"], Sent]


def by_itself(
    phone: OwnPhone, kind: str, id: UUID, revision: int, data: dict[str, Any] | None
) -> Sent:
    """PUT, or DELETE without data."""
    path = f"{PATHS[kind]}/{id}"
    if data is None:
        answer = phone.call("DELETE", f"{path}?revision={revision}")
    else:
        answer = phone.call("PUT", path, {**data, "revision": revision})
    body = body_of(answer)
    match answer.status_code:
        case 200 | 201:
            made = body["status"] == "created" and data is not None
            assert answer.status_code == (201 if made else 200)
            return Sent(body["status"], body=body)
        case 409:
            return Sent("conflict", body["code"], body)
        case _:
            return Sent("rejected", body["code"], body)


def in_a_push(
    phone: OwnPhone, kind: str, id: UUID, revision: int, data: dict[str, Any] | None
) -> Sent:
    [result] = pushed(phone, item(kind, id, revision, data))
    problem = result.get("problem", {})
    body = problem if result["status"] == "rejected" else result | problem
    return Sent(result["status"], problem.get("code", ""), body)


WAYS: dict[str, Way] = {"by itself": by_itself, "in a push": in_a_push}


def check_in_at(at: datetime, zone: str = "Europe/Stockholm", **more: Any) -> dict[str, Any]:
    """A check-in of that moment; `at` is aware, in the zone's offset."""
    return {
        "local_date": at.date().isoformat(),
        "timezone": zone,
        "recorded_at": at.isoformat(),
        "pain_now": 1,
        **more,
    }


def session_at(at: datetime, zone: str = "Europe/Stockholm", **more: Any) -> dict[str, Any]:
    """An extra session that began then and took half an hour; no plan is needed for it."""
    end = at + timedelta(minutes=30)
    return {
        "local_date": at.date().isoformat(),
        "timezone": zone,
        "started_at": at.isoformat(),
        "ended_at": end.isoformat(),
        "recorded_at": end.isoformat(),
        "state": "finished",
        **more,
    }


def changes(phone: OwnPhone, cursor: str | None = None, limit: int = 200) -> Any:
    """One page of the feed."""
    after = f"&cursor={cursor}" if cursor else ""
    return phone.get(f"me/sync/changes?limit={limit}{after}")


def replica(phone: OwnPhone, limit: int = 200) -> tuple[dict[tuple[str, str], Any], str]:
    """What a phone that starts from nothing ends up with, and its cursor."""
    held: dict[tuple[str, str], Any] = {}
    page = changes(phone, limit=limit)
    while True:
        follow(held, page)
        if not page["has_more"]:
            return held, page["cursor"]
        page = changes(phone, page["cursor"], limit)


def follow(held: dict[tuple[str, str], Any], page: Any) -> None:
    """Do to a replica what a page says. One object stands once on a page."""
    keys = [(change["type"], change["id"]) for change in page["items"]]
    assert len(keys) == len(set(keys))
    for change, key in zip(page["items"], keys, strict=True):
        if change["op"] == "delete":
            held.pop(key, None)
        else:
            held[key] = change.get("data", change["version"])
