"""The words of a message, in the language of who gets it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from backend.clinics.actions import code_of
from backend.clinics.models import Invitation
from backend.notifications.gateways.base import Notice
from backend.notifications.models import Message

Kind = Message.Kind

USUAL = "en"
PLACES = {
    Kind.EXERCISES: "/today",
    Kind.NUDGE: "/today",
    Kind.CHECK_IN: "/check-in",
    Kind.PLAN_CHANGED: "/today",
    Kind.MISSED: "/today",
    Kind.PATIENT_WEEK: "/progress",
    Kind.INVITATION: "/",
    Kind.REVIEW: "/console/",
    Kind.FLAG: "/console/",
    Kind.STAFF_WEEK: "/console/",
    Kind.EXPORT: "/console/",
}


@cache
def all_texts() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = yaml.safe_load(
        Path(__file__).with_name("texts.yaml").read_text()
    )
    return found


def texts_for(locale: str) -> Mapping[str, Mapping[str, str]]:
    """The texts of a language tag: `de-AT` is German, and what is not there is English."""
    return all_texts().get(locale.split("-")[0].lower(), all_texts()[USUAL])


def notice_of(message: Message, *, locale: str) -> Notice:
    """What a gateway is given to send. Phones know a message by its id, whichever way it comes."""
    name = str(message.kind)
    if message.kind == Kind.FLAG:
        name = f"flag_{message.params['level']}"
    if message.kind == Kind.EXPORT:
        name = f"export_{message.params['status']}"
    text = texts_for(locale)[name]
    return Notice(
        key=str(message.pk),
        title=text["title"],
        body=text["body"].strip().format_map({**message.params, **_code(message)}),
        url=PLACES[Kind(message.kind)],
        expires_at=message.valid_until,
        is_urgent=message.kind in (Kind.FLAG, Kind.EXERCISES, Kind.NUDGE, Kind.CHECK_IN),
    )


def _code(message: Message) -> dict[str, str]:
    """The code of an invitation follows from its row and is kept nowhere."""
    if message.kind != Kind.INVITATION:
        return {}
    assert message.about_id is not None
    invitation = Invitation.objects.get(pk=message.about_id)
    return {"code": code_of(invitation), "expires": f"{invitation.expires_at:%Y-%m-%d %H:%M} UTC"}
