"""Worked cases: plays a case through the engine, and tells the first difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import cast

from exercises.loader import semver
from exercises.reading import Finding, pointer, read
from protocols.case_files import ROOT, WEEKDAYS, CaseDate, CaseFile, Expected, NerveAnswers, lived
from protocols.engine.case import PROPOSED, Course, Judged, Sample, State
from protocols.engine.day import Approval, Colour, Day, Numbers
from protocols.engine.definition import Protocol, parse
from protocols.engine.easing import Occurrence, e1
from protocols.engine.glides import STRAIN, TensionerFacts, irritability, n_tens, signs_of
from protocols.engine.progression import planned_on, replay
from protocols.knowledge import numbers

LIBRARY = "protocols/library"


@dataclass(frozen=True, slots=True)
class Played:
    """One date as judged, and where it differs from what the case expects."""

    number: int  # D of the case: 1 is the date the episode starts
    judged: Judged
    planned_next: int  # sets of the date after it
    eased: Mapping[str, str]
    irritability: str
    tensioner: tuple[str, ...]
    differences: tuple[str, ...]


def play(case: CaseFile, protocol: Protocol) -> tuple[Played, ...]:
    """Every date through the production engine."""
    known = numbers()
    course = course_of(case, protocol, known)
    days, late = lived(case, known)
    if case.approvals == "next_morning":
        judged = replay(course, days, late, lambda one: as_proposed(protocol, one))
    else:
        judged = replay(course, days, late)
    return tuple(_played(case, judged, n, known) for n in range(len(judged)))


def findings(case: CaseFile, protocol: Protocol) -> Iterator[Finding]:
    """Every date on which a protocol answers differently than a case expects."""
    if unknown := unknown_phases(case, protocol):
        yield Finding("unknown", "", f"{case.protocol} has no {', '.join(unknown)}", "its phases")
        return
    for n, one in enumerate(play(case, protocol)):
        for told in one.differences:
            name, _, message = told.partition(": ")
            at = pointer("dates", n, "expect", name)
            yield Finding("worked-case", at, f"{one.judged.on}: {message}", "what the case says")


def unknown_phases(case: CaseFile, protocol: Protocol) -> list[str]:
    """Phases a case names and the protocol does not have."""
    known = {phase.id for phase in protocol.phases}
    approved = {one.approved for one in case.dates} - {"", "end"}
    cleared = {one.cleared for one in case.dates if isinstance(one.cleared, str)}
    start = {case.phase} - {""}
    return sorted((start | approved | cleared | set(case.planned)) - known)


def course_of(case: CaseFile, protocol: Protocol, numbers: Numbers) -> Course:
    def planned(state: State, on: date) -> int:
        sets = case.planned.get(state.phase_id, 0)
        return sets if isinstance(sets, int) else sets.get(WEEKDAYS[on.weekday()], 0)

    person = case.person
    of_age = numbers["age_review_under"] <= person.age <= numbers["age_review_over"]
    return Course(
        protocol=protocol,
        numbers=numbers,
        first=date.fromisoformat(case.starts),
        planned=planned,
        baseline=person.baseline_nprs_worst,
        joined=date.fromisoformat(case.joins) if case.joins else None,
        start_phase_id=case.phase,
        reviews=frozenset({"age-review"} if person.new_pain and not of_age else ()),  # AG7
    )


def as_proposed(protocol: Protocol, judged: Judged) -> Approval | None:
    """A clinician who approves every proposal."""
    if judged.outcome not in PROPOSED:
        return None
    number = protocol.phase(judged.phase_id).number
    if number == len(protocol.phases):
        return Approval(ends=True)
    return Approval(protocol.phases[number].id)


def _played(case: CaseFile, judged: Sequence[Judged], n: int, numbers: Numbers) -> Played:
    one = judged[n]
    tomorrow = Day(on=one.on + timedelta(days=1))
    level, hidden = _nerve(case, judged[: n + 1], numbers) if case.tensioner else ("", ())
    played = Played(
        number=(one.on - one.case.course.first).days + 1,
        judged=one,
        planned_next=planned_on(one.case.course, one.after, tomorrow),
        eased=_eased(case, n, numbers),
        irritability=level,
        tensioner=hidden,
        differences=(),
    )
    return replace(played, differences=tuple(_differences(case.dates[n].expect, played)))


def _eased(case: CaseFile, n: int, numbers: Numbers) -> dict[str, str]:
    """E1: what stands in for each exercise on a date, after all that was done before it."""
    found: dict[str, str] = {}
    for slug, facts in case.exercises.items():
        done: list[Occurrence] = []
        for m, one in enumerate(case.dates[: n + 1]):
            on = date.fromisoformat(one.on)
            easing = e1(done, on, has_easier=bool(facts.easier), numbers=numbers)
            swapped = easing is not None and easing.to == "easier"
            if m == n and easing is not None:
                found[slug] = facts.easier if swapped else "half"
            elif slug in one.pains:
                lower = facts.easier_ceiling if swapped else None
                ceiling = facts.ceiling if lower is None else lower
                done.append(Occurrence(on, one.pains[slug], ceiling))
    return found


def _nerve(
    case: CaseFile, judged: Sequence[Judged], numbers: Numbers
) -> tuple[str, tuple[str, ...]]:
    """Irritability after the last of these dates, and what keeps a tensioner hidden."""
    assert case.tensioner is not None
    told, last, repaired = case.dates[: len(judged)], judged[-1], case.tensioner.repaired_on
    answers = next((one.nerve for one in reversed(told) if one.nerve), NerveAnswers())
    signs = signs_of(last, numbers, **answers.model_dump())
    level, _ = irritability(signs, last.on, numbers)
    protocol = last.case.course.protocol
    facts = TensionerFacts(
        irritability=level,
        neuro_exam=_newest(judged, "neuro_exam_normal"),
        slider_days=_slider_days(told, judged),
        is_strain_phase_1=protocol.condition == STRAIN and last.case.phase.number == 1,
        repaired_on=date.fromisoformat(repaired) if repaired else None,
        open_flags=last.after.reviews.union(one.code for one in last.after.stop),
        switched_on=case.tensioner.switched_on,
    )
    found = n_tens(facts, last.on, numbers)
    return level.value, tuple(one.gate.rpartition("/")[2] for one in found if not one.passed)


def _slider_days(told: Sequence[CaseDate], judged: Sequence[Judged]) -> list[tuple[date, Colour]]:
    pairs = zip(told, judged, strict=True)
    return [(verdict.on, verdict.colour) for one, verdict in pairs if one.slider and verdict.counts]


def _newest(judged: Sequence[Judged], metric: str) -> Sample | None:
    """Across phases: N-TENS asks for the age alone."""
    for one in reversed(judged):
        for told in one.day.measured:
            if told.metric == metric:
                return one.on, told.value, told.record
    return None


# --- Differences ------------------------------------------------------------------------------


def _differences(expected: Expected | None, played: Played) -> Iterator[str]:
    if expected is None:
        return
    judged = played.judged
    told: Mapping[str, tuple[object, object]] = {
        "phase": (expected.phase, judged.case.phase.number),
        "planned": (expected.planned, judged.planned),
        "colour": (expected.colour, judged.colour.value),
        "decision": (expected.decision, judged.outcome.value),
        "rule": (expected.rule, judged.rule),
        "eased": (expected.eased, played.eased),
        "irritability": (expected.irritability, played.irritability),
    }
    for name, (wanted, found) in told.items():
        if wanted is not None and wanted != found:
            yield f"{name}: expected {wanted}, got {found}"
    if judged.rule == "R15" or expected.failed:
        yield from _list_difference("failed", expected.failed or [], judged.failed)
    if expected.tensioner is not None:
        yield from _list_difference("tensioner", expected.tensioner, played.tensioner)
    alerts = [f"{alert.level}:{alert.code}" for alert in judged.alerts]
    yield from _list_difference("alerts", expected.alerts, alerts)


def _list_difference(name: str, wanted: Sequence[str], found: Sequence[str]) -> Iterator[str]:
    if sorted(wanted) != sorted(found):
        yield f"{name}: expected {', '.join(wanted) or 'none'}, got {', '.join(found) or 'none'}"


def protocol_named(slug: str) -> Protocol:
    """The newest version of a protocol among the library's files; KeyError where there is none."""
    files = sorted(
        (ROOT / LIBRARY).glob(f"{slug}.v*.yaml"),
        key=lambda path: semver(path.stem.removeprefix(f"{slug}.v")),
    )
    if not files:
        raise KeyError(slug)
    return parse(cast(dict[str, object], read(files[-1], root=ROOT).value))
