"""Servers of one's own that can be frozen and stopped, and a service that works on them (O1, O2).

python -m tests.campaigns.outages [--redis-s 120] [--database-s 30]
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

from rich.console import Console
from rich.table import Table

from tests.bench.machine import ANY_RATE, Process, Web
from tests.campaigns.same_people import PASSWORD
from tests.campaigns.two_services import WORKER, Answer, Service, environment, fill, until

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
STARTS_WITHIN_S = 20
WORKERS = 2


def missing() -> str:
    """What is not installed here, of what this needs; empty where all is."""
    names = [name for name in ("redis-server", "valkey-server") if shutil.which(name)]
    if not names:
        return "no redis-server or valkey-server is installed"
    if not postgres():
        return "no PostgreSQL server is installed"
    return ""


def postgres() -> Path | None:
    found = shutil.which("postgres")
    return Path(found) if found else (POSTGRES[-1] if POSTGRES else None)


class Server:
    """A server on a port of its own, that is started, frozen and stopped by its process id."""

    def __init__(self, command: list[str], folder: str, port: int, user: str | None = None) -> None:
        self.command, self.folder, self.port, self.user = command, folder, port, user
        self.start()

    def start(self) -> None:
        with (Path(self.folder) / "server.log").open("ab") as log:
            self._popen = subprocess.Popen(
                self.command, cwd=self.folder, user=self.user, stdout=log, stderr=log
            )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not self._listens():
            assert self._popen.poll() is None, (Path(self.folder) / "server.log").read_text()
            assert time.monotonic() < deadline, self.command
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self._popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._popen.send_signal(signal.SIGCONT)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.end()
        try:
            yield
        finally:
            self.start()

    def end(self) -> None:
        """At once, and whatever it is doing: it keeps what it promised to keep."""
        self._popen.send_signal(signal.SIGCONT)
        self._popen.send_signal(signal.SIGINT)
        try:
            self._popen.wait(20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


@contextmanager
def own_redis() -> Iterator[Server]:
    with TemporaryDirectory(prefix="rehab-redis-") as folder:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        assert program
        port = free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = Server([program, *options], folder, port)
        try:
            yield server
        finally:
            server.end()


@contextmanager
def own_postgres() -> Iterator[Server]:
    """A cluster of its own. PostgreSQL refuses to run as root, so somebody else owns it then."""
    program = postgres()
    assert program
    user = "postgres" if os.geteuid() == 0 else None
    with TemporaryDirectory(prefix="rehab-postgres-") as folder:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        subprocess.run(
            [program.with_name("initdb"), "-D", f"{folder}/data", "-U", "postgres", "-E", "UTF8",
             "--auth", "trust", "--no-sync"],
            cwd=folder, user=user, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        port = free_port()
        command = [str(program), "-D", f"{folder}/data", "-p", str(port), "-k", folder]
        server = Server([*command, "-c", "listen_addresses=127.0.0.1"], folder, port, user)
        try:
            yield server
        finally:
            server.end()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Stage:
    """A service of its own on servers of its own."""

    service: Service
    redis: Server
    database: Server


@contextmanager
def stage(*, worker: bool = False) -> Iterator[Stage]:
    with ExitStack() as stack:
        redis, database = stack.enter_context(own_redis()), stack.enter_context(own_postgres())
        env = environment(
            stack,
            secrets.token_urlsafe(50),
            DATABASE_URL=f"postgresql://postgres@127.0.0.1:{database.port}/postgres",
            REDIS_URL=f"redis://127.0.0.1:{redis.port}/0",
            UPLOADS_PER_MIN=ANY_RATE,
        )
        service = Service("on servers of its own", env)
        fill(service)
        web = Web(env=env, workers=WORKERS)
        stack.callback(web.end)
        env["PORT"] = str(web.port)
        if worker:
            stack.callback(Process(*WORKER, env=env, log=Path(env["VAR_DIR"]) / "worker.log").end)
        yield Stage(service, redis, database)


# --- What is asked ----------------------------------------------------------------------------


@dataclass
class Asked:
    """Answers, and the seconds that each took."""

    answers: list[Answer] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def ask(self, call: Call, service: Service) -> Answer:
        begun = time.monotonic()
        self.answers.append(call(service))
        self.seconds.append(time.monotonic() - begun)
        return self.answers[-1]

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    @property
    def most_s(self) -> float:
        return max(self.seconds)

    @property
    def p99_s(self) -> float:
        return quantiles(self.seconds, n=100)[98]

    def slower_than(self, seconds: float) -> int:
        return sum(one > seconds for one in self.seconds)


Call = Callable[[Service], Answer]


def get(path: str, who: str = "") -> Call:
    return lambda service: service.send("GET", path, None, _session(service, who))


def check_in(id: UUID | None = None) -> Call:
    """A check-in as a phone sends it, under a new id or this one."""
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    body = {
        "revision": 1,
        "local_date": at.date().isoformat(),
        "timezone": "UTC",
        "recorded_at": at.isoformat(),
        "pain_now": 1,
    }
    content = json.dumps(body).encode()

    def put(service: Service) -> Answer:
        path = f"/api/v1/me/check-ins/{id or uuid4()}"
        return service.send("PUT", path, content, _session(service, "ben"))

    return put


def sign_in(service: Service) -> Answer:
    body = json.dumps({"email": "ben@example.org", "password": PASSWORD}).encode()
    return service.send("POST", "/api/auth/app/v1/auth/login", body, _session(service, ""))


def push(service: Service) -> Answer:
    body = json.dumps({"sent_at": datetime.now(UTC).isoformat(), "items": []}).encode()
    return service.send("POST", "/api/v1/me/sync/push", body, _session(service, "ben"))


def _session(service: Service, who: str) -> dict[str, str]:
    signed_in = {"X-Session-Token": service.known[who]} if who else {}
    return signed_in | {"Content-Type": "application/json"}


PLAN = get("/api/v1/me/plan", "ben")
# Everything that needs the database, in one way or another.
STORED: dict[str, Call] = {
    "plan": PLAN,
    "check-in": check_in(),
    "push": push,
    "changes": get("/api/v1/me/sync/changes", "ben"),
    "patients": get("/api/v1/patients", "ana"),
    "session": get("/api/auth/app/v1/auth/session", "ben"),
    "sign-in": sign_in,
}


def for_a_while(service: Service, seconds: float) -> Asked:
    """Reads and uploads in turn."""
    asked, until = Asked(), time.monotonic() + seconds
    upload = check_in()
    while time.monotonic() < until:
        asked.ask(PLAN, service)
        asked.ask(upload, service)
    return asked


def while_away(service: Service, seconds: float) -> dict[str, Asked]:
    """Everything that needs the database, again and again."""
    asked = {name: Asked() for name in STORED}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, call in STORED.items():
            asked[name].ask(call, service)
        time.sleep(0.2)
    return asked


# --- The full size ----------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redis-s", type=float, default=120, help="how long Redis is frozen")
    parser.add_argument("--database-s", type=float, default=30, help="how long PostgreSQL is away")
    asked = parser.parse_args()
    if lacking := missing():
        sys.exit(f"skipped: {lacking}")
    with stage(worker=True) as on:
        found = dict(_findings(on, asked.redis_s, asked.database_s))
    table = Table("what", "found", "promised")
    for what, (told, promised, holds) in found.items():
        table.add_row(what, told, promised, style=None if holds else "red")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    return 0 if all(holds for _, _, holds in found.values()) else 1


def _findings(on: Stage, redis_s: float, away_s: float) -> Iterator[tuple[str, Finding]]:
    service = on.service

    def ready() -> bool:
        return get("/readyz")(service).status == 200

    usual = until(ready, 60)
    yield "ready at first, s", (f"{usual:.1f}", "60", usual < 60)
    normal = for_a_while(service, min(20, redis_s))
    with on.redis.frozen():
        frozen = for_a_while(service, redis_s)
    fine = set(frozen.statuses) <= {200, 201}
    yield "answers without Redis", (_told(frozen.statuses), "200 and 201", fine)
    ratio = frozen.p99_s / normal.p99_s
    told = f"{frozen.p99_s * 1000:.0f} : {normal.p99_s * 1000:.0f} = {ratio:.2f}"
    yield "p99 without Redis : with it, ms", (told, "2", ratio <= 2)
    back = until(ready, 100)
    yield "ready again, s", (f"{back:.1f}", "100", back < 100)
    with on.database.stopped():
        away = while_away(service, away_s)
        alive = get("/healthz")(service).status
    for name, one in away.items():
        waiting = set(one.statuses) == {503} and all(
            "retry-after" in a.headers for a in one.answers
        )
        told = f"{_told(one.statuses)}, at most {one.most_s:.1f} s"
        yield f"{name} without a database", (told, "503, 5 s", waiting and one.most_s < 5)
    yield "alive without a database", (str(alive), "200", alive == 200)
    back = until(lambda: PLAN(service).status == 200, 10)
    yield "plan again, s", (f"{back:.1f}", "10", back < 10)
    back = until(ready, 100)
    yield "ready again, with its worker, s", (f"{back:.1f}", "100", back < 100)


Finding = tuple[str, str, bool]  # what was found, what was promised, whether it holds


def _told(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))


if __name__ == "__main__":
    sys.exit(main())
