"""What a drawing is made of: a few plain shapes that a web page and a PDF can both draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import hypot
from typing import TYPE_CHECKING

from exercises.figures.space import Point

if TYPE_CHECKING:
    from reportlab.graphics.shapes import Drawing
    from reportlab.lib.colors import Color

WIDTH, HEIGHT = 320, 200
HALO = 2.2

# The drawing brings its own paper, so that its ink reads on light and dark pages and in print.
COLOURS = {
    "paper": "#ffffff",
    "frame": "#d7dde2",
    "ground": "#eff3f5",
    "ink": "#25313b",
    "far": "#8190a0",
    "ghost": "#cfd7de",
    "accent": "#c8501e",
    "prop": "#dfe5ea",
    "shade": "#c9d2d9",
    "edge": "#64727f",
}


@dataclass(frozen=True, slots=True)
class Outline:
    """Closed outlines filled as one, on a halo of paper that keeps them off what lies behind."""

    rings: tuple[tuple[Point, ...], ...]
    fill: str
    edge: str = ""
    width: float = 0.0
    halo: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    points: tuple[Point, ...]
    ink: str
    width: float


@dataclass(frozen=True, slots=True)
class Circle:
    middle: Point
    radius: float
    fill: str  # empty: a ring
    edge: str = ""
    width: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrow:
    """A line with a head at its end, or at both."""

    points: tuple[Point, ...]
    ink: str
    width: float
    both: bool = False

    @property
    def heads(self) -> list[tuple[Point, ...]]:
        ends = [self.points, self.points[::-1]] if self.both else [self.points]
        return [self._head(way) for way in ends]

    def _head(self, way: Sequence[Point]) -> tuple[Point, ...]:
        size = self.width * 3.4
        tip = way[-1]
        before = next((p for p in reversed(way) if _apart(p, tip) >= size * 0.8), way[0])
        long = _apart(before, tip) or 1.0
        dx, dy = (tip[0] - before[0]) / long, (tip[1] - before[1]) / long
        foot = (tip[0] - dx * size * 0.35, tip[1] - dy * size * 0.35)
        tip = (tip[0] + dx * size * 0.65, tip[1] + dy * size * 0.65)
        half = size * 0.52
        return (tip, (foot[0] - dy * half, foot[1] + dx * half),
                (foot[0] + dy * half, foot[1] - dx * half))  # fmt: skip


Shape = Outline | Line | Circle | Arrow


def _apart(a: Point, b: Point) -> float:
    return hypot(a[0] - b[0], a[1] - b[1])


def bounds(shapes: Iterable[Shape]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of everything that is drawn."""
    xs: list[float] = []
    ys: list[float] = []
    for shape in shapes:
        for (x, y), around in _extent(shape):
            xs += [x - around, x + around]
            ys += [y - around, y + around]
    return min(xs), min(ys), max(xs), max(ys)


def _extent(shape: Shape) -> Iterator[tuple[Point, float]]:
    if isinstance(shape, Outline):
        yield from ((point, shape.width / 2) for ring in shape.rings for point in ring)
    elif isinstance(shape, Circle):
        yield shape.middle, shape.radius + shape.width / 2
    else:
        yield from ((point, shape.width / 2) for point in shape.points)
    if isinstance(shape, Arrow):
        yield from ((point, 0.0) for head in shape.heads for point in head)


def placed(shape: Shape, scale: float, dx: float, dy: float) -> Shape:
    """Made larger or smaller, then moved."""

    def at(point: Point) -> Point:
        return (point[0] * scale + dx, point[1] * scale + dy)

    if isinstance(shape, Outline):
        rings = tuple(tuple(map(at, ring)) for ring in shape.rings)
        return replace(shape, rings=rings, width=shape.width * scale)
    if isinstance(shape, Circle):
        return replace(
            shape, middle=at(shape.middle), radius=shape.radius * scale, width=shape.width * scale
        )
    return replace(shape, points=tuple(map(at, shape.points)), width=shape.width * scale)


# --- As SVG -----------------------------------------------------------------------------------


