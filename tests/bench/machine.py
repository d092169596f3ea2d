"""The machine: an own database, servers, and what /proc says of time and memory."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

from tests.roles import as_service

ROOT = Path(__file__).resolve().parents[2]
PROC = Path("/proc")
READY_WITHIN_S = 60
ANY_RATE = "1000000000"  # the limits a minute would be all that is measured
DATABASE_SERVERS = ("postgres", "redis-server", "valkey-server")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@contextmanager
def surroundings() -> Iterator[dict[str, str]]:
    """The environment of every process here: as deployed, on databases that end with the run."""
    with ExitStack() as stack:
        var = stack.enter_context(TemporaryDirectory(prefix="rehab-bench-"))
        (Path(var) / "static").mkdir()  # where a deployment has its files for browsers
        database, redis = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
        kept = ("PATH", "HOME", "PYTHONPATH", "LANG", "TERM")
        yield {name: os.environ[name] for name in kept if name in os.environ} | {
            "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "127.0.0.1",
            "SSL": "0",
            "VAR_DIR": var,
            "DATABASE_URL": stack.enter_context(_beside(database)) if database else "",
            "REDIS_URL": stack.enter_context(_emptied(redis)) if redis else "",
            "EMAIL_URL": "dummymail://",
            "UPLOADS_PER_MIN": ANY_RATE,
            "READS_PER_MIN": ANY_RATE,
        }


@contextmanager
def _beside(url: str) -> Iterator[str]:
    """A database of our own on the server of this one."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    name = f"rehab_bench_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def _emptied(url: str) -> Iterator[str]:
    """The named database of Redis, which must be empty, and is again afterwards."""
    from redis import Redis

    with Redis.from_url(url) as server:
        if server.dbsize():
            sys.exit("REDIS_URL names a database that is not empty; another number, for instance.")
        try:
            yield url
        finally:
            server.flushdb()


@dataclass(frozen=True)
class Memory:
    """Of one process, in MB: its share of what it has in memory, that whole, and its peak."""

    share: float
    whole: float
    peak: float

    @classmethod
    def of(cls, pid: int) -> Memory:
        said = _numbers(PROC / str(pid) / "smaps_rollup") | _numbers(PROC / str(pid) / "status")
        return cls(*(said[name] / 1024 for name in ("Pss", "VmRSS", "VmHWM")))


def _numbers(path: Path) -> dict[str, int]:
    """`Name:  123 kB` lines."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words[1:] == ["kB"]:
            found[name] = int(words[0])
    return found


class Process:
    """A part of the service in a process group of its own; `log` is what it says."""

    def __init__(self, *arguments: str, env: Mapping[str, str], log: Path) -> None:
        self.log = log
        if "DATABASE_URL" in env:
            env = {**env, "DATABASE_URL": as_service(env["DATABASE_URL"])}
        with log.open("ab") as said:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, env=env, stdout=said, stderr=said
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def children(self) -> list[int]:
        said = PROC / str(self.pid) / "task" / str(self.pid) / "children"
        return [int(pid) for pid in said.read_text().split()]

    def end(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(30)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def check(self) -> None:
        if self._popen.poll() is not None:
            sys.exit(f"A part of the service ended by itself:\n{self.log.read_text()[-4000:]}")


class Web(Process):
    """gunicorn with these further options; answers once made."""

    def __init__(self, *options: str, env: Mapping[str, str], workers: int = 2) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        super().__init__(
            *("gunicorn", "backend.wsgi", "--workers", str(workers), "--max-requests", "0"),
            *options,
            env={**env, "PORT": str(self.port)},
            log=Path(env["VAR_DIR"]) / f"web-{self.port}.log",
        )
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                sys.exit(f"No answer within {READY_WITHIN_S} s: {self.log.read_text()[-4000:]}")
            time.sleep(0.005)

    def _answers(self) -> bool:
        asked = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            asked.request("GET", "/healthz")
            return asked.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            asked.close()


@contextmanager
def web(*options: str, env: Mapping[str, str], workers: int = 2) -> Iterator[Web]:
    server = Web(*options, env=env, workers=workers)
    try:
        yield server
    finally:
        server.end()


class Others:
    """How much of the machine was busy with something else since this was made."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._before = _used_by_others()

    def share(self) -> float | None:
        """Between 0 and 1; None where there is no /proc to ask."""
        after = _used_by_others()
        if after is None or self._before is None:
            return None
        capacity = (time.monotonic() - self._begun) * (os.cpu_count() or 1)
        return max(0.0, (after - self._before) / capacity)


def _used_by_others() -> float | None:
    """Seconds of all processors that went neither to this run nor to the databases."""
    try:
        user, nice, system, _, _, irq, softirq, steal, *_ = map(
            int, (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
        )
    except OSError:
        return None
    processes = dict(_processes())
    ours = {os.getpid()}
    while more := {pid for pid, stat in processes.items() if stat[1] in ours} - ours:
        ours |= more
    used = sum(
        sum(stat[2:])
        for pid, stat in processes.items()
        if pid in ours or stat[0] in DATABASE_SERVERS
    )
    return (user + nice + system + irq + softirq + steal - used) / TICKS_A_SECOND


def _processes() -> Iterator[tuple[int, tuple[str, int, int, int, int, int]]]:
    """Name, parent, and ticks (own user and system, those of children that ended) of each."""
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            words = rest.split()
            user, system, user_of_ended, system_of_ended = map(int, words[11:15])
            yield int(folder.name), (
                name, int(words[1]), user, system, user_of_ended, system_of_ended
            )  # fmt: skip
