"""A patient's dates in a row, as a chart draws them: what was due and done, pain, effort, load.

Closed dates are told by the day book, dates that are open still by the plan, and both by the
records as they stand. What nobody reported is absent; it is never a zero. The number of queries is
the same for a day and for a year.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Q

from backend.care.models import (
    Assignment,
    CheckIn,
    ClosedDay,
    Event,
    Flag,
    Pause,
    Progression,
    Session,
)
from backend.care.selectors import (
    Course,
    PlannedSlot,
    SlotStatus,
    closing_time,
    courses_of,
    plan_for,
    today_of,
)
from backend.clinics.models import Patient
from backend.reports.selectors import letter_of
from protocols.engine.definition import Phase, Protocol
from protocols.engine.plan import PhaseSpan
from protocols.knowledge import safety

A_DAY = timedelta(days=1)
MINUTE_S = 60
NOTHING = "none"
OUTCOMES = (*SlotStatus, NOTHING)
WORD_OF_LETTER: Mapping[str, str] = {
    "M": SlotStatus.MISSED,
    "?": SlotStatus.NOT_HEARD,
    "S": SlotStatus.SKIPPED,
    "P": SlotStatus.PARTIAL,
    "C": SlotStatus.COMPLETED,
    "X": SlotStatus.EXCUSED,
    "-": NOTHING,
}
# Of several slots, the one that is least complete tells of the date.
LEAST_FIRST = (
    SlotStatus.MISSED,
    SlotStatus.NOT_HEARD,
    SlotStatus.DUE,
    SlotStatus.OPEN,
    SlotStatus.SKIPPED,
    SlotStatus.PARTIAL,
    SlotStatus.COMPLETED,
    SlotStatus.EXCUSED,
)
DONE = (SlotStatus.COMPLETED, SlotStatus.PARTIAL)
REPORTED = (*DONE, SlotStatus.SKIPPED)


class Timeliness(StrEnum):
    ON_TIME = "on_time"
    LATE = "late"


class Mark(StrEnum):
    """What stands out on a date."""

    PROGRESSION_APPROVED = "progression_approved"
    PROGRESSION_DECLINED = "progression_declined"
    PROGRESSION_MODIFIED = "progression_modified"
    STEPPED_BACK = "stepped_back"
    STOP = "stop"
    CLEARANCE = "clearance"
    FLAG = "flag"
    PAUSE = "pause"


class Metric(StrEnum):
    """The first says up to which pain a date lets the plan go on, the others from which on it is
    RED or SEVERE, and how much more the next morning is RED."""

    PAIN_DURING = "pain_during"
    PAIN_DURING_RED = "pain_during_red"
    PAIN_DURING_SEVERE = "pain_during_severe"
    PAIN_RISE_RED = "pain_rise_red"


MARKS, METRICS = tuple(Mark), tuple(Metric)


@dataclass(slots=True)
class Lived:
    """One date. None: nobody said so."""

    on: date
    due: int = 0
    done: int = 0
    outcome: str = NOTHING
    dose_ratio: float | None = None
    timeliness: Timeliness | None = None
    pain_morning: int | None = None
    pain_before: int | None = None
    pain_during: int | None = None
    pain_after: int | None = None
    effort: float | None = None
    load: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A phase of a plan, from the date on which it began, which may lie before the chart."""

    assignment_id: UUID
    phase: Phase
    begun: date


class Marker(NamedTuple):
    on: date
    kind: Mark
    text: str
    code: str = ""  # of a flag
    until: date | None = None  # of a pause that has an end


class Limit(NamedTuple):
    since: date
    assignment_id: UUID
    metric: Metric
    value: int


@dataclass(frozen=True, slots=True)
class Timeline:
    patient: Patient
    first: date
    last: date
    days: Sequence[Lived]
    phases: Sequence[Span]
    markers: Sequence[Marker]
    limits: Sequence[Limit]


