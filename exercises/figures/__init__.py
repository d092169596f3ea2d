"""Line drawings of the exercises: a body of joints, posed by the files in `library/figures`.

Own work throughout: nothing is copied or traced, so that nobody's licence hangs on a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter

from exercises.figures.drawing import Shape, drawing_of, svg_of
from exercises.figures.scene import Figure, shapes_of
from exercises.reading import pointer, read, typed

if TYPE_CHECKING:
    from reportlab.graphics.shapes import Drawing

ROOT = Path(__file__).parents[2]
FOLDER = "exercises/library/figures"
CATALOGUE = "exercises/library"
STANCES = "exercises/library/figures/stances.yaml"

Raw = dict[str, object]
RAW: TypeAdapter[dict[str, Raw]] = TypeAdapter(Annotated[dict[str, Raw], Field(min_length=1)])
FIGURE: TypeAdapter[Figure] = TypeAdapter(Figure)
POSES = ("start", "end")
ANGLES = {"hip", "knee", "shoulder", "elbow"}
PLACED = {"at", "by", "toward"}
SIDES = {"legs": ("n", "f"), "arms": ("na", "fa")}


class Unreadable(Exception):
    """A file of drawings is not what it should be."""


@cache
def figures() -> Mapping[str, Figure]:
    """Every drawing by the slug of its exercise."""
    stances = _file(ROOT / STANCES)
    found: dict[str, Figure] = {}
    for path in sorted((ROOT / FOLDER).glob("*.yaml")):
        if path == ROOT / STANCES:
            continue
        for slug, said in _file(path).items():
            if slug in found:
                raise Unreadable(f"{path.name}: {slug} is drawn twice")
            try:
                found[slug] = typed(FIGURE, _resolved(said, stances))
            except Exception as error:
                raise Unreadable(f"{path.name}{pointer(slug)}: {error}") from error
    return found


def _file(path: Path) -> dict[str, Raw]:
    text = read(path, root=ROOT)
    said = text.typed(RAW)
    if said is None:
        raise Unreadable("; ".join(map(str, text.findings)))
    return said


def _resolved(said: Raw, stances: Mapping[str, Raw]) -> Raw:
    """With the stances they start from written out; the end starts from the start."""
    out = dict(said)
    before: Raw = {}
    for name in POSES:
        if name in said:
            out[name] = before = _pose(said[name], stances, before)
    for name in ("faint", "others"):
        more = said.get(name, [])
        assert isinstance(more, list)
        out[name] = [_pose(one, stances, before) for one in more]
    return out


def _pose(said: object, stances: Mapping[str, Raw], before: Raw) -> Raw:
    assert isinstance(said, dict)
    stance = said.get("stance")
    pose = _pose(stances[stance], stances, {}) if stance else before
    spread: Raw = {}
    for name, value in said.items():
        if name == "stance":
            continue
        for one in SIDES.get(name, (name,)):
            spread[one] = _laid(spread.get(one), value)
    return {**pose, **{name: _laid(pose.get(name), value) for name, value in spread.items()}}


def _laid(below: object, above: object) -> object:
    """A limb that is told its angles no longer reaches for a place."""
    if isinstance(below, dict) and isinstance(above, dict):
        if ANGLES & above.keys() and "at" not in above:
            below = {name: value for name, value in below.items() if name not in PLACED}
        return {**below, **above}
    return above


@cache
def catalogue() -> Mapping[str, list[dict[str, str]]]:
    """The entries of the catalogue, file by file."""
    found = {}
    for path in sorted((ROOT / CATALOGUE).glob("*.yaml")):
        entries = read(path, root=ROOT).value
        assert isinstance(entries, list)
        found[path.stem] = entries
    return found


@cache
def titles() -> Mapping[str, str]:
    """What the catalogue calls each exercise."""
    return {entry["slug"]: entry["title"] for group in catalogue().values() for entry in group}


@cache
def shapes(slug: str) -> tuple[Shape, ...]:
    """The drawing as plain shapes on a paper of 320 × 200, from behind to the front."""
    return tuple(shapes_of(figures()[slug]))


@cache
def svg(slug: str) -> str:
    return svg_of(shapes(slug), title=titles()[slug], about=alt(slug))


def alt(slug: str) -> str:
    """What the drawing shows, in words."""
    return figures()[slug].alt


def reportlab_drawing(slug: str, *, width: float = 240) -> Drawing:
    """For a PDF, `width` points wide."""
    return drawing_of(shapes(slug), width=width)
