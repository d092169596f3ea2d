"""When a clinician is asked to look at the protocol again (section 10.5).

Each is a routine item for people. None names a cause, and none is shown to the patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from protocols.engine.case import A_DAY, Case, Nerve, Pattern, Sample
from protocols.engine.day import Day
from protocols.engine.glides import STRAIN, Irritability, NerveSigns, irritability

# As protocols name their conditions.
TENDON = "proximal_hamstring_tendinopathy"
NEURAL = "neural_dynamics_thigh"
LUMBAR = "lumbar_referred_pain"
GLUTEAL = "deep_gluteal_syndrome"

HILL, SLUMP, SETTLE = "hill_pattern", "slump_positive", "settle_min"
UP = 2
SIT_BONE = "sit_bone_sitting"
OF_THE_BACK = frozenset({"uphill", "cough", "sneeze", "sitting"})

NERVE, GLIDES, TENDON_LOOK, BACK, ROOT = (
    "reclassify-nerve", "consider-glides", "consider-pht", "consider-lumbar", "consider-root",
)  # fmt: skip


def reclassified(case: Case, nerve: Nerve) -> tuple[Pattern, tuple[str, ...]]:
    """What later dates have to know of the kind of pain, and what this date asks a clinician.

    What patients tick counts from the date after the one on which it was asked last; what
    clinicians find is asked once for as long as it holds.
    """
    pattern = _with(case.state.pattern, case.day)
    asked = [code for code, rule in TOLD.items() if rule(case, pattern)]
    opened = case.state.reviews.union(asked)
    found = {GLIDES: _glides(case, pattern, nerve), BACK: _uphill(case, pattern)}
    found[ROOT] = _root(case, nerve)
    held = frozenset(code for code, is_so in found.items() if is_so)
    if TENDON_LOOK in opened:  # looked at before the back
        asked = [code for code in asked if code != BACK]
        held -= {BACK}
    asked += sorted(held - pattern.holding - set(asked))
    if asked or held != pattern.holding:
        when = {**pattern.asked, **dict.fromkeys(asked, case.day.on)}
        pattern = replace(pattern, asked=when, holding=held)
    return pattern, tuple(asked)


def _with(pattern: Pattern, day: Day) -> Pattern:
    found: dict[str, Any] = {}
    if day.is_session and day.settle_min is not None:
        found["settle_min"] = day.settle_min
    for one in day.measured:
        if one.metric == HILL:
            found["hill"] = (day.on, one.value, one.record)
        elif one.metric == SLUMP:
            found["slump"] = (day.on, one.value, one.record)
        elif one.metric == SETTLE:
            found["settle_min"] = int(one.value)
    return replace(pattern, **found) if found else pattern


# --- What patients tell -----------------------------------------------------------------------


def _nerve_words(case: Case, pattern: Pattern) -> bool:
    """A strain, and enough nerve words in enough check-ins within 7 days."""
    if case.course.protocol.condition != STRAIN or not case.day.nerve_worded:
        return False
    days = _days(case, pattern, NERVE, int(case.numbers["nerve_words_days"]))
    return sum(day.nerve_worded for day in days) >= case.numbers["nerve_words_check_ins"]


def _sit_bone(case: Case, pattern: Pattern) -> bool:
    """Pain at the sit bone with long sitting on 5 of 7 days; that protocol itself needs no hint."""
    if case.course.protocol.condition == TENDON or SIT_BONE not in case.day.worse_with:
        return False
    days = _days(case, pattern, TENDON_LOOK, int(case.numbers["sit_bone_within_days"]))
    return sum(SIT_BONE in day.worse_with for day in days) >= case.numbers["sit_bone_days"]


def _back(case: Case, pattern: Pattern) -> bool:
    """Altered neural dynamics, and worse uphill or with cough, sneeze or sitting."""
    is_neural = case.course.protocol.condition == NEURAL
    return is_neural and not OF_THE_BACK.isdisjoint(case.day.worse_with)


def _days(case: Case, pattern: Pattern, code: str, days: int) -> list[Day]:
    first = case.day.on - (days - 1) * A_DAY
    asked: date | None = pattern.asked.get(code)
    if asked is not None:
        first = max(first, asked + A_DAY)
    return [case.day, *(one.day for one in case.back_to(first))]


# --- What clinicians find ---------------------------------------------------------------------


def _glides(case: Case, pattern: Pattern, nerve: Nerve) -> bool:
    """A strain, a positive slump test, and low irritability."""
    if case.course.protocol.condition != STRAIN or not _is(pattern.slump, 1):
        return False
    signs = NerveSigns(
        settle_min=pattern.settle_min,
        at_night=nerve.at_night,
        constant=nerve.constant,
        below_knee_at_rest=nerve.below_knee,
        last_n_red=nerve.last_n_red,
    )
    return irritability(signs, case.day.on, case.numbers)[0] is Irritability.LOW


def _uphill(case: Case, pattern: Pattern) -> bool:
    """Worse uphill than on the flat, whatever the protocol, but for that of the back itself."""
    return case.course.protocol.condition != LUMBAR and _is(pattern.hill, UP)


def _root(case: Case, nerve: Nerve) -> bool:
    """Deep gluteal syndrome, and a neurological examination that is not normal."""
    return case.course.protocol.condition == GLUTEAL and _is(nerve.exam, 0)


def _is(sample: Sample | None, value: float) -> bool:
    return sample is not None and sample[1] == value


Rule = Callable[[Case, Pattern], bool]
TOLD: Mapping[str, Rule] = {NERVE: _nerve_words, TENDON_LOOK: _sit_bone, BACK: _back}
