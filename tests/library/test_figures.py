"""The drawings: bodies that could be, on the ground they stand on, and a drawing for everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from io import BytesIO, StringIO
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from django.core.management import call_command

from exercises import figures
from exercises.figures import body, drawing, scene, space
from exercises.pictures import pictures

SLUGS = sorted(figures.figures())
CLOSE = 2.0  # cm: flesh gives way
BOTH = {
    "feet": ("n.heel", "f.heel"), "heels": ("n.heel", "f.heel"), "toes": ("n.toe", "f.toe"),
    "hands": ("n.hand", "f.hand"), "knees": ("n.knee", "f.knee"),
    "elbows": ("n.elbow", "f.elbow"),
}  # fmt: skip
HELD = "held"  # by water, by a machine
BONES = {
    ("hip", "knee"): body.THIGH, ("knee", "ankle"): body.SHANK,
    ("shoulder", "elbow"): body.UPPER_ARM, ("elbow", "wrist"): body.FOREARM,
    ("wrist", "hand"): body.HAND,
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


class Somebody(NamedTuple):
    """One body of a drawing: where it stands, how it is said and as what it was built."""

    place: str
    figure: scene.Figure
    of: str
    pose: body.Pose
    body: body.Body


@cache
def everybody() -> list[Somebody]:
    found = []
    for slug in SLUGS:
        stage = scene.staged(figures.figures()[slug])
        figure = stage.figure
        for name, one in stage.bodies.items():
            found.append(Somebody(f"{slug}, {name}", figure, name, getattr(figure, name), one))
        more = ((figure.faint, stage.faint), (figure.others, stage.others))
        for poses, bodies in more:
            for pose, one in zip(poses, bodies, strict=True):
                found.append(Somebody(f"{slug}, beside", figure, "start", pose, one))
    return found


# --- All of them ------------------------------------------------------------------------------


def test_every_exercise_is_drawn_and_nothing_else():
    assert set(SLUGS) == set(figures.titles())
    assert set(pictures()) == set(SLUGS)


def test_the_drawings_are_those_of_the_poses():
    call_command("content_sheet", check=True, stdout=StringIO())


def test_no_joint_bends_as_nobody_can():
    broken = {one.place: body.ranges_broken(one.body) for one in everybody()}
    assert {place: joints for place, joints in broken.items() if joints} == {}


def test_nothing_sinks_into_the_ground():
    sunk = {
        (one.place, part): low
        for one in everybody()
        for part in one.body.balls
        if (low := one.body.lowest(part)) < -CLOSE
    }
    assert sunk == {}


def test_what_carries_a_body_touches_something():
    floating = {
        (one.place, part): gap
        for one in everybody()
        for part, gap in gaps(one)
        if gap > CLOSE + 0.2
    }
    assert floating == {}
    assert [one.place for one in everybody() if not one.pose.touch] == []


def gaps(one: Somebody) -> Iterator[tuple[str, float]]:
    """How far each part that is said to carry the body is from the surface nearest to it."""
    surfaces = list(scene.surfaces(one.figure, one.of))
    for word in set(one.pose.touch) - {HELD}:
        for part in BOTH.get(word, (word,)):
            over = [place.x for place, _ in one.body.balls[part]]
            middle = sum(over) / len(over)
            under = [high for high, x0, x1 in surfaces if x0 - 3 <= middle <= x1 + 3]
            yield part, min(abs(one.body.lowest(part) - high) for high in under)


def test_limbs_keep_their_length():
    for one in everybody():
        for side in ("n", "f"):
            for (upper, lower), length in BONES.items():
                a, b = one.body.joints[f"{side}.{upper}"], one.body.joints[f"{side}.{lower}"]
                assert a.minus(b).length == pytest.approx(length, abs=0.1), (one.place, upper)


def test_everything_is_on_the_paper():
    for slug in SLUGS:
        left, top, right, bottom = drawing.bounds(figures.shapes(slug))
        assert (min(left, top), right <= drawing.WIDTH, bottom <= drawing.HEIGHT) == (
            0, True, True,
        ), slug  # fmt: skip


def test_a_drawing_is_a_document_of_its_own():
    """It reads without the page around it, and passes the strictest policy of that page."""
    for slug, picture in pictures().items():
        drawn = picture.content.decode()
        root = ElementTree.fromstring(drawn)

        assert root.get("role") == "img"
        assert root.findtext(f"{SVG}title") == figures.titles()[slug]
        assert root.findtext(f"{SVG}desc") == figures.alt(slug) == picture.alt
        used = {node.tag.removeprefix(SVG) for node in root.iter()}
        assert used <= {"svg", "title", "desc", "path", "circle"}
        assert re.findall(r"style=|href|script|url\(", drawn) == []
        assert len(picture.content) < 20_000


def test_its_words_say_what_is_seen_and_no_side():
    for slug in SLUGS:
        said = figures.alt(slug)
        assert 20 <= len(said) <= 300, slug
        assert said[0].isupper(), slug
        assert said.endswith("."), slug
        assert not re.search(r"\b(left|right) (leg|knee|foot|side|hip)\b", said), slug


def test_the_leg_an_exercise_is_about_is_marked():
    """Where a leg works alone, it is marked; where both do the same, none is."""
    sides = {"affected": "one", "each_side": "one", "unaffected": "other", "bilateral": "none"}
    marks = {"n": "one", "f": "other", "none": "none"}
    found = {}
    for entry in (entry for group in figures.catalogue().values() for entry in group):
        mark = marks[figures.figures()[entry["slug"]].mark]
        if sides.get(entry["side"], mark) != mark:
            found[entry["slug"]] = mark
    assert found == {
        # seen from the side only as a trunk, or both legs do the same
        "co-plank-rotating": "none",
        "mo-side-glide-wall": "none",
        # the sole that is looked at
        "ed-foot-check": "one",
    }


def test_a_pdf_draws_the_same():
    from reportlab.graphics import renderPDF

    for slug in ("sg-nordic", "ed-pacing"):
        drawn = figures.reportlab_drawing(slug, width=200)
        assert (drawn.width, drawn.height) == (200, 125)
        renderPDF.drawToFile(drawn, file := BytesIO())
        assert file.getvalue().startswith(b"%PDF")


# --- The kit ----------------------------------------------------------------------------------


def test_upright_is_a_person_of_170_centimetres():
    found = body.body_of(body.Pose())
    tall = max(place.y + radius for balls in found.balls.values() for place, radius in balls)

    assert tall == pytest.approx(body.HEIGHT, abs=6)
    assert found.lowest("n.heel") == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("leg", "joint", "way"),
    [
        pytest.param({"hip": 90}, "knee", (1, 0, 0), id="hip flexion lifts the thigh forward"),
        pytest.param({"hip": -30}, "knee", (-1, 0, 0), id="extension takes it back"),
        pytest.param({"abd": 40}, "knee", (0, 0, 1), id="abduction takes it to its side"),
        pytest.param({"knee": 90}, "ankle", (-1, 0, 0), id="knee flexion takes the shank back"),
        pytest.param({"ankle": 30}, "toe", (0, 1, 0), id="dorsiflexion lifts the toes"),
        pytest.param({"rot": 60}, "toe", (0, 0, 1), id="external rotation turns the toes out"),
    ],
)
def test_joints_turn_as_clinicians_say(leg, joint, way):
    straight = body.body_of(body.Pose(pelvis=[0, 0, 0])).joints[f"n.{joint}"]
    turned = body.body_of(body.Pose(pelvis=[0, 0, 0], n=body.Leg(**leg))).joints[f"n.{joint}"]

    assert turned.minus(straight).dot(space.Vec(*way)) > 5


def test_both_sides_mirror_each_other():
    leg = body.Leg(hip=30, abd=20, rot=25, knee=40, turn=15)
    found = body.body_of(body.Pose(pelvis=[0, 0, 0], n=leg, f=leg)).joints

    for name in ("knee", "ankle", "heel", "toe"):
        near, far = found[f"n.{name}"], found[f"f.{name}"]
        assert near == pytest.approx((far.x, far.y, -far.z))


def test_a_limb_laid_between_places_has_the_angles_of_one_that_was_bent():
    bent = body.body_of(body.Pose(pelvis=[0, 0, 0], n=body.Leg(hip=50, knee=70)))
    laid = body.body_of(body.Pose(pelvis=[0, 0, 0], n=body.Leg(at=list(bent.joints["n.ankle"]))))

    assert laid.angles["n.hip"] == pytest.approx(50, abs=0.5)
    assert laid.angles["n.knee"] == pytest.approx(70, abs=0.5)


def test_a_joint_bent_too_far_and_a_limb_too_short_are_noticed():
    pose = body.Pose(pelvis=[0, 0, 0], n=body.Leg(knee=170), f=body.Leg(at=[60.0, -70.0, 0.0]))

    assert body.ranges_broken(body.body_of(pose)).keys() == {"n.knee", "f.leg.short of"}
