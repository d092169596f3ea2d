"""C1: the recovery of a patient over dates in a row, in three panels over one axis.

Pain with its limit, what was done beside what was prescribed, and what became of each date. Phases
run behind all three, and decisions through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from django.utils.safestring import SafeString

from backend.console.charts import words
from backend.console.charts.drawing import (
    Chart,
    Point,
    Table,
    box,
    diamond,
    hatching,
    joined,
    line,
    number,
    octagon,
    path,
    picture,
    polyline,
    rect,
    referring,
    runs,
    tag,
    text,
    triangle,
    width_of,
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
    words_of,
)

A_DAY = timedelta(days=1)
MOST_PAIN = 10
UNDECIDED = (State.OPEN, State.AHEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineDay:
    """One date with a plan or a record. None: nobody told."""

    on: date
    state: State
    due: int = 0
    done: int = 0
    pain_during: int | None = None
    pain_morning: int | None = None
    load: float | None = None
    prescribed: float | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A phase of a plan, both ends included. Plans that run side by side have lanes."""

    number: int
    title: str
    first: date
    last: date
    lane: int = 0


@dataclass(frozen=True, slots=True)
class LimitStep:
    """A limit of pain during exercise, from this date on."""

    since: date
    value: int


@dataclass(frozen=True, slots=True)
class Decision:
    on: date
    text: str


@dataclass(frozen=True, slots=True)
class FlagMark:
    on: date
    text: str
    stops: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """What the bars measure. A ratio is told in percent."""

    label: str
    unit: str = ""
    is_ratio: bool = False

    def told(self, value: float | None) -> str:
        if value is None:
            return "–"
        if self.is_ratio:
            return words.percent_exact(value)
        return f"{words.plain(value)}{words.SPACE}{self.unit}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Everything the chart shows. Dates after `today` are drawn empty."""

    first: date
    last: date
    today: date
    days: tuple[TimelineDay, ...]
    measure: Measure
    bands: tuple[Band, ...] = ()
    limits: tuple[LimitStep, ...] = ()
    decisions: tuple[Decision, ...] = ()
    flags: tuple[FlagMark, ...] = ()

    @property
    def dates(self) -> list[date]:
        return [self.first + place * A_DAY for place in range((self.last - self.first).days + 1)]

    def limit_on(self, on: date) -> int | None:
        """That of the plan begun last; of several plans of one date the lowest."""
        begun = [one for one in self.limits if one.since <= on]
        newest = max((one.since for one in begun), default=None)
        return min((one.value for one in begun if one.since == newest), default=None)


def recovery_timeline(id: str, shown: Recovery) -> Chart:
    layout = _Layout.of(shown)
    return Chart(
        id=id,
        kind="timeline",
        title="Recovery timeline",
        sentence=timeline_sentence(shown),
        picture=_drawn(id, shown, layout),
        table=_table(shown),
        key=_key(shown),
        moves=True,
    )


# --- In words ---------------------------------------------------------------------------------


def timeline_sentence(shown: Recovery) -> str:
    return f"{_pain_words(shown)} {_session_words(shown)}"


def _pain_words(shown: Recovery) -> str:
    told = [(one.on, one.pain_during) for one in shown.days if one.pain_during is not None]
    if not told:
        return f"No pain during exercise was told between {words.between(shown.first, shown.last)}."
    (first_on, first), (last_on, last) = told[0], told[-1]
    if len(told) == 1:
        found = f"Pain during exercise was {first} on {words.day(first_on)}"
    else:
        how = "stayed at" if first == last else "fell from" if last < first else "rose from"
        what = f"{first}" if first == last else f"{first} to {last}"
        found = f"Pain during exercise {how} {what} between {words.between(first_on, last_on)}"
    limits = {shown.limit_on(on) for on, _ in told} - {None}
    if not limits:
        return f"{found}."
    limit = f"the limit of {limits.pop()}" if len(limits) == 1 else "the limit"
    above = [on for on, score in told if (most := shown.limit_on(on)) is not None and score > most]
    if not above:
        return f"{found}; it was never above {limit}."
    if len(above) == 1:
        return f"{found}; it was above {limit} once, on {words.day(above[0])}."
    return f"{found}; it was above {limit} on {days(len(above))}, the last {words.day(above[-1])}."


