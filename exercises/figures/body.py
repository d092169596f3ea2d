"""A body from joint angles: where its joints are, what lies on the ground, what is seen of it.

Lengths are in centimetres, of a person of 170 cm, by the segment lengths of Drillis and Contini
as Winter gives them (Biomechanics and Motor Control of Human Movement, figure 4.1). Angles are
clinical, in degrees: 0 everywhere is upright standing, looking toward the right of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import asin, degrees
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from exercises.figures.space import UPRIGHT, Frame, Vec, angle_between, bent_between, direction

HEIGHT = 170.0
THIGH, SHANK, ANKLE = 0.245 * HEIGHT, 0.246 * HEIGHT, 0.039 * HEIGHT
TRUNK, NECK = 0.288 * HEIGHT, 0.052 * HEIGHT
UPPER_ARM, FOREARM, HAND = 0.186 * HEIGHT, 0.146 * HEIGHT, 9.0  # the hand half closed
HEEL, TOE = 6.0, 0.152 * HEIGHT - 6.0 - 3.0  # behind and before the ankle, to the round of the toe
HIP_HALF, SHOULDER_HALF = 8.5, 16.0
VERTEBRAE = 6  # joints of the drawn spine

# Half widths and half depths of the trunk from the pelvis up, at shares of its length.
TRUNK_SHAPE = ((0.0, 8.0, 9.0), (0.33, 6.5, 8.0), (0.66, 8.5, 9.2), (1.0, 9.5, 8.0))
THICK = {
    "hip": 8.2, "knee": 5.6, "ankle": 3.8, "heel": 3.4, "ball": 2.6, "toe": 2.2,
    "shoulder": 5.2, "elbow": 4.0, "wrist": 3.0, "hand": 2.9, "neck": 4.8,
    "skull": 9.6, "chin": 5.2,
}  # fmt: skip

# What a joint can do (degrees): wider than the norms of a clinic, narrower than any contortion.
RANGES = {
    "hip": (-30, 130), "abd": (-35, 55), "rot": (-45, 65), "knee": (0, 150), "ankle": (-72, 32),
    "turn": (-30, 35), "shoulder": (-65, 182), "elbow": (0, 150), "wrist": (-85, 85),
    "lumbar": (-45, 65), "thoracic": (-30, 45), "bend": (-40, 40), "twist": (-50, 50),
    "neck": (-60, 65), "short of": (-200, 1),
}  # fmt: skip

Triple = Annotated[list[float], Field(min_length=3, max_length=3)]


class Said(BaseModel):
    """The shape of what stands in a file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Leg(Said):
    """By its angles, or by where the ankle is (`at`) and where the knee points (`toward`)."""

    hip: float = 0
    abd: float = 0
    rot: float = 0
    knee: float = 0
    ankle: float = 0  # dorsiflexion
    turn: float = 0  # inversion
    at: Triple | str | None = None
    by: Triple = [0, 0, 0]
    toward: Triple | None = None
    flat: bool = False  # the sole level, whatever the shank does


class Arm(Said):
    """By its angles, or by what the wrist is `at` and where the elbow points (`toward`)."""

    shoulder: float = 0
    abd: float = 6
    rot: float = 0
    elbow: float = 8
    wrist: float = 0
    at: Triple | str | None = None
    by: Triple = [0, 0, 0]
    toward: Triple | None = None


class Pose(Said):
    """A body in one position. Signs: forward, toward the near side, inversion are positive."""

    lean: float = 0  # of the pelvis
    roll: float = 0
    face: float = 0  # turned toward the viewer
    lumbar: float = 0
    thoracic: float = 0
    bend: float = 0
    twist: float = 0
    neck: float = 0
    look: float = 0
    n: Leg = Leg()
    f: Leg = Leg()
    na: Arm = Arm()
    fa: Arm = Arm()
    pelvis: Triple | None = None
    pin: str = "pelvis"  # what lies at x 0 where no place of the pelvis is said
    over: float = 0  # the height of what it lies on
    touch: list[str] = []


