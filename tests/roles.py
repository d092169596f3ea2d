"""Who the tests are on PostgreSQL: a role that owns nothing, as in service; and for a while, who
owns all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit, urlunsplit

from django.db import connection
from psycopg.pq import TransactionStatus

from backend import row_security, tenant

APP = "rehab_test_app"
IN_SERVICE = tenant._scope


def become_the_service() -> None:
    """From the next connection on, in all threads. What a test makes and reads by itself may be of
    any clinic; a request begins nowhere here, too."""
    admit()
    connection.close()
    connection.settings_dict["OPTIONS"]["assume_role"] = APP
    tenant._scope = ContextVar("scope", default=tenant.ALL)


def admit() -> None:
    """Let the service's role in, once the tables are there."""
    if connection.vendor != "postgresql":
        return
    password = connection.settings_dict["PASSWORD"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1)")  # databases of one server share the roles
        row_security.make_role(cursor, APP, password)
        cursor.execute("SELECT pg_advisory_unlock(1)")
        row_security.grant(cursor, APP)


def as_service(url: str) -> str:
    """The same database, for servers of a test: by the role that they have when deployed."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("postgres"):
        return url
    _, _, place = parts.netloc.rpartition("@")
    password = f":{parts.password}" if parts.password else ""
    return urlunsplit(parts._replace(netloc=f"{APP}{password}@{place}"))


def become_the_owner() -> None:
    connection.close()
    connection.settings_dict["OPTIONS"].pop("assume_role", None)
    tenant._scope = IN_SERVICE


@contextmanager
def as_owner() -> Iterator[None]:
    """For what only who owns the tables may do; SQLite knows no roles."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")
    try:
        yield
    finally:
        state = connection.connection.info.transaction_status
        if state != TransactionStatus.INERROR:  # or it is undone with all the rest
            with connection.cursor() as cursor:
                cursor.execute(f"SET ROLE {APP}")
