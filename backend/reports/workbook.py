"""Workbooks: figures as numbers with their formats, dates as dates, and texts that never run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import IO, Any

from openpyxl import Workbook
from openpyxl.cell import Cell, WriteOnlyCell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter

from backend.reports import figures
from backend.reports.adherence import Grouping
from backend.reports.definitions import definitions
from backend.reports.models import Export
from backend.reports.sessions import names_of
from backend.reports.shown import COUNTS, DAYS, RATIOS, Shown, key_name
from backend.reports.tables import is_run

A_DAY = timedelta(days=1)
RATIO, HOURS, DAY = "0.00%", "0.0", "yyyy-mm-dd"
BOLD = Font(bold=True)
HEADING = Font(bold=True, size=13)
SHADE = PatternFill("solid", fgColor="E6ECF3")
WRAPPED = Alignment(wrap_text=True, vertical="top")
CENTRED = Alignment(horizontal="center")
MOST_CELLS = 100_000  # of the sheet of dates; beyond that the letters stand in one column alone
# Done is dark, as on paper; the letter says the same.
INKS = {"C": "2171B5", "P": "6BAED6", "S": "C6DBEF", "M": "F7FBFF"}
FILLS = {letter: PatternFill("solid", fgColor=ink) for letter, ink in INKS.items()}
LIGHT = Font(color="FFFFFF")
DATES = ("birth_date", "local_date")
UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # in XML

OF_PATIENTS = ("weeks", "weeks_on_target", "weeks_current", "weeks_longest")
OF_GROUPS = (
    "weeks", "weeks_on_target", "patients", "small", "patients_on_target",
    "median_session_adherence", "quartile_low", "quartile_high",
)  # fmt: skip
SHARES = {*RATIOS, "late_ratio", "median_session_adherence", "quartile_low", "quartile_high"}


class Sheet:
    """A sheet that is written row by row and never held."""

    def __init__(self, book: Workbook, title: str, widths: Sequence[float]) -> None:
        self.sheet = book.create_sheet(title)
        for number, width in enumerate(widths, 1):
            self.sheet.column_dimensions[get_column_letter(number)].width = width

    def freeze(self, cell: str) -> None:
        self.sheet.freeze_panes = cell

    def add(self, cells: Iterable[Any]) -> None:
        self.sheet.append(list(cells))

    def cell(self, value: Any, *, format: str = "", **style: Any) -> Cell:
        cell: Any = WriteOnlyCell(self.sheet, None if isinstance(value, str) else value)
        if isinstance(value, str):
            cell._value, cell.data_type = UNWRITABLE.sub("\ufffd", value), "s"
            cell.quotePrefix = is_run(value)  # also after somebody has edited it
        if format:
            cell.number_format = format
        for name, one in style.items():
            setattr(cell, name, one)
        made: Cell = cell
        return made

    def letter(self, letter: str) -> Cell:
        """What became of a date."""
        style: dict[str, Any] = {"fill": FILLS[letter]} if letter in FILLS else {}
        light: dict[str, Any] = {"font": LIGHT} if letter == "C" else {}
        return self.cell(letter, alignment=CENTRED, **style, **light)

    def told(self, name: str, value: object) -> object:
        """Of a line of JSON."""
        if value and name in DATES:
            return self.cell(date.fromisoformat(str(value)), format=DAY)
        return self.cell(value) if isinstance(value, str) else value

    def head(self, names: Iterable[str]) -> None:
        self.add(self.cell(name, font=BOLD, fill=SHADE) for name in names)


def _book(export: Export) -> Workbook:
    book = Workbook(write_only=True)
    book.properties.title = export.kind.capitalize()
    book.properties.creator = _author(export)
    book.properties.created = export.created_at.replace(tzinfo=None)
    return book


def _author(export: Export) -> str:
    return UNWRITABLE.sub("\ufffd", export.clinic.name)


# --- Adherence --------------------------------------------------------------------------------


def of_adherence(export: Export, lines: Iterator[Shown], out: IO[bytes]) -> None:
    book = _book(export)
    head = next(lines)
    groups = figures.by_name(lines)
    _report(book, export, head, groups)
    dates = (export.to_on - export.from_on).days + 1
    if figures.has_letters(export) and len(groups) * dates <= MOST_CELLS:
        _days(book, export, groups)
    _definitions(book)
    _about(book, export, head)
    book.save(out)


def _columns(export: Export) -> list[str]:
    grouping = figures.grouping_of(export)
    names = [key_name(grouping), "label"]
    names += figures.AGES if figures.has_ages(export) else ()
    names += [*COUNTS, *RATIOS, *DAYS, "late_ratio"]
    names += OF_PATIENTS if grouping is Grouping.PATIENT else OF_GROUPS
    names += ["pain_during_median", "pain_during_worst"]
    return names + (["days"] if figures.has_letters(export) else [])


def _report(book: Workbook, export: Export, head: Shown, groups: Sequence[Shown]) -> None:
    names = _columns(export)
    wide = {names[0]: 38, "label": 32, "days": 32}
    sheet = Sheet(book, "Report", [wide.get(name, max(10, len(name) + 2)) for name in names])
    sheet.freeze("C2")
    sheet.sheet.auto_filter.ref = f"A1:{get_column_letter(len(names))}{len(groups) + 1}"
    sheet.head(names)
    for one in groups:
        flat = _flat(one) | {names[0]: one["key"]}
        sheet.add(
            sheet.cell(flat[name], format=RATIO) if name in SHARES and name in flat
            else sheet.cell(value) if isinstance(value := flat.get(name), str)
            else value
            for name in names
        )  # fmt: skip


def _flat(one: Shown) -> Shown:
    flat = {name: value for name, value in one.items() if not isinstance(value, dict | list)}
    weeks, pain = one["weeks_on_target"], one.get("pain_during", {})
    flat |= {
        "weeks": weeks["of"], "weeks_on_target": weeks["on_target"],
        "weeks_current": weeks.get("current"), "weeks_longest": weeks.get("longest"),
        "pain_during_median": pain.get("median"), "pain_during_worst": pain.get("worst"),
    }  # fmt: skip
    if "quartiles" in one:
        flat["quartile_low"], flat["quartile_high"] = one["quartiles"]
    return flat


def _days(book: Workbook, export: Export, groups: Sequence[Shown]) -> None:
    count = (export.to_on - export.from_on).days + 1
    sheet = Sheet(book, "Days", [32, *[4.5] * count])
    sheet.freeze("B2")
    dates = [export.from_on + n * A_DAY for n in range(count)]
    style = {"font": BOLD, "fill": SHADE, "alignment": Alignment(text_rotation=90)}
    sheet.add([sheet.cell("label", font=BOLD, fill=SHADE),
               *(sheet.cell(on, format=DAY, **style) for on in dates)])  # fmt: skip
    for one in groups:
        sheet.add([sheet.cell(one["label"] or one["key"]), *map(sheet.letter, one["days"])])


def _definitions(book: Workbook) -> None:
    sheet = Sheet(book, "Definitions", [32, 100])
    is_head = False
    for block in definitions():
        match block.kind:
            case "heading":
                sheet.add([])
                sheet.add([sheet.cell(block.cells[0], font=HEADING)])
            case "row" if not is_head:
                sheet.head(block.cells)
            case "row":
                sheet.add(sheet.cell(one, alignment=WRAPPED) for one in block.cells)
            case _:
                sheet.add([None, sheet.cell(block.cells[0], alignment=WRAPPED)])
        is_head = block.kind == "row"


def _about(book: Workbook, export: Export, head: Shown) -> None:
    sheet = Sheet(book, "About", [40, 60])
    for name, value in figures.about(export, head):
        sheet.add([sheet.cell(name, font=BOLD), sheet.cell(value, alignment=WRAPPED)])
    for part, title in (("total", "Everybody asked for"), ("flags", "Flags about these dates")):
        if part not in head:
            continue
        sheet.add([])
        sheet.add([sheet.cell(title, font=HEADING)])
        for name, figure in _spread(head[part]):
            form = RATIO if "adherence" in name or "quartile" in name else ""
            form = HOURS if "hours" in name else form
            sheet.add([sheet.cell(name, font=BOLD), sheet.cell(figure, format=form)])


def _spread(told: Shown) -> Iterator[tuple[str, object]]:
    for name, value in told.items():
        if name == "quartiles":
            yield from zip(("quartile_low", "quartile_high"), value, strict=True)
        else:
            yield name, value


# --- Sessions ---------------------------------------------------------------------------------


def of_sessions(export: Export, lines: Iterator[Shown], out: IO[bytes]) -> None:
    book = _book(export)
    names = names_of(export)
    sheet = Sheet(book, "Sessions", [38 if name.endswith("_id") else 16 for name in names])
    sheet.freeze("B2")
    sheet.head(names)
    for line in lines:
        sheet.add(map(sheet.told, line.keys(), line.values()))
    about = Sheet(book, "About", [40, 60])
    for name, value in (
        ("Clinic", export.clinic.name), ("From", str(export.from_on)), ("To", str(export.to_on)),
        ("Purpose", export.purpose),
    ):  # fmt: skip
        about.add([about.cell(name, font=BOLD), about.cell(value, alignment=WRAPPED)])
    book.save(out)
