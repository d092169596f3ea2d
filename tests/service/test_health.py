"""`/healthz` and `/readyz` tell the truth, whatever is missing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tzdata
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from backend import tasks
from backend.health import checks
from backend.health.models import Heartbeat

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


def findings() -> dict[str, checks.Finding]:
    return {finding.name: finding for finding in checks.readiness(now=NOW)}


def test_alive_asks_nobody(client: Client):
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.django_db
def test_ready_once_a_worker_shows_life(client: Client):
    before = client.get("/readyz")
    tasks.heartbeat()
    after = client.get("/readyz")

    assert before.status_code == 503
    assert before.json()["checks"]["worker"] == {"ok": False, "said": "never seen"}
    assert (after.status_code, after.json()["status"]) == (200, "ready")
    assert after.json()["checks"]["tzdata"]["said"] == tzdata.IANA_VERSION
    assert "no-store" in after["Cache-Control"]


@pytest.mark.django_db
@pytest.mark.parametrize(("age_s", "ok"), [(0, True), (90, True), (91, False), (86_400, False)])
def test_a_worker_that_stands_is_noticed_after_three_periods(age_s: int, ok: bool):
    checks.beat(checks.WORKER, now=NOW - timedelta(seconds=age_s))

    assert findings()["worker"] == checks.Finding("worker", ok, f"last seen {age_s} s ago")


@pytest.mark.django_db
def test_a_second_beat_moves_the_first():
    for _ in range(2):
        checks.beat(checks.WORKER, now=NOW)

    assert Heartbeat.objects.count() == 1


@pytest.mark.django_db
def test_a_pending_migration_is_noticed():
    assert findings()["migrations"].ok

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'health'")

    assert findings()["migrations"] == checks.Finding("migrations", False, "1 pending")


@pytest.mark.django_db
def test_a_broker_that_is_away_is_noticed(settings: Settings, tmp_path: Path):
    settings.REDIS_URL = ""
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"data_folder_in": str(tmp_path)}
    assert findings()["broker"].ok

    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"data_folder_in": str(tmp_path / "gone")}
    assert not findings()["broker"].ok

    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert findings()["broker"] == checks.Finding("broker", False, "ConnectionError")


@pytest.mark.django_db
def test_a_database_that_is_away_is_noticed(monkeypatch: pytest.MonkeyPatch):
    def away(*_: object) -> None:
        raise OperationalError

    checks.beat(checks.WORKER, now=timezone.now())
    monkeypatch.setattr(connection, "cursor", away)

    assert not any(findings()[name].ok for name in ("database", "migrations", "worker"))


@pytest.mark.django_db
def test_tick_is_a_whole_service_for_cron(client: Client):
    call_command("tick")

    assert client.get("/readyz").status_code == 200