@dataclass(slots=True)
class Part:
    """What is drawn in one go: outlines, each spanned between balls."""

    name: Literal["trunk", "head", "n.leg", "f.leg", "n.arm", "f.arm"]
    spans: list[list[tuple[Vec, float]]]
    depth_at: list[Vec]


@dataclass(slots=True)
class Body:
    joints: dict[str, Vec] = field(default_factory=dict)
    balls: dict[str, list[tuple[Vec, float]]] = field(default_factory=dict)  # what may touch
    angles: dict[str, float] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def lowest(self, name: str) -> float:
        return min(place.y - radius for place, radius in self.balls[name])

    def moved(self, by: Vec) -> None:
        self.joints = {name: place.plus(by) for name, place in self.joints.items()}
        self.balls = {
            name: [(place.plus(by), radius) for place, radius in balls]
            for name, balls in self.balls.items()
        }
        for part in self.parts:
            part.spans = [
                [(place.plus(by), radius) for place, radius in span] for span in part.spans
            ]
            part.depth_at = [place.plus(by) for place in part.depth_at]


def body_of(pose: Pose) -> Body:
    """The body in a pose, on its place: said, or let down until something touches."""
    body = Body()
    pelvis = UPRIGHT.turned(pose.face).rolled(pose.roll).pitched(pose.lean)
    start = Vec(*pose.pelvis) if pose.pelvis else Vec(0, 0, 0)
    top = _trunk(body, pose, pelvis, start)
    waiting = []
    legs = (("n", pose.n), ("f", pose.f))
    for side, leg in sorted(legs, key=lambda one: isinstance(one[1].at, str)):
        _leg(body, side, leg, pelvis)
    for side, arm in (("n", pose.na), ("f", pose.fa)):
        if arm.at is None:
            _arm(body, side, arm, top)
        else:
            waiting.append((side, arm))
    if pose.pelvis is None:
        floor = min(body.lowest(name) for name in body.balls)
        body.moved(Vec(-body.joints[pose.pin].x, pose.over - floor, 0))
    for side, arm in waiting:  # they reach for a place, or for another part of the body
        _arm(body, side, arm, top)
    return body


def _sign(side: str) -> int:
    return 1 if side == "n" else -1


def _trunk(body: Body, pose: Pose, frame: Frame, start: Vec) -> Frame:
    step = TRUNK / VERTEBRAE
    spine, frames = [start], [frame]
    half = VERTEBRAE // 2
    for number in range(VERTEBRAE):
        flexed = pose.lumbar / half if number < half else pose.thoracic / half
        frame = frame.pitched(flexed).rolled(pose.bend / VERTEBRAE)
        frame = frame.turned(pose.twist / VERTEBRAE)
        spine.append(spine[-1].plus(frame.up, step))
        frames.append(frame)
    rings = []
    for share, wide, deep in TRUNK_SHAPE:
        at = round(share * VERTEBRAE)
        rings.append([(spine[at].plus(frames[at].near, side * wide), deep) for side in (1, -1)])
    shoulders = {
        side: spine[-1].plus(frame.near, _sign(side) * SHOULDER_HALF).plus(frame.up, -2)
        for side in ("n", "f")
    }
    throat = frame.pitched(pose.neck * 0.5)
    skull = throat.pitched(pose.neck * 0.5).turned(pose.look)
    nape = spine[-1].plus(frame.up, 2)
    atlas = nape.plus(throat.up, NECK)
    crown = atlas.plus(skull.up, 8).plus(skull.front, 2)
    chin = atlas.plus(skull.up, 1.5).plus(skull.front, 6.5)
    body.joints |= {
        "pelvis": start, "waist": spine[half], "chest": spine[-2], "neck": nape, "head": crown,
        "back": spine[half + 1].plus(frames[half + 1].front, -9),
        "n.shoulder": shoulders["n"], "f.shoulder": shoulders["f"],
        "n.hip": start.plus(frames[0].near, HIP_HALF),
        "f.hip": start.plus(frames[0].near, -HIP_HALF),
    }  # fmt: skip
    body.balls |= {
        "pelvis": rings[0],
        "waist": rings[1],
        "chest": rings[2],
        "shoulders": [*rings[3], *((place, THICK["shoulder"]) for place in shoulders.values())],
        "head": [(crown, THICK["skull"]), (chin, THICK["chin"])],
    }
    body.angles |= {
        name: getattr(pose, name) for name in ("lumbar", "thoracic", "bend", "twist", "neck")
    }
    yoke = [*rings[3], *((place, THICK["shoulder"]) for place in shoulders.values())]
    spans = [[*rings[n], *rings[n + 1]] for n in range(len(rings) - 1)]
    spans += [yoke, [(nape, THICK["neck"]), (atlas, THICK["neck"])]]
    body.parts.append(Part("trunk", spans, [start, spine[-1]]))
    head = [(crown, THICK["skull"]), (chin, THICK["chin"])]
    nose = [(crown.plus(skull.front, 8.2).plus(skull.up, up), 1.6) for up in (-1, -4.2)]
    nose[1] = (nose[1][0].plus(skull.front, 2.6), 1.3)
    body.parts.append(Part("head", [head, nose], [crown]))
    return frame


