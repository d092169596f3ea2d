"""What a patient takes home on paper: the exercises of two weeks, with boxes to tick.

Whoever asks for it brings the words: those of the library and of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import IO, Any

from reportlab.lib.pagesizes import A4, LETTER
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    KeepTogether,
    ListFlowable,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from backend.reports.paper import (
    BAND,
    BLACK,
    EDGE,
    GREY,
    LIGHT,
    Numbered,
    box,
    fitted,
    set_up,
    style,
    text,
    thin,
    written,
)
from exercises.figures import reportlab_drawing
from exercises.pictures import pictures

SIZES = {"a4": A4, "letter": LETTER}
MARGIN, TOP, BOTTOM = 40.0, 56.0, 44.0
PICTURE = 152.0
GUTTER = 12.0
MOST_BOXES = 3  # of a day that are drawn one by one


@dataclass(frozen=True, slots=True)
class Block:
    """One exercise. `ticks` is how often it is due on each day of the table."""

    number: int
    slug: str
    title: str
    doses: tuple[str, ...]
    often: str
    limit: str
    cues: tuple[str, ...]
    note: str
    alt: str
    address: str  # of the picture
    ticks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Handout:
    patient: str
    clinic: str
    title: str
    phase: str
    version: int
    printed_on: str
    days: tuple[date, ...]
    stop: tuple[str, ...]  # why nothing is to be done at present
    notes: tuple[str, ...]  # days that differ, pauses
    pain: tuple[tuple[str, str], ...]  # a band, and what to do in it
    alarms: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]  # what to do at which signs
    urgent: str
    contacts: tuple[tuple[str, str], ...]
    blocks: tuple[Block, ...]

    @property
    def head(self) -> str:
        return f"{self.patient} · {self.clinic}"

    @property
    def edition(self) -> str:
        return f"{self.printed_on} · plan version {self.version}"


def write(handout: Handout, out: IO[bytes], *, paper: str = "a4") -> None:
    set_up()
    size = SIZES[paper]
    document = _document(handout, out, size)
    document.build(list(_story(handout, size[0] - 2 * MARGIN)), canvasmaker=Numbered)


def _document(handout: Handout, out: IO[bytes], size: tuple[float, float]) -> BaseDocTemplate:
    document = BaseDocTemplate(
        out, pagesize=size, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=TOP,
        bottomMargin=BOTTOM, title=f"Exercises of {handout.patient}", author=handout.clinic,
        subject=handout.title, creator="Rehabilitation exercises", lang="en", invariant=1,
    )  # fmt: skip
    width, height = size

    def furniture(canvas: Canvas, document: Any) -> None:
        y = height - 34
        text(canvas, MARGIN, y, fitted(handout.head, width * 0.52, 8.5), 8.5)
        text(canvas, width - MARGIN, y, handout.edition, 8.5, ink=GREY, to="right")
        canvas.setStrokeColor(LIGHT)
        canvas.setLineWidth(0.6)
        canvas.line(MARGIN, y - 7, width - MARGIN, y - 7)
        text(canvas, MARGIN, 24, fitted(handout.title, width * 0.7, 7), 7, ink=GREY)
        text(canvas, width - MARGIN - 14, 24, f"page {document.page} of", 7, ink=GREY, to="right")
        canvas.saveState()
        canvas.translate(width - MARGIN - 12, 21)
        canvas.doForm(Numbered.ALL)
        canvas.restoreState()

    frame = Frame(MARGIN, BOTTOM, width - 2 * MARGIN, height - TOP - BOTTOM, leftPadding=0,
                  rightPadding=0, topPadding=0, bottomPadding=0)  # fmt: skip
    document.addPageTemplates([PageTemplate("whole", [frame], onPage=furniture)])
    return document


def _story(handout: Handout, width: float) -> Iterator[Flowable]:
    yield Paragraph("Your exercises", style(20, bold=True, spaceAfter=2))
    yield Paragraph(_plain(f"{handout.title}. {handout.phase}"), style(10.5, textColor=GREY))
    yield Spacer(0, 10)
    if handout.stop:
        yield _framed([*map(_line, handout.stop)], width, thick=1.6)
        yield Spacer(0, 10)
    for note in handout.notes:
        yield Paragraph(_plain(note), style(9.5, spaceAfter=4))
    if handout.pain:
        yield Paragraph("Pain while you exercise, from 0 to 10", style(12, bold=True, spaceAfter=4))
        yield _bands(handout.pain, width)
        yield Spacer(0, 12)
    yield _framed([*_signs(handout)], width)
    for block in handout.blocks:
        yield Spacer(0, 16)
        yield KeepTogether([*_block(block, handout.days, width)])
    if not handout.blocks:
        yield Spacer(0, 16)
        yield Paragraph("There is nothing to do in these two weeks.", style(10.5))


def _plain(said: str) -> str:
    return escape(written(said))


def _line(said: str) -> Paragraph:
    return Paragraph(_plain(said), style(9.5, spaceAfter=2))


def _points(lines: Sequence[str], size: float, *, numbered: bool = False) -> ListFlowable:
    told = [Paragraph(_plain(one), style(size, spaceAfter=1.5)) for one in lines]
    kind: dict[str, Any] = (
        {"bulletType": "1", "bulletFormat": "%s."} if numbered
        else {"bulletType": "bullet", "start": "•"}
    )  # fmt: skip
    font = style(size).fontName
    return ListFlowable(told, leftIndent=14, bulletFontName=font, bulletFontSize=size, **kind)


def _framed(inside: list[Flowable], width: float, *, thick: float = 0.9) -> Table:
    return Table(
        [[inside]],
        colWidths=[width],
        style=TableStyle(
            [
                ("BOX", (0, 0), (-1, -1), thick, BLACK),
                ("LEFTPADDING", (0, 0), (-1, -1), 10),
                ("RIGHTPADDING", (0, 0), (-1, -1), 10),
                ("TOPPADDING", (0, 0), (-1, -1), 7),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
            ]
        ),
    )


def _bands(pain: Sequence[tuple[str, str]], width: float) -> Table:
    rows = [
        [Paragraph(_plain(band), style(10, bold=True)), Paragraph(_plain(told), style(9.5))]
        for band, told in pain
    ]
    return Table(
        rows,
        colWidths=[62, width - 62],
        style=TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -2), 0.5, LIGHT),
                ("BOX", (0, 0), (-1, -1), 0.5, EDGE),
                ("BACKGROUND", (0, 0), (0, -1), BAND),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            ]
        ),
    )


def _signs(handout: Handout) -> Iterator[Flowable]:
    yield Paragraph("Stop, and get help, if one of these appears", style(12, bold=True))
    for lines, signs in handout.alarms:
        yield Paragraph(_plain(" ".join(lines)), style(9.5, bold=True, spaceBefore=5, spaceAfter=2))
        yield _points(signs, 9)
    yield Paragraph(_plain(handout.urgent), style(9.5, spaceBefore=5, spaceAfter=1.5))
    for name, value in handout.contacts:
        yield Paragraph(f"{_plain(name)}: <b>{_plain(value)}</b>", style(10.5, spaceBefore=2))


def _block(block: Block, days: Sequence[date], width: float) -> Iterator[Flowable]:
    inside: list[Flowable] = [
        Paragraph(_plain(f"{block.number}. {block.title}"), style(13, bold=True, spaceAfter=3)),
        *(Paragraph(_plain(one), style(10.5, bold=True, spaceAfter=1)) for one in block.doses),
        Paragraph(_plain(f"{block.often} {block.limit}"), style(9.5, spaceAfter=4)),
        *([_line(block.note)] if block.note else []),
        _points(block.cues, 9.5, numbered=True),
    ]
    drawn = block.slug in pictures()
    left = [reportlab_drawing(block.slug, width=PICTURE)] if drawn else []
    widths = [PICTURE + GUTTER, width - PICTURE - GUTTER] if drawn else [0.1, width - 0.1]
    yield Table(
        [[left, inside]],
        colWidths=widths,
        style=TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEABOVE", (0, 0), (-1, 0), 0.9, BLACK),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 7),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
            ]
        ),
    )
    yield Ticks(days, block.ticks, width)


class Ticks(Flowable):
    """A column a day: boxes to tick where the exercise is due, a dot where it is not."""

    head, row = 22.0, 22.0
    side = 10.0

    def __init__(self, days: Sequence[date], ticks: Sequence[int], width: float) -> None:
        super().__init__()
        self.days, self.ticks, self.across = days, ticks, width

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return self.across, self.head + self.row

    def draw(self) -> None:
        canvas, column = self.canv, self.across / max(1, len(self.days))
        thin(canvas)
        for number, (day, times) in enumerate(zip(self.days, self.ticks, strict=True)):
            x = number * column
            box(canvas, x, 0, column, self.row)
            box(canvas, x, self.row, column, self.head, BAND)
            middle = x + column / 2
            text(canvas, middle, self.row + 12.5, f"{day:%a}", 7.5, to="centre")
            text(canvas, middle, self.row + 4, f"{day.day} {day:%b}", 6.5, ink=GREY, to="centre")
            self._boxes(middle, times, column)

    def _boxes(self, middle: float, times: int, column: float) -> None:
        canvas, y = self.canv, (self.row - self.side) / 2
        if not times:
            text(canvas, middle, self.row / 2 - 2, "·", 9, ink=GREY, to="centre")
            return
        canvas.setStrokeColor(BLACK)
        canvas.setLineWidth(0.8)
        if times > MOST_BOXES:
            text(canvas, middle - 5, y + 2, f"{times} ×", 7, to="centre")
            canvas.rect(middle + 5, y, self.side, self.side)
            return
        gap = min(2.0, (column - times * self.side) / (times + 1))
        first = middle - (times * self.side + (times - 1) * gap) / 2
        for number in range(times):
            canvas.rect(first + number * (self.side + gap), y, self.side, self.side)
