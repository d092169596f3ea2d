"""The service starts where it may, and says in one line why it does not start elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from backend.health.checks import refuse_a_bad_place

ROOT = Path(__file__).resolve().parents[2]
KEY = "kT3vWq9ZrX1mLs7PdYb5NcFh2GjAe8RuEi4BoVtQx6MzCwHy0KaSg"
HOSTS = "rehab.example.org"


def run(var: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {"PATH": os.environ["PATH"], "VAR_DIR": str(var)}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=bare | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        pytest.param({}, "set SECRET_KEY, or DEBUG=1", id="nothing set"),
        pytest.param({"SECRET_KEY": KEY}, "set ALLOWED_HOSTS", id="no hosts"),
        pytest.param({"SECRET_KEY": "x" * 60, "ALLOWED_HOSTS": HOSTS}, "weak", id="dull key"),
        pytest.param({"SECRET_KEY": KEY[:40], "ALLOWED_HOSTS": HOSTS}, "weak", id="short key"),
        pytest.param({"DEBUG": "1", "BIND": "0.0.0.0"}, "DEBUG is on", id="DEBUG in public"),
        pytest.param({"DEBUG": "1", "BIND": "::"}, "DEBUG is on", id="DEBUG in public, IPv6"),
        pytest.param(
            {"DEMO": "1", "BIND": "0.0.0.0", "SECRET_KEY": KEY, "ALLOWED_HOSTS": HOSTS},
            "demo accounts are public knowledge",
            id="demo in public",
        ),
    ],
)
def test_it_refuses_a_bad_place(environment: dict[str, str], reason: str, tmp_path: Path):
    refused = run(tmp_path, "manage.py", "check", **environment)

    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert line.startswith("Not starting: ")
    assert reason in line
    assert KEY not in line


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"DEBUG": "1"}, id="a developer's machine"),
        pytest.param({"DEBUG": "1", "BIND": "::1"}, id="the same, IPv6"),
        pytest.param({"SECRET_KEY": KEY, "ALLOWED_HOSTS": HOSTS}, id="behind a proxy here"),
        pytest.param(
            {"BIND": "0.0.0.0", "SECRET_KEY": KEY, "ALLOWED_HOSTS": HOSTS}, id="in service"
        ),
        pytest.param({"DEBUG": "1", "DEMO": "1", "BIND": "0.0.0.0"}, id="a demo for phones"),
        pytest.param({"DEMO": "1", "SECRET_KEY": KEY, "ALLOWED_HOSTS": HOSTS}, id="a demo here"),
    ],
)
def test_it_starts_in_a_good_place(environment: dict[str, str], tmp_path: Path):
    started = run(tmp_path, "-c", "import backend.settings", **environment)

    assert (started.returncode, started.stderr) == (0, "")


def test_a_development_key_is_made_once_and_is_private(tmp_path: Path):
    show = "from backend import settings; print(settings.SECRET_KEY)"
    first, second = (run(tmp_path, "-c", show, DEBUG="1").stdout for _ in range(2))

    assert first == second
    assert len(first) > 50
    assert (tmp_path / "secret-key").stat().st_mode & 0o077 == 0


def test_pending_migrations_stop_the_web_service(tmp_path: Path):
    refused = run(tmp_path, "-c", "import backend.wsgi", DEBUG="1")

    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert "migrations are pending" in line


@pytest.mark.django_db
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_throws_work_away_is_refused(
    policy: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(redis.Redis, "info", lambda *_: {"maxmemory_policy": policy})

    with pytest.raises(ImproperlyConfigured, match=policy):
        refuse_a_bad_place()


@pytest.mark.django_db
def test_a_redis_that_keeps_work_or_is_away_is_no_reason_to_stop(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    refuse_a_bad_place()  # nobody listens there

    monkeypatch.setattr(redis.Redis, "info", lambda *_: {"maxmemory_policy": "noeviction"})
    refuse_a_bad_place()
