"""C6: how adherence differs between the patients of a group, one dot a patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from backend.console.charts import words
from backend.console.charts.drawing import (
    Chart,
    Table,
    joined,
    line,
    path,
    picture,
    rect,
    referring,
    tag,
    text,
)
from backend.console.charts.states import entry, key

WIDTH, LEFT, RIGHT, RADIUS = 760.0, 14.0, 746.0, 4.5
NAME, LEVEL, FOOT, AXIS = 20.0, 11.0, 14.0, 26.0


@dataclass(frozen=True, slots=True)
class Dot:
    """A patient. `low`: if what is not heard of counts as not done, where that differs."""

    label: str
    ratio: float
    low: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DotGroup:
    """`median` and `quartiles` are those of the report. `left_out` had too little due."""

    label: str
    dots: tuple[Dot, ...]
    median: float | None = None
    quartiles: tuple[float, float] | None = None
    left_out: int = 0
    few: bool = False


@dataclass(frozen=True, slots=True)
class Cohort:
    groups: tuple[DotGroup, ...]
    target: float


def cohort_dots(id: str, cohort: Cohort) -> Chart:
    rows, y = [], 22.0
    for group in cohort.groups:
        drawn, height = _group(group, y)
        rows.append(drawn)
        y += height
    target = x_of(cohort.target)
    anchor, side = ("end", -5) if cohort.target > 0.5 else (None, 5)
    told = f"target {words.percent(cohort.target)}"
    return Chart(
        id=id,
        kind="dots",
        title="Sessions done, by patient",
        sentence=cohort_sentence(cohort),
        picture=picture(
            WIDTH,
            y + AXIS,
            _axis(y),
            *rows,
            line(target, 6, target, y, "target"),
            text(target + side, 14, told, "target-label", anchor),
            id=f"{id}-picture",
            **referring(id),
        ),
        table=_table(cohort),
        key=_key(cohort),
        scrolls=True,
    )


def x_of(ratio: float) -> float:
    return LEFT + ratio * (RIGHT - LEFT)


def cohort_sentence(cohort: Cohort) -> str:
    dots = [one for group in cohort.groups for one in group.dots]
    if not dots:
        return "No patient had enough due to be compared."
    reached = sum(one.ratio >= cohort.target for one in dots)
    parts = [
        f"{reached} of {words.count(len(dots), 'patient')} reached the target of "
        f"{words.percent(cohort.target)}"
    ]
    if len(cohort.groups) == 1 and (median := cohort.groups[0].median) is not None:
        parts.append(f"the median is {words.percent(median)}")
    if unheard := sum(one.low is not None for one in dots):
        parts.append(f"of {unheard} not every day was heard")
    if left_out := sum(group.left_out for group in cohort.groups):
        parts.append(f"{left_out} had too little due to be compared")
    return words.sentence("; ".join(parts))


def _axis(y: float) -> SafeString:
    parts = []
    for quarter in range(5):
        x = x_of(quarter / 4)
        anchor = {0: "start", 4: "end"}.get(quarter, "middle")
        parts += [line(x, 20, x, y, "grid"),
                  text(x, y + 16, words.percent(quarter / 4), "tick", anchor)]  # fmt: skip
    return joined([*parts, line(LEFT, y, RIGHT, y, "axis")])


def _group(group: DotGroup, top: float) -> tuple[SafeString, float]:
    levels = list(stacked(group.dots))
    high = max((level for level, _ in levels), default=0) + 1
    base = top + NAME + high * LEVEL + 2
    few = " (few)" if group.few else ""
    parts = [text(LEFT + 6, top + 14, f"{group.label}{few}", "group")]
    if group.quartiles:
        low, far = group.quartiles
        parts.append(rect(x_of(low), top + NAME, max(x_of(far) - x_of(low), 2),
                          high * LEVEL + 8, "quartiles"))  # fmt: skip
    if group.median is not None:
        x = x_of(group.median)
        parts.append(line(x, top + NAME - 2, x, base + 8, "median"))
    parts.append(line(LEFT, base + 6, RIGHT, base + 6, "grid"))
    for level, one in levels:
        y = base - level * LEVEL
        if one.low is not None:
            x = x_of(one.low)
            parts.append(line(x + RADIUS, y, x_of(one.ratio), y, "reach"))
            parts.append(tag("circle", cx=x, cy=y, r=RADIUS - 0.75, class_="dot-low"))
        parts.append(
            tag("circle", tag("title", _told(one)), cx=x_of(one.ratio), cy=y, r=RADIUS,
                class_="dot")
        )  # fmt: skip
    return joined(parts), NAME + high * LEVEL + FOOT


def stacked(dots: Sequence[Dot]) -> Iterator[tuple[int, Dot]]:
    """Each on the lowest level on which it touches no other, with what it reaches down to."""
    taken: list[list[tuple[float, float]]] = []
    for one in sorted(dots, key=lambda dot: (dot.ratio, dot.label)):
        far = x_of(one.ratio) + RADIUS + 0.5
        near = x_of(one.ratio if one.low is None else one.low) - RADIUS - 0.5
        level = next(
            (
                place
                for place, spans in enumerate(taken)
                if all(far <= first or last <= near for first, last in spans)
            ),
            len(taken),
        )
        if level == len(taken):
            taken.append([])
        taken[level].append((near, far))
        yield level, one


def _told(one: Dot) -> str:
    low = f", at least {words.percent_exact(one.low)}" if one.low is not None else ""
    return f"{one.label}: {words.percent_exact(one.ratio)}{low}"


def _table(cohort: Cohort) -> Table:
    rows = [
        (one.label, group.label, words.percent_exact(one.ratio),
         words.percent_exact(one.ratio if one.low is None else one.low))
        for group in cohort.groups
        for one in sorted(group.dots, key=lambda dot: (-dot.ratio, dot.label))
    ]  # fmt: skip
    rows += [
        (f"{group.label}: {name}", group.label, words.percent_exact(value), "")
        for group in cohort.groups
        for name, value in (
            ("median", group.median),
            ("first quartile", group.quartiles and group.quartiles[0]),
            ("third quartile", group.quartiles and group.quartiles[1]),
        )
        if value is not None
    ]
    return Table(("Patient", "Group", "Done", "If not heard counts as not done"), tuple(rows))


def _key(cohort: Cohort) -> SafeString:
    entries = [entry(tag("circle", cx=8, cy=8, r=4.5, class_="dot"), "a patient")]
    if any(one.low is not None for group in cohort.groups for one in group.dots):
        mark = joined(
            [line(8, 8, 16, 8, "reach"), tag("circle", cx=5, cy=8, r=3.75, class_="dot-low")]
        )
        entries.append(entry(mark, "if days not heard count as not done"))
    if any(group.quartiles for group in cohort.groups):
        entries.append(entry(rect(1, 2, 14, 12, "quartiles"), "middle half"))
        entries.append(entry(line(8, 0, 8, 16, "median"), "median"))
    return key([*entries, entry(path("target", "M8 0V16"), "target")])