def _place(body: Body, at: list[float] | str, by: list[float]) -> Vec:
    place = body.joints[at] if isinstance(at, str) else Vec(*at)
    return place.plus(Vec(*by))


def _leg(body: Body, side: str, leg: Leg, pelvis: Frame) -> None:
    sign, hip = _sign(side), body.joints[f"{side}.hip"]
    if leg.at is None:
        upper = pelvis.pitched(-leg.hip).rolled(-sign * leg.abd).turned(sign * leg.rot)
        lower = upper.pitched(leg.knee)
        knee = hip.plus(upper.up, -THIGH)
        ankle = knee.plus(lower.up, -SHANK)
        turns = {"hip": leg.hip, "abd": leg.abd, "rot": leg.rot, "knee": leg.knee}
    else:
        ankle = _place(body, leg.at, leg.by)
        ahead = Vec(*leg.toward) if leg.toward else pelvis.front
        knee = bent_between(hip, ankle, THIGH, SHANK, ahead)
        upper, lower = _frames(hip, knee, ankle, ahead)
        body.angles[f"{side}.leg.short of"] = ankle.minus(hip).length - THIGH - SHANK
        ankle = knee.plus(lower.up, -SHANK)
        turns = _turns(pelvis, upper, sign) | {"knee": angle_between(upper.up, lower.up)}
    if leg.flat:
        level = Vec(lower.front.x, 0, lower.front.z).unit()
        foot = Frame(level, Vec(0, 1, 0), level.cross(Vec(0, 1, 0)))
        turns["ankle"] = degrees(asin(max(-1, min(1, foot.front.dot(lower.up)))))
    else:
        foot = lower.pitched(-leg.ankle)
        turns["ankle"] = leg.ankle
    foot = foot.rolled(sign * leg.turn)
    turns["turn"] = leg.turn
    low = ankle.plus(foot.up, THICK["heel"] - ANKLE)
    heel = low.plus(foot.front, THICK["heel"] - HEEL)
    ball = low.plus(foot.front, TOE * 0.62).plus(foot.up, THICK["ball"] - THICK["heel"])
    toe = low.plus(foot.front, TOE).plus(foot.up, THICK["toe"] - THICK["heel"])
    body.joints |= {
        f"{side}.knee": knee, f"{side}.ankle": ankle, f"{side}.heel": heel, f"{side}.toe": toe,
        f"{side}.ball": ball, f"{side}.thigh": hip.plus(knee.minus(hip), 0.5),
        f"{side}.calf": knee.plus(ankle.minus(knee), 0.5),
    }  # fmt: skip
    body.balls |= {
        f"{side}.knee": [(knee, THICK["knee"])],
        f"{side}.ankle": [(ankle, THICK["ankle"])],
        f"{side}.heel": [(heel, THICK["heel"])],
        f"{side}.toe": [(ball, THICK["ball"]), (toe, THICK["toe"])],
    }
    body.angles |= {f"{side}.{name}": angle for name, angle in turns.items()}
    spans = [
        [(hip, THICK["hip"]), (knee, THICK["knee"])],
        [(knee, THICK["knee"]), (ankle, THICK["ankle"])],
        [(ankle, THICK["ankle"]), (heel, THICK["heel"]), (ball, THICK["ball"])],
        [(ball, THICK["ball"]), (toe, THICK["toe"])],
    ]
    name: Literal["n.leg", "f.leg"] = "n.leg" if side == "n" else "f.leg"
    body.parts.append(Part(name, spans, [hip, knee, ankle]))


