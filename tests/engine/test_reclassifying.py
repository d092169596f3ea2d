"""When a clinician is asked to look at the protocol again (protocols.md section 10.5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from protocols.engine.day import Day, Measured
from protocols.knowledge import rules, safety
from tests.builders import FIRST, judged

NERVE, GLIDES, PHT, LUMBAR, ROOT = (
    "reclassify-nerve", "consider-glides", "consider-pht", "consider-lumbar", "consider-root",
)  # fmt: skip
CODES = {NERVE, GLIDES, PHT, LUMBAR, ROOT}


def asked(slug: str, told: dict[int, dict[str, Any]], until: int = 14) -> list[tuple[int, str]]:
    """What is asked on which day of a course, by what was told on which."""
    days = [Day(on=FIRST + timedelta(days=n - 1), planned=0, **told.get(n, {}))
            for n in range(1, until + 1)]  # fmt: skip
    found = []
    for n, one in enumerate(judged(days, slug), start=1):
        found += [(n, alert.code) for alert in one.alerts if alert.level == "routine"]
    return [(n, code) for n, code in found if code in CODES]


def test_they_are_those_of_the_library() -> None:
    known = safety().red_flags
    assert {row["code"] for row in rules().reclassify} == CODES | {"review-6wk"}
    for code in CODES:
        assert (known[code].level, known[code].asked, known[code].staff_only) == (
            "routine", False, True,
        )  # fmt: skip


WORDED: dict[str, Any] = {"nerve_worded": 1}


@pytest.mark.parametrize(
    ("slug", "told", "expected"),
    [
        ("hs-grade-1", {1: WORDED}, []),
        ("hs-grade-1", {1: WORDED, 7: WORDED}, [(7, NERVE)]),
        ("hs-grade-1", {1: WORDED, 8: WORDED}, []),
        ("hs-grade-3", {3: {"nerve_worded": 2}}, [(3, NERVE)]),
        ("hs-grade-2", {1: WORDED, 2: WORDED, 3: WORDED}, [(2, NERVE)]),
        ("hs-grade-2", dict.fromkeys((1, 2, 3, 4), WORDED), [(2, NERVE), (4, NERVE)]),
        ("neural-thigh", {1: WORDED, 2: WORDED}, []),
        ("pht", {1: WORDED, 2: WORDED}, []),
    ],
)
def test_two_nerve_words_on_two_check_ins_in_seven_days(
    slug: str, told: dict[int, dict[str, Any]], expected: list[tuple[int, str]]
) -> None:
    assert asked(slug, told) == expected


SITS: dict[str, Any] = {"worse_with": ("sit_bone_sitting",)}


@pytest.mark.parametrize(
    ("slug", "days", "expected"),
    [
        ("hs-grade-1", [1, 2, 3, 4], []),
        ("hs-grade-1", [1, 2, 3, 4, 7], [(7, PHT)]),
        ("hs-grade-1", [1, 2, 3, 4, 8], []),
        ("deep-gluteal", range(1, 12), [(5, PHT), (10, PHT)]),
        ("pht", range(1, 12), []),
    ],
)
def test_pain_at_the_sit_bone_on_five_of_seven_days(
    slug: str, days: list[int], expected: list[tuple[int, str]]
) -> None:
    assert asked(slug, dict.fromkeys(days, SITS)) == expected


@pytest.mark.parametrize("code", ["uphill", "cough", "sneeze", "sitting", "downhill", "standing"])
def test_what_speaks_of_the_back(code: str) -> None:
    told: dict[int, dict[str, Any]] = {2: {"worse_with": (code,)}}
    speaks = code not in ("downhill", "standing")
    assert asked("neural-thigh", told) == ([(2, LUMBAR)] if speaks else [])
    assert asked("hs-grade-1", told) == []


def measured(**values: float) -> dict[str, Any]:
    return {"measured": tuple(Measured(metric, value) for metric, value in values.items())}


@pytest.mark.parametrize(
    ("slug", "expected"), [("hs-grade-1", [(2, LUMBAR)]), ("lumbar-referred", [])]
)
def test_worse_uphill_is_asked_once(slug: str, expected: list[tuple[int, str]]) -> None:
    told = {2: measured(hill_pattern=2), 5: measured(hill_pattern=2)}
    assert asked(slug, told) == expected


def test_found_again_after_it_was_not_so_it_is_asked_again() -> None:
    told = {n: measured(hill_pattern=value) for n, value in ((2, 2), (4, 1), (6, 2))}
    assert asked("hs-grade-1", told) == [(2, LUMBAR), (6, LUMBAR)]


def test_the_sit_bone_is_looked_at_before_the_back() -> None:
    told = {n: dict(SITS) for n in range(1, 6)}
    told[5] |= measured(hill_pattern=2)
    assert asked("hs-grade-1", told) == [(5, PHT)]
    told[8] = {"closed": (PHT,)}
    assert asked("hs-grade-1", told) == [(5, PHT), (8, LUMBAR)]


CALM = {"settle_min": 5, "night_symptoms": 0, "constant_symptoms": 0, "leg_sx_code": 2}


@pytest.mark.parametrize(
    ("slug", "found", "expected"),
    [
        ("hs-grade-1", {"slump_positive": 1, **CALM}, [(2, GLIDES)]),
        ("hs-grade-1", {"slump_positive": 0, **CALM}, []),
        ("hs-grade-1", {"slump_positive": 1}, []),
        ("hs-grade-1", {"slump_positive": 1, **CALM, "settle_min": 11}, []),
        ("hs-grade-1", {"slump_positive": 1, **CALM, "night_symptoms": 1}, []),
        ("neural-thigh", {"slump_positive": 1, **CALM}, []),
        ("deep-gluteal", {"neuro_exam_normal": 0}, [(2, ROOT)]),
        ("deep-gluteal", {"neuro_exam_normal": 1}, []),
        ("neural-thigh", {"neuro_exam_normal": 0}, []),
    ],
)
def test_what_clinicians_find(
    slug: str, found: dict[str, float], expected: list[tuple[int, str]]
) -> None:
    assert asked(slug, {2: measured(**found)}) == expected


SESSION: dict[str, Any] = {"done": 1, "during": 0}


@pytest.mark.parametrize(
    ("told", "is_asked"),
    [
        ({1: SESSION | {"settle_min": 5}}, True),
        ({1: SESSION | {"settle_min": 5}, 2: SESSION}, True),
        ({1: SESSION | {"settle_min": 11}, 2: SESSION}, False),
        ({1: SESSION | {"settle_min": 5}, 2: {"settle_min": 11}}, True),
    ],
)
def test_how_fast_it_settles_is_that_of_the_last_session_that_told_it(
    told: dict[int, dict[str, Any]], is_asked: bool
) -> None:
    calm = {name: value for name, value in CALM.items() if name != "settle_min"}
    found = asked("hs-grade-1", told | {3: measured(slump_positive=1, **calm)})
    assert found == [(3, GLIDES)] * is_asked


def test_it_holds_progress_back_until_somebody_has_looked() -> None:
    days = [Day(on=FIRST, planned=0, worse_with=("cough",)),
            Day(on=FIRST + timedelta(days=1), planned=0, closed=(LUMBAR,))]  # fmt: skip
    one, other = judged(days, "neural-thigh")
    assert one.after.reviews == frozenset({LUMBAR})
    assert not other.after.reviews
