"""C8: what was done of each exercise, against the range that was prescribed. Small multiples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from django.utils.safestring import SafeString

from backend.console.charts import words
from backend.console.charts.drawing import (
    Chart,
    Table,
    box,
    joined,
    line,
    path,
    picture,
    rect,
    tag,
    text,
)
from backend.console.charts.states import entry, key

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BASE = 280.0, 116.0, 34.0, 274.0, 10.0, 92.0
UNITS = {"reps": "repetitions", "hold_s": "seconds held", "duration_s": "seconds",
         "distance_m": "metres"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DosePoint:
    """A session: what was performed of what was asked. The range is met at its lower end."""

    on: date
    performed: float
    low: float
    high: float
    late: bool = False


@dataclass(frozen=True, slots=True)
class Dose:
    exercise: str
    unit: str
    points: tuple[DosePoint, ...]


def dose_charts(id: str, doses: tuple[Dose, ...], first: date, last: date) -> Chart:
    """One small drawing an exercise, all over the same dates."""
    return Chart(
        id=id,
        kind="doses",
        title="Dose per exercise",
        sentence=doses_sentence(doses),
        picture=joined(
            tag(
                "section",
                tag("p", one.exercise, class_="dose-name"),
                _drawn(f"{id}-{place}", one, first, last),
            )
            for place, one in enumerate(doses, start=1)
        ),
        table=Table(
            ("Exercise", "Day", "Done", "Prescribed", "Unit", "Typed in"),
            tuple(
                (one.exercise, words.day_named(point.on), words.plain(point.performed),
                 _asked(point), UNITS.get(one.unit, one.unit), "late" if point.late else "in time")
                for one in doses
                for point in one.points
            ),
        ),
        key=_key(doses),
    )  # fmt: skip


def doses_sentence(doses: tuple[Dose, ...]) -> str:
    points = [point for one in doses for point in one.points]
    if not points:
        return "Nothing was logged."
    reached = sum(point.performed >= point.low for point in points)
    short = [
        one.exercise
        for one in doses
        if one.points and one.points[-1].performed < one.points[-1].low
    ]
    parts = [f"{reached} of {words.count(len(points), 'dose')} reached what was prescribed"]
    if short:
        parts.append(f"the last was short of {words.listed(short)}")
    return words.sentence("; ".join(parts))


def dose_sentence(one: Dose) -> str:
    if not one.points:
        return "Nothing was logged."
    reached = sum(point.performed >= point.low for point in one.points)
    last = one.points[-1]
    return (
        f"{reached} of {words.count(len(one.points), 'session')} reached the dose; "
        f"last {words.plain(last.performed)} of {_asked(last)}, on {words.day(last.on)}."
    )


def _asked(point: DosePoint) -> str:
    low, high = words.plain(point.low), words.plain(point.high)
    return low if low == high else f"{low}–{high}"


def _drawn(id: str, one: Dose, first: date, last: date) -> SafeString:
    count = (last - first).days + 1
    step = (RIGHT - LEFT) / count
    most = max((max(point.performed, point.high) for point in one.points), default=0) or 1

    def x_of(on: date) -> float:
        return LEFT + ((on - first).days + 0.5) * step

    def y_of(value: float) -> float:
        return BASE - value / most * (BASE - TOP)

    unit = UNITS.get(one.unit, one.unit)
    parts = [
        line(LEFT, BASE, RIGHT, BASE, "axis"),
        text(LEFT - 5, BASE + 4, "0", "tick", "end"),
        text(LEFT - 5, TOP + 4, words.plain(most), "tick", "end"),
    ]
    if one.points:
        parts.append(_range(one, x_of, y_of, step / 2))
        places = [(x_of(point.on), y_of(point.performed)) for point in one.points]
        for point, (x, y) in zip(one.points, places, strict=True):
            told = f"{words.day_named(point.on)}: {words.plain(point.performed)} of {_asked(point)}"
            parts.append(
                tag("circle", tag("title", told), cx=x, cy=y, r=3.4,
                    class_="dose-late" if point.late else "dose")
            )  # fmt: skip
    parts += [
        text(LEFT, BASE + 18, words.day_short(first), "tick"),
        text(RIGHT, BASE + 18, words.day_short(last), "tick", "end"),
        text((LEFT + RIGHT) / 2, BASE + 18, unit, "tick", "middle"),
    ]
    sentence = f"{one.exercise}. {dose_sentence(one)}"
    return picture(WIDTH, HEIGHT, *parts, id=f"{id}-picture", aria_label=sentence)


Place = Callable[[date], float]
Height = Callable[[float], float]


def _range(one: Dose, x_of: Place, y_of: Height, half: float) -> SafeString:
    """From each session to the next, as wide as the dose that held; never thinner than a line."""
    d, places = "", [x_of(point.on) for point in one.points]
    for point, x, after in zip(one.points, places, [*places[1:], None], strict=True):
        end = min(RIGHT, x + half) if after is None else after - half
        top, foot = y_of(point.high), y_of(point.low)
        if foot - top < 2:
            top, foot = foot - 1, foot + 1
        d += box(max(LEFT, x - half), top, end - max(LEFT, x - half), foot - top)
    return path("range", d)


def _key(doses: tuple[Dose, ...]) -> SafeString:
    entries = [
        entry(tag("circle", cx=8, cy=8, r=3.4, class_="dose"), "done"),
        entry(rect(0, 3, 16, 10, "range"), "prescribed"),
    ]  # fmt: skip
    if any(point.late for one in doses for point in one.points):
        entries.append(entry(tag("circle", cx=8, cy=8, r=3.4, class_="dose-late"), "typed in late"))
    return key(entries)
