"""Markup: elements, paths, tables, and a chart as one figure. Nothing here knows a style or script.

Hatching is drawn as lines and not as a pattern, so that no chart needs an id that another on the
page could have, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

CHARACTER = 0.58  # the width of one, of the size of its letters, on average
NOTHING = mark_safe("")


def tag(name: str, *inside: str, **attributes: object) -> SafeString:
    """An element. `class_` is the class, other `_` are `-`; what is None or False is left out."""
    told = "".join(_attribute(key, value) for key, value in attributes.items())
    if not inside:
        return mark_safe(f"<{name}{told}/>")  # noqa: S308
    return mark_safe(f"<{name}{told}>{joined(inside)}</{name}>")  # noqa: S308


def joined(parts: Iterable[str]) -> SafeString:
    """Markup as it is, and text escaped, one after the other."""
    return mark_safe("".join(conditional_escape(one) for one in parts))  # noqa: S308


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f' {name}=""'
    told = number(value) if isinstance(value, int | float) else str(value)
    return f' {name}="{conditional_escape(told)}"'


def number(value: float) -> str:
    """With two places at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def picture(width: float, height: float, *inside: str, **attributes: object) -> SafeString:
    box = f"0 0 {number(width)} {number(height)}"
    return tag("svg", *inside, viewBox=box, width=width, height=height, role="img", **attributes)


def text(x: float, y: float, words: str, kind: str = "", anchor: str | None = None) -> SafeString:
    return tag("text", words, x=x, y=y, class_=kind or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> SafeString:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def rect(x: float, y: float, width: float, height: float, kind: str) -> SafeString:
    return tag("rect", x=x, y=y, width=width, height=height, class_=kind)


def path(kind: str, d: str) -> SafeString:
    return tag("path", class_=kind, d=d) if d else NOTHING


def box(x: float, y: float, width: float, height: float) -> str:
    """A rectangle as a part of a path."""
    return f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z"


def diamond(x: float, y: float, half: float) -> str:
    h = number(half)
    return f"M{number(x)} {number(y - half)}l{h} {h}l-{h} {h}l-{h} -{h}z"


def triangle(x: float, y: float, half: float) -> str:
    """Standing, its foot at y."""
    return (
        f"M{number(x - half)} {number(y)}h{number(2 * half)}l{number(-half)} {number(-1.8 * half)}z"
    )


def octagon(x: float, y: float, half: float) -> str:
    """Its foot at y."""
    side, cut = number(half * 0.83), number(half * 0.585)
    return (
        f"M{number(x - half * 0.415)} {number(y)}h{side}l{cut} -{cut}v-{side}l-{cut} -{cut}"
        f"h-{side}l-{cut} {cut}v{side}z"
    )


def hatching(x: float, y: float, width: float, height: float, gap: float = 4) -> str:
    """Lines from bottom left to top right, that end at the edges of the rectangle."""
    parts = []
    reach = gap
    while reach < width + height:
        x1, y1 = (x + reach, y) if reach <= width else (x + width, y + reach - width)
        x2, y2 = (x, y + reach) if reach <= height else (x + reach - height, y + height)
        parts.append(f"M{number(x2)} {number(y2)}L{number(x1)} {number(y1)}")
        reach += gap
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a line. Where nothing is told, the line ends if something was `awaited`."""

    x: float
    value: float | None
    awaited: bool = True


def runs(points: Iterable[Point]) -> Iterator[list[Point]]:
    """The parts of a line: it ends at a missing value that was awaited, and goes on over one that
    could not be there, as on a date without exercise."""
    run: list[Point] = []
    for one in points:
        if one.value is not None:
            run.append(one)
        elif one.awaited and run:
            yield run
            run = []
    if run:
        yield run


def polyline(places: Sequence[tuple[float, float]]) -> str:
    """As a path; of a single place nothing, which the mark shows by itself."""
    if len(places) < 2:
        return ""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in places)


def width_of(words: str, size: float = 11) -> float:
    return len(words) * size * CHARACTER


# --- Charts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """The same data in rows. The first column names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markup(self, caption: str) -> SafeString:
        head = joined(tag("th", one, scope="col") for one in self.columns)
        body = joined(
            tag("tr", tag("th", first, scope="row"), *(tag("td", one) for one in rest))
            for first, *rest in self.rows
        )
        return tag(
            "table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body)
        )

    def beside(self, other: Table) -> Table:
        """The columns of both. What names the rows has to be the same."""
        assert [row[0] for row in self.rows] == [row[0] for row in other.rows]
        return Table(
            self.columns + other.columns[1:],
            tuple(row + more[1:] for row, more in zip(self.rows, other.rows, strict=True)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart and everything that is said of it. In a template `{{ chart }}` is the whole figure,
    `{{ chart.picture }}` the drawing alone, which says by itself what it shows.

    `table` is None where the picture is a table already.
    """

    id: str
    kind: str
    title: str
    sentence: str
    picture: SafeString
    table: Table | None = None
    key: SafeString = NOTHING
    moves: bool = False  # arrow keys walk through its points
    scrolls: bool = False  # on narrow screens, and then has to take the focus

    def __str__(self) -> SafeString:
        return tag(
            "figure",
            tag(
                "figcaption",
                tag("strong", self.title, id=f"{self.id}-title"),
                " ",
                tag("span", self.sentence, id=f"{self.id}-words"),
            ),
            self._drawn(),
            self.key,
            self.twin,
            class_=f"chart chart-{self.kind}",
            id=self.id,
        )

    __html__ = __str__

    def _drawn(self) -> SafeString:
        if not self.moves:
            stop = {"tabindex": 0, "role": "group", "aria_labelledby": f"{self.id}-title"}
            more = stop if self.scrolls else {}
            return tag("div", self.picture, class_="chart-box", **more)
        return joined(
            [
                tag(
                    "div",
                    self.picture,
                    class_="chart-box",
                    tabindex=0,
                    role="group",
                    aria_labelledby=f"{self.id}-title {self.id}-keys",
                    data_cursor=True,
                ),
                tag("p", "Arrow keys read it point by point.", class_="chart-keys",
                    id=f"{self.id}-keys"),
                tag("p", NOTHING, class_="chart-reading", role="status"),
            ]
        )  # fmt: skip

    @property
    def twin(self) -> SafeString:
        """The table, behind a button that needs no script."""
        return twin(self.title, self.table) if self.table else NOTHING


def twin(title: str, table: Table) -> SafeString:
    return tag(
        "details",
        tag("summary", "Show as table"),
        tag("div", table.markup(title), class_="chart-rows", tabindex=0, role="group",
            aria_label=f"{title}, as a table"),
        class_="chart-twin",
    )  # fmt: skip


def together(title: str, *charts: Chart) -> SafeString:
    """One table for charts of the same dates, such as a strip and a sparkline of one row."""
    tables = [one.table for one in charts if one.table is not None]
    whole = tables[0]
    for one in tables[1:]:
        whole = whole.beside(one)
    return twin(title, whole)


def described(title: str, sentence: str) -> dict[str, str]:
    """For pictures that stand without their figure."""
    return {"aria_label": f"{title}. {sentence}"}


def referring(id: str) -> dict[str, str]:
    """For pictures inside of their figure."""
    return {"aria_labelledby": f"{id}-title", "aria_describedby": f"{id}-words"}
