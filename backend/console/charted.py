"""What selectors answer, as values of charts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from backend.care.models import Progression, Session
from backend.care.selectors import Course
from backend.console.charts import words
from backend.console.charts.doses import Dose, DosePoint
from backend.console.charts.dots import Cohort, Dot, DotGroup
from backend.console.charts.heat import Heat, HeatCell, HeatColumn, HeatRow, day_columns
from backend.console.charts.ladder import Criterion
from backend.console.charts.states import State
from backend.console.charts.strips import Pain, PainDay, Strip, StripDay, Week
from backend.console.charts.timeline import (
    Band,
    Decision,
    FlagMark,
    LimitStep,
    Measure,
    Recovery,
    TimelineDay,
)
from backend.reports.adherence import Group
from backend.reports.recent import RecentDay
from backend.reports.timeline import Limit, Lived, Mark, Marker, Metric, Span, Timeline, Timeliness
from protocols.engine.adherence import (
    LEAST_DUE,
    Pair,
    is_on_target,
    monday_of,
    ratio,
    ratios_of,
)
from protocols.engine.definition import Dose as PrescribedDose
from protocols.engine.definition import Reps
from protocols.engine.plan import Prescribed, prescribed_amount

A_DAY = timedelta(days=1)
A_WEEK = timedelta(days=7)
NO_NAMES: Mapping[Any, Any] = MappingProxyType({})

# --- C1 ---------------------------------------------------------------------------------------

STATES = {
    "completed": State.DONE,
    "partial": State.PARTLY,
    "skipped": State.SKIPPED,
    "missed": State.MISSED,
    "not_heard": State.NOT_HEARD,
    "excused": State.EXCUSED,
    "none": State.NOT_DUE,
    "due": State.OPEN,
    "open": State.OPEN,
}
DOSE = "dose_ratio"
MEASURES: Mapping[str, Measure] = {
    DOSE: Measure("Dose done", is_ratio=True),
    "reps": Measure("Repetitions"),
    "hold_s": Measure("Held", "s"),
    "duration_s": Measure("Time", "s"),
    "distance_m": Measure("Distance", "m"),
    "session_load_au": Measure("Session load"),
}
DECIDED = {
    Mark.PROGRESSION_APPROVED: "Approved: {}",
    Mark.PROGRESSION_DECLINED: "Declined: {}",
    Mark.PROGRESSION_MODIFIED: "Approved with changes: {}",
    Mark.STEPPED_BACK: "{}",
    Mark.CLEARANCE: "{}",
}


def from_timeline(
    found: Timeline,
    *,
    today: date,
    measure: str = DOSE,
    ended: Mapping[UUID, date] = NO_NAMES,
) -> Recovery:
    """`today` is the patient's. `ended` tells of plans that are over their last date."""
    return Recovery(
        first=found.first,
        last=found.last,
        today=today,
        days=tuple(_day(one, measure) for one in found.days),
        measure=MEASURES[measure],
        bands=tuple(_bands(found, ended)),
        limits=tuple(_limits(found.limits)),
        decisions=tuple(_decisions(found)),
        flags=tuple(
            FlagMark(one.on, one.text, stops=one.kind is Mark.STOP)
            for one in found.markers
            if one.kind in (Mark.FLAG, Mark.STOP)
        ),
    )


def _day(one: Lived, measure: str) -> TimelineDay:
    """Of what was prescribed only the whole dose is known, which is 1."""
    is_dose = measure == DOSE
    return TimelineDay(
        on=one.on,
        state=STATES[one.outcome],
        due=one.due,
        done=one.done,
        pain_during=one.pain_during,
        pain_morning=one.pain_morning,
        load=one.dose_ratio if is_dose else one.load.get(measure),
        prescribed=1.0 if is_dose and one.due else None,
        late=one.timeliness is Timeliness.LATE,
    )


def _limits(limits: Iterable[Limit]) -> Iterator[LimitStep]:
    for one in limits:
        if one.metric is Metric.PAIN_DURING:
            yield LimitStep(one.since, one.value)