def _session_words(shown: Recovery) -> str:
    """Of what is decided: neither what is still open, nor what nobody heard of."""
    known = [one for one in shown.days if one.state not in UNDECIDED]
    done = sum(one.done for one in known)
    due = sum(one.done if one.state is State.NOT_HEARD else one.due for one in known)
    parts = [
        f"{done} of {words.count(due, 'session')} {'was' if done == 1 else 'were'} done"
        if due
        else "no session was due"
    ]
    if late := sum(one.late for one in shown.days):
        parts.append(f"{days(late)} {'was' if late == 1 else 'were'} typed in late")
    if unheard := sum(one.state is State.NOT_HEARD for one in shown.days):
        parts.append(f"{days(unheard)} {'has' if unheard == 1 else 'have'} no data yet")
    return words.sentence("; ".join(parts))


# --- Where everything lies --------------------------------------------------------------------

LEFT, RIGHT = 76.0, 44.0
TEXT = 11.0
LANE, PAIN, LOAD, ROW, AXIS = 18.0, 130.0, 64.0, 15.0, 22.0
MOST_ROWS = 4
# The width that a window of so many days is drawn for, and its name in the style sheet.
WIDTHS = ((16, 680.0, "narrow"), (58, 960.0, "wide"))
LEAST_STEP = 16.0


@dataclass(frozen=True, slots=True)
class _Label:
    x: float
    row: int
    words: str
    is_left: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    width: float
    size: str
    step: float
    lanes: int
    labels: tuple[_Label, ...]
    rows: int
    first: date

    @classmethod
    def of(cls, shown: Recovery) -> _Layout:
        count = len(shown.dates)
        width, size = next(((w, name) for most, w, name in WIDTHS if count <= most), (0.0, "long"))
        width = width or LEFT + RIGHT + count * LEAST_STEP
        step = (width - LEFT - RIGHT) / count
        labels, rows = _placed(shown, step, width)
        lanes = max((one.lane + 1 for one in shown.bands), default=0)
        return cls(width, size, step, lanes, labels, rows, shown.first)

    def x(self, on: date) -> float:
        """The middle of a date."""
        return self.edge(on) + self.step / 2

    def edge(self, on: date) -> float:
        return LEFT + (on - self.first).days * self.step

    @property
    def flags_y(self) -> float:
        return 4 + self.lanes * LANE + 16

    @property
    def pain_top(self) -> float:
        return self.flags_y + 10

    @property
    def pain_foot(self) -> float:
        return self.pain_top + PAIN

    @property
    def labels_top(self) -> float:
        return self.pain_foot + 8

    @property
    def load_top(self) -> float:
        return self.labels_top + self.rows * ROW + 20

    @property
    def load_foot(self) -> float:
        return self.load_top + LOAD

    @property
    def strip_top(self) -> float:
        return self.load_foot + 10

    @property
    def foot(self) -> float:
        return self.strip_top + SIZE + 6

    @property
    def height(self) -> float:
        return self.foot + AXIS

    def pain_y(self, score: float) -> float:
        return self.pain_foot - score * PAIN / MOST_PAIN


def _placed(shown: Recovery, step: float, width: float) -> tuple[tuple[_Label, ...], int]:
    """Labels of decisions, each in the first row in which it touches no other."""
    taken: list[list[tuple[float, float]]] = []
    labels = []
    for on, group in groupby(sorted(shown.decisions, key=lambda one: one.on), lambda one: one.on):
        told = ", ".join(dict.fromkeys(one.text for one in group))
        x = LEFT + (on - shown.first).days * step + step / 2
        length = width_of(told, TEXT) + 8
        is_left = x + length > width - 2
        span = (x - length, x) if is_left else (x, x + length)
        row = next(
            (
                place
                for place, spans in enumerate(taken)
                if all(span[1] <= first or last <= span[0] for first, last in spans)
            ),
            len(taken),
        )
        if row == len(taken) and row < MOST_ROWS:
            taken.append([])
        row = min(row, MOST_ROWS - 1)
        taken[row].append(span)
        labels.append(_Label(x, row, told, is_left))
    return tuple(labels), len(taken)


# --- Drawn ------------------------------------------------------------------------------------


