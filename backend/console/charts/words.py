"""Dates, numbers and lists as sentences say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from django.utils.dateformat import format as dated

WHOLE = 10_000
SPACE = "\u00a0"  # no line ends between a number and its unit


def percents(ratio: float) -> int:
    """Whole ones; a half goes up. Ratios have four places."""
    return (round(ratio * WHOLE) + 50) // 100


def percent(ratio: float) -> str:
    return f"{percents(ratio)}{SPACE}%"


def percent_exact(ratio: float) -> str:
    """With all the places that a ratio has."""
    return f"{round(ratio * 100, 2):g}{SPACE}%"


def plain(value: float) -> str:
    """Up to two places, without zeros at the end."""
    return f"{round(value, 2):.2f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def maybe(value: float | None) -> str:
    return "–" if value is None else plain(value)


def day(on: date) -> str:
    return dated(on, "j F")


def day_short(on: date) -> str:
    return dated(on, "j M")


def day_named(on: date) -> str:
    """As rows of tables and the cursor name it."""
    return dated(on, "D j M Y")


def between(first: date, last: date) -> str:
    """`2 and 19 November`."""
    if first.year != last.year:
        return f"{dated(first, 'j F Y')} and {dated(last, 'j F Y')}"
    if first.month != last.month:
        return f"{day(first)} and {day(last)}"
    return f"{first.day} and {day(last)}"


def count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."


def weekday(on: date) -> str:
    """Two letters."""
    return dated(on, "D")[:2]
