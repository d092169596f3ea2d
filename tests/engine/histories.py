"""Generated courses: all ten protocols, any phase, and most of what can happen to a patient.

A history is a row of segments: calm runs, which lead to proposals, dates without a session, and
single odd dates between them. Hypothesis draws little and shrinks to few dates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from protocols import playing
from protocols.case_files import ROOT
from protocols.engine import predicate
from protocols.engine.case import Course, Judged
from protocols.engine.day import Approval, Clearance, Day, Measured, Reported
from protocols.engine.progression import Late, replay
from protocols.engine.storing import day_as_json
from protocols.simulation import planner
from tests.builders import FIRST, numbers, protocol

SLUGS = tuple(sorted(path.name.split(".")[0] for path in (ROOT / playing.LIBRARY).glob("*.yaml")))
ALL = 99  # sets: as many as are planned, whatever that is
CODES = (
    "age-review", "gap-7", "high-pain-before", "late-data", "night_pain", "red-after-regress",
    "regress-in-phase-1", "review-4wk", "review-6wk", "session-during-stop",
)  # fmt: skip
FLAGS = (
    Reported("calf_swelling_dvt_suspected", "urgent"),
    Reported("ces_bladder", "emergency"),
    Reported("night_pain", "routine"),
)


@dataclass(frozen=True)
class History:
    """A course, and the facts of its dates. What a clinician decided is part of them."""

    course: Course
    days: tuple[Day, ...]
    late: tuple[Late, ...] = ()

    def judged(self) -> tuple[Judged, ...]:
        return replay(self.course, self.days, self.late)

    def but(self, at: int, **said: Any) -> History:
        """The same, but for what one date says."""
        days = [replace(day, **said) if n == at else day for n, day in enumerate(self.days)]
        return replace(self, days=tuple(days))

    def __repr__(self) -> str:
        """What was said, and nothing else."""
        said = [day_as_json(day) for day in self.days]
        late = [{"arrives": f"{one.arrives}", **day_as_json(one.day)} for one in self.late]
        slug, start = self.course.protocol.slug, self.course.start_phase_id
        return f"<{slug} from {start}, baseline {self.course.baseline}, {said}, late {late}>"


@cache
def sets_of_plan(slug: str) -> Callable[..., int]:
    return planner(protocol(slug))


@cache
def all_clear(slug: str) -> tuple[Measured, ...]:
    """What leads out of every phase of a protocol, and a worst pain that has fallen."""
    limits: dict[str, float] = {}
    for phase in protocol(slug).phases:
        for one in phase.exit:
            rule = predicate.parse(one.when)
            known = limits.setdefault(rule.metric, rule.limit)
            limits[rule.metric] = (min if rule.compare == "<=" else max)(known, rule.limit)
    return (*(Measured(*one) for one in limits.items()), Measured("nprs_worst", 1))


PAIN = st.integers(0, 10)
MAYBE = st.none() | PAIN

Said = dict[str, Any]
CALM: Said = {"done": ALL, "before": 1, "during": 1, "next_morning": 1, "settle_min": 5}


def _segment(slug: str) -> st.SearchStrategy[list[Said]]:
    """A few dates that follow each other: mostly calm ones, which is what proposals need."""
    of, clear = protocol(slug), all_clear(slug)
    phases = [phase.id for phase in of.phases]
    worse = [replace(one, value=one.value + step) for one in clear for step in (-3, 3)]
    often_false = st.sampled_from([False, False, False, True])
    calm = st.builds(
        lambda length, pain, measured: [
            CALM
            | {"before": pain, "during": pain, "next_morning": pain}
            | ({"measured": clear} if measured and n % 4 == 0 else {})
            for n in range(length)
        ],
        st.integers(1, 9) | st.just(30),
        st.integers(0, of.limits.progress),
        st.sampled_from([True, True, False]),
    )
    away = st.builds(
        lambda length, excused: [{"excused": excused}] * length,
        st.integers(1, 8) | st.just(16),
        often_false,
    )
    odd = st.fixed_dictionaries(
        {
            "done": st.sampled_from([0, ALL, ALL, 1, 4, 9]),
            "before": MAYBE,
            "during": MAYBE,
            "next_morning": MAYBE,
            "settle_min": st.sampled_from([None, 0, 5, 10, 11, 60, 61]),
            "spread": often_false,
            "pain_otherwise": st.sampled_from([None, None, 3, 7, 9]),
            "measured": st.sampled_from([(), clear, *((one,) for one in worse)]),
            "excused": often_false,
        }
    )
    sore = st.integers(of.limits.progress, of.limits.severe).map(lambda n: CALM | {"during": n})
    event = st.one_of(
        st.just({"closed": CODES}),
        st.just({"clearance": Clearance(), "closed": CODES}),
        st.sampled_from(["", *phases]).map(lambda one: {"clearance": Clearance(one)}),
        st.builds(Approval, st.sampled_from(phases), since=st.sampled_from([None, FIRST])).map(
            lambda one: {"approval": one}
        ),
        st.sampled_from(FLAGS).map(lambda one: {"reported": (one,)}),
        st.sampled_from(CODES).map(lambda one: {"opened": (one,)}),
        st.just({"approval": Approval(ends=True)}),
    ).map(lambda said: CALM | said)
    one = st.one_of(odd, sore, event).map(lambda said: [said])
    rest = st.builds(lambda n: [{"before": of.limits.red}] * n, st.integers(1, 3))  # S-PRE
    return st.one_of(calm, one, calm, one, away, rest)


SEGMENTS = {slug: st.lists(_segment(slug), min_size=1, max_size=12) for slug in SLUGS}
PHASES = {slug: st.sampled_from([one.id for one in protocol(slug).phases]) for slug in SLUGS}


@st.composite
def histories(draw: st.DrawFn, *, late: bool = False) -> History:
    """A course of some weeks. A clinician who approves proposals does so the next morning."""
    slug = draw(st.sampled_from(SLUGS))
    course = Course(
        protocol=protocol(slug),
        numbers=numbers(),
        first=FIRST,
        planned=sets_of_plan(slug),
        baseline=draw(st.sampled_from([6, None, 2])),
        start_phase_id=draw(PHASES[slug]),
    )
    told = [said for segment in draw(SEGMENTS[slug]) for said in segment]
    days = tuple(Day(on=FIRST + timedelta(days=n), **said) for n, said in enumerate(told))
    if draw(st.booleans()):
        answered = replay(
            course, days, decide=lambda one: playing.as_proposed(course.protocol, one)
        )
        days = tuple(one.day for one in answered)
    return History(course, days, draw(_late(days)) if late and len(days) > 1 else ())


@st.composite
def _late(draw: st.DrawFn, days: tuple[Day, ...]) -> tuple[Late, ...]:
    """What some dates turned out to be: a log nobody knew of, another pain, another rating."""
    answered = [n for n, day in enumerate(days[1:]) if day.approval] or [0]
    found = []
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(days) - 2) | st.sampled_from(answered))
        arrives = draw(st.integers(at + 1, len(days) - 1))
        said = draw(
            st.one_of(
                st.just({"done": ALL, "before": 1, "during": 1, "next_morning": 1}),
                st.just({"done": 0}),
                PAIN.map(lambda pain: {"during": pain}),
                MAYBE.map(lambda pain: {"next_morning": pain}),
                st.sampled_from(FLAGS).map(lambda one: {"reported": (one,)}),
                st.booleans().map(lambda excused: {"excused": excused}),
            )
        )
        found.append(Late(FIRST + timedelta(days=arrives), replace(days[at], **said)))
    return tuple(found)


def at_size(size: int, seed: int, **drawn: st.SearchStrategy[Any]) -> Callable[..., Any]:
    """Try what follows on so many examples; the same seed draws the same ones."""

    def tried(holds: Callable[..., None]) -> None:
        told = settings(
            max_examples=size,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        seeded(seed)(told(given(**drawn)(holds)))()

    return tried