def _drawn(id: str, shown: Recovery, at: _Layout) -> SafeString:
    return picture(
        at.width,
        at.height,
        _bands(shown, at),
        _axes(shown, at),
        _decisions(at),
        _limit(shown, at),
        _pain(shown, at),
        _flags(shown, at),
        _load(shown, at),
        boxes(
            [Cell(at.x(one.on) - SIZE / 2, one.state, one.late) for one in _every_day(shown)],
            at.strip_top,
        ),
        _dates(shown, at),
        line(0, at.pain_top - 8, 0, at.foot, "cursor"),
        _days(shown, at),
        class_=f"timeline-{at.size}",
        id=f"{id}-picture",
        **referring(id),
    )


def _every_day(shown: Recovery) -> list[TimelineDay]:
    """Dates with neither plan nor record were free of both."""
    told = {one.on: one for one in shown.days}
    return [
        told.get(on)
        or TimelineDay(on=on, state=State.NOT_DUE if on <= shown.today else State.AHEAD)
        for on in shown.dates
    ]


def _bands(shown: Recovery, at: _Layout) -> SafeString:
    parts = [
        rect(LEFT, at.pain_top - 10, at.width - LEFT - RIGHT, at.foot - at.pain_top + 10, "band")
    ]
    for one in shown.bands:
        first, last = max(one.first, shown.first), min(one.last, shown.last)
        if first > last:
            continue
        x, width = at.edge(first), at.edge(last + A_DAY) - at.edge(first)
        top = 4 + one.lane * LANE
        shade = "band-even" if one.number % 2 == 0 else "band"
        parts.append(rect(x, top, width, LANE, shade))
        if one.lane == 0:
            parts.append(rect(x, top + LANE, width, at.foot - top - LANE, shade))
        if first == one.first:
            parts.append(line(x, top, x, at.foot if one.lane == 0 else top + LANE, "band-edge"))
        parts.append(text(x + 5, top + 13, _fitting(one, width - 8), "band-label"))
    return joined(parts)


def _fitting(band: Band, width: float) -> str:
    """As much of the name as there is room for."""
    whole = f"Phase {band.number}: {band.title}"
    if width_of(whole, TEXT) <= width:
        return whole
    room = int(width / (TEXT * 0.58)) - 1
    if room >= 14:
        return f"{whole[:room].rstrip(' :,')}…"
    return next(
        (one for one in (f"Phase {band.number}", f"{band.number}") if width_of(one, TEXT) <= width),
        "",
    )


def _axes(shown: Recovery, at: _Layout) -> SafeString:
    right = at.width - RIGHT
    parts = []
    for score in (0, 5, MOST_PAIN):
        y = at.pain_y(score)
        parts += [line(LEFT, y, right, y, "grid"), text(LEFT - 6, y + 4, str(score), "tick", "end")]
    parts.append(text(2, at.pain_top - 14, "Pain 0–10", "panel"))
    most = _most_load(shown)
    for value in (0.0, most):
        y = at.load_foot - (LOAD if value else 0)
        told = words.percent(value) if shown.measure.is_ratio else words.plain(value)
        parts += [line(LEFT, y, right, y, "grid"), text(LEFT - 6, y + 4, told, "tick", "end")]
    unit = f", {shown.measure.unit}" if shown.measure.unit else ""
    parts.append(text(2, at.load_top - 10, f"{shown.measure.label}{unit}", "panel"))
    return joined(parts)


def _most_load(shown: Recovery) -> float:
    values = [one.load for one in shown.days] + [one.prescribed for one in shown.days]
    return max((one for one in values if one), default=1.0)


def _decisions(at: _Layout) -> SafeString:
    parts = [line(one.x, at.pain_top - 6, one.x, at.foot, "decision") for one in at.labels]
    for one in at.labels:
        y = at.labels_top + one.row * ROW
        side = -4 if one.is_left else 4
        anchor = "end" if one.is_left else None
        parts.append(text(one.x + side, y + 11, one.words, "decision-label", anchor))
    return joined(parts)


def _limit(shown: Recovery, at: _Layout) -> SafeString:
    """A step line, with its value at the right end. It ends where no plan has one."""
    d, before, last = "", None, None
    for on in shown.dates:
        limit = shown.limit_on(on) if on <= shown.today else None
        if limit is not None:
            y = number(at.pain_y(limit))
            start = f"M{number(at.edge(on))} {y}" if before is None else f"V{y}"
            d += f"{start}H{number(at.edge(on + A_DAY))}"
            last = on, limit
        before = limit
    if last is None:
        return joined([])
    on, limit = last
    return joined(
        [
            path("limit", d),
            text(at.edge(on + A_DAY) + 4, at.pain_y(limit) + 4, f"limit {limit}", "limit-label"),
        ]
    )


