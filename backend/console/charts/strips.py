"""C2, C3 and C7, which fit into a row of a list: dates, pain as a line, weeks on target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from django.utils.safestring import SafeString

from backend.console.charts import words
from backend.console.charts.drawing import (
    Chart,
    Point,
    Table,
    box,
    described,
    joined,
    line,
    number,
    path,
    picture,
    polyline,
    runs,
    tag,
    text,
)
from backend.console.charts.states import (
    SIZE,
    Cell,
    State,
    boxes,
    days,
    entry,
    key,
    state_entries,
    tally,
    words_of,
)

# --- C2 ---------------------------------------------------------------------------------------

STEP, WEEK_GAP = SIZE + 1, 4.0


@dataclass(frozen=True, slots=True)
class StripDay:
    on: date
    state: State
    late: bool = False


@dataclass(frozen=True, slots=True)
class Strip:
    """Dates in a row, the oldest first."""

    days: tuple[StripDay, ...]
    today: date | None = None


def week_strip(id: str, strip: Strip) -> Chart:
    """A box and a letter for each date; today has a line below. Weeks of a row stand apart."""
    title = f"Last {days(len(strip.days))}"
    sentence = words.sentence(tally([one.state for one in strip.days]) or "nothing is known")
    cells, extra, x = [], [], 0.0
    for place, one in enumerate(strip.days):
        x += WEEK_GAP if place and place % 7 == 0 else 0
        cells.append(Cell(x, one.state, one.late))
        if one.on == strip.today:
            extra.append(box(x - 0.5, 16.5, SIZE + 1, 1.5))
        x += STEP
    return Chart(
        id=id,
        kind="strip",
        title=title,
        sentence=sentence,
        picture=picture(
            max(x, STEP),
            19,
            boxes(cells),
            path("today", "".join(extra)),
            class_="chart-small",
            id=f"{id}-picture",
            **described(title, sentence),
        ),
        table=Table(
            ("Day", "Sessions"),
            tuple(
                (words.day_named(one.on), words_of(one.state, late=one.late)) for one in strip.days
            ),
        ),
        key=key(
            state_entries(
                (one.state for one in strip.days), late=any(one.late for one in strip.days)
            )
        ),
    )


# --- C3 ---------------------------------------------------------------------------------------

MOST_PAIN = 10
SPARK_WIDTH, SPARK_HEIGHT, SPARK_GAP = 98.0, 36.0, 3.0


@dataclass(frozen=True, slots=True)
class PainDay:
    """None: nobody told. `awaited` is false where nothing was due that could have hurt."""

    on: date
    pain: int | None
    awaited: bool = True


@dataclass(frozen=True, slots=True)
class Pain:
    days: tuple[PainDay, ...]
    limit: int | None = None


def pain_sparkline(id: str, pain: Pain) -> Chart:
    """The worst pain during exercise of each date, with the limit, and the last score in digits."""
    title = f"Pain during exercise, last {days(len(pain.days))}"
    sentence = _pain_sentence(pain)
    step = (SPARK_WIDTH - 2 * SPARK_GAP) / max(len(pain.days) - 1, 1)

    def y_of(score: float) -> float:
        return SPARK_HEIGHT - SPARK_GAP - score * (SPARK_HEIGHT - 2 * SPARK_GAP) / MOST_PAIN

    points = [
        Point(SPARK_GAP + step * place, one.pain, one.awaited)
        for place, one in enumerate(pain.days)
    ]
    lines = "".join(
        polyline([(one.x, y_of(one.value or 0)) for one in run]) for run in runs(points)
    )
    told = [one for one in points if one.value is not None]
    parts: list[SafeString] = []
    if pain.limit is not None:
        y = y_of(pain.limit)
        parts.append(line(0, y, SPARK_WIDTH, y, "limit"))
    parts.append(path("pain-line", lines))
    places = [(one.x, y_of(one.value or 0)) for one in told]
    # One path for all but the last: a page has forty of these.
    dots = (f"M{number(x)} {number(y)}h.01" for x, y in places[:-1])
    parts.append(path("pain-dots", "".join(dots)))
    if told:
        x, y = places[-1]
        parts.append(tag("circle", cx=x, cy=y, r=2.4, class_="pain-mark"))
    last = number(told[-1].value or 0) if told else "–"
    parts.append(text(SPARK_WIDTH + 5, SPARK_HEIGHT / 2 + 5, last, "last"))
    return Chart(
        id=id,
        kind="sparkline",
        title=title,
        sentence=sentence,
        picture=picture(
            SPARK_WIDTH + 24,
            SPARK_HEIGHT,
            *parts,
            class_="chart-small",
            id=f"{id}-picture",
            **described(title, sentence),
        ),
        table=Table(
            ("Day", "Pain during"),
            tuple((words.day_named(one.on), words.maybe(one.pain)) for one in pain.days),
        ),
    )


def _pain_sentence(pain: Pain) -> str:
    told = [(one.on, one.pain) for one in pain.days if one.pain is not None]
    missing = sum(one.pain is None and one.awaited for one in pain.days)
    if not told:
        return "No score was told."
    (on, last), worst = told[-1], max(score for _, score in told)
    parts = [f"last {last}, on {words.day(on)}", f"worst {worst}"]
    if pain.limit is not None:
        above = sum(score > pain.limit for _, score in told)
        often = words.times(above) if above else "never"
        parts.append(f"{often} above the limit of {pain.limit}")
    if missing:
        parts.append(f"{days(missing)} without a score")
    return words.sentence(", ".join(parts))


# --- C7 ---------------------------------------------------------------------------------------

SQUARE, SQUARE_STEP = 18.0, 22.0
FEW_WEEKS = 12  # fit into the narrowest screen


@dataclass(frozen=True, slots=True)
class Week:
    """An ISO week. `due` counts what is known of; a week in which nothing was due has no square."""

    monday: date
    due: int
    done: int
    on_target: bool
    is_now: bool = False


def weeks_on_target(id: str, weeks: tuple[Week, ...]) -> Chart:
    """Filled: on target. Half: something was done. Empty: nothing. This week has an outline."""
    counted = [one for one in weeks if one.due and not one.is_now]
    reached = sum(one.on_target for one in counted)
    title = "Weeks on target"
    sentence = (
        f"{reached} of {words.count(len(counted), 'week')} on target."
        if counted
        else "No week is over yet."
    )
    if weeks and weeks[-1].is_now and weeks[-1].due:
        now = weeks[-1]
        sentence += f" This week so far: {now.done} of {now.due} done."
    whole = half = edges = ""
    parts: list[SafeString] = []
    for place, one in enumerate(weeks):
        x = place * SQUARE_STEP + 3
        if not one.due and not one.is_now:
            parts.append(tag("circle", cx=x + SQUARE / 2, cy=12, r=1.8, class_="no-week"))
            continue
        edges += box(x + 0.75, 3.75, SQUARE - 1.5, SQUARE - 1.5)
        if one.due and one.on_target:
            whole += box(x + 0.75, 3.75, SQUARE - 1.5, SQUARE - 1.5)
        elif one.done:
            half += box(x + 0.75, 3 + SQUARE / 2, SQUARE - 1.5, SQUARE / 2 - 0.75)
        if one.is_now:
            parts.append(path("now", box(x - 2, 1, SQUARE + 4, SQUARE + 4)))
    drawn = joined([path("box-done", whole + half), path("week", edges), *parts])
    return Chart(
        id=id,
        kind="weeks",
        title=title,
        sentence=sentence,
        picture=picture(
            max(len(weeks), 1) * SQUARE_STEP + 2,
            24,
            drawn,
            class_="chart-small",
            id=f"{id}-picture",
            **described(title, sentence),
        ),
        table=Table(
            ("Week from", "Done", "Due", "On target"),
            tuple(
                (words.day_named(one.monday), str(one.done), str(one.due), _reached(one))
                for one in weeks
            ),
        ),
        key=_weeks_key(),
        scrolls=len(weeks) > FEW_WEEKS,
    )


def _reached(week: Week) -> str:
    if not week.due:
        return "nothing due"
    if week.on_target:
        return "yes"
    return "not yet" if week.is_now else "no"


def _weeks_key() -> SafeString:
    edge = path("week", box(1.75, 1.75, 12.5, 12.5))
    return key(
        [
            entry(joined([path("box-done", box(1.75, 1.75, 12.5, 12.5)), edge]), "on target"),
            entry(joined([path("box-done", box(1.75, 8, 12.5, 6.25)), edge]), "partly"),
            entry(edge, "nothing done"),
            entry(path("now", box(1, 1, 14, 14)), "this week"),
        ]
    )
