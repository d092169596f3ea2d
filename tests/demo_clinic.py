"""The demo clinic as `./run demo` starts it, on a port and in a folder of its own.

Only its sweeps come oftener, so that nobody waits a minute for a file."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN_S = 300


class DemoClinic:
    """Its people are called by their story, as in `var/demo.json`: "physiotherapist", "steady"."""

    def __init__(self, var: Path, origin: str) -> None:
        self.var, self.origin = var, origin
        accounts = json.loads((var / "demo.json").read_text())["accounts"]
        self.accounts: dict[str, dict[str, str]] = {one["story"]: one for one in accounts}

    def patient(self, story: str) -> str:
        """The id of whom the story is told of."""
        return self.accounts[story]["patient_id"]

    def cookie(self, story: str) -> Any:
        """Of a browser in which this person has signed in."""
        token = self.accounts[story]["session_token"]
        return {"name": "sessionid", "value": token, "url": self.origin}

    def get(self, story: str, path: str) -> Any:
        """What the API tells this person."""
        return self._asked("GET", story, path)

    def put(self, story: str, path: str, body: dict[str, Any]) -> Any:
        return self._asked("PUT", story, path, json=body)

    def _asked(self, method: str, story: str, path: str, **more: Any) -> Any:
        token = self.accounts[story]["session_token"]
        answer = requests.request(
            method, f"{self.origin}/api/v1/{path}", headers={"X-Session-Token": token}, timeout=30,
            **more,
        )  # fmt: skip
        answer.raise_for_status()
        return answer.json()

    def keep(self) -> None:
        """Remember everything as it is now."""
        self._copied(self.var / "db.sqlite3", self.var / "kept.sqlite3")

    def restore(self) -> None:
        """Back to what was kept, while it runs; and no code was used, no rate is remembered."""
        self._copied(self.var / "kept.sqlite3", self.var / "db.sqlite3")
        for one in (self.var / "cache").iterdir():
            one.unlink(missing_ok=True)

    def _copied(self, here: Path, there: Path) -> None:
        with closing(sqlite3.connect(here)) as source, closing(sqlite3.connect(there)) as target:
            source.backup(target)


@contextmanager
def running(var: Path) -> Iterator[DemoClinic]:
    """Start it there, and end all of it."""
    port = _free_port()
    own = {"VAR_DIR": str(var), "PORT": str(port), "SWEEP_EVERY_S": "2"}
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (var / "output").open("w") as output:
        service = subprocess.Popen(
            ["./run", "demo"], cwd=ROOT, env=bare | own, start_new_session=True,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait(service, port, var / "output")
        yield DemoClinic(var, f"http://localhost:{port}")
    finally:
        service.terminate()
        service.wait(30)


def made(factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own with the demo in it, as `keep` kept it.

    It is made from nothing by one process of pytest; whoever comes later gets a copy.
    """
    var, of_all = factory.mktemp("demo"), factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        of_all = of_all.parent
    whole = of_all / "made-demo"
    with (of_all / "made-demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            with running(var) as demo:
                demo.keep()
            shutil.copytree(var, whole)
        else:
            shutil.copytree(whole, var, dirs_exist_ok=True)
    return var


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        return port


def _wait(service: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise AssertionError(f"The demo did not start: {output.read_text()}")
        try:
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        time.sleep(0.2)
    raise AssertionError(f"Not ready after {READY_WITHIN_S} s: {output.read_text()}")
