"""State and Day as plain JSON and back, exactly, so that a fold can go on from what was stored.

What equals its default is left out: a quiet date is a date and little else. The fields of the
classes are the format, so a new field with a default needs nothing here and reads old rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date
from enum import StrEnum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from protocols.engine.case import State
from protocols.engine.day import Day

Turn = Callable[[Any], Any]


def state_as_json(state: State) -> dict[str, object]:
    return _written(state)


def state_from_json(stored: Mapping[str, object]) -> State:
    state: State = _read(State, stored)
    return state


def day_as_json(day: Day) -> dict[str, object]:
    return _written(day)


def day_from_json(stored: Mapping[str, object]) -> Day:
    day: Day = _read(Day, stored)
    return day


def _written(value: object) -> dict[str, object]:
    kind: type = type(value)
    told = {}
    for name, default, write, _ in _columns(kind):
        held = getattr(value, name)
        if held != default:
            told[name] = write(held)
    return told


def _read(kind: type, stored: Mapping[str, object]) -> Any:
    if not (turns := _turned(kind)):
        return kind(**stored)
    turned = {name: turn(stored[name]) for name, turn in turns if name in stored}
    return kind(**{**stored, **turned})


@cache
def _turned(kind: type) -> tuple[tuple[str, Turn], ...]:
    """Those fields that are something else in JSON, and how they come back."""
    return tuple((name, read) for name, _, _, read in _columns(kind) if read is not _as_it_is)


@cache
def _columns(kind: type) -> tuple[tuple[str, object, Turn, Turn], ...]:
    """Name, default, how to write and how to read of every field."""
    hints = get_type_hints(kind)
    return tuple((one.name, _default(one), *_turns(hints[one.name])) for one in fields(kind))


def _default(field: Any) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default  # MISSING, which equals no value, where there is none


def _turns(kind: Any) -> tuple[Turn, Turn]:
    """How a value of this type becomes JSON, and how it comes back."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is UnionType:  # of a type and None, and None is left out
        return _turns(next(option for option in options if option is not NoneType))
    if origin is tuple and options[-1] is ...:
        write, read = _turns(options[0])
        return lambda held: [*map(write, held)], lambda held: tuple(map(read, held))
    if origin is tuple:
        return _turns_of_places([_turns(option) for option in options])
    if origin is frozenset:
        return sorted, frozenset
    if origin is Mapping:
        write, read = _turns(options[1])
        return (
            lambda held: {key: write(held[key]) for key in sorted(held)},
            lambda held: {key: read(one) for key, one in held.items()},
        )
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return str, kind
    if isinstance(kind, type) and is_dataclass(kind):
        return _written, partial(_read, kind)
    if kind is date:
        return date.isoformat, date.fromisoformat
    return _as_it_is, _as_it_is


def _turns_of_places(places: list[tuple[Turn, Turn]]) -> tuple[Turn, Turn]:
    writes, reads = zip(*places, strict=True)
    return (
        lambda held: [write(one) for write, one in zip(writes, held, strict=True)],
        lambda held: tuple(read(one) for read, one in zip(reads, held, strict=True)),
    )


def _as_it_is(held: Any) -> Any:
    return held