def svg_of(shapes: Iterable[Shape], *, title: str, about: str) -> str:
    """A document of its own: presentation attributes only, no style, no script, no address."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="t d" '
            'stroke-linecap="round" stroke-linejoin="round">',
            f'<title id="t">{escape(title)}</title>',
            f'<desc id="d">{escape(about)}</desc>',
            *markup(shapes),
            "</svg>\n",
        ]
    )


def markup(shapes: Iterable[Shape]) -> Iterator[str]:
    for shape in shapes:
        if isinstance(shape, Outline):
            path = "".join(f"M{_path(ring)}z" for ring in shape.rings)
            edge = f' stroke="{COLOURS[shape.edge]}"{_width(shape.width)}' if shape.edge else ""
            if shape.halo:
                edge = f' stroke="{COLOURS["paper"]}"{_width(HALO * 2)} paint-order="stroke"'
            fill = COLOURS[shape.fill] if shape.fill else "none"
            yield f'<path fill="{fill}"{edge} d="{path}"/>'
        elif isinstance(shape, Circle):
            fill = COLOURS[shape.fill] if shape.fill else "none"
            edge = f' stroke="{COLOURS[shape.edge]}"{_width(shape.width)}' if shape.edge else ""
            (x, y), radius = shape.middle, shape.radius
            yield f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{fill}"{edge}/>'
        else:
            ink = COLOURS[shape.ink]
            yield (
                f'<path fill="none" stroke="{ink}"{_width(shape.width)} '
                f'd="M{_path(shape.points)}"/>'
            )
            if isinstance(shape, Arrow):
                heads = "".join(f"M{_path(head)}z" for head in shape.heads)
                yield f'<path fill="{ink}" stroke="{ink}" d="{heads}"/>'


def _path(points: Sequence[Point]) -> str:
    """From the first point in steps of tenths: steps are short to write."""
    x, y = map(_tenths, points[0])
    said = [f"{_n(x / 10)} {_n(y / 10)}"]
    steps = []
    for point in points[1:]:
        nx, ny = map(_tenths, point)
        if (nx, ny) != (x, y):
            steps.append(f"{_n((nx - x) / 10)} {_n((ny - y) / 10)}")
        x, y = nx, ny
    return "l".join([said[0], " ".join(steps)]) if steps else said[0]


def _width(value: float) -> str:
    return f' stroke-width="{_n(value)}"'


def _n(value: float) -> str:
    told = f"{_tenths(value) / 10:.1f}"
    return told.removesuffix(".0").replace("-0.", "-.").removeprefix("0") or "0"


def _tenths(value: float) -> int:
    """The same on every machine: what lies between two tenths goes up, however it was reached."""
    return round(value * 10 + 1e-6)


# --- As a drawing for a PDF --------------------------------------------------------------------


def drawing_of(shapes: Iterable[Shape], *, width: float) -> Drawing:
    """For reportlab, `width` points wide; its paper grows upward."""
    from reportlab.graphics import shapes as paper
    from reportlab.lib.colors import HexColor

    def colour(name: str) -> Color | None:
        return HexColor(COLOURS[name]) if name else None

    scale = width / WIDTH
    drawing = paper.Drawing(width, HEIGHT * scale)
    whole = paper.Group(transform=(scale, 0, 0, -scale, 0, HEIGHT * scale))
    drawing.add(whole)

    def fill(ring: Sequence[Point], inside: str, edge: str = "", thick: float = 0.0) -> None:
        whole.add(
            paper.Polygon(
                [number for point in ring for number in point],
                fillColor=colour(inside), strokeColor=colour(edge), strokeWidth=thick,
                strokeLineJoin=1,
            )
        )  # fmt: skip

    for shape in shapes:
        if isinstance(shape, Outline):
            if shape.halo:
                for ring in shape.rings:
                    fill(ring, "paper", "paper", HALO * 2)
            for ring in shape.rings:
                fill(ring, shape.fill, shape.edge, shape.width)
        elif isinstance(shape, Circle):
            whole.add(
                paper.Circle(
                    *shape.middle, shape.radius, fillColor=colour(shape.fill),
                    strokeColor=colour(shape.edge), strokeWidth=shape.width,
                )
            )  # fmt: skip
        else:
            whole.add(
                paper.PolyLine(
                    [number for point in shape.points for number in point],
                    strokeColor=colour(shape.ink), strokeWidth=shape.width,
                    strokeLineCap=1, strokeLineJoin=1,
                )
            )  # fmt: skip
            if isinstance(shape, Arrow):
                for head in shape.heads:
                    fill(head, shape.ink)
    return drawing
