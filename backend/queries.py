"""Queries whose SQL is written once, for what every phone asks all day.

Django writes the SQL of a query anew each time it runs, which takes it ten times as long as running
it (docs/performance.md). Here it is written at the first call; a call brings the values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, QuerySet
from django.db.models.query import ModelIterable, get_related_populators
from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row")


class Given(Expression):
    """A value that the call brings under this name."""

    def __init__(self, name: str, output_field: Field[Any, Any]) -> None:
        super().__init__(output_field)
        self.name = name

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[Any, ...]]:
        return "%s", (self,)

    def bound(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
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


class Written(Generic[Row]):
    """A query of models, with `select_related`, or of `values_list`; a call gives its rows."""

    def __init__(self, build: Callable[[], QuerySet[Any, Row]]) -> None:
        self._build = build

    def __call__(self, **given: Any) -> list[Row]:
        compiler, sql, params = self._compiled
        connection = connections[DEFAULT_DB_ALIAS]
        bound = []
        for one in params:
            if isinstance(one, AnyGiven):
                values = [one.bound(value, connection) for value in given[one.name]]
                sql = sql.replace(one.place, ",".join(["%s"] * len(values)))
                bound += values
            else:
                bound.append(
                    one.bound(given[one.name], connection) if isinstance(one, Given) else one
                )
        with connection.cursor() as cursor:
            cursor.execute(sql, bound)
            rows = cursor.fetchall()
        return [self._made(row) for row in compiler.apply_converters(rows, self._converters)]

    @cached_property
    def _compiled(self) -> tuple[SQLCompiler, str, tuple[Any, ...]]:
        compiler = self._build().query.get_compiler(DEFAULT_DB_ALIAS)
        sql, params = compiler.as_sql()
        return compiler, sql, tuple(params)

    @cached_property
    def _converters(self) -> dict[int, Any]:
        compiler = self._compiled[0]
        return compiler.get_converters([one for one, _, _ in compiler.select])

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
