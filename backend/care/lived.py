"""What was lived: records, assessments and events as days of a course, as the engine reads them.

A date is judged by what was known of it when it closed. What arrived later is told apart, with the
date on which it arrived (rule T8). Both follow from the facts and when they came, and from nothing
else, so the same facts give the same days at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import UUIDField

from backend.care.models import (
    Assessment,
    AssignmentVersion,
    CheckIn,
    Event,
    Revision,
    Session,
)
from backend.care.rating import RATING_REACH, Near, rated_days
from backend.care.selectors import Course, closes_at
from backend.clinics.models import Patient
from backend.queries import Given, Written
from protocols.engine import dates
from protocols.engine.case import Course as EngineCourse
from protocols.engine.case import State
from protocols.engine.day import Approval, Clearance, Day, Felt, Measured, Numbers, Reported
from protocols.engine.glides import ANSWERS
from protocols.engine.plan import PhaseSpan, days_from, sets_on
from protocols.engine.progression import Late
from protocols.engine.reclassifying import HILL, SLUMP
from protocols.knowledge import numbers, safety

A_DAY = timedelta(days=1)
SLIDER = "nerve_glide_slider"
EXCUSING = ("illness", "advised_to_rest", "glucose")  # T7
PLACES = ("none", "back_or_buttock", "thigh", "calf", "foot")  # leg_sx_code 0 to 4
SYMPTOMS_HELD = timedelta(days=7)  # how old the level before a session may be
BASELINE = "nprs_worst"
WORSE = "worse_with"
HISTORY = (HILL, SLUMP)  # what is found before a plan begins is true on its first date

Content = Mapping[str, Any]
Told = tuple[datetime, datetime | None, Content]  # from when, until when, what
Kind = Literal["session", "rating", "check_in", "measured", "assessed", "event"]


class Piece(NamedTuple):
    """What one fact says of a date, from when it was known until something else was."""

    on: date
    at: datetime
    until: datetime | None
    kind: Kind
    content: Any

    def is_known(self, at: datetime | None) -> bool:
        """At a moment; without one, now."""
        if at is None:
            return self.until is None
        return self.at <= at and (self.until is None or self.until > at)


def _tells_of_leg(piece: Piece) -> bool:
    return piece.kind == "check_in" and "leg_symptom" in piece.content


class Log(NamedTuple):
    """What is counted of a session as it stands."""

    on: date
    phone_id: UUID
    slot_id: UUID | None
    outcome: str
    dose_ratio: float
    is_late: bool


@dataclass
class Facts:
    """The facts of one course, by the date they speak of."""

    course: Course
    zones: Zones
    pieces: dict[date, list[Piece]] = field(default_factory=dict)
    logs: list[Log] = field(default_factory=list)  # as they stand now

    def add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self.pieces.setdefault(piece.on, []).append(piece)

    def take_log(
        self, phone_id: UUID, content: Mapping[str, Any], derived: Mapping[str, Any] | None
    ) -> None:
        """As `facts_of` reads it from its columns."""
        if derived is None or content.get("assignment_id") != str(self.course.id):
            return
        on, slot_id = date.fromisoformat(content["local_date"]), content.get("slot_id")
        slot_id = UUID(slot_id) if slot_id else None
        ratio, is_late = derived.get("dose_ratio", 0), derived["timeliness"] == "late"
        self.logs.append(Log(on, phone_id, slot_id, derived["outcome"], float(ratio), is_late))

    @property
    def checked_in(self) -> frozenset[date]:
        """The dates of which there is a check-in, as they stand now."""
        return frozenset(
            on
            for on, told in self.pieces.items()
            if any(piece.kind == "check_in" and piece.until is None for piece in told)
        )

    def day(self, on: date, at: datetime | None = None) -> Day:
        """The date as it was known at a moment; without one, as it is known now."""
        known = [piece for piece in self.pieces.get(on, ()) if piece.is_known(at)]
        return _day(on, known, self, at)

    def arrivals(self, on: date, closed: datetime) -> list[datetime]:
        """When what is known of a date changed after it had closed."""
        pieces = list(self.pieces.get(on, ()))
        if self.course.protocol.limits.nerve:
            for n in range(1, SYMPTOMS_HELD.days):
                pieces += filter(_tells_of_leg, self.pieces.get(on - n * A_DAY, ()))
        moments = (
            moment
            for piece in pieces
            for moment in (piece.at, piece.until)
            if moment is not None and moment > closed
        )
        return sorted(set(moments))

    def leg_before(self, on: date, at: datetime | None) -> int | None:
        """The level of leg symptoms before the sessions of a date: the newest told of by then."""
        for n in range(SYMPTOMS_HELD.days):
            told = [
                PLACES.index(piece.content["leg_symptom"])
                for piece in self.pieces.get(on - n * A_DAY, ())
                if _tells_of_leg(piece) and piece.is_known(at)
            ]
            if told:
                return max(told)
        return None


@dataclass(frozen=True)
class Zones:
    """Which zone the patient was in, date by date."""

    current: ZoneInfo
    changes: tuple[tuple[datetime, ZoneInfo], ...] = ()

    @classmethod
    def of(cls, patient: Patient) -> Zones:
        changes = [(datetime.fromisoformat(at), ZoneInfo(name)) for at, name in patient.zones]
        return cls(patient.zone, tuple(changes))

    def on(self, on: date) -> ZoneInfo:
        """The zone in which a date ended."""
        for at, zone in reversed(self.changes):
            if at.astimezone(zone).date() <= on:
                return zone
        return self.changes[0][1] if self.changes else self.current

    def date_of(self, moment: datetime) -> date:
        for at, zone in reversed(self.changes):
            if at <= moment:
                return moment.astimezone(zone).date()
        zone = self.changes[0][1] if self.changes else self.current
        return moment.astimezone(zone).date()

    def closing(self, on: date) -> datetime:
        """When a date closes; over the date line, never before the one before it."""
        closed = closes_at(on, self.on(on)).astimezone(UTC)
        if len(self.changes) < 2:
            return closed
        return max(closed, closes_at(on - A_DAY, self.on(on - A_DAY)).astimezone(UTC))

    def cut_short(self, on: date, known: Numbers) -> bool:
        """T5: a flight east took so much of the date that it does not count."""
        begun, ended = self.on(on - A_DAY), self.on(on)
        return begun != ended and dates.is_cut_short(on, begun, ended, known)


def engine_course(
    course: Course,
    zones: Zones,
    *,
    reviews: frozenset[str],
    stop: tuple[Reported, ...],
    baseline: float | None,
) -> EngineCourse:
    """What stays the same while a course is replayed."""
    assignment, known = course.assignment, numbers()

    def planned(state: State, on: date) -> int:
        """The least of what was asked for: part of a date may be done when its plan changes."""
        return min(
            sets_on(
                on,
                span=PhaseSpan(state.phase_id, state.started_on),
                prescriptions=course.prescriptions(row, state.phase_id),
                training_days=frozenset(row.training_days),
                eased=frozenset(id for id, tally in state.eases.items() if tally.eases(on)),
                eased_ratio=known["half_dose_ratio"],
                open_gates=course.open_gates(state, on),
            )
            for row in _in_force_during(on, course, zones)
        )

    return EngineCourse(
        protocol=course.protocol,
        numbers=known,
        first=assignment.phase_started_on or assignment.start_date,
        planned=planned,
        baseline=baseline,
        joined=assignment.start_date,
        start_phase_id=assignment.start_phase_id,
        reviews=reviews,
        stop=stop,
    )


def _in_force_during(on: date, course: Course, zones: Zones) -> Iterator[AssignmentVersion]:
    """The version of a date, and what held before it where that was made on the date itself."""
    newest = course.version_on(on)
    yield newest
    for version in course.versions:
        if version.number >= newest.number:
            continue
        if newest.effective_date < on or zones.date_of(newest.made_at) < on:
            return
        if version.effective_date <= on:
            newest = version
            yield version


def standing_before(facts: Facts, first: date) -> tuple[frozenset[str], tuple[Reported, ...]]:
    """What a course begins with: review items and stops that were open before its first date."""
    known = safety().red_flags
    reviews: set[str] = set()
    stop: dict[str, Reported] = {}
    events = [
        piece.content
        for on, told in facts.pieces.items()
        if on < first
        for piece in told
        if piece.kind == "event" and piece.content.assignment_id in (None, facts.course.id)
    ]
    for event in sorted(events, key=lambda row: (row.at, row.pk or 0)):
        if event.kind == Event.Kind.REPORTED and facts.zones.date_of(event.at) >= first:
            continue  # it came later, and is told of that date
        if event.kind == Event.Kind.REPORTED and known[event.code].stops:
            stop[event.code] = Reported(event.code, known[event.code].level)
        elif event.kind == Event.Kind.REPORTED:
            reviews.add(event.code)
        elif event.kind == Event.Kind.CLOSED:
            reviews.discard(event.code)
        elif event.kind == Event.Kind.CLEARED:
            stop.clear()
    return frozenset(reviews), tuple(stop.values())


def baseline_of(facts: Facts, first: date) -> float | None:
    """The worst pain that a course started with: the newest told of up to its first date, else the
    first of its first week. What came later than that week does not count any more."""
    until = first + SYMPTOMS_HELD
    closed = facts.zones.closing(until)
    told = sorted(
        (piece.on, piece.at, piece.content.value)
        for on, pieces in facts.pieces.items()
        if on <= until
        for piece in pieces
        if piece.kind in ("measured", "assessed")
        and piece.content.metric == BASELINE
        and piece.is_known(closed)
    )
    before = [value for on, _, value in told if on <= first]
    found: list[float] = before[-1:] or [value for _, _, value in told[:1]]
    return found[0] if found else None


def is_baseline_settled(facts: Facts, first: date) -> bool:
    """Whether it was told in time. Else what phones say in the first week may make it."""
    return any(
        piece.kind in ("measured", "assessed") and piece.content.metric == BASELINE
        for on, pieces in facts.pieces.items()
        if on <= first
        for piece in pieces
        if piece.until is None
    )


def days_of(facts: Facts, first: date, last: date, now: datetime) -> tuple[list[Day], list[Late]]:
    """Each date as it was known when it closed, and what became known later.

    A date that is still open is as it is known now; on it nothing is missed yet.
    """
    days: list[Day] = []
    late: list[Late] = []
    for on in days_from(first, (last - first).days + 1):
        closed = facts.zones.closing(on)
        if closed > now:
            days.append(open_day(facts, on))
            continue
        known = facts.day(on, closed)
        days.append(known)
        arrivals = facts.arrivals(on, closed)
        by_date = {facts.zones.date_of(moment): moment for moment in arrivals if moment <= now}
        for arrives, moment in by_date.items():  # the last of each date
            told = facts.day(on, moment)
            if told != known:
                late.append(Late(arrives, told))
                known = told
    return days, late


def open_day(facts: Facts, on: date) -> Day:
    """A date that goes on. Without a session nothing is missed on it yet."""
    day = facts.day(on)
    return day if day.is_session else replace(day, planned=0)


# --- From pieces to a day ---------------------------------------------------------------------


def _day(on: date, known: Sequence[Piece], facts: Facts, at: datetime | None) -> Day:
    course = facts.course
    sessions = [piece.content for piece in known if piece.kind == "session"]
    ratings = [piece for piece in known if piece.kind == "rating"]
    measured = [piece for piece in known if piece.kind in ("measured", "assessed")]
    check_ins = [piece.content for piece in known if piece.kind == "check_in"]
    excused = course.is_paused(on)
    if not known:
        return Day(on=on, excused=excused or facts.zones.cut_short(on, numbers()))
    told = _Sessions(on, course)
    for content in sessions:
        told.take(content)
    if not told.done:
        skipped = {content.get("skip_reason") for content in sessions}
        excused = excused or bool(skipped & {*EXCUSING})
        excused = excused or facts.zones.cut_short(on, numbers())
    excused = excused or any(map(_is_glucose_block, sessions))
    events = _Events([piece.content for piece in known if piece.kind == "event"], facts.course)
    otherwise = [said["pain_now"] for said in check_ins if "pain_now" in said]
    spread = False
    if course.protocol.limits.nerve and told.leg is not None and told.settle is not None:
        before = facts.leg_before(on, at)
        rose = before is not None and told.leg > before
        spread = rose and told.settle > numbers()["spread_min"]
    day = Day(
        on=on,
        done=told.done,
        before=told.before,
        during=told.during,
        next_morning=_last_rating(ratings),
        settle_min=told.settle,
        spread=spread,
        pop_felt=told.pop_felt,
        pain_otherwise=max(otherwise, default=None),
        measured=tuple(piece.content for piece in sorted(measured, key=_moment)),
        excused=excused,
        clearance=events.clearance,
        approval=events.approval,
        closed=events.closed,
        felt=tuple(told.felt[id] for id in sorted(told.felt)),  # in whatever order they came
        slider=told.slider,
        nerve_worded=sum(map(_is_nerve_worded, check_ins)),
        worse_with=tuple(sorted({code for said in check_ins for code in said.get(WORSE, ())})),
    )
    return events.reported_on(day)


def _is_glucose_block(said: Content) -> bool:
    """No exercise that day (T7), whatever was done: positive ketones, or glucose far too low."""
    low = "glucose_mmol_l" in said and safety().glucose_flag(said["glucose_mmol_l"])
    return bool(low) or said.get("ketones") == "positive"


def _is_nerve_worded(said: Content) -> bool:
    """Whether as many nerve words were ticked as count (reclassify-nerve)."""
    words = set(said.get("words", ()))
    return bool(words) and len(words & safety().nerve_words.keys()) >= numbers()["nerve_words"]


def _moment(piece: Piece) -> tuple[datetime, str, float, str]:
    """Records of one push come at one moment and in any order: of two values the higher counts.
    What staff record has its order."""
    if piece.kind == "assessed":
        return piece.at, piece.kind, 0.0, ""
    return piece.at, piece.kind, piece.content.value, piece.content.record


def _last_rating(ratings: Sequence[Piece]) -> int | None:
    """Of two ratings of one date the later one counts (T4)."""
    if not ratings:
        return None
    told = (
        (datetime.fromisoformat(piece.content["recorded_at"]), int(piece.content["pain_now"]))
        for piece in ratings
    )
    return max(told)[1]


class _Sessions:
    """All sessions of a date together; of two pains the higher one counts."""

    def __init__(self, on: date, course: Course) -> None:
        self.on, self.course = on, course
        self.done = 0
        self.before: int | None = None
        self.during: int | None = None
        self.settle: int | None = None
        self.leg: int | None = None
        self.pop_felt = self.slider = False
        self.felt: dict[str, Felt] = {}

    def take(self, content: Mapping[str, Any]) -> None:
        self.before = _higher(self.before, content.get("pain_before"))
        self.during = _higher(self.during, content.get("pain_during"))
        self.settle = _higher(self.settle, content.get("settle_min"))
        self.pop_felt = self.pop_felt or bool(content.get("pop_felt"))
        if "leg_symptom" in content:
            self.leg = _higher(self.leg, PLACES.index(content["leg_symptom"]))
        if content["state"] == "skipped":
            return
        for entry in content.get("entries", ()):
            if entry["state"] == "done" and entry.get("sets"):
                self._entry(entry)

    def _entry(self, entry: Mapping[str, Any]) -> None:
        sets = entry["sets"]
        said = (entry.get("pain"), *(one.get("pain") for one in sets))
        worst = max((pain for pain in said if pain is not None), default=None)
        self.during = _higher(self.during, worst)
        row = self.course.named(entry.get("prescription_id", ""))
        if row is None or not row.counts:
            return
        self.done += len(sets)
        self.slider = self.slider or row.kind == SLIDER
        before = self.felt.get(row.id)
        self.felt[row.id] = Felt(
            row.id,
            _higher(before.pain if before else None, worst),
            row.pain_ceiling,
            row.easier.pain_ceiling if row.easier else None,
        )


def _higher(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


class _Events:
    """What was reported and decided with effect from one date."""

    def __init__(self, events: Iterable[Event], course: Course) -> None:
        rows = [row for row in events if row.assignment_id in (None, course.id)]
        by_kind: dict[str, list[Event]] = {}
        for row in sorted(rows, key=lambda row: (row.at, row.pk or 0)):
            by_kind.setdefault(row.kind, []).append(row)
        self.reports = by_kind.get(Event.Kind.REPORTED, [])
        last_report = {row.code: row.at for row in self.reports}
        self.closed = tuple(
            sorted(
                {
                    row.code
                    for row in by_kind.get(Event.Kind.CLOSED, ())
                    if row.code not in last_report or last_report[row.code] <= row.at
                }
            )
        )
        self.clearance: Clearance | None = None
        if cleared := by_kind.get(Event.Kind.CLEARED):
            newest = cleared[-1]
            later = [row for row in self.reports if _stops(row) and row.at > newest.at]
            self.clearance = Clearance(newest.phase_id, after_reports=not later)
            if later:  # what came before it was cleared, and does not stand with these
                self.reports = [row for row in self.reports if not _stops(row)] + later
        self.approval: Approval | None = None
        for row in [*by_kind.get(Event.Kind.APPROVED, ()), *by_kind.get(Event.Kind.ENDED, ())]:
            ends = row.kind == Event.Kind.ENDED
            self.approval = Approval(ends=True) if ends else Approval(row.phase_id, since=row.since)
        self.severe = course.protocol.limits.severe

    def reported_on(self, day: Day) -> Day:
        """With what was reported. What R4 finds by itself is not told to it twice."""
        known = safety().red_flags
        codes = dict.fromkeys(row.code for row in self.reports)
        if "severe" in codes and _is_severe(day, self.severe):
            del codes["severe"]
        return replace(day, reported=tuple(Reported(code, known[code].level) for code in codes))


def _stops(report: Event) -> bool:
    return safety().red_flags[report.code].stops


def _is_severe(day: Day, severe: int) -> bool:
    pains = (day.before, day.during, day.next_morning, day.pain_otherwise)
    return day.pop_felt or any(pain is not None and pain >= severe for pain in pains)


# --- From rows to pieces ----------------------------------------------------------------------


def session_pieces(course_id: UUID, told: Iterable[Told]) -> Iterator[Piece]:
    """Of what one session said, from when until when; what names another plan says nothing here."""
    for at, until, content in told:
        if content.get("assignment_id") == str(course_id):
            on = date.fromisoformat(content["local_date"])
            yield Piece(on, at, until, "session", content)


def check_in_pieces(
    phone_id: UUID,
    at: datetime,
    until: datetime | None,
    content: Content,
    rated: Iterable[tuple[datetime, datetime | None, date | None]],
) -> Iterator[Piece]:
    """Of what one check-in said: a rating of session days, or a report of its own date."""
    on = date.fromisoformat(content["local_date"])
    told = {name: said for name, said in content.items() if name != "pain_now"}
    for since, end, rates in rated:
        if rates is None or "pain_now" not in content:
            yield Piece(on, since, end, "check_in", content)
        else:
            yield Piece(rates, since, end, "rating", content)
            yield Piece(on, since, end, "check_in", told)
    if BASELINE in content:
        worst = Measured(BASELINE, content[BASELINE], str(phone_id))
        yield Piece(on, at, until, "measured", worst)
    if "leg_symptom" in content:
        place = float(PLACES.index(content["leg_symptom"]))
        yield Piece(on, at, until, "measured", Measured("leg_sx_code", place, str(phone_id)))
    for name in ANSWERS:
        if name in content:
            answer = Measured(name, float(content[name]), str(phone_id))
            yield Piece(on, at, until, "measured", answer)


class Head(NamedTuple):
    """A record as it stands."""

    phone_id: UUID
    received_at: datetime
    history_count: int
    content: dict[str, Any] | None
    derived: dict[str, Any] | None = None  # of check-ins


def rates_of(row: Head) -> date | None:
    """The session day that a check-in rates at present."""
    rated = (row.derived or {}).get("rates_session_day")
    return None if rated is None else date.fromisoformat(rated)


def assessment_pieces(
    rows: Iterable[Assessment], zones: Zones, side: str, first: date
) -> Iterator[Piece]:
    """What a clinician measured counts from its date on; of the other side it says nothing."""
    for row in rows:
        if side in ("left", "right") and row.side in ("left", "right") and row.side != side:
            continue
        told, on = Measured(row.code, float(row.value), str(row.pk)), zones.date_of(row.measured_at)
        on = max(on, first) if row.code in HISTORY else on
        yield Piece(on, row.recorded_at, None, "assessed", told)


def event_pieces(rows: Iterable[Event], zones: Zones, first: date) -> Iterator[Piece]:
    """What happened, on the date it has effect from, in a course that begins with `first`.

    A report of an earlier date that came after somebody had answered what was known by then, or
    when the course had begun already, speaks of the date on which it came as well: no answer that
    was given without it ends what it opens.
    """
    told = list(rows)
    answered: dict[tuple[date, str], datetime] = {}
    for row in told:
        if row.kind in (Event.Kind.CLEARED, Event.Kind.CLOSED):
            answered[row.on, row.code] = max(row.at, answered.get((row.on, row.code), row.at))
    for row in told:
        yield Piece(row.on, row.at, None, "event", row)
        came = zones.date_of(row.at)
        if row.kind == Event.Kind.REPORTED and row.on < came:
            answer = "" if _stops(row) else row.code
            is_news = answered.get((came, answer), row.at) < row.at
            if is_news or row.on < first <= came:
                yield Piece(came, row.at, None, "event", row)


def timelines(
    heads: Iterable[Head], revisions: Mapping[UUID, Sequence[Revision]]
) -> Iterator[tuple[Head, list[Told]]]:
    """What each record said, from when until when. The highest revision that had come stood."""
    for head in heads:
        known = revisions.get(head.phone_id)
        if known is None:
            told: list[Told] = []
            if head.content is not None:
                told.append((head.received_at, None, head.content))
            yield head, told
            continue
        standing: list[Revision] = []
        for one in sorted(known, key=lambda row: (row.received_at, row.pk)):
            if not standing or one.number > standing[-1].number:
                standing.append(one)
        ends: list[datetime | None] = [*(one.received_at for one in standing[1:]), None]
        yield (
            head,
            [
                (one.received_at, end, one.content)
                for one, end in zip(standing, ends, strict=True)
                if one.content is not None
            ],
        )


class Ratings:
    """What each check-in rated, from when until when.

    Mostly that is what it rates now. Only where it was revised, or what it is decided by came later
    than itself, is it found out what was so at each moment.
    """

    def __init__(self) -> None:
        self.near: dict[date, list[tuple[Near, datetime, datetime | None]]] = {}
        self.changes: dict[date, list[tuple[datetime, datetime]]] = {}  # of what, and when it came

    def take(self, kind: Revision.Kind, phone_id: UUID, told: Iterable[Told]) -> None:
        for at, until, content in told:
            if (near := Near.of(kind, phone_id, content)) is not None:
                self.near.setdefault(near.on, []).append((near, at, until))
                moments = [(near.at, moment) for moment in (at, until) if moment is not None]
                self.changes.setdefault(near.on, []).extend(moments)

    def over_time(
        self, row: Head, at: datetime, until: datetime | None, content: Content
    ) -> Iterator[tuple[datetime, datetime | None, date | None]]:
        """Of what a check-in said for a time: what it rated, from when until when."""
        near = Near.of(Revision.Kind.CHECK_IN, row.phone_id, content)
        moments = [] if near is None else self._moments(near, at, until)
        for since, end in pairwise([at, *moments, until]):
            assert since is not None
            if near is None or end is None:
                yield since, end, rates_of(row)
            else:
                yield since, end, self._rated(near, since)

    def _moments(self, near: Near, at: datetime, until: datetime | None) -> list[datetime]:
        """When something that was before a check-in came after it."""
        given, days = near.at, days_from(near.on - RATING_REACH, RATING_REACH.days + 2)
        return sorted(
            {
                moment
                for on in days
                for was_at, moment in self.changes.get(on, ())
                if was_at < given and at < moment and (until is None or moment < until)
            }
        )

    def _rated(self, near: Near, moment: datetime) -> date | None:
        """By what was known at this moment."""
        days = days_from(near.on - 3 * RATING_REACH, 3 * RATING_REACH.days + 2)
        known = [
            other
            for on in days
            for other, at, until in self.near.get(on, ())
            if at <= moment and (until is None or until > moment)
        ]
        return rated_days(known).get(near.phone_id)


def facts_of(course: Course, patient: Patient) -> Facts:
    """Everything that was told of a course, ever. Five queries."""
    zones = Zones.of(patient)
    facts = Facts(course, zones)
    sessions: list[Head] = []
    for counted, on, slot_id, outcome, ratio, late, *head in SESSIONS(patient=patient.pk):
        session = Head(*head)
        sessions.append(session)
        if counted == course.id and session.content is not None and on:
            ratio = float(ratio or 0)
            facts.logs.append(Log(on, session.phone_id, slot_id, outcome, ratio, late))
    check_ins = [Head(*row) for row in CHECK_INS(patient=patient.pk)]
    revised = [row.phone_id for row in (*sessions, *check_ins) if row.history_count > 1]
    revisions: dict[tuple[str, UUID], list[Revision]] = {}
    if revised:
        for one in Revision.objects.filter(patient=patient, phone_id__in=revised):
            revisions.setdefault((one.kind, one.phone_id), []).append(one)
    of_sessions = {id: rows for (kind, id), rows in revisions.items() if kind == "session"}
    of_check_ins = {id: rows for (kind, id), rows in revisions.items() if kind == "check_in"}
    ratings = Ratings()
    for session, told in timelines(sessions, of_sessions):
        facts.add(session_pieces(course.id, told))
        ratings.take(Revision.Kind.SESSION, session.phone_id, told)
    lines = list(timelines(check_ins, of_check_ins))
    for check_in, told in lines:
        ratings.take(Revision.Kind.CHECK_IN, check_in.phone_id, told)
    for check_in, told in lines:
        for at, until, content in told:
            rated = ratings.over_time(check_in, at, until, content)
            facts.add(check_in_pieces(check_in.phone_id, at, until, content, rated))
    assessed = Assessment.objects.filter(patient=patient).order_by(
        "measured_at", "recorded_at", "pk"
    )
    first = course.assignment.start_date
    facts.add(assessment_pieces(assessed, zones, course.assignment.side, first))
    events = Event.objects.filter(patient=patient).order_by("at", "pk")
    facts.add(event_pieces(events, zones, first))
    return facts


# --- Records, by SQL that is written once -----------------------------------------------------


def _heads(model: type[Session] | type[CheckIn], *more: str, last: tuple[str, ...] = ()) -> Any:
    rows: Any = model.objects
    found = rows.filter(patient=Given("patient", UUIDField())).order_by("phone_id")
    return found.values_list(*more, *Head._fields[:4], *last)


SESSIONS: Written[Any] = Written(
    lambda: _heads(Session, "assignment", "local_date", "slot_id", "outcome", "dose_ratio", "late")
)
CHECK_INS: Written[Any] = Written(lambda: _heads(CheckIn, last=("derived",)))
