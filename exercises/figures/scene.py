"""A scene: one body or two in one or two poses, what they use, and arrows; seen by a camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, radians, sin
from typing import Annotated, Literal

from pydantic import Field

from exercises.figures.body import Body, Part, Pose, Said, Triple, body_of
from exercises.figures.drawing import (
    HEIGHT,
    WIDTH,
    Arrow,
    Circle,
    Line,
    Outline,
    Shape,
    bounds,
    placed,
)
from exercises.figures.space import Point, Vec, arc, rounded

MARGIN, GAP, LARGEST = 9.0, 26.0, 1.2
ARROW, CORD, EDGE = 2.8, 2.2, 1.2
RIM = 2.0  # of ink, round the light core of the marked leg
LARGER = 1.3  # under the glass
GROUND = 26.0  # half depth of the patch of ground that is drawn

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Place = Triple | str  # a point of the room, or a joint


class Prop(Said):
    """One thing: exactly one of the first group, and where it belongs."""

    box: Annotated[list[float], Field(min_length=6, max_length=6)] | None = None
    wall: float | None = None
    chair: float | None = None
    cord: list[Place] | None = None
    ball: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    roller: Annotated[list[float], Field(min_length=5, max_length=5)] | None = None
    dumbbell: str | None = None
    bar: str | None = None
    line: list[Pair] | None = None  # flat on the picture, x and y in centimetres
    plane: list[Pair] | None = None
    ring: Triple | None = None
    feet: Triple | None = None  # a close look at both feet from the front: where, and the inversion
    disc: Triple | None = None

    ink: str = ""
    width: float = 0
    facing: Literal["left", "right"] = "right"  # of a chair
    seat: float = 45
    layer: Literal["behind", "between", "front"] = "behind"  # of the bodies; between their legs
    only: Literal["start", "end"] | None = None


class Motion(Said):
    """An arrow: the way of a joint from start to end, round another or straight; or any path."""

    of: str | None = None
    round: str | None = None
    path: list[Place] | None = None
    further: float = 9
    shift: Pair = [0, 0]
    both: bool = False
    only: Literal["start", "end"] = "end"


class Figure(Said):
    alt: Annotated[str, Field(min_length=20, max_length=400)]
    view: Pair = [18, 12]  # degrees the camera went round toward the feet's side, and up
    mark: Literal["n", "f", "none"]
    show: Literal["ghost", "two", "one", "things"]
    ground: Literal["plain", "mat", "none"] = "plain"
    start: Pose | None = None
    end: Pose | None = None
    faint: list[Pose] = []  # further places on the way
    others: list[Pose] = []  # other people, or the same one at another time
    props: list[Prop] = []
    arrows: list[Motion] = []


@dataclass(frozen=True, slots=True)
class Camera:
    around: float
    above: float

    def sees(self, place: Vec) -> Point:
        """On the picture, y downward."""
        a, e = radians(self.around), radians(self.above)
        x = place.x * cos(a) - place.z * sin(a)
        away = place.x * sin(a) + place.z * cos(a)
        return x, -(place.y * cos(e) - away * sin(e))

    def nearness(self, place: Vec) -> float:
        a, e = radians(self.around), radians(self.above)
        away = place.x * sin(a) + place.z * cos(a)
        return place.y * sin(e) + away * cos(e)


@dataclass(slots=True)
class Stage:
    """A figure with its bodies built: what the pictures and their checks both look at."""

    figure: Figure
    camera: Camera
    bodies: dict[str, Body]
    faint: list[Body]
    others: list[Body]


def staged(figure: Figure) -> Stage:
    said = {"start": figure.start, "end": figure.end}
    return Stage(
        figure,
        Camera(*figure.view),
        {name: body_of(pose) for name, pose in said.items() if pose is not None},
        [body_of(pose) for pose in figure.faint],
        [body_of(pose) for pose in figure.others],
    )


def shapes_of(figure: Figure) -> list[Shape]:
    """Everything that is drawn, from behind to the front, on the paper of the picture."""
    stage = staged(figure)
    paper = Outline((_corners(0.5, 0.5, WIDTH - 0.5, HEIGHT - 0.5),), "paper", "frame", 1)
    if figure.show == "two":
        return [paper, *_side_by_side([_panel(stage, name) for name in ("start", "end")])]
    name = "end" if "end" in stage.bodies else "start"
    return [paper, *_fitted(_panel(stage, name), MARGIN, MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN)]


def _corners(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


# --- Layout -----------------------------------------------------------------------------------


def _scale(shapes: Sequence[Shape], wide: float, high: float) -> float:
    left, top, right, bottom = bounds(shapes)
    return min(wide / (right - left), high / (bottom - top), LARGEST)


def _fitted(
    shapes: Sequence[Shape], left: float, top: float, right: float, bottom: float,
    scale: float | None = None,
) -> list[Shape]:  # fmt: skip
    """In the middle of a box, as large as it allows."""
    scale = scale or _scale(shapes, right - left, bottom - top)
    x0, y0, x1, y1 = bounds(shapes)
    dx = (left + right - (x0 + x1) * scale) / 2
    dy = (top + bottom - (y0 + y1) * scale) / 2
    return [placed(shape, scale, dx, dy) for shape in shapes]


def _side_by_side(panels: list[list[Shape]]) -> list[Shape]:
    """Beside or below each other, whichever leaves them larger, on one scale and one ground."""
    inner_w, inner_h = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    boxes = [bounds(panel) for panel in panels]
    wide = [box[2] - box[0] for box in boxes]
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    row = min((inner_w - GAP) / sum(wide), inner_h / (bottom - top), LARGEST)
    high = [box[3] - box[1] for box in boxes]
    column = min(inner_w * 0.86 / max(wide), (inner_h - GAP * 0.55) / sum(high), LARGEST)
    if row >= column * 0.93:
        free = inner_w - GAP - sum(wide) * row
        x = MARGIN + free / 3
        y = MARGIN + (inner_h - (bottom - top) * row) / 2
        out: list[Shape] = []
        for panel, box, width in zip(panels, boxes, wide, strict=True):
            out += [placed(shape, row, x - box[0] * row, y - top * row) for shape in panel]
            x += width * row + GAP + free / 3
        middle = MARGIN + free / 3 + wide[0] * row + GAP / 2 + free / 6
        out += _then(middle, HEIGHT / 2, right=True)
        return out
    free = inner_h - GAP * 0.55 - sum(high) * column
    left = min(box[0] for box in boxes)
    right = max(box[2] for box in boxes)
    x = MARGIN + (inner_w - (right - left) * column) / 2
    y = MARGIN + free / 3
    out = []
    for panel, box, height in zip(panels, boxes, high, strict=True):
        out += [placed(shape, column, x - left * column, y - box[1] * column) for shape in panel]
        y += height * column + GAP * 0.55 + free / 3
    out += _then(MARGIN + 8, HEIGHT / 2, right=False)
    return out


def _then(x: float, y: float, *, right: bool) -> list[Shape]:
    """The sign between two pictures: this, then that."""
    points = ((x - 3, y - 6), (x + 3, y), (x - 3, y + 6))
    if not right:
        points = ((x - 6, y - 3), (x, y + 3), (x + 6, y - 3))
    return [Line(points, "edge", 2.4)]


# --- One picture ------------------------------------------------------------------------------


def _panel(stage: Stage, name: str) -> list[Shape]:
    figure, camera = stage.figure, stage.camera
    body = stage.bodies.get(name)
    props = [prop for prop in figure.props if prop.only in (None, name)]
    layers: dict[str, list[Shape]] = {"behind": [], "between": [], "front": []}
    for prop in props:
        layers[prop.layer] += _thing(prop, body, camera)
    shapes: list[Shape] = [*_ground(stage, name), *layers["behind"]]
    for other in stage.others:
        shapes += _person(other, camera, "none", tone="far")
    if body is not None:
        if figure.show == "ghost":
            for before in (stage.bodies["start"], *stage.faint):
                shapes += _person(before, camera, "none", tone="ghost")
        shapes += _person(body, camera, figure.mark, between=layers["between"])
    shapes += layers["front"]
    for arrow in figure.arrows:
        if arrow.only == name or figure.show != "two":
            shapes.append(_arrow(arrow, stage, body))
    return shapes


def _ground(stage: Stage, name: str) -> Iterator[Shape]:
    """A mat is one and the same under both poses; plain ground is where somebody is."""
    mat = stage.figure.ground == "mat"
    bodies = [stage.bodies[one] for one in stage.bodies if mat or one == name] + stage.others
    if stage.figure.ground == "none" or not bodies:
        return
    places = [place for body in bodies for balls in body.balls.values() for place, _ in balls]
    x0, x1 = min(p.x for p in places) - 10, max(p.x for p in places) + 10
    if not mat:  # under the feet is enough
        low = [p.x for p in places if p.y < min(q.y for q in places) + 30]
        x0, x1 = min(low) - 16, max(low) + 16
    corners = [Vec(x, 0, z) for x, z in ((x0, -1), (x1, -1), (x1, 1), (x0, 1))]
    ring = tuple(stage.camera.sees(Vec(c.x, 0, c.z * GROUND)) for c in corners)
    yield Outline((ring,), "ground", "edge" if mat else "ground", EDGE)


def _person(
    body: Body, camera: Camera, mark: str, tone: str = "", between: Sequence[Shape] = ()
) -> Iterator[Shape]:
    """The parts from the farthest to the nearest; far limbs lighter, the marked leg hollow."""

    level = Camera(camera.around, camera.above / 2)  # else what is low would count as far

    def nearness(part: Part) -> float:
        return sum(map(level.nearness, part.depth_at)) / len(part.depth_at)

    for part in sorted(body.parts, key=nearness):
        if part.name == "n.leg":
            yield from between
        ink = tone or ("far" if part.name.startswith("f.") else "ink")
        marked = mark != "none" and part.name == f"{mark}.leg"
        grown = 1.2 if marked else 0.0
        rings = tuple(
            tuple(rounded((camera.sees(place), radius + grown) for place, radius in span))
            for span in part.spans
        )
        yield Outline(rings, "ink" if marked and not tone else ink, halo=True)
        if marked:
            core = tuple(
                tuple(rounded((camera.sees(place), radius + grown - RIM) for place, radius in span))
                for span in part.spans
            )
            yield Outline(core, "accent")


def _place(at: Place | Sequence[float], body: Body | None) -> Vec:
    if isinstance(at, str):
        assert body is not None
        name, *shifts = at.split()
        return body.joints[name].plus(Vec(*(float(shift) for shift in shifts or "000")))
    return Vec(*at)


def _arrow(motion: Motion, stage: Stage, body: Body | None) -> Arrow:
    sees = stage.camera.sees
    if motion.path is not None:
        points = [sees(_place(at, body)) for at in motion.path]
        if len(points) > 2:
            points = list(_curve(points))
    else:
        assert motion.of is not None
        start, end = (sees(stage.bodies[name].joints[motion.of]) for name in ("start", "end"))
        if motion.round is None:
            points = [start, end]
        else:
            middle = sees(stage.bodies[motion.only].joints[motion.round])
            points = arc(middle, start, end, further=motion.further)
    dx, dy = motion.shift
    return Arrow(tuple((x + dx, y - dy) for x, y in points), "accent", ARROW, motion.both)


def _curve(points: Sequence[Point]) -> Iterator[Point]:
    """Through all points, rounded (Catmull and Rom)."""
    padded = [points[0], *points, points[-1]]
    for n in range(1, len(padded) - 2):
        p0, p1, p2, p3 = padded[n - 1 : n + 3]
        for step in range(8):
            t = step / 8
            yield tuple(  # type: ignore[misc]  # of two
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t
                       + (3 * b - a - 3 * c + d) * t**3)
                for a, b, c, d in zip(p0, p1, p2, p3, strict=True)
            )  # fmt: skip
    yield points[-1]


# --- Things -----------------------------------------------------------------------------------


def _thing(prop: Prop, body: Body | None, camera: Camera) -> Iterator[Shape]:
    sees = camera.sees
    if prop.box is not None:
        yield from _box(prop.box, camera)
    elif prop.wall is not None:
        yield from _box([prop.wall, prop.wall + 5, 0, 165, -34, 34], camera)
    elif prop.chair is not None:
        yield from _chair(prop, camera)
    elif prop.cord is not None:
        points = tuple(sees(_place(at, body)) for at in prop.cord)
        yield Line(points, "paper", (prop.width or CORD) + 2)
        yield Line(points, prop.ink or "edge", prop.width or CORD)
    elif prop.ball is not None:
        x, y, z, radius = prop.ball
        yield Circle(sees(Vec(x, y, z)), radius, "prop", "edge", EDGE)
    elif prop.roller is not None:
        x, y, z, radius, half = prop.roller
        far, near = (sees(Vec(x, y, z + side * half)) for side in (-1, 1))
        roll = tuple(rounded([(far, radius), (near, radius)]))
        yield Outline((roll,), "shade", "edge", EDGE)
        yield Circle(near, radius, "prop", "edge", EDGE)
    elif prop.dumbbell is not None:
        middle = _place(prop.dumbbell, body)
        ends = [sees(middle.plus(Vec(side * 9, 0, 0))) for side in (-1, 1)]
        yield Line(tuple(ends), "edge", 3)
        for x, y in ends:
            yield Outline((_corners(x - 3, y - 6, x + 3, y + 6),), "shade", "edge", EDGE)
    elif prop.bar is not None:
        middle = _place(prop.bar, body)
        ends = [sees(Vec(middle.x, middle.y, side * 40)) for side in (-1, 1)]
        yield Line(tuple(ends), "edge", 2.4)
        for end in ends:
            yield Circle(end, 10, "shade", "edge", EDGE)
    else:
        yield from _sketch(prop)


def _sketch(prop: Prop) -> Iterator[Shape]:
    ink = prop.ink or "edge"
    if prop.line is not None:
        yield Line(tuple((x, -y) for x, y in prop.line), ink, prop.width or CORD)
    elif prop.plane is not None:
        ring = tuple((x, -y) for x, y in prop.plane)
        yield Outline((ring,), prop.ink or "prop", "edge", prop.width or EDGE)
    elif prop.feet is not None:
        yield from _feet(*prop.feet)
    elif prop.ring is not None:
        x, y, radius = prop.ring
        yield Circle((x, -y), radius, "", ink, prop.width or CORD)
    elif prop.disc is not None:
        x, y, radius = prop.disc
        yield Circle((x, -y), radius, prop.ink or "prop", "edge", prop.width or EDGE)


def _feet(x: float, y: float, turn: float) -> Iterator[Shape]:
    """Under a glass, from the front: the marked foot turned outward or inward, the other level."""
    glass: list[Shape] = [Circle((0, 0), 25, "paper", "edge", EDGE)]
    for side, angle, fill in ((1, 0.0, "far"), (-1, -turn, "accent")):
        c, s = cos(radians(angle)), sin(radians(angle))
        ankle = (side * 9.5, 2.0)
        sole = [(ankle[0] + a * c - 8 * s, ankle[1] + a * s + 8 * c) for a in (-4.5, 4.5)]
        shank = tuple(rounded([((ankle[0], -15), 4.2), (ankle, 3.4)]))
        foot = tuple(rounded([(ankle, 3.4), *((point, 3.2) for point in sole)]))
        glass.append(Outline((shank, foot), fill, halo=True))
    way = 1 if turn > 0 else -1
    start, end = (
        (17 * sin(radians(angle)) - 9.5, 17 * cos(radians(angle)) + 2)
        for angle in (-way * 30, way * 35)
    )
    glass.append(Arrow(tuple(arc((-9.5, 2), start, end)), "accent", 1.8))
    yield from (placed(shape, LARGER, x, -y) for shape in glass)


def _box(said: Sequence[float], camera: Camera) -> Iterator[Shape]:
    """The faces that the camera sees."""
    x0, x1, y0, y1, z0, z1 = said
    side = x1 if camera.around > 0 else x0
    faces = [
        ("shade", [(side, y0, z0), (side, y0, z1), (side, y1, z1), (side, y1, z0)]),
        ("prop", [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)]),
        ("ground", [(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)]),
    ]
    for fill, corners in faces:
        ring = tuple(camera.sees(Vec(*corner)) for corner in corners)
        yield Outline((ring,), fill, "edge", EDGE)


def _chair(prop: Prop, camera: Camera) -> Iterator[Shape]:
    """A seat on four legs, with a back behind whoever sits on it."""
    assert prop.chair is not None
    x0, seat = prop.chair - 22, prop.seat
    x1 = prop.chair + 20
    rear = x0 if prop.facing == "right" else x1
    for x in (x0 + 2, x1 - 2):
        for z in (-20, 20):
            foot = [camera.sees(Vec(x, y, z)) for y in (0, seat - 4)]
            yield Line(tuple(foot), "edge", 3)
    posts = [[Vec(rear, y, z) for y in (seat, seat + 44)] for z in (-20, 20)]
    for post in posts:
        yield Line(tuple(map(camera.sees, post)), "edge", 3)
    low, high = seat + 24, seat + 44
    rest = [Vec(rear, y, z) for y, z in ((low, -20), (high, -20), (high, 20), (low, 20))]
    yield Outline((tuple(map(camera.sees, rest)),), "prop", "edge", EDGE)
    yield from _box([x0, x1, seat - 5, seat, -22, 22], camera)


def surfaces(figure: Figure, pose: str) -> Iterator[tuple[float, float, float]]:
    """What one can stand, sit or lie on: its height, and from where to where it reaches."""
    yield 0.0, -1e9, 1e9
    for prop in figure.props:
        if prop.only not in (None, pose):
            continue
        if prop.box is not None:
            yield prop.box[3], prop.box[0], prop.box[1]
        elif prop.chair is not None:
            yield prop.seat, prop.chair - 22, prop.chair + 20
        elif prop.roller is not None:
            yield prop.roller[1] + prop.roller[3], prop.roller[0] - 12, prop.roller[0] + 12
        elif prop.ball is not None:
            yield prop.ball[1] + prop.ball[3], prop.ball[0] - 14, prop.ball[0] + 14
