"""C5: how dates or weeks went, for many rows at once.

An HTML table and not a drawing: it scrolls below headers that stay, reads well without eyes, is
sorted by its rows, prints, and is a fifth of the size. It is its own table; there is no second one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.utils.safestring import SafeString

from backend.console.charts import words
from backend.console.charts.drawing import (
    NOTHING,
    Chart,
    joined,
    picture,
    rect,
    tag,
)
from backend.console.charts.states import WORDS, State, shown

# How each kind of cell looks, and what it means, in the order of the key.
KINDS = {
    State.DONE: "r4",
    State.PARTLY: "r2",
    State.SKIPPED: "r0",
    State.MISSED: "r0 miss",
    State.NOT_HEARD: "unheard",
    State.EXCUSED: "excused",
    State.NOT_DUE: "rest",
    State.OPEN: "rest",
    State.AHEAD: "rest",
}
STEPS = ("0 %", "1–49 %", "50–79 %", "80–99 %", "100 %")
LEAST = (1, 50, 80, 100)  # percents with which each step but the first begins


@dataclass(frozen=True, slots=True)
class HeatCell:
    """A date by its letter, or a week by its ratio, which is None unless something was due."""

    state: State | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class HeatColumn:
    """`name` is short, for the head; `words` is how it is read."""

    name: str
    words: str
    begins_week: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatRow:
    """`low` is the ratio if what is not heard of counts as not done."""

    label: str
    cells: tuple[HeatCell, ...]
    done: float | None
    low: float | None = None
    dose: float | None = None
    few: bool = False
    link: str = ""


@dataclass(frozen=True, slots=True)
class Heat:
    columns: tuple[HeatColumn, ...]
    rows: tuple[HeatRow, ...]
    of: str = "Patient"  # what a row is


def day_columns(first: date, count: int) -> tuple[HeatColumn, ...]:
    dates = [date.fromordinal(first.toordinal() + place) for place in range(count)]
    return tuple(
        HeatColumn(
            words.weekday(on), words.day_named(on), begins_week=on.weekday() == 0 and on != first
        )
        for on in dates
    )


def step_of(ratio: float) -> int:
    """Of the whole percents that are printed: number and colour never disagree."""
    told = words.percents(ratio)
    return sum(told >= least for least in LEAST)


def adherence_heat_map(id: str, heat: Heat) -> Chart:
    by_ratio = any(cell.state is None for row in heat.rows for cell in row.cells)
    title = f"Adherence by {heat.of.lower()} and {'week' if by_ratio else 'day'}"
    return Chart(
        id=id,
        kind="heat",
        title=title,
        sentence=heat_sentence(heat),
        picture=tag(
            "table",
            tag("thead", _head(heat)),
            tag("tbody", *(_row(one, heat.columns) for one in heat.rows)),
            aria_labelledby=f"{id}-title",
            aria_describedby=f"{id}-words",
            data_words=json.dumps({shown(one): WORDS[one] for one in (*KINDS,)[:7]}),
        ),
        key=_key(heat, by_ratio=by_ratio),
        moves=True,
    )


def heat_sentence(heat: Heat) -> str:
    told = [(one.done, one.label) for one in heat.rows if one.done is not None]
    many = words.count(len(heat.rows), heat.of.lower())
    if not told:
        return f"{many.capitalize()}; nothing was due."
    (least, who_least), (most, who_most) = min(told), max(told)
    if len(told) == 1 or least == most:
        found = f"{many}; {words.percent(most)} done"
    else:
        found = (
            f"{many}; from {words.percent(least)} done ({who_least}) "
            f"to {words.percent(most)} ({who_most})"
        )
    unheard = sum(
        any(cell.state is State.NOT_HEARD for cell in one.cells)
        or (one.low is not None and one.low != one.done)
        for one in heat.rows
    )
    return f"{found}; not everything was heard of {unheard}." if unheard else f"{found}."


def _head(heat: Heat) -> SafeString:
    columns = joined(
        tag(
            "th",
            one.name,
            scope="col",
            class_="week" if one.begins_week else None,
            data_words=one.words,
            title=one.words,
        )
        for one in heat.columns
    )
    return tag(
        "tr",
        tag("th", heat.of, scope="col"),
        columns,
        tag("th", "Done", scope="col", class_="figure"),
        tag("th", "Dose", scope="col", class_="figure"),
    )


def _row(one: HeatRow, columns: Sequence[HeatColumn]) -> SafeString:
    name = tag("a", one.label, href=one.link) if one.link else one.label
    few = tag("small", "few") if one.few else NOTHING
    return tag(
        "tr",
        tag("th", name, few, scope="row"),
        joined(_cell(cell, column) for cell, column in zip(one.cells, columns, strict=True)),
        tag("td", _done(one), class_="figure", data_value=_exact(one.done)),
        tag("td", _percent(one.dose), class_="figure", data_value=_exact(one.dose)),
    )


def _cell(cell: HeatCell, column: HeatColumn) -> SafeString:
    if cell.state is not None:
        told, kind = shown(cell.state) or shown(State.NOT_DUE), KINDS[cell.state]
    elif cell.ratio is None:
        told, kind = shown(State.NOT_DUE), KINDS[State.NOT_DUE]
    else:
        told, kind = str(words.percents(cell.ratio)), f"r{step_of(cell.ratio)}"
    return tag("td", told, class_=f"{kind} week" if column.begins_week else kind)


def _exact(ratio: float | None) -> str | None:
    """As rows are sorted by it."""
    return None if ratio is None else f"{ratio:g}"


def _percent(ratio: float | None) -> str:
    return "–" if ratio is None else words.percent(ratio)


def _done(one: HeatRow) -> SafeString:
    """The figure, a bar of its length, and what it would be at the least."""
    if one.done is None:
        return joined(["–"])
    bar = picture(
        60, 10,
        rect(0, 0, 60, 10, "bar-edge"),
        rect(0, 0, 60 * one.done, 10, "bar"),
        aria_hidden="true",
    )  # fmt: skip
    low = NOTHING
    if one.low is not None and one.low != one.done:
        low = tag("small", f"at least {words.percent(one.low)}")
    return joined([tag("span", words.percent(one.done)), " ", bar, low])


def _key(heat: Heat, *, by_ratio: bool) -> SafeString:
    there = {cell.state for row in heat.rows for cell in row.cells}
    entries = [
        _entry(shown(one) or shown(State.NOT_DUE), kind, WORDS[one])
        for one, kind in KINDS.items()
        if one in there and (kind != KINDS[State.NOT_DUE] or one is State.NOT_DUE)
    ]
    if by_ratio:
        entries += [_entry(NOTHING, f"r{step}", name, "step") for step, name in enumerate(STEPS)]
        entries.append(_entry("·", KINDS[State.NOT_DUE], WORDS[State.NOT_DUE]))
    if any(one.low is not None and one.low != one.done for one in heat.rows):
        entries.append(tag("li", "at least: if what is not heard counts as not done"))
    return tag("ul", *entries, class_="chart-key")


def _entry(letter: str, kind: str, told: str, name: str | None = None) -> SafeString:
    return tag("li", tag("b", letter, class_=kind, aria_hidden="true"), " ", told, class_=name)
