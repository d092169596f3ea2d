"""Queries whose SQL is written once, for what every phone asks all day.

Django writes the SQL of a query anew each time it runs, which takes it ten times as long as running
it (docs/performance.md). Here it is written at the first call; a call brings the values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import (
    AutoField,
    CharField,
    Expression,
    Field,
    Func,
    JSONField,
    Model,
    QuerySet,
    TextField,
)
from django.db.models.constants import OnConflict
from django.db.models.query import ModelIterable, get_related_populators
from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row")
Stored = TypeVar("Stored", bound=Model)


class Given(Expression):
    """A value that the call brings under this name."""

    def __init__(self, name: str, output_field: Field[Any, Any]) -> None:
        super().__init__(output_field)
        self.name = name
        self.is_text = isinstance(output_field, CharField | TextField)  # which is given as it is

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[Any, ...]]:
        return "%s", (self,)

    def bound(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if self.is_text:
            return value
        return self.output_field.get_db_prep_value(value, connection)


class AnyGiven(Given):
    """One or more values that the call brings under this name: `id__in=[AnyGiven("ids", …)]`."""

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[Any, ...]]:
        return self.place, (self,)

    @property
    def place(self) -> str:
        return f"<{self.name}>"


class IdText(Func):
    """An id as answers show it, without making an object of it first."""

    output_field = TextField()
    template = "CAST(%(expressions)s AS text)"

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **more: Any
    ) -> tuple[str, tuple[Any, ...]]:
        places = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
        parts = (f"substr(%(expressions)s, {first}, {count})" for first, count in places)
        sql, params = self.as_sql(compiler, connection, template=" || '-' || ".join(parts), **more)
        return sql, tuple(params)


class MomentText(Func):
    """An instant as answers show it: UTC, `Z`, and a fraction only where there is one."""

    output_field = TextField()
    template = (
        "regexp_replace(to_char(%(expressions)s AT TIME ZONE 'UTC', "
        """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '[.]000000Z', 'Z')"""
    )

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **more: Any
    ) -> tuple[str, tuple[Any, ...]]:
        shown = "replace(%(expressions)s, ' ', 'T') || 'Z'"
        sql, params = self.as_sql(compiler, connection, template=shown, **more)
        return sql, tuple(params)


class Written(Generic[Row]):
    """A query of models, with `select_related`, or of `values_list`; a call gives its rows.

    JSON is read, or given as text to what stands for it, where it is only passed on, or mostly
    known: all of it, or that `of` these fields.
    """

    def __init__(
        self,
        build: Callable[[], QuerySet[Any, Row]],
        *,
        json: Callable[[str], object] | None = None,
        of: Collection[str] = (),
    ) -> None:
        self._build, self._json, self._of = build, json, of

    def __call__(self, **given: Any) -> list[Row]:
        compiler, sql, params = self._compiled
        connection = connections[DEFAULT_DB_ALIAS]
        bound = []
        for one in params:
            if isinstance(one, AnyGiven):
                values = given[one.name]
                if not one.is_text:
                    values = [one.bound(value, connection) for value in values]
                sql = sql.replace(one.place, ",".join(["%s"] * len(values)))
                bound += values
            else:
                bound.append(
                    one.bound(given[one.name], connection) if isinstance(one, Given) else one
                )
        with connection.cursor() as cursor:
            cursor.execute(sql, bound)
            rows = cursor.fetchall()
        if self._converters:
            rows = compiler.apply_converters(rows, self._converters)
        return list(map(self._made, rows))

    @cached_property
    def _compiled(self) -> tuple[SQLCompiler, str, tuple[Any, ...]]:
        compiler = self._build().query.get_compiler(DEFAULT_DB_ALIAS)
        sql, params = compiler.as_sql()
        return compiler, sql, tuple(params)

    @cached_property
    def _converters(self) -> dict[int, Any]:
        compiler = self._compiled[0]
        found: dict[int, Any] = compiler.get_converters([one for one, _, _ in compiler.select])
        if as_text := self._json:
            for place, (_, expression) in found.items():
                if not isinstance(expression.output_field, JSONField):
                    continue
                if not self._of or expression.target.name in self._of:
                    passed_on = [lambda text, *_: None if text is None else as_text(text)]
                    found[place] = (passed_on, expression)
        return found

    @cached_property
    def _made(self) -> Callable[[list[Any]], Any]:
        """What turns the values of a row into what the query is of."""
        compiler = self._compiled[0]
        if self._build()._iterable_class is not ModelIterable:
            return tuple
        info: Any = compiler.klass_info
        first, last = info["select_fields"][0], info["select_fields"][-1] + 1
        names = [one.target.attname for one, _, _ in compiler.select[first:last]]
        related: list[Any] = get_related_populators(info, compiler.select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]

        def made(row: list[Any]) -> Any:
            found = info["model"].from_db(DEFAULT_DB_ALIAS, names, row[first:last])
            for one in related:
                one.populate(row, found)
            return found

        return made


class Insert(Generic[Stored]):
    """Rows of a model that are new, in one statement. What the database counts itself is not read
    back, and no signal is sent.

    Where a row with the same `unique` fields is there already, `update` says what it takes over.
    """

    def __init__(
        self, model: type[Stored], *, unique: Sequence[str] = (), update: Sequence[str] = ()
    ) -> None:
        self._model = model
        self._unique, self._update = unique, update

    def __call__(self, *rows: Stored) -> None:
        fields, before, places, after = self._written
        _run(before + ",".join([places] * len(rows)) + after, fields, rows)
        for row in rows:
            row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS

    @cached_property
    def _written(self) -> tuple[list[Field[Any, Any]], str, str, str]:
        meta: Any = self._model._meta
        ops = connections[DEFAULT_DB_ALIAS].ops
        fields = [one for one in meta.concrete_fields if not isinstance(one, AutoField)]
        names = ", ".join(ops.quote_name(one.column) for one in fields)
        before = f"INSERT INTO {ops.quote_name(meta.db_table)} ({names}) VALUES "  # noqa: S608
        unique, update = (
            [meta.get_field(name).column for name in which]
            for which in (self._unique, self._update)
        )
        on_conflict = OnConflict.UPDATE if unique else None
        after = ops.on_conflict_suffix_sql(fields, on_conflict, update, unique)
        return fields, before, f"({', '.join(['%s'] * len(fields))})", f" {after}"


class Update(Generic[Stored]):
    """These fields of a row that is there, as the model has them now. No signal is sent."""

    def __init__(self, model: type[Stored], *names: str) -> None:
        self._model, self._names = model, names

    def __call__(self, row: Stored) -> None:
        fields, sql = self._written
        _run(sql, fields, [row])

    @cached_property
    def _written(self) -> tuple[list[Field[Any, Any]], str]:
        meta: Any = self._model._meta
        quoted = connections[DEFAULT_DB_ALIAS].ops.quote_name
        fields = [meta.get_field(name) for name in self._names]
        places = ", ".join(f"{quoted(one.column)} = %s" for one in fields)
        table, key = quoted(meta.db_table), quoted(meta.pk.column)
        return [*fields, meta.pk], f"UPDATE {table} SET {places} WHERE {key} = %s"  # noqa: S608


def _run(sql: str, fields: Sequence[Field[Any, Any]], rows: Sequence[Model]) -> None:
    connection = connections[DEFAULT_DB_ALIAS]
    bound = [
        one.get_db_prep_save(getattr(row, one.attname), connection)
        for row in rows
        for one in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql, bound)
