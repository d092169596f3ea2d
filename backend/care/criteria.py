"""How many people would meet a criterion of a draft, asked of the dates that were judged last.

Nothing is judged anew: what judging goes on from is read, and that reaches as far back as a plan's
own criteria look. Where a criterion looks further, the answer for that plan is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.care.deciding import recall
from backend.care.models import Assignment
from backend.clinics.models import User
from protocols.engine import predicate
from protocols.engine.case import Course, Judged
from protocols.engine.definition import Criterion
from protocols.engine.gates import exit_finding
from protocols.engine.looking_back import recalled, window_from
from protocols.engine.predicate import Predicate
from protocols.knowledge import numbers
from protocols.models import ProtocolVersion

MOST = 100  # plans that are looked at: a page waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """`met` of `patients` would meet it; of `unknown` the value is missing, or not kept. Whoever
    has two plans for the condition counts once for each."""

    pointer: str
    patients: int
    met: int
    unknown: int


def counted(*, document: Mapping[str, object], by: User) -> list[Count]:
    """Each exit criterion of a draft, put to everybody whose plan is for the same condition. Three
    queries. What is no criterion yet is left out."""
    asked = dict(_criteria(document))
    condition = document.get("condition")
    if not asked or not isinstance(condition, str):
        return []
    newest = _newest_dates(condition, by)
    return [_count(pointer, criterion, newest) for pointer, criterion in asked.items()]


def _criteria(document: Mapping[str, object]) -> Iterable[tuple[str, Criterion]]:
    phases = document.get("phases")
    for number, phase in enumerate(phases if isinstance(phases, list) else ()):
        for order, one in enumerate(phase.get("exit", ())):
            try:
                predicate.parse(str(one.get("when", "")))
            except ValueError:
                continue
            yield (
                f"#/phases/{number}/exit/{order}",
                Criterion(id=str(order), when=one["when"], text="", unit="", source=""),
            )


def _newest_dates(condition: str, by: User) -> list[list[Judged]]:
    """The dates that are kept of each plan, oldest first."""
    rows = (
        Assignment.objects.visible_to(by)
        .filter(ended_on=None, carried__isnull=False, protocol_version__condition=condition)
        .defer("standing", "concerns")
        .order_by("-judged_to", "pk")[:MOST]
    )
    plans = list(rows)
    versions = ProtocolVersion.objects.in_bulk({one.protocol_version_id for one in plans})
    return [chain for one in plans if (chain := _kept(one, versions[one.protocol_version_id]))]


def _kept(plan: Assignment, version: ProtocolVersion) -> list[Judged]:
    course = Course(
        protocol=version.definition,
        numbers=numbers(),
        first=plan.phase_started_on or plan.start_date,
        planned=lambda state, on: 0,  # is kept with each date
        joined=plan.start_date,
    )
    assert plan.carried is not None
    return list(recalled(course, recall(plan.carried["chain"])))


def _count(pointer: str, criterion: Criterion, newest: Sequence[Sequence[Judged]]) -> Count:
    met = unknown = 0
    rule = predicate.parse(criterion.when)
    for chain in newest:
        finding = exit_finding(chain[-1].case, criterion)
        if finding.observed is None or not _reaches(chain, rule):
            unknown += 1
        elif finding.passed:
            met += 1
    return Count(pointer=pointer, patients=len(newest), met=met, unknown=unknown)


def _reaches(chain: Sequence[Judged], rule: Predicate) -> bool:
    """Whether all that the rule may look at is kept."""
    case = chain[-1].case
    since = case.state.window_from
    if rule.window == "episode":
        first = case.course.joined or case.course.first
    elif rule.window == "last":
        first = case.day.on if len(case.sessions(rule.size)) == rule.size else since
    else:
        first = max(since, window_from(rule, since, case.day.on, case.numbers["gate_value_days"]))
    return chain[0].on <= first
