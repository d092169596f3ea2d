"""Whether the service is alive, ready, and in a place where it may start at all."""

import os
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import redis
import tzdata
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from backend.health.models import Heartbeat
from backend.row_security import refuse_a_role_that_sees_all

WORKER = "worker"
BACKUP = "backup"
SWEEPS_LATE = 3  # periods


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `said` is for operators and holds no addresses or secrets."""

    name: str
    ok: bool
    said: str


def beat(name: str, *, now: datetime) -> None:
    Heartbeat.objects.update_or_create(name=name, defaults={"at": now})


def readiness(*, now: datetime) -> list[Finding]:
    """Everything a request needs, and whether what waits is being looked after."""
    return [
        *(_database(), _migrations(), _broker(), _worker(now), _sweeps(now)),
        _time_zones(),
    ]


def refuse_a_bad_place() -> None:
    """Stop a process that would start and then lose or refuse work, with the reason.

    A database or broker that is away is no reason: it comes back, and readiness tells meanwhile.
    """
    try:
        pending = _pending_migrations()
        refuse_a_role_that_sees_all(connection)
    except Error:
        pending = []
    finally:
        connections.close_all()  # a server that forks after this must not share one
    if pending:
        raise ImproperlyConfigured(
            f"{len(pending)} migrations are pending (first: {pending[0]}); run ./run migrate."
        )
    try:
        policy = _eviction_policy()
    except redis.RedisError:
        policy = None
    if policy not in (None, "noeviction"):
        raise ImproperlyConfigured(
            f"Redis may throw work away (maxmemory-policy {policy}); set it to noeviction."
        )


def _database() -> Finding:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        return Finding("database", False, type(error).__name__)
    return Finding("database", True, connection.vendor)


def _migrations() -> Finding:
    try:
        pending = _pending_migrations()
    except Error as error:
        return Finding("migrations", False, type(error).__name__)
    return Finding("migrations", not pending, f"{len(pending)} pending")


def _pending_migrations() -> list[str]:
    applied = MigrationRecorder(connection).applied_migrations().keys()
    return sorted(".".join(migration) for migration in _migrations_of_this_code() - applied)


@cache
def _migrations_of_this_code() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).disk_migrations)


def _broker() -> Finding:
    if not settings.REDIS_URL:
        folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])
        return Finding("broker", os.access(folder, os.W_OK), "files")
    try:
        policy = _eviction_policy()
    except redis.RedisError as error:
        return Finding("broker", False, type(error).__name__)
    return Finding("broker", policy in (None, "noeviction"), f"redis, {policy or 'policy hidden'}")


def queue_length() -> int | None:
    """How many wake-up calls wait in the broker; None where it does not answer."""
    if not settings.REDIS_URL:
        folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])
        return sum(1 for _ in folder.glob("*.msg"))
    prefix = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"]
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1
        ) as client:
            length: int = client.llen(f"{prefix}celery")
    except redis.RedisError:
        return None
    return length


def _eviction_policy() -> str | None:
    """How Redis makes room when full; None without Redis or where it does not say."""
    if not settings.REDIS_URL:
        return None
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1
    ) as client:
        policy: str | None = client.info("memory").get("maxmemory_policy")
    return policy


def _worker(now: datetime) -> Finding:
    try:
        last = Heartbeat.objects.filter(name=WORKER).values_list("at", flat=True).first()
    except Error as error:
        return Finding("worker", False, type(error).__name__)
    if last is None:
        return Finding("worker", False, "never seen")
    age = (now - last).total_seconds()
    in_time = age <= 3 * settings.HEARTBEAT_PERIOD.total_seconds()
    return Finding("worker", in_time, f"last seen {max(0, round(age))} s ago")


def _sweeps(now: datetime) -> Finding:
    """Whether what waits is looked after: a worker may live, and beat be gone."""
    try:
        last = ages(now=now)
    except Error as error:
        return Finding("sweeps", False, type(error).__name__)
    most = SWEEPS_LATE * settings.SWEEP_PERIOD.total_seconds()
    late = [name for name in settings.SWEEPS if last.get(name, most + 1) > most]
    said = f"standing: {', '.join(late)}" if late else "in time"
    return Finding("sweeps", not late, said)


def ages(*, now: datetime) -> dict[str, float]:
    """Seconds since each process and sweep last showed that it lives."""
    rows = Heartbeat.objects.values_list("name", "at")
    return {name: max(0.0, (now - at).total_seconds()) for name, at in rows}


def _time_zones() -> Finding:
    return Finding("tzdata", True, tzdata.IANA_VERSION)