def _decisions(found: Timeline) -> Iterator[Decision]:
    for one in found.markers:
        if one.kind is Mark.PAUSE:
            yield Decision(max(one.on, found.first), _pause(one))
        elif one.kind in DECIDED:
            yield Decision(one.on, DECIDED[one.kind].format(one.text))


def _pause(one: Marker) -> str:
    return f"{one.text} until {words.day_short(one.until)}" if one.until else one.text


def _bands(found: Timeline, ended: Mapping[UUID, date]) -> Iterator[Band]:
    """The plan begun last comes first; one that runs beside it has a lane of its own."""
    plans: dict[UUID, list[Span]] = {}
    for span in found.phases:
        plans.setdefault(span.assignment_id, []).append(span)
    for spans in plans.values():
        spans.sort(key=lambda span: span.begun)
    taken: list[list[tuple[date, date]]] = []
    for id, spans in sorted(plans.items(), key=lambda plan: plan[1][0].begun, reverse=True):
        first, last = spans[0].begun, min(ended.get(id, found.last), found.last)
        lane = next(
            (
                place
                for place, others in enumerate(taken)
                if all(last < begun or over < first for begun, over in others)
            ),
            len(taken),
        )
        if lane == len(taken):
            taken.append([])
        taken[lane].append((first, last))
        ends = [span.begun - A_DAY for span in spans[1:]]
        for span, end in zip(spans, [*ends, last], strict=True):
            yield Band(span.phase.number, span.phase.title, span.begun, min(end, last), lane)


# --- C2, C3 -----------------------------------------------------------------------------------


def strip_from(days: Sequence[RecentDay], today: date | None = None) -> Strip:
    return Strip(tuple(StripDay(one.on, State(one.letter), one.late) for one in days), today)


def pain_from(days: Sequence[RecentDay], limit: int | None) -> Pain:
    """Where nothing was due nothing could hurt."""
    return Pain(
        tuple(
            PainDay(one.on, one.pain_during, State(one.letter) is not State.NOT_DUE) for one in days
        ),
        limit,
    )


# --- C4 ---------------------------------------------------------------------------------------


def from_progression(row: Progression) -> tuple[Criterion, ...]:
    return tuple(_criterion(one) for one in row.criteria)


def _criterion(one: Mapping[str, Any]) -> Criterion:
    return Criterion(
        text=one["text"],
        result=one["result"],
        required=one["required"],
        operator=one["operator"],
        unit=one["unit"],
        threshold=one.get("threshold"),
        observed=one.get("observed"),
        samples=one["samples"],
        samples_needed=one["samples_needed"],
        note=one["finding"],
    )


# --- C5 ---------------------------------------------------------------------------------------


def heat_of_days(
    groups: Iterable[Group],
    first: date,
    *,
    of: str = "Patient",
    links: Mapping[str, str] = NO_NAMES,
) -> Heat:
    """Of groups `with_days`. `links` are by key."""
    rows = [
        _row(one, [HeatCell(state=State(letter)) for letter in one.days or ""], links)
        for one in groups
    ]
    return Heat(
        day_columns(first, max((len(row.cells) for row in rows), default=0)), tuple(rows), of
    )


def heat_of_weeks(
    groups: Iterable[Group],
    weeks: Mapping[str, Mapping[date, Pair]],
    first: date,
    last: date,
    *,
    of: str = "Patient",
    links: Mapping[str, str] = NO_NAMES,
) -> Heat:
    """With what `weekly` answers for the same scope."""
    mondays = _mondays(first, last)
    columns = tuple(
        HeatColumn(str(monday.isocalendar().week), f"Week from {words.day_named(monday)}")
        for monday in mondays
    )
    rows = []
    for one in groups:
        pairs = [weeks.get(one.key, {}).get(monday, (0, 0)) for monday in mondays]
        cells = [HeatCell(ratio=ratio(done, due)) for due, done in pairs]
        rows.append(_row(one, cells, links))
    return Heat(columns, tuple(rows), of)


