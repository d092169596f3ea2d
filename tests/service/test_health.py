"""`/healthz` and `/readyz` tell the truth, whatever is missing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tzdata
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from backend import tasks
from backend.health import checks
from backend.health.models import Heartbeat
from tests.roles import as_owner

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


def findings() -> dict[str, checks.Finding]:
    return {finding.name: finding for finding in checks.readiness(now=NOW)}


def swept(*, at: datetime) -> None:
    for name in settings.SWEEPS:
        checks.beat(name, now=at)


def test_alive_asks_nobody(client: Client):
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.django_db
def test_ready_once_a_worker_and_each_sweep_show_life(client: Client):
    before = client.get("/readyz")
    tasks.heartbeat()
    standing = client.get("/readyz")
    swept(at=timezone.now())
    after = client.get("/readyz")

    assert before.status_code == 503
    assert before.json()["checks"]["worker"] == {"ok": False, "said": "never seen"}
    assert standing.json()["checks"]["worker"]["ok"]
    assert standing.status_code == 503, "a worker lives, and nobody wakes it"
    assert (after.status_code, after.json()["status"]) == (200, "ready")
    assert after.json()["checks"]["tzdata"]["said"] == tzdata.IANA_VERSION
    assert "no-store" in after["Cache-Control"]


@pytest.mark.django_db
@pytest.mark.parametrize(("age_s", "ok"), [(0, True), (90, True), (91, False), (86_400, False)])
def test_a_worker_that_stands_is_noticed_after_three_periods(age_s: int, ok: bool):
    checks.beat(checks.WORKER, now=NOW - timedelta(seconds=age_s))

    assert findings()["worker"] == checks.Finding("worker", ok, f"last seen {age_s} s ago")


@pytest.mark.django_db
@pytest.mark.parametrize(("periods", "ok"), [(0, True), (3, True), (3.1, False), (999, False)])
def test_a_sweep_that_stands_is_named_after_three_periods(periods: float, ok: bool):
    last, *others = settings.SWEEPS
    swept(at=NOW)
    checks.beat(last, now=NOW - periods * settings.SWEEP_PERIOD)

    said = "in time" if ok else f"standing: {last}"
    assert findings()["sweeps"] == checks.Finding("sweeps", ok, said)
    Heartbeat.objects.filter(name__in=others).delete()
    assert findings()["sweeps"].said.endswith(", ".join(others)), "one that was never seen"


def test_each_sweep_that_is_watched_is_woken_and_shows_life():
    ours = {getattr(sweep, "name") for sweep in tasks.SWEEPS}  # noqa: B009  # set by Celery

    for name in settings.SWEEPS:
        assert settings.CELERY_BEAT_SCHEDULE[name]["task"] == f"backend.tasks.{name}"
    assert {f"backend.tasks.{name}" for name in settings.SWEEPS} <= ours


@pytest.mark.django_db
def test_a_second_beat_moves_the_first():
    for _ in range(2):
        checks.beat(checks.WORKER, now=NOW)

    assert Heartbeat.objects.count() == 1


@pytest.mark.django_db
def test_a_pending_migration_is_noticed():
    assert findings()["migrations"].ok

    with as_owner(), connection.cursor() as cursor:
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
    swept(at=timezone.now())
    monkeypatch.setattr(connection, "cursor", away)

    assert not any(findings()[name].ok for name in ("database", "migrations", "worker", "sweeps"))


@pytest.mark.django_db
def test_tick_is_a_whole_service_for_cron(client: Client):
    call_command("tick")

    assert client.get("/readyz").status_code == 200