def timeline_of(
    patient: Patient, first: date, last: date, *, now: datetime, to_patient: bool
) -> Timeline:
    """The dates from `first` to `last`, at most up to today.

    Thirteen queries at most, however many dates. Those without plan and record are left out. A
    patient is not told what only asks a clinician to look.
    """
    plans = _plans(patient, first, last)
    book = _book(plans, first, last)
    told = _Told.of(patient, first, last)
    opened = _opened(patient, plans, first, min(last, today_of(patient, now)), told, now)
    spans = [*_spans(plans, book, opened)]
    progressions = _progressions(patient)
    markers = [
        *_decided(patient, progressions),
        *_stepped_back(plans, book, progressions),
        *_flagged(patient, first, last, to_patient=to_patient),
        *_cleared(patient, first, last),
        *_paused(patient, first, last),
    ]
    return Timeline(
        patient=patient,
        first=first,
        last=last,
        days=_days(patient, book, opened, told, first, last),
        phases=spans,
        markers=_in_order(
            one for one in markers if one.kind is Mark.PAUSE or first <= one.on <= last
        ),
        limits=[limit for plan in plans.values() for limit in _limits(plan)],
    )


def _in_order(markers: Iterable[Marker]) -> list[Marker]:
    return sorted(markers, key=lambda one: (one.on, one.kind, one.text, str(one.until)))


# --- What it is read from ---------------------------------------------------------------------

Plans = Mapping[UUID, Assignment]
Book = Mapping[date, Sequence[ClosedDay]]


def _plans(patient: Patient, first: date, last: date) -> Plans:
    rows = (
        Assignment.objects.filter(
            Q(ended_on=None) | Q(ended_on__gte=first), patient=patient, start_date__lte=last
        )
        .select_related("protocol_version")
        .defer("carried", "concerns", "standing", "protocol_version__document")
    )
    return {row.pk: row for row in rows.order_by("start_date", "created_at", "id")}


def _book(plans: Plans, first: date, last: date) -> Book:
    rows = ClosedDay.objects.filter(assignment__in=plans, on__range=(first, last)).only(
        "assignment_id", "on", "phase_id", "phase_started_on", "outcome", "closed_at",
        "slots_due", "slots_completed", "slots_partial", "slots_skipped", "slots_excused",
        "dose_ratios",
    )  # fmt: skip
    return {on: list(group) for on, group in groupby(rows.order_by("on", "pk"), lambda row: row.on)}


class _Log(NamedTuple):
    on: date
    slot_id: UUID | None
    phone_id: UUID
    outcome: str
    dose_ratio: float | None
    late: bool
    pain_before: int | None
    pain_during: int | None
    pain_after: int | None
    effort: float | None
    derived: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Told:
    """What the phone said, by the date it speaks of."""

    logs: Sequence[_Log]
    mornings: Mapping[date, int]

    @classmethod
    def of(cls, patient: Patient, first: date, last: date) -> _Told:
        """A log can be of a slot of the date beside its own, hence a day more at both ends."""
        logs: Iterable[Any] = (
            Session.objects.filter(
                patient=patient, local_date__range=(first - A_DAY, last + A_DAY)
            )
            .standing()
            .order_by("local_date", "phone_id")
            .values_list(
                "local_date", "slot_id", "phone_id", "outcome", "dose_ratio", "late",
                "pain_before", "pain_during", "pain_after", "content__effort", "derived",
            )
        )  # fmt: skip
        ratings = (
            CheckIn.objects.filter(
                patient=patient, local_date__range=(first, last), pain_now__isnull=False
            )
            .standing()
            .values_list(
                "local_date", "pain_now", "content__recorded_at", "content__timezone",
                "derived__rates_session_day",
            )
        )  # fmt: skip
        mornings: dict[date, int] = {}
        for on, pain, recorded_at, zone, rates in ratings:
            assert on is not None
            assert pain is not None
            if rates is not None or _is_morning(recorded_at, zone):
                mornings[on] = max(pain, mornings.get(on, pain))
        return cls([_Log(*row) for row in logs], mornings)


