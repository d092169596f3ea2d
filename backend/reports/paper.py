"""What printed pages are set with: letters, inks, marks, and rows that go on from page to page.

Everything that a colour says, a letter, a number or a pattern says as well: paper is often printed
in black.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable

FONT, BOLD = "DejaVu", "DejaVu-Bold"
FILES = {FONT: "DejaVuSansCondensed.ttf", BOLD: "DejaVuSansCondensed-Bold.ttf"}
PAGE = landscape(A4)
MARGIN, TOP, BOTTOM = 36.0, 50.0, 40.0
WIDTH = PAGE[0] - 2 * MARGIN

BLACK, GREY, LIGHT = HexColor("#000000"), HexColor("#595959"), HexColor("#C9D1DA")
DONE, BAND = HexColor("#0072B2"), HexColor("#E6ECF3")
RAMP = [HexColor(ink) for ink in ("#F7FBFF", "#C6DBEF", "#6BAED6", "#2171B5", "#08306B")]
ON_RAMP = [BLACK, BLACK, BLACK, HexColor("#FFFFFF"), HexColor("#FFFFFF")]
EDGE = HexColor("#9AA5B1")

NO_SIGN = "□"  # for a letter that the font cannot write
RIGHT_TO_LEFT = frozenset({"R", "AL"})


@cache
def set_up() -> None:
    rl_config.useA85 = 0  # bytes as they are, not as text
    folder = Path(__file__).with_name("fonts")
    for name, file in FILES.items():
        pdfmetrics.registerFont(TTFont(name, str(folder / file)))
    pdfmetrics.registerFontFamily(FONT, normal=FONT, bold=BOLD, italic=FONT, boldItalic=BOLD)


def written(text: str) -> str:
    """The text in letters that the font has and that run from left to right; a box for others."""
    set_up()
    font: Any = pdfmetrics.getFont(FONT)
    known = font.face.charToGlyph
    return "".join(
        letter
        if ord(letter) in known and unicodedata.bidirectional(letter) not in RIGHT_TO_LEFT
        else " " if letter.isspace() else NO_SIGN
        for letter in unicodedata.normalize("NFC", text)
    )  # fmt: skip


def fitted(text: str, width: float, size: float, font: str = FONT) -> str:
    """As much of the text as fits, with a sign that there is more."""
    text = written(text)
    if pdfmetrics.stringWidth(text, font, size) <= width:
        return text
    while text and pdfmetrics.stringWidth(f"{text}…", font, size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def style(size: float, *, bold: bool = False, **more: Any) -> ParagraphStyle:
    set_up()
    font = BOLD if bold else FONT
    return ParagraphStyle(
        f"{font}{size}", fontName=font, fontSize=size, leading=size * 1.35, **more
    )


def percent(value: float | None, places: int = 2) -> str:
    return "–" if value is None else f"{value * 100:.{places}f} %"


# --- Marks ------------------------------------------------------------------------------------


def text(
    canvas: Canvas, x: float, y: float, said: str, size: float, *, bold: bool = False,
    ink: Any = BLACK, to: str = "left",
) -> None:  # fmt: skip
    canvas.setFont(BOLD if bold else FONT, size)
    canvas.setFillColor(ink)
    draw = {"left": canvas.drawString, "right": canvas.drawRightString,
            "centre": canvas.drawCentredString}[to]  # fmt: skip
    draw(x, y, said)


def thin(canvas: Canvas) -> None:
    """As boxes are drawn."""
    canvas.setLineWidth(0.4)
    canvas.setStrokeColor(EDGE)


def box(canvas: Canvas, x: float, y: float, width: float, height: float, ink: Any = None) -> None:
    thin(canvas)
    if ink is not None:
        canvas.setFillColor(ink)
    canvas.rect(x, y, width, height, stroke=1, fill=int(ink is not None))


def hatched(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    """Slanting lines: unknown."""
    canvas.saveState()
    path = canvas.beginPath()
    path.rect(x, y, width, height)
    canvas.clipPath(path, stroke=0, fill=0)
    canvas.setLineWidth(0.35)
    canvas.setStrokeColor(EDGE)
    at = x - height
    while at < x + width:
        canvas.line(at, y, at + height, y + height)
        at += 2.6
    canvas.restoreState()


def cell(
    canvas: Canvas, x: float, y: float, width: float, height: float, sign: str, step: int | None
) -> None:
    """A box of the heat map: a step of the ramp with a sign in it, or a sign alone. Its caller has
    set thin lines, once for many."""
    if step is not None:
        canvas.setFillColor(RAMP[step])
    canvas.rect(x, y, width, height, stroke=1, fill=int(step is not None))
    if sign == "?":
        hatched(canvas, x, y, width, height)
    size = min(height * 0.56, width * (0.48 if len(sign) > 2 else 0.62))
    ink = BLACK if step is None else ON_RAMP[step]
    text(canvas, x + width / 2, y + (height - size * 0.73) / 2, sign, size, ink=ink, to="centre")


# --- Rows that go on --------------------------------------------------------------------------


class Rows(Flowable, ABC):
    """Rows of one height under a head that stands again on every page they reach."""

    head_height: ClassVar[float] = 14
    row_height: ClassVar[float] = 14
    least: ClassVar[int] = 3  # rows that a head is not parted from

    def __init__(self, rows: Sequence[Any]) -> None:
        super().__init__()
        self.rows = rows

    @abstractmethod
    def of(self, rows: Sequence[Any]) -> Rows:
        """The same, with these rows."""

    @abstractmethod
    def head(self, canvas: Canvas, y: float) -> None:
        """Above `y`."""

    @abstractmethod
    def row(self, canvas: Canvas, y: float, row: Any, number: int) -> None:
        """From `y` upwards."""

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return WIDTH, self.head_height + self.row_height * len(self.rows)

    def split(self, width: float, height: float) -> list[Flowable]:
        fits = int((height - self.head_height) // self.row_height)
        if fits < min(self.least, len(self.rows)):
            return []
        return [self.of(self.rows[:fits]), self.of(self.rows[fits:])]

    def draw(self) -> None:
        y = self.row_height * len(self.rows)
        self.head(self.canv, y)
        for number, row in enumerate(self.rows):
            y -= self.row_height
            self.row(self.canv, y, row, number)


class Numbered(Canvas):
    """Every page says how many there are: a number that is put in when all are done."""

    ALL = "pages"
    pages = 0

    def showPage(self) -> None:  # the library's name
        self.pages += 1
        super().showPage()

    def save(self) -> None:
        self.beginForm(self.ALL, 0, 0, 40, 12)
        text(self, 0, 3, str(self.pages), 7, ink=GREY)
        self.endForm()
        super().save()