def _row(one: Group, cells: Sequence[HeatCell], links: Mapping[str, str]) -> HeatRow:
    ratios = ratios_of(one.counts)
    return HeatRow(
        label=one.label,
        cells=tuple(cells),
        done=ratios.session_adherence,
        low=ratios.session_adherence_low,
        dose=ratios.dose_adherence,
        few=one.spread is not None and one.spread.is_small,
        link=links.get(one.key, ""),
    )


def _mondays(first: date, last: date) -> list[date]:
    begun = monday_of(first)
    return [begun + place * A_WEEK for place in range((last - begun).days // 7 + 1)]


# --- C6 ---------------------------------------------------------------------------------------


def cohort_from(groups: Iterable[tuple[Group, Sequence[Group]]], target: int) -> Cohort:
    """Each group with its patients, as counted in the scope of the group. Who had too little due
    has no part in median and quartiles, and no dot. `target` is in ten-thousandths."""
    return Cohort(tuple(_dots(one, patients) for one, patients in groups), target / 10_000)


def _dots(group: Group, patients: Sequence[Group]) -> DotGroup:
    measured = [one for one in patients if one.counts.due >= LEAST_DUE]
    spread = group.spread
    return DotGroup(
        label=group.label,
        dots=tuple(_dot(one) for one in measured),
        median=spread.median if spread else None,
        quartiles=spread.quartiles if spread else None,
        left_out=len(patients) - len(measured),
        few=spread is not None and spread.is_small,
    )


def _dot(one: Group) -> Dot:
    ratios = ratios_of(one.counts)
    assert ratios.session_adherence is not None
    low = ratios.session_adherence_low
    return Dot(
        one.label, ratios.session_adherence, None if low == ratios.session_adherence else low
    )


# --- C7 ---------------------------------------------------------------------------------------


def target_weeks(
    weeks: Mapping[date, Pair], first: date, last: date, *, target: int, today: date
) -> tuple[Week, ...]:
    """Of one patient, of what `weekly` answers. `target` is in ten-thousandths."""
    now = monday_of(today)
    found = []
    for monday in _mondays(first, last):
        due, done = weeks.get(monday, (0, 0))
        reached = bool(due) and is_on_target(due, done, target)
        found.append(Week(monday, due, done, reached, is_now=monday == now))
    return tuple(found)


# --- C8 ---------------------------------------------------------------------------------------


def doses_from(
    sessions: Iterable[Session], courses: Iterable[Course], titles: Mapping[str, str]
) -> tuple[Dose, ...]:
    """The exercises that sessions did, in order of their first date. `titles` are by slug.

    What was asked on its day stands in each session; up to where its range goes, in the plan.
    """
    known = {row.id: row for course in courses for row in _prescribed(course)}
    points: dict[tuple[str, str], list[DosePoint]] = {}
    told = sorted(
        (one for one in sessions if one.local_date is not None),
        key=lambda one: (str(one.local_date), str(one.phone_id)),
    )
    for one in told:
        for item in (one.derived or {}).get("items", ()):
            if (row := known.get(item["prescription_id"])) is None:
                continue
            assert one.local_date is not None
            low = item["prescribed"]
            point = DosePoint(
                on=one.local_date, performed=item["performed"], low=low, high=_high(row, low),
                late=one.late,
            )  # fmt: skip
            points.setdefault((row.exercise, item["dose_unit"]), []).append(point)
    return tuple(
        Dose(titles.get(slug, slug), unit, tuple(of_one)) for (slug, unit), of_one in points.items()
    )


def _prescribed(course: Course) -> Iterator[Prescribed]:
    for version in course.versions:
        for phase in course.protocol.phases:
            yield from course.prescriptions(version, phase.id)


def _high(row: Prescribed, low: float) -> float:
    """The other end of the range of which this is the lower one."""
    for dose in (row.dose, *(stage.dose for stage in row.stages)):
        if prescribed_amount(dose, row.unit) == low:
            return prescribed_amount(_at_most(dose), row.unit)
    return low


def _at_most(dose: PrescribedDose) -> PrescribedDose:
    if dose.reps is None or dose.reps_by_set:
        return dose
    return replace(dose, reps=Reps(dose.reps.max, dose.reps.max))
