"""What became of a date, as a letter in a box that no colour is needed for.

Done is a full box, partly done a half one, not done an empty one with a thick edge, not heard one
with a broken edge, and not due no box at all. What was typed in late is hatched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from django.utils.safestring import SafeString

from backend.console.charts.drawing import box, hatching, joined, number, path, tag
from backend.console.charts.words import count, listed

SIZE = 14.0


class State(StrEnum):
    """The letters of the reports; a date that is not over, and one that has not begun."""

    DONE = "C"
    PARTLY = "P"
    SKIPPED = "S"
    MISSED = "M"
    NOT_HEARD = "?"
    EXCUSED = "X"
    NOT_DUE = "-"
    OPEN = "o"
    AHEAD = " "


WORDS = {
    State.DONE: "done",
    State.PARTLY: "partly done",
    State.SKIPPED: "skipped",
    State.MISSED: "not done",
    State.NOT_HEARD: "not heard",
    State.EXCUSED: "excused",
    State.NOT_DUE: "not due",
    State.OPEN: "still open",
    State.AHEAD: "not yet",
}
# Written without a letter: a dot, an empty box, nothing.
SHOWN = {State.NOT_DUE: "·", State.OPEN: "", State.AHEAD: ""}
TOLD = (State.DONE, State.PARTLY, State.SKIPPED)  # by the patient


def shown(state: State) -> str:
    return SHOWN.get(state, state.value)


class Cell(NamedTuple):
    x: float
    state: State
    late: bool = False


def words_of(state: State, *, late: bool) -> str:
    is_late = late and state in TOLD
    return f"{WORDS[state]}, typed in late" if is_late else WORDS[state]


def boxes(cells: Iterable[Cell], y: float = 1, size: float = SIZE) -> SafeString:
    """Boxes in a row, each kind as one path and its letters as one text."""
    drawn: dict[str, list[str]] = {name: [] for name in ORDER}
    letters: dict[str, list[tuple[float, str]]] = {}
    for cell in cells:
        for name, d in _parts(cell, y, size):
            drawn[name].append(d)
        if letter := shown(cell.state):
            letters.setdefault(_hand(cell), []).append((cell.x + size / 2, letter))
    texts = (
        tag(
            "text",
            "".join(letter for _, letter in places),
            x=" ".join(number(x) for x, _ in places),
            y=y + size * 0.5 + 3.6,
            class_=f"letter {hand}",
        )
        for hand, places in letters.items()
    )
    return joined([*(path(name, "".join(parts)) for name, parts in drawn.items()), *texts])


ORDER = ("box-plain", "box-excused", "box-open", "box-unheard", "box-missed", "box-part",
         "box-done", "box-late", "hatch")  # fmt: skip


def _parts(cell: Cell, y: float, size: float) -> list[tuple[str, str]]:
    x, inner = cell.x, size - 1
    whole = box(x + 0.5, y + 0.5, inner, inner)
    if cell.late and cell.state in TOLD:
        part = [("box-part", _half(x, y, size))] if cell.state is State.PARTLY else []
        return [
            ("box-late", whole),
            ("hatch", hatching(x + 0.5, y + 0.5, inner, inner, 3.5)),
            *part,
        ]
    match cell.state:
        case State.DONE:
            return [("box-done", whole)]
        case State.PARTLY:
            return [("box-plain", whole), ("box-part", _half(x, y, size))]
        case State.SKIPPED:
            return [("box-plain", whole)]
        case State.MISSED:
            return [("box-missed", box(x + 1, y + 1, size - 2, size - 2))]
        case State.NOT_HEARD:
            return [("box-unheard", whole)]
        case State.EXCUSED:
            return [("box-excused", whole)]
        case State.OPEN:
            return [("box-open", whole)]
        case State.NOT_DUE | State.AHEAD:
            return []


def _half(x: float, y: float, size: float) -> str:
    """Below the diagonal."""
    inner = number(size - 1)
    return f"M{number(x + 0.5)} {number(y + size - 0.5)}h{inner}v-{inner}z"


def _hand(cell: Cell) -> str:
    """How a letter is written, for what lies behind it."""
    if cell.state is State.PARTLY or (cell.late and cell.state in TOLD):
        return "ringed"
    return {
        State.DONE: "on",
        State.MISSED: "strong",
        State.NOT_HEARD: "unheard",
        State.EXCUSED: "quiet",
    }.get(cell.state, "plain")


def tally(states: Sequence[State]) -> str:
    """`4 done, 1 not done and 2 not due`."""
    found = Counter(states)
    return listed([f"{found[one]} {WORDS[one]}" for one in WORDS if found[one]])


def days(number: int) -> str:
    return count(number, "day")


# --- Keys -------------------------------------------------------------------------------------


def entry(drawing: SafeString, words: str) -> SafeString:
    """What a mark means, beside the mark."""
    mark = tag("svg", drawing, viewBox="0 0 16 16", width=16, height=16, aria_hidden="true")
    return tag("li", mark, " ", words)


def key(entries: Iterable[SafeString]) -> SafeString:
    return tag("ul", *entries, class_="chart-key")


def state_entries(states: Iterable[State], *, late: bool = False) -> list[SafeString]:
    """The entries of those that are there, in order."""
    there = set(states)
    found = [
        entry(boxes([Cell(1, one)]), WORDS[one])
        for one in WORDS
        if one in there and one is not State.AHEAD
    ]
    if late:
        found.append(entry(boxes([Cell(1, State.DONE, late=True)]), "typed in late"))
    return found
