"""Vectors, frames and outlines: the little geometry that a figure of sticks and circles needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import acos, atan2, cos, degrees, hypot, pi, radians, sin, sqrt
from typing import NamedTuple

Point = tuple[float, float]
AROUND = 20  # corners of a circle in an outline
_DIRECTIONS = [(cos(2 * pi * n / AROUND), sin(2 * pi * n / AROUND)) for n in range(AROUND)]


class Vec(NamedTuple):
    x: float
    y: float
    z: float

    def plus(self, other: Vec, times: float = 1.0) -> Vec:
        return Vec(self.x + other.x * times, self.y + other.y * times, self.z + other.z * times)

    def minus(self, other: Vec) -> Vec:
        return self.plus(other, -1.0)

    def times(self, by: float) -> Vec:
        return Vec(self.x * by, self.y * by, self.z * by)

    def dot(self, other: Vec) -> float:
        return self.x * other.x + self.y * other.y + self.z * other.z

    def cross(self, other: Vec) -> Vec:
        return Vec(
            self.y * other.z - self.z * other.y,
            self.z * other.x - self.x * other.z,
            self.x * other.y - self.y * other.x,
        )

    @property
    def length(self) -> float:
        return sqrt(self.dot(self))

    def unit(self) -> Vec:
        return self.times(1 / self.length)


class Frame(NamedTuple):
    """A part of the body that can turn: its front, its upper end, its near side."""

    front: Vec
    up: Vec
    near: Vec

    def pitched(self, angle: float) -> Frame:
        """Bowed forward."""
        c, s = cos(radians(angle)), sin(radians(angle))
        front = self.front.times(c).plus(self.up, -s)
        return Frame(front, self.up.times(c).plus(self.front, s), self.near)

    def rolled(self, angle: float) -> Frame:
        """Tilted toward the near side."""
        c, s = cos(radians(angle)), sin(radians(angle))
        near = self.near.times(c).plus(self.up, -s)
        return Frame(self.front, self.up.times(c).plus(self.near, s), near)

    def turned(self, angle: float) -> Frame:
        """Turned about its own length, the front toward the near side."""
        c, s = cos(radians(angle)), sin(radians(angle))
        front = self.front.times(c).plus(self.near, s)
        return Frame(front, self.up, self.near.times(c).plus(self.front, -s))


UPRIGHT = Frame(Vec(1, 0, 0), Vec(0, 1, 0), Vec(0, 0, 1))


def bent_between(root: Vec, end: Vec, upper: float, lower: float, toward: Vec) -> Vec:
    """The middle joint of a limb of two lengths, bent in the direction `toward`.

    A limb that is too short for its end is stretched out toward it.
    """
    way = end.minus(root)
    far = min(way.length, (upper + lower) * 0.9995)
    along = way.unit()
    share = (upper**2 - lower**2 + far**2) / (2 * far)
    aside = toward.plus(along, -toward.dot(along)).unit()
    return root.plus(along, share).plus(aside, sqrt(max(upper**2 - share**2, 0)))


def angle_between(one: Vec, other: Vec) -> float:
    """In degrees."""
    return degrees(acos(max(-1.0, min(1.0, one.unit().dot(other.unit())))))


def direction(x: float, y: float) -> float:
    """In degrees, from the first axis."""
    return degrees(atan2(y, x))


def hull(points: Iterable[Point]) -> list[Point]:
    """The convex outline of a set of points (Andrew's monotone chain)."""
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return ordered

    def half(along: Sequence[Point]) -> list[Point]:
        chain: list[Point] = []
        for point in along:
            while len(chain) > 1 and _turns_right(chain[-2], chain[-1], point):
                chain.pop()
            chain.append(point)
        return chain[:-1]

    return half(ordered) + half(ordered[::-1])


def _turns_right(a: Point, b: Point, c: Point) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0


def rounded(discs: Iterable[tuple[Point, float]]) -> list[Point]:
    """The outline of what is spanned between discs: a limb from its two ends."""
    return hull(
        (x + radius * c, y + radius * s) for (x, y), radius in discs for c, s in _DIRECTIONS
    )


def arc(middle: Point, start: Point, end: Point, *, further: float = 0.0) -> list[Point]:
    """From the direction of `start` to that of `end` round a middle, the shorter way."""
    first = atan2(start[1] - middle[1], start[0] - middle[0])
    sweep = (atan2(end[1] - middle[1], end[0] - middle[0]) - first + pi) % (2 * pi) - pi
    near = hypot(start[0] - middle[0], start[1] - middle[1]) + further
    far = hypot(end[0] - middle[0], end[1] - middle[1]) + further
    steps = max(4, int(abs(sweep) / 0.15))
    return [
        (
            middle[0] + (near + (far - near) * n / steps) * cos(first + sweep * n / steps),
            middle[1] + (near + (far - near) * n / steps) * sin(first + sweep * n / steps),
        )
        for n in range(steps + 1)
    ]