def _is_morning(recorded_at: str, zone: str) -> bool:
    """Until the hour until which a rating of the day before is awaited."""
    at = datetime.fromisoformat(recorded_at).astimezone(ZoneInfo(zone))
    return at.time() < closing_time()


# --- Dates that are open ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Open:
    """A date of one plan that nobody has judged for good yet."""

    on: date
    course: Course
    slots: Sequence[PlannedSlot]


def _opened(
    patient: Patient, plans: Plans, first: date, last: date, told: _Told, now: datetime
) -> list[_Open]:
    since = {
        id: max(first, plan.start_date, plan.judged_to + A_DAY if plan.judged_to else first)
        for id, plan in plans.items()
    }
    begun = min(since.values(), default=last + A_DAY)
    if begun > last:
        return []
    plan = plan_for(
        patient,
        courses_of(patient, begun, last),
        first=begun,
        days=(last - begun).days + 1,
        now=now,
        sessions=[(log.slot_id, log.outcome, log.phone_id) for log in told.logs],
    )
    return [
        _Open(day.on, course, [one for one in day.slots if one.course is course])
        for day in plan.days
        for course in day.courses
        if since.get(course.id, last) <= day.on
    ]


# --- Days -------------------------------------------------------------------------------------


def _days(
    patient: Patient,
    book: Book,
    opened: Iterable[_Open],
    told: _Told,
    first: date,
    last: date,
) -> list[Lived]:
    counted: dict[date, list[_Counted]] = defaultdict(list)
    for on, rows in book.items():
        counted[on].append(_of_closed(rows, patient))
    ratios = _best_ratios(told.logs)
    for one in opened:
        counted[one.on].append(_of_open(one, ratios))
    logs = {
        on: list(group)
        for on, group in groupby(told.logs, lambda log: log.on)
        if first <= on <= last
    }
    dates = sorted(counted.keys() | logs.keys() | told.mornings.keys())
    return [
        _lived(on, counted.get(on, ()), logs.get(on, ()), told.mornings.get(on)) for on in dates
    ]


class _Counted(NamedTuple):
    """The slots of a date, and the best dose ratios of those of which anything was told."""

    due: int
    done: int
    outcome: str
    told: int
    ratios: float


def _of_closed(rows: Sequence[ClosedDay], patient: Patient) -> _Counted:
    done = sum(row.slots_completed + row.slots_partial for row in rows)
    return _Counted(
        due=sum(row.slots_due for row in rows),
        done=done,
        outcome=WORD_OF_LETTER[letter_of(rows, patient.last_received_at)],
        told=done + sum(row.slots_skipped for row in rows),
        ratios=sum(row.dose_ratios for row in rows),
    )


def _best_ratios(logs: Iterable[_Log]) -> Mapping[UUID, float]:
    best: dict[UUID, float] = {}
    for log in logs:
        if log.slot_id is not None and log.dose_ratio is not None and log.outcome in REPORTED:
            best[log.slot_id] = max(float(log.dose_ratio), best.get(log.slot_id, 0))
    return best


def _of_open(one: _Open, ratios: Mapping[UUID, float]) -> _Counted:
    slots = [slot for slot in one.slots if slot.slot.counts]
    told = [slot for slot in slots if slot.status in REPORTED]
    return _Counted(
        due=sum(slot.status is not SlotStatus.EXCUSED for slot in slots),
        done=sum(slot.status in DONE for slot in slots),
        outcome=_least({slot.status for slot in slots}),
        told=len(told),
        ratios=sum(ratios.get(slot.slot.id, 0) for slot in told),
    )


def _least(outcomes: Iterable[str]) -> str:
    found = set(outcomes)
    return next((word.value for word in LEAST_FIRST if word in found), NOTHING)