def _pain(shown: Recovery, at: _Layout) -> SafeString:
    every = _every_day(shown)
    rested = (State.NOT_DUE,)
    during = [Point(at.x(one.on), one.pain_during, one.state not in rested) for one in every]
    waking = [Point(at.x(one.on), one.pain_morning) for one in every]
    parts = []
    for points, kind in ((waking, "waking-line"), (during, "pain-line")):
        lines = [
            polyline([(one.x, at.pain_y(one.value or 0)) for one in run]) for run in runs(points)
        ]
        parts.append(path(kind, "".join(lines)))
    for one in every:
        if one.pain_during is not None:
            kind = "pain-mark-late" if one.late else "pain-mark"
            y = at.pain_y(one.pain_during)
            parts.append(tag("circle", cx=at.x(one.on), cy=y, r=3.6, class_=kind))
    marks = [
        diamond(at.x(one.on), at.pain_y(one.pain_morning), 5.6)
        for one in every
        if one.pain_morning is not None
    ]
    parts.append(path("waking-mark", "".join(marks)))
    return joined([*parts, *_scores(shown, at)])


def _scores(shown: Recovery, at: _Layout) -> Iterator[SafeString]:
    """In digits: those above the limit, and the last one."""
    told = [one for one in shown.days if one.pain_during is not None and one.on >= shown.first]
    for one in told:
        score, limit = one.pain_during or 0, shown.limit_on(one.on)
        if one is told[-1] or (limit is not None and score > limit):
            y = at.pain_y(score) - 8
            yield text(at.x(one.on), max(y, at.pain_top - 1), str(score), "score", "middle")


def _flags(shown: Recovery, at: _Layout) -> SafeString:
    """One mark a date, on the top edge, with a count where it stands for several."""
    parts = []
    for on, group in groupby(sorted(shown.flags, key=lambda one: one.on), lambda one: one.on):
        of_day = list(group)
        x, y = at.x(on), at.flags_y
        stops = any(one.stops for one in of_day)
        parts.append(path("stop", octagon(x, y, 6)) if stops else path("flag", triangle(x, y, 6)))
        if len(of_day) > 1:
            parts.append(text(x + 8, y - 1, str(len(of_day)), "flag-count"))
    return joined(parts)


def _load(shown: Recovery, at: _Layout) -> SafeString:
    """What was prescribed is an outline, what was done stands in it."""
    outline = full = late = lines = ""
    scale = LOAD / _most_load(shown)
    wide = min(at.step - 3, 18.0)
    for one in shown.days:
        x = at.x(one.on)
        if one.prescribed:
            height = one.prescribed * scale
            outline += box(x - wide / 2, at.load_foot - height, wide, height)
        if one.load:
            thin, height = wide - 4, one.load * scale
            place = (x - thin / 2, at.load_foot - height, thin, height)
            if one.late:
                late += box(*place)
                lines += hatching(*place)
            else:
                full += box(*place)
    return joined(
        [
            path("prescribed", outline), path("load", full), path("box-late", late),
            path("hatch", lines),
        ]
    )  # fmt: skip


