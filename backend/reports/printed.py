"""The adherence report on paper: figures with their bounds, charts, the table, the definitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from html import escape
from math import ceil
from typing import IO, Any

from reportlab.lib.colors import HexColor
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    KeepTogether,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
)

from backend.reports import figures
from backend.reports.adherence import Grouping
from backend.reports.definitions import definitions
from backend.reports.models import Export
from backend.reports.paper import (
    BAND,
    BLACK,
    BOLD,
    BOTTOM,
    DONE,
    EDGE,
    FONT,
    GREY,
    LIGHT,
    MARGIN,
    NO_SIGN,
    PAGE,
    TOP,
    WIDTH,
    Numbered,
    Rows,
    box,
    cell,
    fitted,
    hatched,
    percent,
    set_up,
    style,
    text,
    thin,
    written,
)
from backend.reports.shown import Shown

A_DAY = timedelta(days=1)
WHITE = HexColor("#FFFFFF")
LETTERS = {"C": 3, "P": 2, "S": 1, "M": 0}  # their steps of the ramp
WORDS = {
    "C": "completed", "P": "partial", "S": "skipped", "M": "missed", "?": "not heard",
    "X": "excused", "·": "nothing due, or not closed",
}  # fmt: skip
STEPS = ((0, "0"), (1, "up to 49"), (2, "50 to 79"), (3, "80 to 99"), (4, "100"))
GUTTER = 18


def of_adherence(export: Export, lines: Iterator[Shown], out: IO[bytes]) -> None:
    set_up()
    head = next(lines)
    groups = figures.by_name(lines)
    document = _document(export, head, out)
    document.build(list(_story(export, head, groups)), canvasmaker=Numbered)


def _document(export: Export, head: Shown, out: IO[bytes]) -> BaseDocTemplate:
    title = f"Adherence {export.from_on} to {export.to_on}"
    document = BaseDocTemplate(
        out, pagesize=PAGE, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=TOP,
        bottomMargin=BOTTOM, title=title, author=export.clinic.name, subject=head["definition"],
        creator="Rehabilitation exercises", lang="en", invariant=1,
    )  # fmt: skip
    told = dict(figures.about(export, head))
    left = f"Adherence · {export.clinic.name} · {export.from_on} to {export.to_on}"

    def furniture(canvas: Canvas, document: Any) -> None:
        y = PAGE[1] - 30
        as_of = f"As of {told['As of']}"
        text(canvas, MARGIN, y, fitted(left, WIDTH * 0.62, 8), 8, ink=GREY)
        text(canvas, PAGE[0] - MARGIN, y, as_of, 8, ink=GREY, to="right")
        canvas.setStrokeColor(LIGHT)
        canvas.setLineWidth(0.6)
        canvas.line(MARGIN, y - 6, PAGE[0] - MARGIN, y - 6)
        text(canvas, MARGIN, 22, fitted(export.purpose, WIDTH * 0.7, 7), 7, ink=GREY)
        text(canvas, PAGE[0] - MARGIN - 14, 22, f"page {document.page} of", 7, ink=GREY, to="right")
        canvas.saveState()
        canvas.translate(PAGE[0] - MARGIN - 12, 19)
        canvas.doForm(Numbered.ALL)
        canvas.restoreState()

    height = PAGE[1] - TOP - BOTTOM
    half = (WIDTH - GUTTER) / 2
    plain: dict[str, Any] = dict.fromkeys(
        ("leftPadding", "rightPadding", "topPadding", "bottomPadding"), 0
    )
    whole = Frame(MARGIN, BOTTOM, WIDTH, height, **plain)
    halves = [Frame(MARGIN + n * (half + GUTTER), BOTTOM, half, height, **plain) for n in (0, 1)]
    document.addPageTemplates(
        [
            PageTemplate("whole", [whole], onPage=furniture),
            PageTemplate("columns", halves, onPage=furniture),
        ]
    )
    return document


def _story(export: Export, head: Shown, groups: Sequence[Shown]) -> Iterator[Flowable]:
    yield Paragraph("Adherence", style(22, bold=True))
    yield Paragraph(_plain(export.clinic.name), style(13))
    yield Spacer(0, 8)
    yield from _about(export, head, groups)
    yield Spacer(0, 12)
    yield Headline(head)
    if not groups:
        yield Spacer(0, 20)
        yield Paragraph("There is nothing to show: no closed date was counted.", style(10))
    else:
        yield from _charts(export, head, groups)
    yield NextPageTemplate("columns")
    yield PageBreak()
    yield from _definitions()


def _plain(said: str) -> str:
    return escape(written(said))


def _title(said: str) -> Paragraph:
    return Paragraph(said, style(13, bold=True, spaceBefore=14, spaceAfter=4))


def _note(said: str) -> Paragraph:
    return Paragraph(said, style(7.5, textColor=GREY, spaceAfter=4))


def _about(export: Export, head: Shown, groups: Sequence[Shown]) -> Iterator[Flowable]:
    told = dict(figures.about(export, head))
    yield Facts([pair for pair in told.items() if pair[0] not in ("Clinic", "Purpose")])
    yield Paragraph(
        f"<font color='#595959'>Purpose</font>&nbsp; {_plain(export.purpose)}", style(8.5)
    )
    names = (export.clinic.name, export.purpose, *told.values(),
             *(one["label"] for one in groups))  # fmt: skip
    if any(NO_SIGN in written(name) for name in names):
        yield Paragraph(
            f"{NO_SIGN} stands for a letter that this font has no sign for. The workbook and the "
            "CSV file have every letter.", style(7.5, textColor=GREY),
        )  # fmt: skip


def _charts(export: Export, head: Shown, groups: Sequence[Shown]) -> Iterator[Flowable]:
    grouping = figures.grouping_of(export)
    yield Spacer(0, 12)
    if grouping is Grouping.PATIENT:
        plot: Flowable = Cohort(head, groups)
    else:
        plot = Spread(groups, head["target"])
    opening = [
        _title("Cohort"),
        _note(
            "Each dot is a patient with something due: session adherence from 0 to 100 %. The line "
            "is the median, the box goes from one quartile to the other (patients with at least 4 "
            "slots due), the broken line is the target. Hollow: the lower bound, as if nothing had "
            "been done of what was not heard of."
        ),
    ]
    if isinstance(plot, Rows):
        yield CondPageBreak(120)
        yield from (*opening, plot)
    else:
        yield KeepTogether([*opening, plot])
    if not export.de_identified:
        yield CondPageBreak(170)  # on the same page where some of it fits
        yield _title("Heat map")
        if figures.has_days(export):
            yield Legend([(sign, LETTERS.get(sign), word) for sign, word in WORDS.items()])
            yield Days(groups, export.from_on, (export.to_on - export.from_on).days + 1)
        else:
            steps = [(word.rpartition(" ")[2], step, f"{word} %") for step, word in STEPS]
            others = [(sign, None, WORDS[sign]) for sign in "?X·"]
            yield Legend([*steps, *others])
            yield _note("Session adherence of each ISO week in per cent; a hatched foot: a part "
                        "was not heard of.")  # fmt: skip
            yield Weeks(groups, figures.mondays(export))
    yield CondPageBreak(170)
    yield _title("Table")
    yield Table(groups, export)


def _definitions() -> Iterator[Flowable]:
    body = style(8, spaceAfter=4)
    hanging = style(8, spaceAfter=3, leftIndent=10, bulletFontName=FONT, bulletFontSize=8)
    yield _title("How this is counted")
    rows = 0
    for block in definitions():
        cells = [_plain(one) for one in block.cells]
        rows = rows + 1 if block.kind == "row" else 0
        match block.kind:
            case "heading":
                yield Paragraph(
                    cells[0], style(10, bold=True, spaceBefore=6, spaceAfter=3, keepWithNext=1)
                )
            case "row" if rows == 1:
                continue  # the head of the table
            case "row":
                term, *rest = cells
                said = f"<b>{term}</b>: {'; '.join(rest)}"
                yield Paragraph(said, hanging, bulletText="–")
            case "point":
                yield Paragraph(cells[0], hanging, bulletText="–")
            case _:
                yield Paragraph(cells[0], body)


# --- Charts -----------------------------------------------------------------------------------


class Facts(Flowable):
    """Names and values, side by side in three columns."""

    beside, line = 3, 13.0

    def __init__(self, told: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.told = told
        self.lines = ceil(len(told) / self.beside)

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return WIDTH, self.lines * self.line

    def draw(self) -> None:
        width = WIDTH / self.beside
        for number, (name, value) in enumerate(self.told):
            column, line = divmod(number, self.lines)
            x, y = column * width, (self.lines - line) * self.line - 9
            text(self.canv, x, y, name, 8.5, ink=GREY)
            x += self.canv.stringWidth(name, FONT, 8.5) + 7
            text(self.canv, x, y, fitted(value, (column + 1) * width - x - 10, 8.5), 8.5)


class Headline(Flowable):
    """The figures of everybody, each with what bounds it."""

    tall = 86.0

    def __init__(self, head: Shown) -> None:
        super().__init__()
        self.total, self.flags = head.get("total"), head.get("flags")
        self.target = head["target"]

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return WIDTH, self.tall

    def draw(self) -> None:
        if self.total is None:
            box(self.canv, 0, 0, WIDTH, self.tall)
            text(self.canv, 12, 34, "No total: it would tell of those who are left out.", 10)
            return
        told = list(self._told(self.total))
        width = (WIDTH - 10 * (len(told) - 1)) / len(told)
        for number, (name, figure, *notes) in enumerate(told):
            x = number * (width + 10)
            box(self.canv, x, 0, width, self.tall)
            text(self.canv, x + 8, 72, name, 8, ink=GREY)
            text(self.canv, x + 8, 50, figure, 18, bold=True)
            for line, note in enumerate(notes):
                text(self.canv, x + 8, 37 - 10 * line, fitted(note, width - 16, 7.5), 7.5)
            if number == 0:
                self._bounds(x + 8, width - 16)

    def _told(self, total: Shown) -> Iterator[tuple[str, ...]]:
        pooled, low = (total.get(f"pooled_session_adherence{end}") for end in ("", "_low"))
        yield (
            "Session adherence, pooled", percent(pooled),
            f"{percent(low)} if what was not", "heard of counts as not done",
        )  # fmt: skip
        yield (
            "Slots", f"{total['done']} of {total['due']}", "done, of those due",
            f"{total['not_heard']} more were not heard of",
        )  # fmt: skip
        low, high = total.get("quartiles", (None, None))
        yield (
            "Median of patients", percent(total.get("median_session_adherence")),
            f"quartiles {percent(low)} and {percent(high)}",
        )  # fmt: skip
        yield (
            "Patients on target", f"{total['patients_on_target']} of {total['patients']}",
            f"{percent(self.target)} or more of what was due,", "with at least 4 slots due",
        )  # fmt: skip
        if self.flags is not None:
            hours = [
                self.flags.get(f"median_hours_to_{what}") for what in ("acknowledge", "resolve")
            ]
            seen, solved = ("–" if one is None else f"{one:g} h" for one in hours)
            yield (
                "Flags", str(self.flags["raised"]), f"acknowledged in {seen} (median)",
                f"resolved in {solved} (median)",
            )  # fmt: skip

    def _bounds(self, x: float, width: float) -> None:
        assert self.total is not None
        pooled = self.total.get("pooled_session_adherence")
        if pooled is not None:
            low = self.total["pooled_session_adherence_low"]
            bar(self.canv, x, 8, width, 7, pooled, low, self.target)


def bar(
    canvas: Canvas, x: float, y: float, width: float, height: float, value: float, low: float,
    target: float | None = None,
) -> None:  # fmt: skip
    """Filled up to the lower bound, hatched from there to the figure."""
    hatched(canvas, x + width * low, y, width * (value - low), height)
    box(canvas, x, y, width, height)
    canvas.setFillColor(DONE)
    canvas.rect(x, y, width * low, height, stroke=0, fill=1)
    canvas.setStrokeColor(DONE)
    canvas.setLineWidth(1)
    canvas.line(x + width * value, y, x + width * value, y + height)
    if target is not None:
        dashed(canvas, x + width * target, y - 2, y + height + 2)


def dashed(canvas: Canvas, x: float, low: float, high: float) -> None:
    canvas.saveState()
    canvas.setStrokeColor(BLACK)
    canvas.setLineWidth(0.9)
    canvas.setDash(3, 2)
    canvas.line(x, low, x, high)
    canvas.restoreState()


def axis(canvas: Canvas, x: float, y: float, width: float) -> None:
    canvas.setStrokeColor(GREY)
    canvas.setLineWidth(0.6)
    canvas.line(x, y, x + width, y)
    for tenth in range(0, 11, 2):
        at = x + width * tenth / 10
        canvas.line(at, y, at, y + 2.5)
        text(canvas, at, y + 4, f"{tenth * 10} %", 6.5, ink=GREY, to="centre")


BINS = 50
Stacks = dict[int, int]  # by bin


def _bin(value: float) -> int:
    return round(value * BINS)


def _stack(canvas: Canvas, x: float, y: float, width: float, stacks: Stacks, room: float,
           radius: float, *, is_hollow: bool = False) -> int:  # fmt: skip
    """Dots upon each other, downwards where `room` is negative; says how many patients one is."""
    most = max(stacks.values(), default=0)
    fits = int(abs(room) // (2 * radius)) or 1
    each = max(1, ceil(most / fits))
    up = 1 if room > 0 else -1
    canvas.setFillColor(WHITE if is_hollow else DONE)
    canvas.setStrokeColor(DONE)
    canvas.setLineWidth(0.6)
    for place, count in sorted(stacks.items()):
        for number in range(ceil(count / each)):
            at = y + up * radius * (2 * number + 1)
            canvas.circle(x + width * place / BINS, at, radius - 0.4, stroke=1, fill=1)
    return each


def _quartiles(canvas: Canvas, x: float, y: float, width: float, height: float,
               told: Shown) -> None:  # fmt: skip
    if "quartiles" not in told:
        return
    low, high = told["quartiles"]
    box(canvas, x + width * low, y, max(width * (high - low), 0.8), height, BAND)
    canvas.setStrokeColor(BLACK)
    canvas.setLineWidth(1.4)
    at = x + width * told["median_session_adherence"]
    canvas.line(at, y, at, y + height)


class Cohort(Flowable):
    """All patients on one scale."""

    up, down, radius = 84.0, 40.0, 3.0

    def __init__(self, head: Shown, groups: Sequence[Shown]) -> None:
        super().__init__()
        self.total, self.target = head.get("total", {}), head["target"]
        self.stacks: Stacks = {}
        self.bounds: Stacks = {}
        for one in groups:
            value = one.get("session_adherence")
            if value is None:
                continue
            self.stacks[_bin(value)] = self.stacks.get(_bin(value), 0) + 1
            low = one["session_adherence_low"]
            if low != value:
                self.bounds[_bin(low)] = self.bounds.get(_bin(low), 0) + 1
        self.below = self.down if self.bounds else 4.0

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return WIDTH, self.up + self.below + 32

    def draw(self) -> None:
        x, width, y = 14.0, WIDTH - 28, self.below + 14
        _quartiles(self.canv, x, y, width, self.up, self.total)
        axis(self.canv, x, y + self.up, width)
        self.canv.setStrokeColor(EDGE)
        self.canv.setLineWidth(0.6)
        self.canv.line(x, y, x + width, y)
        each = _stack(self.canv, x, y, width, self.stacks, self.up - 4, self.radius)
        lower = _stack(self.canv, x, y, width, self.bounds, -self.down, self.radius, is_hollow=True)
        dashed(self.canv, x + width * self.target, y - self.below, y + self.up)
        notes = [f"a dot is up to {each} patients"] if each > 1 else []
        notes += [f"a hollow one up to {lower}"] if lower > 1 else []
        text(self.canv, x, 2, "; ".join(notes).capitalize(), 7, ink=GREY)


class Spread(Rows):
    """The patients of each group on the same scale."""

    head_height, row_height = 16.0, 34.0
    names = 190.0

    def __init__(self, rows: Sequence[Shown], target: float) -> None:
        super().__init__(rows)
        self.target = target

    def of(self, rows: Sequence[Shown]) -> Rows:
        return Spread(rows, self.target)

    def head(self, canvas: Canvas, y: float) -> None:
        axis(canvas, self.names, y, WIDTH - self.names - 14)

    def row(self, canvas: Canvas, y: float, row: Shown, number: int) -> None:
        x, width = self.names, WIDTH - self.names - 14
        canvas.setStrokeColor(LIGHT)
        canvas.setLineWidth(0.4)
        canvas.line(0, y, WIDTH, y)
        text(canvas, 0, y + 20, fitted(row["label"] or row["key"], x - 14, 8), 8)
        _quartiles(canvas, x, y + 4, width, 26, row)
        stacks: Stacks = {}
        for due, done, count in row["dots"]:
            if due:
                stacks[_bin(done / due)] = stacks.get(_bin(done / due), 0) + count
        each = _stack(canvas, x, y + 4, width, stacks, 25, 2.2)
        if row.get("session_adherence") is not None:
            low = row["session_adherence_low"]
            if low != row["session_adherence"]:
                canvas.setFillColor(WHITE)
                canvas.setStrokeColor(BLACK)
                canvas.circle(x + width * low, y + 17, 3, stroke=1, fill=1)
        dashed(canvas, x + width * self.target, y, y + self.row_height)
        few = ", few" if row.get("small") else ""
        dots = f", a dot is up to {each}" if each > 1 else ""
        people = f"{row['patients']} patient{'s' * (row['patients'] != 1)}{few}{dots}"
        text(canvas, 0, y + 9, people, 6.5, ink=GREY)


# --- Heat maps --------------------------------------------------------------------------------


class Legend(Flowable):
    def __init__(self, signs: Sequence[tuple[str, int | None, str]]) -> None:
        super().__init__()
        self.signs = signs

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return WIDTH, 20

    def draw(self) -> None:
        x = 0.0
        thin(self.canv)
        for sign, step, word in self.signs:
            cell(self.canv, x, 6, 13, 11, sign, step)
            text(self.canv, x + 17, 9, word, 7.5)
            x += 17 + self.canv.stringWidth(word, FONT, 7.5) + 14


class HeatMap(Rows):
    """A row of boxes for each group, and its figure at the end."""

    head_height, row_height = 26.0, 13.5
    names, ends = 142.0, 128.0
    columns = 1

    @property
    def size(self) -> float:
        return min(16.0, (WIDTH - self.names - self.ends) / self.columns)

    def at(self, column: int) -> float:
        return self.names + column * self.size

    def head(self, canvas: Canvas, y: float) -> None:
        x = self.at(self.columns) + 8
        text(canvas, x, y + 3, "session adherence (lower bound)", 6, ink=GREY)

    def row(self, canvas: Canvas, y: float, row: Shown, number: int) -> None:
        text(canvas, 0, y + 4, fitted(row["label"] or row["key"], self.names - 6, 8), 8)
        x = self.at(self.columns) + 8
        value, low = row.get("session_adherence"), row.get("session_adherence_low")
        if value is None:
            text(canvas, x, y + 4, "nothing known to be due", 6, ink=GREY)
            return
        assert low is not None
        bar(canvas, x, y + 3, 44, 7, value, low)
        bounds = "" if low == value else f" ({percent(low)})"
        text(canvas, x + 49, y + 4, f"{percent(value)}{bounds}", 6.5)


WEEKDAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")


class Days(HeatMap):
    def __init__(self, rows: Sequence[Shown], first: date, columns: int) -> None:
        super().__init__(rows)
        self.first, self.columns = first, columns

    def of(self, rows: Sequence[Shown]) -> Rows:
        return Days(rows, self.first, self.columns)

    def head(self, canvas: Canvas, y: float) -> None:
        super().head(canvas, y)
        for number in range(self.columns):
            on, x = self.first + number * A_DAY, self.at(number)
            if number == 0 or on.day == 1:
                text(canvas, x + 1, y + 19, f"{on:%b %Y}", 6.5, bold=True)
            text(
                canvas, x + self.size / 2, y + 11, WEEKDAYS[on.weekday()], 6, ink=GREY, to="centre"
            )
            text(canvas, x + self.size / 2, y + 3, str(on.day), 6, to="centre")

    def row(self, canvas: Canvas, y: float, row: Shown, number: int) -> None:
        super().row(canvas, y, row, number)
        thin(canvas)
        for column, letter in enumerate(row["days"]):
            sign = "·" if letter == "-" else letter
            step = LETTERS.get(letter)
            cell(canvas, self.at(column), y + 1, self.size - 1, self.row_height - 2, sign, step)
        canvas.setStrokeColor(BLACK)
        canvas.setLineWidth(0.7)
        for column in range(1, self.columns):
            if (self.first + column * A_DAY).weekday() == 0:
                x = self.at(column) - 0.5
                canvas.line(x, y, x, y + self.row_height)


class Weeks(HeatMap):
    def __init__(self, rows: Sequence[Shown], mondays: Sequence[date]) -> None:
        super().__init__(rows)
        self.mondays, self.columns = mondays, len(mondays)

    def of(self, rows: Sequence[Shown]) -> Rows:
        return Weeks(rows, self.mondays)

    def head(self, canvas: Canvas, y: float) -> None:
        super().head(canvas, y)
        for number, monday in enumerate(self.mondays):
            year, week, _ = monday.isocalendar()
            x = self.at(number)
            if number == 0 or week == 1:
                text(canvas, x + 1, y + 13, f"{year}, week", 6.5, bold=True)
            text(canvas, x + self.size / 2, y + 3, str(week), 5.5, to="centre")

    def row(self, canvas: Canvas, y: float, row: Shown, number: int) -> None:
        super().row(canvas, y, row, number)
        width, height = self.size - 0.8, self.row_height - 2
        thin(canvas)
        for column, lived in enumerate(row["weeks"]):
            x = self.at(column)
            due, done, not_heard, excused = lived or (0, 0, 0, 0)
            if not due:
                sign = "?" if not_heard else "X" if excused else "·"
                cell(canvas, x, y + 1, width, height, sign, None)
                continue
            cell(canvas, x, y + 1, width, height, str(done * 100 // due), _step(done, due))
            if not_heard:
                canvas.setFillColor(WHITE)
                canvas.rect(x, y + 1, width, 2.2, stroke=0, fill=1)
                hatched(canvas, x, y + 1, width, 2.2)


def _step(done: int, due: int) -> int:
    shares = (done > 0, 2 * done >= due, 10 * done >= 8 * due, done >= due)
    return sum(shares)


# --- The table --------------------------------------------------------------------------------

Column = tuple[str, Any]


def _columns(export: Export) -> list[Column]:
    def share(name: str) -> Any:
        return lambda one: percent(one.get(name)).removesuffix(" %")

    def count(name: str) -> Any:
        return lambda one: str(one[name])

    columns: list[Column] = []
    if figures.has_ages(export):
        columns.append(("age", lambda one: f"{one['age_from']}–{one['age_to']}"))
    columns += [
        *((name.replace("_", " "), count(name)) for name in (
            "due", "completed", "partial", "skipped", "missed", "not_heard", "excused")),
        ("session adh. %", share("session_adherence")),
        ("lower bound %", share("session_adherence_low")),
        ("completed %", share("completed_ratio")),
        ("dose adh. %", share("dose_adherence")),
        ("active days", count("active_days")),
        ("data days", count("data_days")),
        ("missed runs", count("missed_runs")),
        ("inter- ruptions", count("interruptions")),
        ("late %", share("late_ratio")),
        ("weeks on target", _weeks),
        ("pain median, worst", _pain),
    ]  # fmt: skip
    if figures.grouping_of(export) is not Grouping.PATIENT:
        columns += [
            ("patients", lambda one: f"{one['patients']}{' few' if one['small'] else ''}"),
            ("on target", count("patients_on_target")),
            ("median %", share("median_session_adherence")),
            ("quartile low %", lambda one: _quartile(one, 0)),
            ("quartile high %", lambda one: _quartile(one, 1)),
        ]
    return columns


def _weeks(one: Shown) -> str:
    return f"{one['weeks_on_target']['on_target']} of {one['weeks_on_target']['of']}"


def _pain(one: Shown) -> str:
    pain = one.get("pain_during")
    return f"{pain['median']:g} / {pain['worst']}" if pain else "–"


def _quartile(one: Shown, which: int) -> str:
    return percent(one["quartiles"][which]).removesuffix(" %") if "quartiles" in one else "–"


class Table(Rows):
    """Every figure of the report, to its last digit."""

    head_height, row_height = 30.0, 14.0

    def __init__(self, rows: Sequence[Shown], export: Export) -> None:
        super().__init__(rows)
        self.export = export
        self.columns = _columns(export)
        self.names = 150.0 if len(self.columns) < 20 else 124.0
        self.width = (WIDTH - self.names) / len(self.columns)
        self.has_ids = figures.grouping_of(export) is Grouping.PATIENT and not export.de_identified

    def of(self, rows: Sequence[Shown]) -> Rows:
        return Table(rows, self.export)

    def head(self, canvas: Canvas, y: float) -> None:
        grouping = figures.grouping_of(self.export).value.replace("_", " ")
        text(canvas, 0, y + 4, grouping.capitalize(), 6.5, bold=True)
        words = " ".join(name for name, _ in self.columns).split(" ")
        widest = max(canvas.stringWidth(word, BOLD, 6) for word in words)
        size = min(6, 6 * (self.width - 3) / widest)
        for number, (name, _) in enumerate(self.columns):
            x = self.names + (number + 1) * self.width
            for line, word in enumerate(reversed(name.split(" "))):
                text(canvas, x - 2, y + 4 + 8 * line, word, size, bold=True, to="right")
        canvas.setStrokeColor(BLACK)
        canvas.setLineWidth(0.8)
        canvas.line(0, y, WIDTH, y)

    def row(self, canvas: Canvas, y: float, row: Shown, number: int) -> None:
        if number % 2:
            canvas.setFillColor(HexColor("#F3F6F9"))
            canvas.rect(0, y, WIDTH, self.row_height, stroke=0, fill=1)
        room = self.names - (40 if self.has_ids else 4)
        text(canvas, 2, y + 4, fitted(row["label"] or row["key"], room, 7.5), 7.5)
        if self.has_ids:
            text(canvas, self.names - 4, y + 4, row["key"][:8], 5.5, ink=GREY, to="right")
        for column, (_, said) in enumerate(self.columns):
            x = self.names + (column + 1) * self.width - 2
            text(canvas, x, y + 4, said(row), 6.8, to="right")
        canvas.setStrokeColor(LIGHT)
        canvas.setLineWidth(0.3)
        canvas.line(0, y, WIDTH, y)
