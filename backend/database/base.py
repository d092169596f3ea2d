"""Django's PostgreSQL, which is told with each transaction whose rows it is about.

The words go before the first statement of a transaction, in the same message: no round trip more.
They hold until it ends (`SET LOCAL`), and a statement outside any is one of its own. So nothing is
left on a connection for whoever uses it next, with or without a pool in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.db.backends.postgresql import base as of_django
from psycopg import sql
from psycopg.pq import TransactionStatus

from backend import tenant

base: Any = of_django  # whose types are told for the driver before this one


class Telling:
    """What both kinds of cursor know. `told` is kept by the connection: what this transaction was
    told last, where it goes on."""

    connection: Any

    def _to_say(self) -> tuple[str, ...]:
        """What has to be said before the next statement."""
        scope, connection = tenant.current(), self.connection
        status = connection.pgconn.transaction_status
        if status == TransactionStatus.IDLE:
            connection.told = scope
            return scope.said
        if status == TransactionStatus.INTRANS and getattr(connection, "told", None) != scope:
            connection.told = scope
            return scope.said_instead
        return ()  # nothing new; or it has failed, and takes nothing but its end

    @contextmanager
    def _told_before(self) -> Iterator[None]:
        """For what takes no other statement beside it."""
        connection = self.connection
        is_alone = connection.pgconn.transaction_status == TransactionStatus.IDLE
        said = self._to_say()
        if not said:
            yield
        elif is_alone and connection.autocommit:
            with connection.transaction():
                base.Cursor(connection).execute("; ".join(said))
                yield
        else:
            base.Cursor(connection).execute("; ".join(said))
            yield


class Cursor(Telling, base.Cursor):  # type: ignore[misc]
    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        said = self._to_say()
        if not said:
            return super().execute(query, params, **options)
        before = "; ".join(said) + "; "
        if isinstance(query, sql.Composable):
            query = query.as_string(self.connection)
        super().execute(
            before + query if isinstance(query, str) else before.encode() + query, params, **options
        )
        for _ in said:
            self.nextset()
        return self

    def executemany(self, *args: Any, **options: Any) -> None:
        with self._told_before():
            super().executemany(*args, **options)


class ServerSideCursor(Telling, base.ServerSideCursor):  # type: ignore[misc]
    def execute(self, *args: Any, **options: Any) -> Any:
        with self._told_before():
            return super().execute(*args, **options)


class DatabaseOperations(base.DatabaseOperations):  # type: ignore[misc]
    def adapt_datetimefield_value(self, value: datetime | None) -> datetime | None:
        """In UTC: RFC 3339 knows offsets of up to 23:59, PostgreSQL none beyond 15:59."""
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC)
        return value


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]
    ops_class = DatabaseOperations

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        return params | {"cursor_factory": Cursor}

    def create_cursor(self, name: str | None = None) -> Any:
        if name is None:
            return super().create_cursor()
        held = self.connection.autocommit  # it is read outside a transaction then
        cursor = ServerSideCursor(self.connection, name=name, scrollable=False, withhold=held)
        loader = self.connection.adapters.get_loader(base.TIMESTAMPTZ_OID, base.Format.TEXT)
        if self.timezone != loader.timezone:
            base.register_tzloader(self.timezone, cursor)
        return cursor

    def _savepoint_rollback(self, sid: str) -> None:
        super()._savepoint_rollback(sid)
        self.connection.told = None  # what was said since is forgotten