def _dates(shown: Recovery, at: _Layout) -> SafeString:
    """A label each Monday, or as many as there is room for; of few dates each has one."""
    y = at.foot + 15
    dates = shown.dates
    parts = [line(LEFT, at.foot, at.width - RIGHT, at.foot, "axis")]
    every_day = at.step >= 36
    marked = dates if every_day else [one for one in dates if one.weekday() == 0]
    apart = max(1, -(-48 // int(at.step * 7)))
    for place, on in enumerate(marked):
        if not every_day and place % apart:
            continue
        x = at.x(on)
        if x < LEFT or x > at.width - 14:
            continue
        parts.append(line(x, at.foot, x, at.foot + 4, "axis"))
        kind = "today-label" if on == shown.today else "tick"
        brief = every_day and place and on.day != 1 and on.weekday() != 0
        parts.append(text(x, y, str(on.day) if brief else words.day_short(on), kind, "middle"))
    if shown.first <= shown.today <= shown.last:
        x = at.x(shown.today)
        parts.append(path("today", box(x - SIZE / 2, at.foot - 3.5, SIZE, 2)))
    return joined(parts)


def _days(shown: Recovery, at: _Layout) -> SafeString:
    """What pointer and arrow keys find: a column for each date, with what it says."""
    texts = _notes(shown)
    return joined(
        tag(
            "rect",
            tag("title", reading(shown, one, texts.get(one.on, ()))),
            x=at.edge(one.on),
            y=at.pain_top - 10,
            width=at.step,
            height=at.foot - at.pain_top + 10,
            class_="day",
            data_x=at.x(one.on),
            data_date=one.on.isoformat(),
        )
        for one in _every_day(shown)
        if one.on <= shown.today
    )


def _notes(shown: Recovery) -> dict[date, list[str]]:
    found: dict[date, list[str]] = {}
    for on, told in [(one.on, one.text) for one in shown.decisions] + [
        (one.on, one.text) for one in shown.flags
    ]:
        found.setdefault(on, []).append(told)
    return found


def reading(shown: Recovery, one: TimelineDay, notes: Iterable[str]) -> str:
    """One date, as it is read out."""
    parts = [words_of(one.state, late=one.late)]
    if one.pain_during is not None:
        limit = shown.limit_on(one.on)
        above = (
            f", above the limit of {limit}" if limit is not None and one.pain_during > limit else ""
        )
        parts.append(f"pain during {one.pain_during}{above}")
    if one.pain_morning is not None:
        parts.append(f"pain on waking {one.pain_morning}")
    if one.load is not None:
        parts.append(f"{shown.measure.label.lower()} {shown.measure.told(one.load)}")
    return f"{words.day_named(one.on)}: " + "; ".join([*parts, *notes])


# --- As a table -------------------------------------------------------------------------------


def _table(shown: Recovery) -> Table:
    notes, measure = _notes(shown), shown.measure
    has_prescribed = any(one.prescribed is not None for one in shown.days)
    columns = ["Day", "Sessions", "Pain during", "Limit", "Pain on waking", measure.label]
    columns += ["Prescribed"] if has_prescribed else []
    columns += ["Phase", "Events"]
    rows = []
    for one in _every_day(shown):
        if one.on > shown.today:
            continue
        row = [
            words.day_named(one.on),
            words_of(one.state, late=one.late),
            words.maybe(one.pain_during),
            words.maybe(shown.limit_on(one.on)),
            words.maybe(one.pain_morning),
            measure.told(one.load),
        ]
        row += [measure.told(one.prescribed)] if has_prescribed else []
        row += [_phases_on(shown.bands, one.on), "; ".join(notes.get(one.on, ()))]
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows))


def _phases_on(bands: Sequence[Band], on: date) -> str:
    found = [f"{one.number}: {one.title}" for one in bands if one.first <= on <= one.last]
    return "; ".join(dict.fromkeys(found))


# --- Key --------------------------------------------------------------------------------------


def _key(shown: Recovery) -> SafeString:
    there = _every_day(shown)
    late = any(one.late for one in there)
    entries = []
    if any(one.pain_during is not None for one in there):
        mark = tag("circle", cx=8, cy=8, r=3.6, class_="pain-mark")
        entries.append(entry(joined([line(0, 8, 16, 8, "pain-line"), mark]), "pain during"))
    if any(one.pain_morning is not None for one in there):
        mark = path("waking-mark", diamond(8, 8, 5.6))
        entries.append(entry(joined([line(0, 8, 16, 8, "waking-line"), mark]), "pain on waking"))
    if shown.limits:
        entries.append(entry(line(0, 8, 16, 8, "limit"), "limit"))
    if any(not one.stops for one in shown.flags):
        entries.append(entry(path("flag", triangle(8, 13, 6)), "flag"))
    if any(one.stops for one in shown.flags):
        entries.append(entry(path("stop", octagon(8, 14, 6)), "stop sign"))
    if shown.decisions:
        entries.append(entry(line(8, 0, 8, 16, "decision"), "decision or pause"))
    if any(one.load for one in there):
        entries.append(entry(path("load", box(4, 3, 8, 13)), shown.measure.label.lower()))
    if any(one.prescribed for one in there):
        entries.append(entry(path("prescribed", box(2, 1, 12, 14.5)), "prescribed"))
    return key([*entries, *state_entries((one.state for one in there), late=late)])
