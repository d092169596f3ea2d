"""The demo clinic as `./run demo` starts it, on a port and in a folder of its own.

Only its sweeps come oftener, so that nobody waits a minute for a file."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
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
    own = {"DEBUG": "1", "DEMO": "1", "VAR_DIR": str(var), "PORT": str(port),
           "SWEEP_EVERY_S": "2"}  # fmt: skip
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    service = subprocess.Popen(
        [sys.executable, "manage.py", "dev"], cwd=ROOT, env=bare | own, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(service, port)
        yield DemoClinic(var, f"http://localhost:{port}")
    finally:
        service.terminate()
        service.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        return port


def _wait(service: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise SystemExit("The demo did not start; ./run demo says why.")
        try:
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        time.sleep(0.2)
    raise SystemExit(f"The demo is not ready after {READY_WITHIN_S} s.")