def _arm(body: Body, side: str, arm: Arm, top: Frame) -> None:
    sign, shoulder = _sign(side), body.joints[f"{side}.shoulder"]
    if arm.at is None:
        upper = top.pitched(-arm.shoulder).rolled(-sign * arm.abd).turned(sign * arm.rot)
        lower = upper.pitched(-arm.elbow)
        elbow = shoulder.plus(upper.up, -UPPER_ARM)
        wrist = elbow.plus(lower.up, -FOREARM)
        turns = {"shoulder": arm.shoulder, "elbow": arm.elbow}
    else:
        wrist = _place(body, arm.at, arm.by)
        back = top.front.times(-1).plus(top.near, sign * 0.5).plus(top.up, -0.4)
        behind = Vec(*arm.toward) if arm.toward else back
        elbow = bent_between(shoulder, wrist, UPPER_ARM, FOREARM, behind)
        upper, lower = _frames(shoulder, elbow, wrist, behind.times(-1))
        body.angles[f"{side}.arm.short of"] = wrist.minus(shoulder).length - UPPER_ARM - FOREARM
        wrist = elbow.plus(lower.up, -FOREARM)
        bent = angle_between(upper.up, lower.up)
        # raised sideways and back, the arm goes where flexion alone would not
        lifted = upper.up.times(-1)
        ahead, down = lifted.dot(top.front), -lifted.dot(top.up)
        behind_body = max(0.0, -degrees(asin(max(-1, min(1, ahead)))))
        turns = {"shoulder": -behind_body if down > 0 else 90, "elbow": bent}
    palm = lower.pitched(-arm.wrist)
    hand = wrist.plus(palm.up, -HAND)
    body.joints |= {f"{side}.elbow": elbow, f"{side}.wrist": wrist, f"{side}.hand": hand}
    body.balls |= {
        f"{side}.elbow": [(elbow, THICK["elbow"])],
        f"{side}.hand": [(wrist, THICK["wrist"]), (hand, THICK["hand"])],
    }
    turns["wrist"] = arm.wrist
    body.angles |= {f"{side}.{name}": angle for name, angle in turns.items()}
    spans = [
        [(shoulder, THICK["shoulder"]), (elbow, THICK["elbow"])],
        [(elbow, THICK["elbow"]), (wrist, THICK["wrist"])],
        [(wrist, THICK["wrist"]), (hand, THICK["hand"])],
    ]
    name: Literal["n.arm", "f.arm"] = "n.arm" if side == "n" else "f.arm"
    body.parts.append(Part(name, spans, [shoulder, elbow, wrist, wrist]))


def _frames(root: Vec, middle: Vec, end: Vec, ahead: Vec) -> tuple[Frame, Frame]:
    """Of the two halves of a limb that was laid between places."""
    found = []
    for high, low in ((root, middle), (middle, end)):
        up = high.minus(low).unit()
        front = ahead.plus(up, -ahead.dot(up)).unit()
        found.append(Frame(front, up, front.cross(up)))
    return found[0], found[1]


def _turns(trunk: Frame, limb: Frame, sign: int) -> dict[str, float]:
    """The angles a limb has in its joint with the trunk."""
    down = limb.up.times(-1)
    flexion = direction(-down.dot(trunk.up), down.dot(trunk.front))
    if flexion < -90:  # beyond straight up
        flexion += 360
    return {"hip": flexion, "abd": degrees(asin(max(-1, min(1, sign * down.dot(trunk.near)))))}


def ranges_broken(body: Body) -> Mapping[str, float]:
    """The joints that no person bends like that."""
    broken = {}
    for name, angle in body.angles.items():
        low, high = RANGES[name.rpartition(".")[2]]
        if not low - 0.5 <= angle <= high + 0.5:
            broken[name] = round(angle, 1)
    return broken