def _lived(
    on: date, counted: Sequence[_Counted], logs: Sequence[_Log], morning: int | None
) -> Lived:
    told = sum(one.told for one in counted)
    return Lived(
        on=on,
        due=sum(one.due for one in counted),
        done=sum(one.done for one in counted),
        outcome=_least(one.outcome for one in counted),
        dose_ratio=round(sum(one.ratios for one in counted) / told, 4) if told else None,
        timeliness=_timeliness(logs),
        pain_morning=morning,
        pain_before=_worst(logs, lambda log: log.pain_before),
        pain_during=_worst(logs, lambda log: log.pain_during),
        pain_after=_worst(logs, lambda log: log.pain_after),
        effort=max((log.effort for log in logs if log.effort is not None), default=None),
        load=_load(logs),
    )


def _worst(logs: Iterable[_Log], pain: Callable[[_Log], int | None]) -> int | None:
    return max((found for log in logs if (found := pain(log)) is not None), default=None)


def _timeliness(logs: Iterable[_Log]) -> Timeliness | None:
    late = [log.late for log in logs if log.outcome in REPORTED]
    if not late:
        return None
    return Timeliness.LATE if any(late) else Timeliness.ON_TIME


def _load(logs: Iterable[_Log]) -> dict[str, float]:
    """What the exercises that count add up to, each in its unit, and effort times minutes."""
    found: dict[str, float] = {}
    for log in logs:
        if log.outcome not in DONE:
            continue
        for item in log.derived.get("items", ()):
            if item["performed"]:
                unit = item["dose_unit"]
                found[unit] = found.get(unit, 0) + item["performed"]
        seconds = log.derived.get("duration_s")
        if seconds and log.effort is not None:
            au = log.effort * seconds / MINUTE_S
            found["session_load_au"] = found.get("session_load_au", 0) + au
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: float) -> float:
    rounded = round(float(value), 2)
    return int(rounded) if rounded.is_integer() else rounded


# --- Phases and limits ------------------------------------------------------------------------


def _spans(plans: Plans, book: Book, opened: Iterable[_Open]) -> Iterator[Span]:
    lived: dict[UUID, dict[PhaseSpan, None]] = {id: {} for id in plans}
    for rows in book.values():
        for row in rows:
            lived[row.assignment_id][PhaseSpan(row.phase_id, row.phase_started_on)] = None
    for one in opened:
        lived[one.course.id][one.course.span_on(one.on)] = None
    for id, spans in lived.items():
        protocol = plans[id].protocol_version.definition
        for span in spans:
            yield Span(id, protocol.phase(span.phase_id), span.started_on)


def _limits(plan: Assignment) -> Iterator[Limit]:
    limits = plan.protocol_version.definition.limits
    for metric, value in (
        (Metric.PAIN_DURING, limits.progress),
        (Metric.PAIN_DURING_RED, limits.red),
        (Metric.PAIN_DURING_SEVERE, limits.severe),
        (Metric.PAIN_RISE_RED, limits.red_rise),
    ):
        yield Limit(plan.start_date, plan.pk, metric, value)


# --- Markers ----------------------------------------------------------------------------------

Status, Recommendation = Progression.Status, Progression.Recommendation
DECIDED: Mapping[str, Mark] = {
    Status.APPROVED: Mark.PROGRESSION_APPROVED,
    Status.DECLINED: Mark.PROGRESSION_DECLINED,
    Status.MODIFIED: Mark.PROGRESSION_MODIFIED,
}


def _progressions(patient: Patient) -> Sequence[Progression]:
    """What was decided, and what acts by itself and waits for a decision."""
    rows = (
        Progression.objects.filter(
            Q(status__in=DECIDED) | Q(status=Status.PROPOSED), patient=patient
        )
        .select_related("assignment__protocol_version", "to_protocol_version")
        .only(
            "recommendation", "status", "on", "to_phase_id", "from_phase_id", "decided_at",
            "effective_date", "assignment__protocol_version__sha256",
            "to_protocol_version__version",
        )
    )  # fmt: skip
    return list(rows.order_by("computed_at", "pk"))


