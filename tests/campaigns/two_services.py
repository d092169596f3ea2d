"""The service twice, as real processes: alone on files, and with PostgreSQL and Redis."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from psycopg.sql import SQL, Identifier

from tests.bench.machine import ANY_RATE, ROOT, Process, Web
from tests.roles import as_service

HOST = "rehab.example.org"  # whatever the port, both are called the same
DATABASES_OF_REDIS = 16
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


Services = tuple[Service, Service]


@contextmanager
def both(database_url: str, redis_url: str, *, pages: bool = False) -> Iterator[Services]:
    """Both filled and serving; `pages`: with the files that pages need. Nothing is left afterwards.

    Their clocks stand until they are `working`, since what a sweep comes by for would depend on
    the moment. `settle` does all of it.
    """
    with ExitStack() as stack:
        key = secrets.token_urlsafe(50)
        servers = {
            "DATABASE_URL": stack.enter_context(own_database(database_url)),
            "REDIS_URL": stack.enter_context(empty_redis(redis_url)),
        }
        services = (
            Service("embedded", environment(stack, key)),
            Service("servers", environment(stack, key, **servers)),
        )
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(fill, services))
            if pages:
                list(pool.map(_collect, services))
        for service in services:
            web = Web(env=service.env)
            stack.callback(web.end)
            service.env["PORT"] = str(web.port)
        yield services


@contextmanager
def working(services: Services) -> Iterator[None]:
    """With a worker and its clock beside each."""
    with ExitStack() as stack:
        workers = []
        for service in services:
            log = Path(service.env["VAR_DIR"]) / "worker.log"
            workers.append(Process(*WORKER, env=service.env, log=log))
            stack.callback(workers[-1].end)
        yield
        for worker in workers:  # all at once; then each is waited for
            os.kill(worker.pid, signal.SIGTERM)


@contextmanager
def own_database(url: str) -> Iterator[str]:
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
                " LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
            ).format(Identifier(name))
        )
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(maintenance, autocommit=True) as server:
            server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def empty_redis(url: str) -> Iterator[str]:
    """A database of this Redis that nobody uses. Tests use the named one and those behind it."""
    place, _, number = url.rpartition("/")
    for one in range(DATABASES_OF_REDIS - 1, int(number) - 1, -1):
        with redis.Redis.from_url(f"{place}/{one}") as server:
            if server.dbsize() == 0 and server.set("taken", os.getpid(), nx=True):
                try:
                    yield f"{place}/{one}"
                finally:
                    server.flushdb()
                return
    sys.exit(f"No database from {url} on is empty.")


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
        "UPLOADS_PER_MIN": ANY_RATE,
        "READS_PER_MIN": ANY_RATE,
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


def settle(services: Services) -> None:
    """What a sweep comes by for sooner or later is done in both."""
    with ThreadPoolExecutor(len(services)) as pool:
        list(pool.map(_tick, services))


def _tick(service: Service) -> None:
    env = {**service.env}
    if "DATABASE_URL" in env:
        env["DATABASE_URL"] = as_service(env["DATABASE_URL"])
    subprocess.run([sys.executable, "manage.py", "tick"], cwd=ROOT, env=env, check=True)


def _collect(service: Service) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"],
        cwd=ROOT,
        env=service.env,
        check=True,
    )


def until(good: Callable[[], bool], within_s: float) -> float:
    """The seconds it took; infinite where it did not come to be."""
    begun = time.monotonic()
    while not good():
        if time.monotonic() > begun + within_s:
            return inf
        time.sleep(0.1)
    return time.monotonic() - begun
