"""`/metrics`: for whoever has the token, in the format of Prometheus, and about nobody."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from backend.health import checks
from backend.notifications.models import Delivery, Message
from tests.service.cast import OwnPhone, make_reminder

TOKEN = "a-token-of-the-operators"
pytestmark = pytest.mark.django_db

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def _token(settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN


def asked(client: Client, token: str | None = TOKEN, method: str = "GET") -> HttpResponse:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer: Any = client.generic(method, "/metrics", headers=headers)
    return answer  # type: ignore[no-any-return]


LABELS = r'[a-z_]+="[^"\\\n]*"'
SAMPLE = re.compile(rf"([a-z_0-9]+)(?:\{{({LABELS}(?:,{LABELS})*)\}})? (\S+)")


def read(text: str) -> Samples:
    """Every sample, from a text that has to be what Prometheus reads."""
    assert text.endswith("\n")
    found: Samples = {}
    told: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, about = line.split(" ", 3)
            assert about.endswith(".")
            assert name not in told, "one block for each name"
            told.append(name)
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {told[-1]} gauge"
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == told[-1]
            labels = frozenset(re.findall(r'([a-z_]+)="([^"]*)"', sample[2] or ""))
            assert (sample[1], labels) not in found
            found[sample[1], labels] = float(sample[3])
    return found


def value(found: Samples, metric: str, **labels: str) -> float | None:
    return found.get((f"rehab_{metric}", frozenset(labels.items())))


# --- Who may ask ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    ["", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer", f"Basic {TOKEN}",
     f"bearer {TOKEN}", f"Bearer  {TOKEN}", "Bearer \u00e5"],
)  # fmt: skip
def test_without_the_token_there_is_nothing_here(client: Client, header: str) -> None:
    refused = client.get("/metrics", headers={"Authorization": header} if header else {})
    unknown = client.get("/no-such-address")

    assert refused.status_code == unknown.status_code == 404
    told = [answer.json() | {"instance": ""} for answer in (refused, unknown)]
    assert told[0] == told[1]
    assert b"rehab_" not in refused.content


def test_a_session_is_no_token(client: Client, ana: Any) -> None:
    told = client.get("/metrics", headers={"X-Session-Token": ana.token})
    assert told.status_code == 404
    by_it = client.get("/metrics", headers={"Authorization": f"Bearer {ana.token}"})
    assert by_it.status_code == 404


@pytest.mark.parametrize(("debug", "status"), [(False, 404), (True, 200)])
def test_where_no_token_is_set_it_is_for_development_only(
    client: Client, settings: Settings, debug: bool, status: int
) -> None:
    settings.METRICS_TOKEN, settings.DEBUG = "", debug

    for token in (None, "", TOKEN):
        assert asked(client, token).status_code == status


def test_a_token_counts_in_development_too(client: Client, settings: Settings) -> None:
    settings.DEBUG = True

    assert asked(client, None).status_code == 404
    assert asked(client).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_it_is_only_read(client: Client, method: str) -> None:
    refused = asked(client, method=method)

    assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD")


# --- What it says -----------------------------------------------------------------------------


def test_it_is_the_text_format(client: Client) -> None:
    answer = asked(client)

    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "no-store" in answer["Cache-Control"]
    assert read(answer.content.decode())


def test_it_tells_how_sending_keeps_up(client: Client, ben: OwnPhone, bea: OwnPhone) -> None:
    now = timezone.now()
    ben.put(f"me/devices/{uuid4()}", {"platform": "ios", "push_token": "t", "app_version": "1"})
    bea.put(f"me/devices/{uuid4()}", {"platform": "ios", "app_version": "1"})
    sent = make_reminder(ben, now)
    make_reminder(bea, now)
    make_reminder(bea, now, slot="07:00", status="silent", why="done")
    make_reminder(ben, now, slot="08:00", decided_at=now - timedelta(hours=25))
    make_reminder(ben, now, slot="09:00", status="silent", why="quarantined")
    for slot, wait_s in (("10:00", 40), ("11:00", 20), ("12:00", -60)):
        make_reminder(
            ben, now, slot=slot, status="waiting", why="", decided_at=None, sent_at=None,
            attempt_due_at=now - timedelta(seconds=wait_s),
        )  # fmt: skip
    for minutes in (5, 61):
        Delivery.objects.create(
            message=sent, key=uuid4(), channel="apns", status="later",
            at=now - timedelta(minutes=minutes),
        )  # fmt: skip

    found = read(asked(client).content.decode())

    assert value(found, "messages_due") == 2
    assert 40 <= (value(found, "messages_oldest_due_seconds") or 0) < 60
    outcomes = {
        tuple(label for _, label in sorted(labels)): count
        for (name, labels), count in found.items()
        if name == "rehab_messages_decided_24h"
    }
    assert outcomes == {
        ("exercises", "sent", "due"): 2,
        ("exercises", "silent", "done"): 1,
        ("exercises", "silent", "quarantined"): 1,
    }
    assert value(found, "messages_quarantined_24h") == 1
    assert value(found, "deliveries_retried_1h") == 1
    assert value(found, "devices_reachable") == 1


def test_it_tells_who_shows_life(client: Client, settings: Settings) -> None:
    checks.beat(checks.WORKER, now=timezone.now() - timedelta(seconds=90))
    found = read(asked(client).content.decode())
    assert 90 <= (value(found, "alive_seconds", name="worker") or 0) < 120

    call_command("tick")
    found = read(asked(client).content.decode())
    alive = {
        dict(labels)["name"] for (name, labels) in found if name == "rehab_alive_seconds"
    }  # fmt: skip
    assert alive >= {"worker", *settings.SWEEPS}


def test_a_broker_that_is_away_leaves_its_sample_out(client: Client, settings: Settings) -> None:
    assert value(read(asked(client).content.decode()), "broker_queue_length") == 0

    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": "rehab:"}
    assert value(read(asked(client).content.decode()), "broker_queue_length") is None


def test_large_numbers_are_whole(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is told to the last digit."""
    monkeypatch.setattr("backend.api.metrics.queue_length", lambda: 1_234_567)

    assert value(read(asked(client).content.decode()), "broker_queue_length") == 1_234_567


def test_it_names_nobody(client: Client, ben: OwnPhone, ana: Any, harbour: Any) -> None:
    row = make_reminder(ben, timezone.now())
    ben.put(f"me/devices/{uuid4()}", {"platform": "ios", "push_token": "tok", "app_version": "9"})
    text = asked(client).content.decode()

    patient = ben.patient
    for told in (
        patient.given_name, patient.family_name, str(patient.pk), str(patient.user_id), "tok",
        str(ana.user.pk), harbour.name, str(harbour.pk), str(row.pk), "example.org",
    ):  # fmt: skip
        assert told not in text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", text)
    words = {label for _, labels in read(text) for _, label in labels}
    known = {*Message.Kind.values, *Message.Status.values, *Message.Why.values}
    assert words <= known | {"worker"}
