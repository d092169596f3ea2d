"""Backup, wipe, restore, start: with the service's own commands, on real files and databases."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

import psycopg
import pytest
from django.utils import timezone

from backend import backups
from backend.clinics.models import Patient

ROOT = Path(__file__).resolve().parents[2]
URL = os.environ.get("TEST_DATABASE_URL", "")
SCRATCH = "rehab_drill"
WITHIN_S = 120


@dataclass
class Machine:
    """The service on a machine of its own."""

    var: Path
    url: str

    @property
    def env(self) -> dict[str, str]:
        bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        said = {
            "DEBUG": "1",
            "VAR_DIR": str(self.var),
            "DJANGO_SETTINGS_MODULE": "backend.settings",
        }
        return bare | said | ({"DATABASE_URL": self.url} if self.url else {})

    def run(self, *words: str, fails: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=self.env, capture_output=True, text=True
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def manage(self, *words: str, fails: bool = False) -> str:
        return self.run("manage.py", *words, fails=fails)

    def digests(self) -> dict[str, str]:
        return dict(line.split(" ") for line in self.manage("digest").splitlines())

    def wipe(self) -> None:
        """The disk is lost; the ledger lies elsewhere."""
        if self.url:
            emptied(self.url)
            return
        for path in self.var.glob("db.sqlite3*"):
            path.unlink()


def emptied(url: str) -> None:
    name = urlsplit(url).path.lstrip("/")
    server = url.replace(f"/{name}", "/postgres")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    url = URL and f"{URL.rpartition('/')[0]}/{SCRATCH}_{os.getpid()}"
    if url and not shutil.which("pg_dump"):
        pytest.skip("pg_dump is not there")
    if url:
        emptied(url)
    (tmp_path / "var").mkdir()
    yield Machine(tmp_path / "var", url)
    if url:
        name = urlsplit(url).path.lstrip("/")
        with psycopg.connect(url.replace(f"/{name}", "/postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


FORGET = """
from django.utils import timezone
from backend.clinics.models import Patient
from backend.rights import erasing
now = timezone.now() - erasing.GRACE
patient = Patient.objects.get(given_name="Ben")
erasure = erasing.decide(patient=patient, reason="asked", by=None, now=now)
assert erasing.erase(erasure_id=erasure.pk, now=timezone.now())
"""


def is_ready(machine: Machine) -> bool:
    """The service starts on what is there, and says that it is whole."""
    machine.manage("tick")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "backend.wsgi"],
        cwd=ROOT, env=machine.env | {"PORT": port}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as service:  # fmt: skip
        try:
            deadline = time.monotonic() + WITHIN_S
            while time.monotonic() < deadline and service.poll() is None:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
                        return bool(answer.status == 200)
                except (URLError, ConnectionError):
                    time.sleep(0.2)
            return False
        finally:
            service.terminate()


def test_backup_wipe_restore_start(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "copy"
    machine.run("-m", "tests.campaigns.same_people")
    before = machine.digests()
    said = machine.manage("backup", str(file))
    assert f"{len(before)} tables" in said
    assert json.loads((tmp_path / "copy.json").read_text())["tables"] == before
    assert "exists already" in machine.manage("backup", str(file), fails=True)
    assert_what_is_wrong_is_refused_in_one_line(machine, file)
    machine.manage("shell", "-c", FORGET)  # after the copy was made

    machine.wipe()
    said = machine.manage("restore", str(file))

    assert f"{len(before)} tables are as they were copied." in said
    assert "1 were there again" in said
    after = machine.digests()
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {
        "clinics_patient", "clinics_user", "clinics_episode", "rights_erasure", "audit_auditevent",
        "django_session", "care_change",
        *(("sqlite_sequence",) if not machine.url else ()),
    }, changed  # fmt: skip
    count = int(before["clinics_patient"].split(":")[0])
    assert after["clinics_patient"].split(":")[0] == str(count - 1)
    assert is_ready(machine)


def assert_what_is_wrong_is_refused_in_one_line(machine: Machine, file: Path) -> None:
    """A service that runs, another content than was copied, and half of the copy."""
    machine.manage("tick")
    assert "Stop the service first" in machine.manage("restore", str(file), fails=True)

    told = file.with_suffix(".json")
    as_copied = told.read_text()
    said = json.loads(as_copied)
    said["tables"]["health_heartbeat"] = "7:0"
    told.write_text(json.dumps(said))
    assert "health_heartbeat" in machine.manage("restore", str(file), "--force", fails=True)

    told.unlink()
    assert "are needed, both" in machine.manage("restore", str(file), fails=True)
    told.write_text(as_copied)


# --- Digests ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_digest_is_of_what_is_there_in_any_order(harbour, ana, ben, bea) -> None:
    before = backups.digests()
    rows = list(Patient.objects.order_by("pk").values())
    Patient.objects.all().delete()
    Patient.objects.bulk_create([Patient(**row) for row in reversed(rows)])
    assert backups.digests() == before

    Patient.objects.filter(pk=ben.patient.pk).update(updated_at=timezone.now())
    assert backups.differences(before, backups.digests()) == ["clinics_patient"]
