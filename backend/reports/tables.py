"""Lines of files that people open in spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

RUNS = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """RFC 4180. A text that a spreadsheet would run gets an apostrophe in front; numbers do not."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([_cell(one) for one in row] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return defused(value) if isinstance(value, str) else "" if value is None else value


def defused(text: str) -> str:
    """As a spreadsheet shows it, and never runs it."""
    return f"'{text}" if is_run(text) else text


def is_run(text: str) -> bool:
    return text.lstrip(" \n").startswith(RUNS)