def _decided(patient: Patient, rows: Iterable[Progression]) -> Iterator[Marker]:
    """A stop is ended by its clearance, which is marked by itself."""
    for row in rows:
        if row.status not in DECIDED or row.recommendation == Recommendation.STOP_AND_REVIEW:
            continue
        assert row.decided_at is not None
        on = row.effective_date or row.decided_at.astimezone(patient.zone).date()
        yield Marker(on, DECIDED[row.status], _aim(row))


def _aim(row: Progression) -> str:
    protocol = row.assignment.protocol_version.definition
    if row.to_protocol_version is not None:
        return f"Version {row.to_protocol_version.version}"
    if row.recommendation == Recommendation.STEP_BACK:
        return _back_to(protocol, row.to_phase_id)
    if row.to_phase_id:
        return f"Phase {protocol.phase(row.to_phase_id).number}"
    if row.recommendation == Recommendation.DISCHARGE:
        return "Plan completed"
    return f"Hold phase {protocol.phase(row.from_phase_id).number}"


def _back_to(protocol: Protocol, phase_id: str) -> str:
    return f"Back to phase {protocol.phase(phase_id).number}" if phase_id else "Step back"


def _stepped_back(
    plans: Plans, book: Book, progressions: Iterable[Progression]
) -> Iterator[Marker]:
    """By the day book, where a date has closed, else by what waits for a look at it."""
    told = {
        (row.assignment_id, row.on): row.to_phase_id
        for row in progressions
        if row.recommendation == Recommendation.STEP_BACK
    }
    closed = {(row.assignment_id, row.on): row for rows in book.values() for row in rows}
    found = {at for at, row in closed.items() if row.outcome == Recommendation.STEP_BACK}
    for id, on in sorted(found | (told.keys() - closed.keys()), key=str):
        if id in plans:
            protocol = plans[id].protocol_version.definition
            yield Marker(on, Mark.STEPPED_BACK, _back_to(protocol, told.get((id, on), "")))


def _flagged(patient: Patient, first: date, last: date, *, to_patient: bool) -> Iterator[Marker]:
    """What was reported stands on each of its dates, what a rule found on the newest."""
    reported = Event.objects.filter(
        patient=patient, kind=Event.Kind.REPORTED, on__range=(first, last)
    ).values_list("on", "code")
    raised = (
        Flag.objects.filter(patient=patient, observed_on__range=(first, last))
        .exclude(status=Flag.Status.AUTO_RESOLVED)
        .values_list("observed_on", "code")
    )
    known = safety().red_flags
    for on, code in sorted({*reported, *raised}):
        flag = known[code]
        if to_patient and (flag.staff_only or not (flag.sign and (flag.asked or flag.stops))):
            continue
        kind = Mark.STOP if flag.stops else Mark.FLAG
        yield Marker(on, kind, flag.sign or flag.ask, code)


def _cleared(patient: Patient, first: date, last: date) -> Iterator[Marker]:
    rows = Event.objects.filter(
        patient=patient, kind=Event.Kind.CLEARED, assignment=None, on__range=(first, last)
    )
    for on in rows.values_list("on", flat=True):
        yield Marker(on, Mark.CLEARANCE, "Stop ended")


def _paused(patient: Patient, first: date, last: date) -> Iterator[Marker]:
    rows = Pause.objects.filter(
        Q(until_on=None) | Q(until_on__gte=first),
        assignment__patient=patient,
        from_on__lte=last,
    )
    for row in rows:
        if not row.is_void:
            yield Marker(row.from_on, Mark.PAUSE, "Paused", until=row.until_on)
