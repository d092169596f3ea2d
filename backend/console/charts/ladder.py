"""C4: the criteria of a proposal, each with what was seen and what is needed.

A table, with a scale in a cell: criteria are sentences, which have to wrap, and the figures beside
the scale are those that it is drawn from. There is no second table.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.safestring import SafeString

from backend.console.charts import words
from backend.console.charts.drawing import (
    NOTHING,
    Chart,
    box,
    joined,
    line,
    path,
    picture,
    tag,
    text,
)

RESULTS = {"met": "met", "not_met": "not met", "unknown": "not known"}
SIGNS = {"met": "✓", "not_met": "–", "unknown": "?"}
NEEDED = {
    "lte": "at most",
    "lt": "below",
    "gte": "at least",
    "gt": "above",
    "eq": "exactly",
    "ne": "other than",
}
AT_MOST, AT_LEAST = ("lte", "lt"), ("gte", "gt")
WHOLE_SCALES = {"nrs11": 10.0, "ratio": 1.0, "pct": 100.0, "percent": 100.0, "%": 100.0}
UNITS = {
    "nrs11": "", "points": "", "count": "", "ratio": "", "0/1": "", "pct": f"{words.SPACE}%",
    "percent": f"{words.SPACE}%", "%": f"{words.SPACE}%", "deg": "°",
}  # fmt: skip
YES_NO = "0/1"
WIDTH, HEIGHT, LEFT, RIGHT, BASE = 190.0, 26.0, 8.0, 182.0, 14.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """As the proposal has it. `observed` None: nothing was recorded."""

    text: str
    result: str  # met, not_met, unknown
    required: bool = True
    operator: str = ""
    unit: str = ""
    threshold: float | None = None
    observed: float | None = None
    samples: int = 0
    samples_needed: int = 1
    note: str = ""


def criteria_ladder(id: str, criteria: tuple[Criterion, ...]) -> Chart:
    met = sum(one.result == "met" for one in criteria)
    unmet = [one for one in criteria if one.result == "not_met"]
    unknown = sum(one.result == "unknown" for one in criteria)
    parts = [f"{met} of {words.count(len(criteria), 'criterion', 'criteria')} met"]
    parts += [f"{len(unmet)} not met"] if unmet else []
    parts += [f"{unknown} not known"] if unknown else []
    columns = ("Criterion", "Result", "Scale", "Observed", "Needed", "Samples")
    rows = joined(_row(one) for one in criteria)
    return Chart(
        id=id,
        kind="ladder",
        title="Criteria",
        sentence=words.sentence(", ".join(parts)),
        picture=tag(
            "table",
            tag("thead", tag("tr", *(tag("th", one, scope="col") for one in columns))),
            tag("tbody", rows),
            aria_labelledby=f"{id}-title",
            aria_describedby=f"{id}-words",
        ),
    )


def _row(one: Criterion) -> SafeString:
    note = tag("small", one.note) if one.note else NOTHING
    kind = NOTHING if one.required else tag("small", "supporting")
    samples = str(one.samples)
    if one.samples < one.samples_needed:
        samples += f" of {one.samples_needed}"
    sign = tag("span", SIGNS[one.result], class_="sign", aria_hidden="true")
    cells = (
        ("Result", joined([sign, " ", RESULTS[one.result]])),
        ("Scale", scale(one)),
        ("Observed", observed(one)),
        ("Needed", needed(one)),
        ("Samples", samples),
    )
    return tag(
        "tr",
        tag("th", one.text, kind, note, scope="row"),
        *(tag("td", told, data_label=name) for name, told in cells),
        class_=one.result.replace("_", "-"),
    )


def amount(value: float, unit: str) -> str:
    if unit == "ratio":
        return words.percent_exact(value)
    if unit == YES_NO:
        return "yes" if value else "no"
    return f"{words.plain(value)}{UNITS.get(unit, f'{words.SPACE}{unit}')}"


def observed(one: Criterion) -> str:
    return "not known" if one.observed is None else amount(one.observed, one.unit)


def needed(one: Criterion) -> str:
    if one.unit == YES_NO:
        wanted = one.threshold is None or bool(one.threshold) == (one.operator != "ne")
        return "yes" if wanted else "no"
    if one.threshold is None:
        return "–"
    return f"{NEEDED.get(one.operator, '')} {amount(one.threshold, one.unit)}".strip()


def scale(one: Criterion) -> SafeString:
    """Where it has to lie is a thick line, the threshold a tick, and what was seen a mark: round
    where it is met, square where it is not. What is not known has no mark."""
    if one.threshold is None or one.unit == YES_NO:
        return NOTHING
    low, high = _ends(one.threshold, one.observed, one.unit)

    def x_of(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (RIGHT - LEFT)

    at = x_of(one.threshold)
    good = {True: (LEFT, at), False: (at, RIGHT)}.get(one.operator in AT_MOST)
    parts = [line(LEFT, BASE, RIGHT, BASE, "axis")]
    if good and one.operator in (*AT_MOST, *AT_LEAST):
        parts.append(line(good[0], BASE, good[1], BASE, "good"))
    parts += [line(LEFT, BASE - 3, LEFT, BASE + 3, "axis"),
              line(RIGHT, BASE - 3, RIGHT, BASE + 3, "axis"),
              line(at, BASE - 9, at, BASE + 9, "threshold")]  # fmt: skip
    if one.observed is None:
        parts.append(text((LEFT + RIGHT) / 2, BASE + 4, "?", "unheard", "middle"))
    elif one.result == "met":
        parts.append(tag("circle", cx=x_of(one.observed), cy=BASE, r=5, class_="seen"))
    else:
        parts.append(path("seen", box(x_of(one.observed) - 4.5, BASE - 4.5, 9, 9)))
    told = f"Observed {observed(one)}, needed {needed(one)}"
    return picture(WIDTH, HEIGHT, *parts, aria_label=told)


def _ends(threshold: float, seen: float | None, unit: str) -> tuple[float, float]:
    """Scales that have ends of their own keep them; others reach beyond what they show."""
    most = max(threshold, seen or 0)
    least = min(threshold, seen or 0, 0)
    whole = WHOLE_SCALES.get(unit)
    if whole is not None and least >= 0 and most <= whole:
        return 0.0, whole
    reach = (most - least) or 1
    return (least - 0.25 * reach if least < 0 else 0.0), most + 0.25 * reach
