"""Judging: brings day book, flags, proposals and plan into step with the facts.

`recompute` runs after every fact and when a date closes, and nowhere else. It emits differences, so
running it twice changes nothing. The caller holds the patient's lock and has stored the fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import CharField, DateField, Max, Min, Q, UUIDField, Value

from backend.care import feed, proposing
from backend.care.accounting import (
    Done,
    DoneBySlot,
    Since,
    Typed,
    concerns_of,
    last_typed,
    records_of,
    since_when,
    slots_of,
)
from backend.care.flags import lower_flag, raise_flag, stops_of
from backend.care.lived import (
    SYMPTOMS_HELD,
    Facts,
    Log,
    Piece,
    Zones,
    baseline_of,
    check_in_pieces,
    days_of,
    engine_course,
    event_pieces,
    facts_of,
    is_baseline_settled,
    open_day,
    session_pieces,
    standing_before,
)
from backend.care.models import (
    Assignment,
    AssignmentQuerySet,
    Change,
    CheckIn,
    ClosedDay,
    Event,
    Flag,
    Session,
)
from backend.care.selectors import Course, course_of, terms_as_json, today_of
from backend.clinics.models import Patient
from backend.queries import Given, Written
from protocols.engine.case import Course as EngineCourse
from protocols.engine.case import Judged, Outcome, State
from protocols.engine.day import Approval, Day, Measured, Reported
from protocols.engine.looking_back import Kept, looks_back_to, recalled
from protocols.engine.plan import PhaseSpan, Terms, days_from
from protocols.engine.progression import decided, in_force, judge, replay
from protocols.engine.storing import (
    day_as_json,
    day_from_json,
    state_as_json,
    state_from_json,
)
from protocols.knowledge import numbers, safety
from protocols.screening import is_unanswered

A_DAY = timedelta(days=1)

# What acts by itself and what waits for a person, by what was decided for a date. Half doses, rest
# before a session and easier variants act, too: they come with the verdict and make nothing harder.
ACTS_AT_ONCE = frozenset({Outcome.STEP_BACK, Outcome.STOP})
WAITS_FOR_A_PERSON = frozenset({Outcome.ADVANCE, Outcome.DISCHARGE})

Effect = Mapping[str, object]


@dataclass
class Difference:
    """What judging changed: for the feed, for the answer to an upload, and for `rebuild`."""

    touched: list[feed.Touched] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    plan_changes: list[Effect] = field(default_factory=list)
    plan: bool = False
    rows: list[date] = field(default_factory=list)  # of the day book that were not so before
    flags: list[str] = field(default_factory=list)
    proposals: list[str] = field(default_factory=list)
    is_unsure: bool = False  # it takes a whole replay to know

    def __iadd__(self, other: Difference) -> Difference:
        for name in ("touched", "effects", "plan_changes", "rows", "flags", "proposals"):
            getattr(self, name).extend(getattr(other, name))
        self.plan = self.plan or other.plan
        return self

    def __bool__(self) -> bool:
        return bool(self.plan or self.rows or self.flags or self.proposals)


@dataclass
class Verdicts:
    """A course as judged: closed dates, then those that still are open, and what is inherited."""

    engine: EngineCourse
    closed: Sequence[Judged]
    open: Sequence[Judged]
    after: State  # of the last closed date, or the start
    chain: Sequence[Judged]  # what later verdicts may look at, up to the last closed date
    logs: Sequence[Log]  # those that may do slots of the dates that were not closed before
    checked_in: Set[date]  # of which there are check-ins, as they stand now
    changed_from: date | None  # of a whole replay: the first date whose verdict may be another one
    kept: Sequence[Any] = ()  # the chain as it was carried, and so what is carried again

    @property
    def is_whole(self) -> bool:
        """From the first date on."""
        return self.changed_from is not None

    @property
    def state(self) -> State:
        return self.open[-1].after if self.open else self.after


def recompute(
    *, course: Course, patient: Patient, now: datetime, since: date | None = None
) -> Difference:
    """Judge a course again, after a fact that speaks of dates from `since` on.

    Without `since`, or where a date that was closed is spoken of, all of it is replayed; else
    judging goes on from what was carried. Of a course that is behind, `since` covers that, too.
    """
    zones = Zones.of(patient)
    verdicts = _onward(course, patient, zones, now, since) if since else None
    flags: list[Flag] = []
    if verdicts is not None:
        known = _known(course, verdicts)
        flags = _report_stops(course, patient, verdicts, now)
    if verdicts is None or flags:
        facts = facts_of(course, patient)
        verdicts = _whole(course, facts, now, since)
        if not flags and (flags := _report_stops(course, patient, verdicts, now)):
            facts = facts_of(course, patient)
            verdicts = _whole(course, facts, now, since)
        known = _carried_facts(facts, verdicts)
    found = _store(course, patient, zones, verdicts, known, now)
    if found.is_unsure:
        found += recompute(course=course, patient=patient, now=now)
    found.flags += [f"{flag.code} on {flag.observed_on}" for flag in flags]
    found.effects += map(flag_effect, flags)
    return found


def judged_now(*, course: Course, patient: Patient, now: datetime) -> Verdicts:
    """The whole course as it is judged now, for somebody who asks; nothing is stored."""
    return _whole(course, facts_of(course, patient), now)


def catch_up(*, course: Course, patient: Patient, now: datetime) -> Difference | None:
    """Judge a course on from what was carried; None, and nothing done, where it takes more."""
    judged_to = course.assignment.judged_to
    if judged_to is None or course.assignment.is_behind:
        return None
    zones = Zones.of(patient)
    verdicts = _onward(course, patient, zones, now, judged_to + A_DAY)
    if verdicts is None:
        return None
    return _store(course, patient, zones, verdicts, _known(course, verdicts), now)


def recompute_all(
    *, patient: Patient, now: datetime, since: date | None = None, speaks_of: date | None = None
) -> Difference:
    """Every course of a patient that goes on, after a fact that concerns them all.

    Courses that have ended are replayed as well, where `speaks_of` lies in them.
    """
    found = Difference()
    rows = judged_with(patient, speaks_of).with_record()
    for assignment in rows.order_by("start_date", "id"):
        assignment.patient = patient
        from_on = None if assignment.is_behind else since
        found += recompute(course=course_of(assignment), patient=patient, now=now, since=from_on)
    return found


def judged_with(patient: Patient, speaks_of: date | None) -> AssignmentQuerySet:
    """The courses for which a fact of this date, and no earlier one, can mean anything."""
    is_on = Q(next_close_at__isnull=False)
    if speaks_of is not None:
        is_on |= Q(ended_on__gte=speaks_of)
    return Assignment.objects.filter(is_on, patient=patient)


def tell(
    patient: Patient,
    found: Difference,
    touched: Iterable[feed.Touched],
    *,
    now: datetime,
    is_news: bool | None = None,
) -> None:
    """Put what changed into the patient's feed, with what the caller touched himself.

    Its counter moves in any case: whoever had read these courses has to read them again. Where it
    `is_news` the patient gets a message, too; if nobody says, what made the plan lighter is.
    """
    if found.plan_changes if is_news is None else is_news:
        patient.plan_tell_at = patient.plan_tell_at or now
    every = [*touched, *found.touched]
    if not every and not found.plan:
        patient.change_seq += 1
    put = feed.touch_plan if found.plan else feed.touch
    put(patient, every, now=now)


# --- The fold ---------------------------------------------------------------------------------


def _last_date(course: Course, zones: Zones, now: datetime) -> date:
    today = zones.date_of(now)
    ended = course.assignment.ended_on
    return today if ended is None else min(today, ended)


# A fact of one date can mean something for one before it, as a rating does for its session; how far
# back is found in no rule, so this is more than enough. It only saves comparing.
REACHES_BACK = timedelta(days=14)


def _whole(course: Course, facts: Facts, now: datetime, since: date | None = None) -> Verdicts:
    """From the first date on, with what was late where it came (T8)."""
    first, last = course.assignment.start_date, _last_date(course, facts.zones, now)
    reviews, stop = standing_before(facts, first)
    baseline = baseline_of(facts, first)
    engine = engine_course(course, facts.zones, reviews=reviews, stop=stop, baseline=baseline)
    days, late = days_of(facts, first, last, now) if first <= last else ([], [])
    judged = replay(engine, days, late)
    count = sum(facts.zones.closing(one.on) <= now for one in judged)
    closed, opened = judged[:count], judged[count:]
    after = opened[0].before if opened and not closed else engine.start()
    if closed:
        after = closed[-1].after
    changed_from, judged_to = date.min, course.assignment.judged_to
    if since is not None and judged_to is not None:
        changed_from = min(since - REACHES_BACK, judged_to + A_DAY)
    return Verdicts(
        engine, closed, opened, after, closed, facts.logs, facts.checked_in, changed_from
    )


def _onward(
    course: Course, patient: Patient, zones: Zones, now: datetime, since: date
) -> Verdicts | None:
    """On from the last closed date; None where that is not enough."""
    assignment, carried = course.assignment, course.assignment.carried
    judged_to = assignment.judged_to
    if carried is None or judged_to is None or since <= judged_to:
        return None
    if judged_to < assignment.start_date + SYMPTOMS_HELD:
        return None  # the patient may still tell the worst pain that it all started with
    if carried["whole_until"] and date.fromisoformat(carried["whole_until"]) > judged_to:
        return None
    engine = engine_course(
        course,
        zones,
        reviews=frozenset(carried["reviews"]),
        stop=tuple(Reported(*one) for one in carried["stop"]),
        baseline=carried["baseline"],
    )
    facts = _open_facts(course, patient, zones, judged_to)
    if facts is None:
        return None
    chain = list(recalled(engine, recall(carried["chain"])))
    state = state_from_json(carried["after"])
    closed: list[Judged] = []
    opened: list[Judged] = []
    last = _last_date(course, zones, now)
    past = chain[-1] if chain else None
    after = state
    for on in days_from(judged_to + A_DAY, (last - judged_to).days):
        is_closed = zones.closing(on) <= now
        day = facts.day(on) if is_closed else open_day(facts, on)
        past = judge(engine, state, past, day)
        state = past.after
        if is_closed:
            closed.append(past)
            after = state
        else:
            opened.append(past)
    asked = {(one.on.isoformat(), code) for one in (*closed, *opened) for code in _codes_of(one)}
    if any((on, code) not in asked for on, codes in carried["alerts"].items() for code in codes):
        return None  # whether another date still asks for it, only all of them tell
    return Verdicts(
        engine, closed, opened, after, [*chain, *closed], facts.logs, facts.checked_in, None,
        carried["chain"],
    )  # fmt: skip


# --- What judging goes on from ----------------------------------------------------------------


def recall(chain: Iterable[Sequence[Any]]) -> Iterator[Kept]:
    """As `_chain` tells of it. A quiet date inherits what the one before it did: read once."""
    read, state = None, None
    for before, day, planned, rule, outcome in chain:
        if state is None or before != read:
            read, state = before, state_from_json(before)
        yield Kept(state, day_from_json(day), planned, verdict=(rule, Outcome(outcome)))


CARRIED_FACTS = ("reviews", "stop", "baseline", "events", "measured", "whole_until")


def _carried_facts(facts: Facts, verdicts: Verdicts) -> dict[str, Any]:
    """Facts that only staff make, so that an upload need not look for them: whoever makes one
    replays the whole course, which renews them."""
    judged_to = verdicts.closed[-1].on if verdicts.closed else None
    pieces = [
        piece
        for on, told in sorted(facts.pieces.items())
        if judged_to is None or on > judged_to
        for piece in told
    ]
    arrivals = [
        facts.zones.date_of(moment)
        for one in verdicts.closed
        for moment in facts.arrivals(one.on, facts.zones.closing(one.on))
    ]
    events = {id(one.content): one.content for one in pieces if one.kind == "event"}
    engine, whole_until = verdicts.engine, arrivals
    if not is_baseline_settled(facts, facts.course.assignment.start_date):
        whole_until.append(facts.course.assignment.start_date + SYMPTOMS_HELD)
    return {
        "reviews": sorted(engine.reviews),
        "stop": [[one.code, one.level] for one in engine.stop],
        "baseline": engine.baseline,
        "events": [_event_as_json(one) for one in events.values()],
        "measured": [
            [piece.on.isoformat(), piece.at.isoformat(), one.metric, one.value, one.record]
            for piece in pieces
            if piece.kind == "assessed"
            for one in [piece.content]
        ],
        "whole_until": max(whole_until).isoformat() if whole_until else None,
    }


def _known(course: Course, verdicts: Verdicts) -> dict[str, Any]:
    """The same facts again, without those of dates that have closed meanwhile."""
    carried = course.assignment.carried or {}
    known = {name: carried[name] for name in CARRIED_FACTS}
    if verdicts.closed:
        last = verdicts.closed[-1].on.isoformat()
        known["events"] = [event for event in known["events"] if event[1] > last]
        known["measured"] = [measured for measured in known["measured"] if measured[0] > last]
    return known


def _event_as_json(event: Event) -> list[object]:
    return [
        event.kind, event.on.isoformat(), event.at.isoformat(), event.code, event.phase_id,
        str(event.assignment_id) if event.assignment_id else None,
        event.since.isoformat() if event.since else None,
    ]  # fmt: skip


def _event_of(told: Sequence[Any]) -> Event:
    kind, on, at, code, phase_id, assignment_id, *since = told
    return Event(
        kind=kind,
        on=date.fromisoformat(on),
        at=datetime.fromisoformat(at),
        code=code,
        phase_id=phase_id,
        assignment_id=UUID(assignment_id) if assignment_id else None,
        since=date.fromisoformat(since[0]) if since and since[0] else None,
    )


def _open_facts(course: Course, patient: Patient, zones: Zones, judged_to: date) -> Facts | None:
    """What is known of the dates since the last closed one. One query; None where a record came, or
    changed, in a way that only its history tells."""
    carried = course.assignment.carried
    assert carried is not None
    facts = Facts(course, zones)
    told_since, closed = judged_to - SYMPTOMS_HELD, zones.closing(judged_to + A_DAY)
    for row in RECORDS(patient=patient.pk, after=judged_to - A_DAY, told_after=told_since):
        kind, phone_id, received_at, content, derived = row
        if kind == SESSION and content is not None:
            facts.take_log(phone_id, content, derived)
            if date.fromisoformat(content["local_date"]) <= judged_to:
                continue  # only here for the slots of the next date, which it may have done
        if received_at > closed:
            return None  # came when a date had closed and was not judged yet
        if content is None:
            continue
        if kind == SESSION:
            facts.add(session_pieces(course.id, [(received_at, None, content)]))
        else:
            rates = (derived or {}).get("rates_session_day")
            rated = received_at, None, None if rates is None else date.fromisoformat(rates)
            facts.add(check_in_pieces(phone_id, received_at, None, content, [rated]))
    events = map(_event_of, carried["events"])
    facts.add(event_pieces(events, zones, course.assignment.start_date))
    for date_of, at, metric, value, record in carried["measured"]:
        measured = Measured(metric, value, record)
        piece = Piece(
            date.fromisoformat(date_of), datetime.fromisoformat(at), None, "assessed", measured
        )
        facts.add([piece])
    return facts


SESSION, CHECK_IN = "session", "check_in"


def _records(model: type[Session] | type[CheckIn], kind: str, after: str) -> Any:
    rows: Any = model.objects
    return rows.filter(
        patient=Given("patient", UUIDField()), local_date__gt=Given(after, DateField())
    ).values_list(Value(kind, CharField()), "phone_id", "received_at", "content", "derived")


RECORDS: Written[Any] = Written(
    lambda: _records(Session, SESSION, "after").union(
        _records(CheckIn, CHECK_IN, "told_after"), all=True
    )
)


# --- Differences ------------------------------------------------------------------------------


def _store(
    course: Course,
    patient: Patient,
    zones: Zones,
    verdicts: Verdicts,
    known: Mapping[str, Any],
    now: datetime,
) -> Difference:
    """Write what should be and is not so."""
    assignment, found = course.assignment, Difference()
    before = assignment.carried or {}
    stored = _write_days(course, zones, verdicts, found)
    _raise_and_lower(assignment, patient, verdicts, stored, before, found, now)
    standing = _standing(course, verdicts, known["events"], zones, now)
    if _plan_of(standing) != _plan_of(assignment.standing):
        found.plan = True
        found.plan_changes += _plan_changes(assignment.standing, standing)
        if _phase_of(standing, assignment) != _phase_of(assignment.standing, assignment):
            found.touched.append(
                feed.Touched(Change.Type.ASSIGNMENT, assignment.pk, assignment.version)
            )
    proposal = proposing.sync(
        course=course,
        patient=patient,
        judged=[*verdicts.chain, *verdicts.open],
        zones=zones,
        known=None if verdicts.is_whole else before.get("proposal"),
        is_on=patient.clinic.proposals_on and not standing["coming"],
        recalled_to=None if verdicts.is_whole else assignment.judged_to,
        now=now,
    )
    found.is_unsure = proposal.is_unsure
    found.touched += proposal.touched
    found.proposals += proposal.told
    judged_to = verdicts.chain[-1].on if verdicts.chain else None
    since, typed = _counted(assignment, verdicts, before)
    concerns = concerns_of(since, verdicts.chain, verdicts.open, verdicts.state, last_typed(typed))
    typed = last_typed([one for one in typed if judged_to and one[0] <= judged_to.isoformat()])
    alerts = {one.on.isoformat(): sorted(_codes_of(one)) for one in verdicts.open}
    _keep(
        course,
        standing=standing,
        carried={
            **known,
            "chain": _chain(verdicts, judged_to, proposal.stands.get("open")),
            "after": state_as_json(verdicts.after),
            "alerts": {on: codes for on, codes in alerts.items() if codes},
            "proposal": proposal.stands,
            "since": since,
            "typed": [[*one] for one in typed],
        },
        concerns=concerns or None,
        judged_to=judged_to,
        next_close_at=_next_close(course, zones, judged_to),
        is_behind=False,
    )
    return found


def _keep(course: Course, **values: Any) -> None:
    assignment = course.assignment
    new = {name: value for name, value in values.items() if getattr(assignment, name) != value}
    if not new:
        return
    Assignment.objects.filter(pk=assignment.pk).update(**new)
    for name, value in new.items():
        setattr(assignment, name, value)
    course.forget()


def _next_close(course: Course, zones: Zones, judged_to: date | None) -> datetime | None:
    """When the next date closes; none once the last one has."""
    assignment = course.assignment
    on = assignment.start_date if judged_to is None else judged_to + A_DAY
    if assignment.ended_on is not None and on > assignment.ended_on:
        return None
    return zones.closing(on)


GATES_ASKED = ("R14", "R15")


def _chain(
    verdicts: Verdicts, judged_to: date | None, proposed: Mapping[str, Any] | None
) -> list[list[object]]:
    """The dates that the verdicts to come may look at, and two verdicts that are given again: the
    newest one on gates, and the one that a proposal stands on."""
    if judged_to is None:
        return []
    sessions = [one.on for one in reversed(verdicts.chain) if one.counts]
    first = looks_back_to(verdicts.engine, verdicts.after, judged_to + A_DAY, sessions)
    asked = next((one for one in reversed(verdicts.chain) if one.rule in GATES_ASKED), None)
    for one in verdicts.chain:
        if one is asked or (proposed and str(one.on) == proposed["on"]):
            first = min(first, looks_back_to(verdicts.engine, one.before, one.on, sessions))
    known = len(verdicts.kept)
    return [
        *(
            told
            for told, one in zip(verdicts.kept, verdicts.chain, strict=False)
            if one.on >= first
        ),
        *(
            [
                state_as_json(one.case.inherited),
                day_as_json(one.day),
                one.case.planned,
                one.rule,
                one.outcome.value,
            ]
            for one in verdicts.chain[known:]
            if one.on >= first
        ),
    ]


# --- The day book -----------------------------------------------------------------------------

ROW_FIELDS = (
    "phase_id", "phase_started_on", "colour", "rule", "outcome", "planned_sets", "done_sets",
    "is_half", "is_excused", "is_stopped", "eased", "open_gates", "alerts", "pain_before",
    "pain_during", "pain_next", "day", "after", "closed_at", "slots_due", "slots_completed",
    "slots_partial", "slots_skipped", "slots_excused", "dose_ratios", "kinds", "sessions",
    "sessions_late", "is_active", "is_told",
)  # fmt: skip
ALERTS, DAY = ROW_FIELDS.index("alerts"), ROW_FIELDS.index("day")
Said = list[Any]  # by a row, field by field


def _write_days(
    course: Course, zones: Zones, verdicts: Verdicts, found: Difference
) -> dict[date, Said]:
    """Bring the day book into step; what it said before, where dates were judged anew."""
    assignment, since = course.assignment, verdicts.changed_from
    stored: dict[date, Said] = {}
    if since is not None:
        said = ClosedDay.objects.filter(assignment=assignment, on__gte=since)
        stored = {on: told for on, *told in said.values_list("on", *ROW_FIELDS)}
    done = _done_by_slot(verdicts.logs) if verdicts.closed else {}
    logs: dict[date, list[Log]] = {}
    for log in verdicts.logs:
        logs.setdefault(log.on, []).append(log)
    rows = [
        _row(course, zones, one, done, logs.get(one.on, ()), one.on in verdicts.checked_in)
        for one in verdicts.closed
        if since is None or one.on >= since
    ]
    changed = [row for row in rows if _said_by(row) != stored.get(row.on)]
    gone = stored.keys() - {row.on for row in rows}
    if changed:
        ClosedDay.objects.bulk_create(
            changed,
            update_conflicts=True,
            unique_fields=["assignment", "on"],
            update_fields=ROW_FIELDS,
        )
    if gone:
        ClosedDay.objects.filter(assignment=assignment, on__in=gone).delete()
    found.rows = sorted({row.on for row in changed} | gone)
    return stored


def _done_by_slot(logs: Iterable[Log]) -> DoneBySlot:
    done: dict[UUID, list[Done]] = {}
    for one in logs:
        if one.slot_id is not None:
            done.setdefault(one.slot_id, []).append(Done(one.outcome, one.dose_ratio))
    return done


def _row(
    course: Course,
    zones: Zones,
    judged: Judged,
    done: DoneBySlot,
    logs: Sequence[Log],
    is_checked_in: bool,
) -> ClosedDay:
    terms, day = terms_of(course, judged), judged.day
    return ClosedDay(
        assignment=course.assignment,
        clinic_id=course.assignment.clinic_id,
        on=judged.on,
        phase_id=terms.span.phase_id,
        phase_started_on=terms.span.started_on,
        colour=judged.colour.value,
        rule=judged.rule,
        outcome=judged.outcome.value,
        planned_sets=judged.planned,
        done_sets=day.done,
        is_half=terms.half,
        is_excused=judged.excused,
        is_stopped=judged.stopped,
        eased=sorted(terms.eased),
        open_gates=sorted(terms.open_gates),
        alerts=[[alert.level, alert.code] for alert in judged.alerts],
        pain_before=day.before,
        pain_during=day.during,
        pain_next=day.next_morning,
        day=day_as_json(day),
        after=state_as_json(judged.after),
        closed_at=zones.closing(judged.on),
        **slots_of(course, judged, terms, done),
        **records_of(logs, is_checked_in),
    )


def terms_of(course: Course, judged: Judged) -> Terms:
    """What the plan of a judged date rested on, as it was lived."""
    before, on = judged.case.plan_of, judged.on
    away = before.missed >= judged.case.numbers["missed_gap"]
    return Terms(
        span=PhaseSpan(before.phase_id, before.started_on),
        half=bool(before.half_left) or away,
        stopped=bool(judged.before.stop) or judged.stopped,
        rested=judged.case.not_offered,
        ended=before.ended,
        eased=frozenset(id for id, tally in before.eases.items() if tally.eases(on)),
        # What was told on the date itself closes a gate at once, and opens it from the next one on.
        open_gates=course.open_gates(before, on) & course.open_gates(judged.after, on),
    )


def _said_by(row: ClosedDay) -> Said:
    return [getattr(row, name) for name in ROW_FIELDS]


# --- What a clinician's list names ------------------------------------------------------------


def _counted(
    assignment: Assignment, verdicts: Verdicts, before: Mapping[str, Any]
) -> tuple[Since, list[Typed]]:
    """What was carried, with the dates that closed and the logs that came since."""
    since, first = before.get("since", {}), assignment.start_date
    typed: list[Typed] = [(on, id, late) for on, id, late in before.get("typed", ())]
    if verdicts.is_whole:
        since, typed = {}, []
    elif assignment.judged_to is not None:
        first = assignment.judged_to + A_DAY
    typed += [
        (one.on.isoformat(), str(one.phone_id), one.is_late)
        for one in verdicts.logs
        if verdicts.is_whole or one.on >= first
    ]
    return since_when(since, verdicts.chain, first), typed


# --- Flags ------------------------------------------------------------------------------------


def _report_stops(
    course: Course, patient: Patient, verdicts: Verdicts, now: datetime
) -> list[Flag]:
    """Report what stops this course now and nobody has reported: pain that was told before the
    course had limits. A stop rests on a report, and each has an open flag."""
    standing = course.assignment.standing
    stood = standing["state"].get("stop", ()) if standing else ()
    known = {one["code"] for one in stood}
    new = [one.code for one in verdicts.state.stop if one.code not in known]
    if not new:
        return []
    told = set(stops_of(patient).filter(code__in=new).values_list("code", flat=True))
    source, on = ("assignment", course.id), today_of(patient, now)
    return [
        raise_flag(patient=patient, code=code, on=on, source=source, now=now, course_id=course.id)
        for code in new
        if code not in told
    ]


def _codes_of(judged: Judged) -> set[str]:
    """What a rule asks a person to look at; what was reported has a flag of its own already."""
    codes = {alert.code for alert in judged.alerts if alert.level == "routine"}
    return codes - set(judged.day.review_signs)


def _codes_stored(told: Said) -> set[str]:
    codes = {code for level, code in told[ALERTS] if level == "routine"}
    return codes - set(day_from_json(told[DAY]).review_signs) if codes else codes


def _raise_and_lower(
    assignment: Assignment,
    patient: Patient,
    verdicts: Verdicts,
    stored: Mapping[date, Said],
    before: Mapping[str, Any],
    found: Difference,
    now: datetime,
) -> None:
    """Raise what verdicts ask for and had not asked for before; take back what they do not any
    more. What a person has dealt with stays as it is."""
    judged = [*verdicts.closed, *verdicts.open]
    wanted = {(one.on, code) for one in judged for code in _codes_of(one)}
    had = {
        (date.fromisoformat(on), code)
        for on, codes in before.get("alerts", {}).items()
        for code in codes
    } | {(on, code) for on, row in stored.items() for code in _codes_stored(row)}
    source = ("assignment", assignment.pk)
    since = verdicts.changed_from or date.min
    for on, code in sorted(one for one in wanted - had if one[0] >= since):
        flag = raise_flag(patient=patient, code=code, on=on, source=source, now=now, by_rule=True)
        found.flags.append(f"{code} on {on}")
        if not safety().red_flags[code].staff_only:
            found.effects.append(flag_effect(flag))
    still = {code for _, code in wanted}
    for on, code in sorted(had - wanted):
        if lower_flag(patient=patient, code=code, source=source, now=now, still=code in still):
            found.flags.append(f"no {code} on {on}")


def flag_effect(flag: Flag) -> Effect:
    """What the app says at once about a flag."""
    stops = flag.level != Flag.Level.ROUTINE
    return {
        "kind": "flag",
        "code": flag.code,
        "flag_id": str(flag.pk),
        "level": flag.level,
        "advice": "stop_today" if stops else "carry_on_with_care",
    }


# --- What the plan rests on -------------------------------------------------------------------


def _standing(
    course: Course,
    verdicts: Verdicts,
    events: Iterable[Sequence[Any]],
    zones: Zones,
    now: datetime,
) -> dict[str, Any]:
    last, today = _last_date(course, zones, now), zones.date_of(now)
    stands = bool(verdicts.state.stop)
    return {
        "coming": list(_coming(course, verdicts.state, map(_event_of, events), last)),
        "open": [
            terms_as_json(one.on, _open_terms(course, one, stands=stands and one.on >= today))
            for one in verdicts.open
        ],
        "from": max(last + A_DAY, course.assignment.start_date).isoformat(),
        "state": state_as_json(verdicts.state),
    }


def _coming(
    course: Course, state: State, events: Iterable[Event], last: date
) -> Iterator[dict[str, Any]]:
    """What people approved for the dates after `last`, as far as it still holds."""
    approved = {
        row.on: Approval(row.phase_id, since=row.since)
        for row in sorted(events, key=lambda row: row.at)
        if row.kind == Event.Kind.APPROVED and row.assignment_id == course.id and row.on > last
    }
    for on, approval in sorted(approved.items()):
        day = in_force(course.protocol, state, Day(on=on, approval=approval))
        if day.approval is not None:
            state = decided(state, day)
            yield day_as_json(day)


def _open_terms(course: Course, judged: Judged, *, stands: bool) -> Terms:
    """A stop holds on the date on which it was reported, and on the one on which it is known."""
    terms = terms_of(course, judged)
    return replace(terms, stopped=True) if stands or judged.outcome is Outcome.STOP else terms


# Review items keep gated exercises away.
PLANNING = ("phase_id", "started_on", "half_left", "stop", "eases", "ended", "nerve", "reviews")
PLACE = {"phase_id", "started_on"}


def _plan_of(standing: Mapping[str, Any] | None) -> object:
    """What of it a phone can see in its plan. That a day has passed is no news to it."""
    if standing is None:
        return None
    state = standing["state"]
    lighter = [
        {name: told for name, told in one.items() if name not in PLACE}
        for one in standing["open"]
        if one.keys() - PLACE - {"on"}
    ]
    is_away = state.get("missed", 0) >= numbers()["missed_gap"]  # the return is at half dose
    coming = standing.get("coming", [])
    return [state.get(name) for name in PLANNING], is_away, lighter, coming


def _phase_of(standing: Mapping[str, Any] | None, assignment: Assignment) -> object:
    return assignment.start_phase_id if standing is None else standing["state"]["phase_id"]


def _plan_changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Effect]:
    """What the app can say at once about a plan that got lighter."""
    if before is None:
        return []
    was, state = state_from_json(before["state"]), state_from_json(after["state"])
    told = {
        "half_dose": state.half_left > was.half_left,
        "eased": bool(state.eases.keys() - was.eases.keys()),
        "phase_changed": state.phase_id != was.phase_id,
    }
    return [{"code": code, "from": after["from"]} for code, is_so in told.items() if is_so]


# --- Closing dates ----------------------------------------------------------------------------


def due_to_close(*, now: datetime, limit: int) -> list[UUID]:
    """Patients with a date that has closed and was not judged yet, the longest waiting first."""
    rows = Assignment.objects.filter(
        next_close_at__lte=now,
        patient__consent_withdrawn_at=None,  # nothing is processed then
    ).order_by("next_close_at", "id")
    return list(dict.fromkeys(rows.values_list("patient_id", flat=True)[:limit]))


@transaction.atomic
def close(*, patient_id: UUID, now: datetime) -> Difference:
    """Judge the dates of a patient that have closed. Any number of callers at once is harmless."""
    patient = (
        Patient.objects.select_for_update(of=("self",)).select_related("clinic").get(pk=patient_id)
    )
    found = Difference()
    if flag := _missed_screen(patient, now):
        found = recompute_all(patient=patient, now=now)  # first what was reported changes
        found.flags.append(f"{flag.code} on {flag.observed_on}")
    due = Assignment.objects.filter(patient=patient, next_close_at__lte=now).with_record()
    if not (due or found):
        return found
    patient.change_seq += 1  # what others read of these courses is not so any more
    for assignment in due.order_by("start_date", "id"):
        assignment.patient = patient
        judged_to = assignment.judged_to
        since = None if judged_to is None or assignment.is_behind else judged_to + A_DAY
        found += recompute(course=course_of(assignment), patient=patient, now=now, since=since)
    tell(patient, found, (), now=now)
    return found


SCREEN = "screen-unanswered"


def _missed_screen(patient: Patient, now: datetime) -> Flag | None:
    """Flag it where a plan runs and the weekly screen was not answered for long: no answer is not a
    no. Once, and again after as long a silence."""
    today = today_of(patient, now)
    running = Assignment.objects.filter(patient=patient, ended_on=None, start_date__lte=today)
    begun = running.aggregate(first=Min("start_date"))["first"]
    if begun is None:
        return None
    days = [begun]
    rows: list[Any] = [Session.objects, CheckIn.objects]
    for records in rows:
        told = records.filter(patient=patient, content__screen="weekly").standing()
        days.append(told.aggregate(last=Max("local_date"))["last"] or begun)
    flagged = Flag.objects.filter(patient=patient, code=SCREEN)
    days.append(flagged.aggregate(last=Max("observed_on"))["last"] or begun)
    if not is_unanswered(today, days, safety().unanswered_weekly_days):
        return None
    source = ("patient", patient.pk)
    return raise_flag(patient=patient, code=SCREEN, on=today, source=source, now=now)
