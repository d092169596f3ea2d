"""The service twice, as real processes: alone on files, and with PostgreSQL and Redis."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from psycopg.sql import SQL, Identifier

from tests.bench.machine import ROOT, Process, Web

HOST = "rehab.example.org"  # whatever the port, both are called the same
READY_WITHIN_S = 90
UPLOADS_PER_MIN = 300  # more than one caller of the script sends
KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")
WORKER = (
    *("celery", "--quiet", "--app", "backend.celery", "worker", "--beat", "--pool", "solo"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_json(self) -> bool:
        """Whether there is a body, and it is JSON."""
        kind = self.headers.get("content-type", "").split(";")[0]
        return bool(self.body) and kind.endswith("json")

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class Service:
    """One of the two. `known` are the words of the script for what is called otherwise here."""

    name: str
    env: dict[str, str]
    known: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        asked = HTTPConnection("127.0.0.1", int(self.env["PORT"]), timeout=60)
        try:
            asked.request(method, path, body, {"Host": HOST, **headers})
            answer = asked.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            asked.close()

    def filled(self, text: str) -> str:
        """With what `{word}` stands for here."""
        for word, meant in self.known.items():
            text = text.replace(f"{{{word}}}", meant)
        return text

    def newest_mail(self) -> str:
        folder = Path(self.env["VAR_DIR"]) / "mail"
        return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns).read_text()


@contextmanager
def both(database_url: str, redis_url: str) -> Iterator[tuple[Service, Service]]:
    """Both filled, serving, and with a worker. Nothing is left afterwards."""
    with ExitStack() as stack:
        key = secrets.token_urlsafe(50)
        own_database = stack.enter_context(own(database_url))
        stack.enter_context(emptied(redis_url))
        services = (
            Service("embedded", environment(stack, key)),
            Service(
                "servers", environment(stack, key, DATABASE_URL=own_database, REDIS_URL=redis_url)
            ),
        )
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(fill, services))
        for service in services:
            stack.enter_context(_running(service))
        yield services


@contextmanager
def own(url: str) -> Iterator[str]:
    """A database of its own on the server of this one, which sorts as people do.

    What people make of letters is where databases differ most, and what the usual image of
    PostgreSQL does as well.
    """
    name = f"rehab_same_{os.getpid()}"
    maintenance = urlunsplit(urlsplit(url)._replace(path="/postgres"))
    with psycopg.connect(maintenance, autocommit=True) as server:
        server.execute(
            SQL(
                "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'"
                " LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"
            ).format(Identifier(name))
        )
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(maintenance, autocommit=True) as server:
            server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def emptied(url: str) -> Iterator[None]:
    """The named database of Redis, empty before and after. Not one that somebody uses."""
    with redis.Redis.from_url(url) as server:
        if server.dbsize():
            sys.exit(f"{url} is not empty; TEST_REDIS_URL with another number, for instance.")
        try:
            yield
        finally:
            server.flushdb()


def environment(stack: ExitStack, key: str, **more: str) -> dict[str, str]:
    """As deployed, except that demo mode lets a read set the clock."""
    var = stack.enter_context(TemporaryDirectory(prefix="rehab-same-"))
    (Path(var) / "static").mkdir()
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "DJANGO_SETTINGS_MODULE": "backend.settings",
        "SECRET_KEY": key,
        "ALLOWED_HOSTS": f"{HOST},127.0.0.1",
        "SSL": "0",
        "DEMO": "1",
        "VAR_DIR": var,
        "EMAIL_URL": f"filemail:///{var}/mail",
        "UPLOADS_PER_MIN": str(UPLOADS_PER_MIN),
        "READS_PER_MIN": "100000",
        **more,
    }


def fill(service: Service) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "tests.campaigns.same_people"],
        cwd=ROOT,
        env=service.env,
        stdout=subprocess.PIPE,
        check=True,
    )
    service.known |= json.loads(made.stdout)


@contextmanager
def _running(service: Service) -> Iterator[None]:
    with ExitStack() as stack:
        worker = Process(*WORKER, env=service.env, log=Path(service.env["VAR_DIR"]) / "worker.log")
        stack.callback(worker.end)
        web = Web(env=service.env)
        stack.callback(web.end)
        service.env["PORT"] = str(web.port)
        yield


def wait_until_ready(services: tuple[Service, Service]) -> None:
    """Until a worker has shown life, by way of the broker."""
    deadline = time.monotonic() + READY_WITHIN_S
    while any(one.send("GET", "/readyz", None, {}).status != 200 for one in services):
        if time.monotonic() > deadline:
            told = [one.send("GET", "/readyz", None, {}).body.decode() for one in services]
            sys.exit(f"Not ready within {READY_WITHIN_S} s: {told}")
        time.sleep(0.2)
