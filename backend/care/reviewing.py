"""What physiotherapists decide on proposals, and what they propose by themselves.

The only door through which a plan gets harder: `decide` writes the fact, judging does the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from backend.care import deciding, feed, prescribing, proposing
from backend.care.lived import Zones
from backend.care.models import Assignment, Change, Event, Progression, Session
from backend.care.prescribing import AssignmentEnded, AssignmentGateFailed, Wish
from backend.care.selectors import Course, course_of, today_of
from backend.clinics.actions import lock
from backend.clinics.models import Clinic, Patient, User
from backend.problems import FieldError, Problem, StateConflict, ValidationFailed, VersionMismatch
from protocols.engine.case import PROPOSED, Judged, Outcome, State
from protocols.engine.definition import Protocol
from protocols.knowledge import numbers
from protocols.models import ProtocolVersion

A_DAY = timedelta(days=1)
# A phone keeps two weeks of its plan, so whatever begins within them is told in time, offline, too.
DAYS_AHEAD = 13
BEFORE_A_START = "AG2"  # the screen within 24 h before phase 1; a plan that goes on had its own

Status = Progression.Status
Recommendation = Progression.Recommendation


class AlreadyDecided(StateConflict):
    """Nobody can decide on this proposal any more. `progression_status` says what became of it."""

    code = "already-decided"
    status = 409
    title = "This proposal is not open any more"
    remedy = "Read it again. A newer one may be open; another can be asked for."


class ProgressionOpen(StateConflict):
    """A proposal is open for this plan, and there is nothing newer to say."""

    code = "progression-open"
    status = 409
    title = "A proposal is open already"
    remedy = "Decide on the open one; `progression_id` names it."


class ReasonRequired(Problem):
    """A decision against the recommendation says why: `reason_code` and `note`."""

    code = "reason-required"
    status = 422
    title = "Say why you decide otherwise"
    remedy = "Add `reason_code` and `note`, then send again under a new idempotency key."


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a physiotherapist says about a proposal. `changes` are operations of tailoring."""

    is_approval: bool
    effective_date: date | None = None
    changes: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    note_to_patient: str = ""
    note: str = ""
    reason_code: str = ""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What follows from a decision: into which phase, or to the end, or to a newer protocol."""

    phase_id: str = ""
    ends: bool = False
    moves: bool = False
    tailors: bool = False

    @property
    def takes_effect(self) -> bool:
        return bool(self.phase_id) or self.ends or self.moves or self.tailors


# --- Asking -----------------------------------------------------------------------------------


@transaction.atomic
def evaluate(
    *, assignment: Assignment, to_phase_id: str = "", note: str = "", by: User, now: datetime
) -> Progression:
    """Run the rules now and keep what they say; with `to_phase_id`, propose a phase by hand.

    By hand any lower phase can be proposed, and one higher; unless the rules say so, too, that is a
    proposal to go against them.
    """
    asked = _ask(assignment, now)
    judged, state = _newest(asked), asked.state
    standing = _open_of(asked.course)
    row = proposing.made(
        asked.course, asked.patient, judged, now=now, by=by, note=note,
        to_phase_id=to_phase_id or None,
    )  # fmt: skip
    if to_phase_id:
        _check_by_hand(asked.course, state, to_phase_id)
        agrees = judged.outcome is Outcome.ADVANCE and proposing.next_of(judged) == to_phase_id
        row.recommendation = Recommendation.ADVANCE if agrees else Recommendation.HOLD
        row.from_phase_id = state.phase_id
        is_news = standing is None or standing.to_phase_id != to_phase_id
    else:
        if judged.outcome in PROPOSED:
            _check_may_propose(asked)
        if judged.outcome is not Outcome.STEP_BACK:
            row.from_phase_id = state.phase_id
        is_news = standing is None or (
            _is_plain_hold(standing) and standing.inputs_sha256 != row.inputs_sha256
        )
    return _opened(asked, row, standing, is_news=is_news, now=now)


@transaction.atomic
def propose_version(
    *, assignment: Assignment, version: ProtocolVersion, note: str = "", by: User, now: datetime
) -> Progression:
    """Propose to go on by a newer version of the protocol, in the same phase. Never by itself."""
    asked = _ask(assignment, now)
    old = asked.course.assignment.protocol_version
    at = "#/protocol_version"
    if version.protocol_id != old.protocol_id or version.status != ProtocolVersion.Status.PUBLISHED:
        raise ValidationFailed.at(at, "unknown-reference", "No such version of this protocol.")
    if _numbers(version.version) <= _numbers(old.version):
        raise ValidationFailed.at(at, "invalid-value", f"Must be newer than {old.version}.")
    if all(phase.id != asked.state.phase_id for phase in version.definition.phases):
        detail = f"It has no {asked.state.phase_id}, in which the patient is."
        raise ValidationFailed.at(at, "invalid-value", detail)
    _check_movable(asked.course, asked.state, today_of(asked.patient, now))
    standing = _open_of(asked.course)
    row = proposing.made(
        asked.course, asked.patient, _newest(asked), now=now, by=by, to_phase_id="", note=note
    )
    row.recommendation, row.from_phase_id = Recommendation.HOLD, asked.state.phase_id
    row.to_protocol_version = version
    is_news = standing is None or _is_plain_hold(standing)
    return _opened(asked, row, standing, is_news=is_news, now=now)


@dataclass(frozen=True)
class Asked:
    """A course that was judged just now, under its patient's lock."""

    patient: Patient
    course: Course
    judged: Sequence[Judged]
    state: State
    found: deciding.Difference
    zones: Zones
    now: datetime


def _ask(assignment: Assignment, now: datetime) -> Asked:
    patient = lock(assignment.patient)
    standing = _standing_row(assignment.pk, patient)
    if standing.ended_on is not None:
        raise AssignmentEnded
    course = course_of(standing)
    found = deciding.recompute(course=course, patient=patient, now=now)
    verdicts = deciding.judged_now(course=course, patient=patient, now=now)
    judged = [*verdicts.closed, *verdicts.open]
    if not judged:
        raise StateConflict("The plan has not begun.")
    return Asked(patient, course, judged, verdicts.state, found, Zones.of(patient), now)


def _newest(asked: Asked) -> Judged:
    """The newest date of the phase of which all is known, or that acts by itself; else the last."""
    for one in reversed(asked.judged):
        acts = one.outcome in proposing.ACTING
        if acts or (
            one.on >= asked.state.started_on and proposing.is_settled(one, asked.zones, asked.now)
        ):
            return one
        if one.on < asked.state.started_on:
            break
    return asked.judged[-1]


def _opened(
    asked: Asked,
    row: Progression,
    standing: Progression | None,
    *,
    is_news: bool,
    now: datetime,
) -> Progression:
    """Store what was asked for, in the place of what was open."""
    touched = []
    if standing is not None:
        if not is_news:
            raise ProgressionOpen(progression_id=str(standing.pk))
        touched.append(proposing.gone(standing, Status.SUPERSEDED))
    row.save(force_insert=True)
    found = asked.found
    found += deciding.recompute(course=asked.course, patient=asked.patient, now=now)
    deciding.tell(asked.patient, found, [*touched, proposing.touched(row)], now=now)
    return row


def _open_of(course: Course) -> Progression | None:
    return Progression.objects.filter(assignment=course.id, status=Status.PROPOSED).first()


def _is_plain_hold(row: Progression) -> bool:
    return row.recommendation == Recommendation.HOLD and not proposing.is_by_hand(row)


def _check_by_hand(course: Course, state: State, to_phase_id: str) -> None:
    numbered = {phase.id: phase.number for phase in course.protocol.phases}
    at = "#/to_phase_id"
    if to_phase_id not in numbered:
        raise ValidationFailed.at(at, "unknown-reference", "The protocol has no such phase.")
    higher = numbered[to_phase_id] - numbered[state.phase_id]
    if higher > 1:
        raise ValidationFailed.at(at, "invalid-value", "At most one phase higher at a time.")
    if higher == 0 and course.comes_on is None:
        raise ValidationFailed.at(at, "invalid-value", "The patient is in this phase.")
    _check_free(course, state, harder=higher > 0)


def _check_may_propose(asked: Asked) -> None:
    if not asked.patient.clinic.proposals_on:
        raise StateConflict("This clinic has switched proposals off.")
    _check_free(asked.course, asked.state, harder=True)


def _check_free(course: Course, state: State, *, harder: bool) -> None:
    if state.stop:
        raise StateConflict("A stop stands. A clinician has to end it first.")
    if harder and course.comes_on is not None:
        raise StateConflict(f"A change that was approved begins on {course.comes_on}.")


# --- Deciding ---------------------------------------------------------------------------------


def check_open(progression: Progression, assignment: Assignment, now: datetime) -> None:
    """Refuse what nobody can decide on any more, with what became of it."""
    status = progression.status
    if assignment.ended_on is not None and status in (Status.PROPOSED, Status.WITHDRAWN):
        raise AssignmentEnded
    if status == Status.PROPOSED and _is_over(progression, now):
        status = Status.EXPIRED
    if status != Status.PROPOSED:
        raise AlreadyDecided(progression_status=str(status))


@transaction.atomic
def decide(*, progression: Progression, decision: Decision, by: User, now: datetime) -> Progression:
    """Approve or decline a proposal, as a physiotherapist of the patient's clinic says."""
    patient = lock(progression.patient)
    assignment = _standing_row(progression.assignment_id, patient)
    course = course_of(assignment)
    found = deciding.Difference()
    if assignment.ended_on is None:
        found = deciding.recompute(course=course, patient=patient, now=now)
    row = Progression.objects.select_related("to_protocol_version").get(pk=progression.pk)
    check_open(row, assignment, now)
    if row.version != progression.version:
        raise VersionMismatch
    state = course.state
    assert state is not None
    meaning = _meaning(row, decision)
    _check_reason(row, decision, meaning, course.protocol)
    on = _begins(row, decision, meaning, course, state, patient, now)
    touched: list[feed.Touched] = []
    if meaning.takes_effect and not (meaning.ends or meaning.moves):
        touched += _changed(row, decision, meaning, course, state, on, by, now)
    row.status = _status(decision)
    row.version += 1
    row.decided_by, row.decided_at = by, now
    row.reason_code, row.decision_note = decision.reason_code, decision.note
    row.note_to_patient = decision.note_to_patient
    row.effective_date = on if meaning.takes_effect else None
    row.decided_version = assignment.version
    row.changes = list(decision.changes)
    row.save()
    if meaning.ends or meaning.moves:
        row.decided_version = _leave(row, decision, course, state, on, by, now).version
        row.save(update_fields=["decided_version"])
        patient = lock(patient)  # its feed went on meanwhile
    else:
        course = course_of(_standing_row(assignment.pk, patient))
        found += deciding.recompute(course=course, patient=patient, now=now)
        found.plan = found.plan or meaning.takes_effect
    deciding.tell(patient, found, [*touched, proposing.touched(row)], now=now, is_news=True)
    return row


def _standing_row(id: UUID, patient: Patient) -> Assignment:
    row = Assignment.objects.with_record().get(pk=id)
    row.patient = patient
    return row


def _status(decision: Decision) -> Progression.Status:
    if not decision.is_approval:
        return Status.DECLINED
    return Status.MODIFIED if decision.changes else Status.APPROVED


def _meaning(row: Progression, decision: Decision) -> Meaning:
    """What follows, or a refusal of what fits no such proposal.

    What acted by itself needs nothing to go on; declining a step back puts the phase back. A stop
    is seen, and ends by a clearance alone.
    """
    is_stop = row.recommendation == Recommendation.STOP_AND_REVIEW
    if is_stop and not decision.is_approval:
        detail = "A stop can be confirmed. It ends when a clinician clears it."
        raise ValidationFailed.at("#/outcome", "invalid-value", detail)
    ends = decision.is_approval and row.recommendation == Recommendation.DISCHARGE
    if decision.changes and (is_stop or ends or not decision.is_approval):
        raise ValidationFailed.at("#/changes", "invalid-value", "There is nothing to change here.")
    phase_id = ""
    if decision.is_approval and row.recommendation in (Recommendation.ADVANCE, Recommendation.HOLD):
        phase_id = row.to_phase_id
    elif not decision.is_approval and row.recommendation == Recommendation.STEP_BACK:
        phase_id = row.from_phase_id
    moves = decision.is_approval and row.to_protocol_version_id is not None
    meaning = Meaning(phase_id, ends, moves, bool(decision.changes))
    if decision.effective_date is not None and not meaning.takes_effect:
        raise ValidationFailed.at("#/effective_date", "invalid-value", "Nothing begins with this.")
    return meaning


def _check_reason(
    row: Progression, decision: Decision, meaning: Meaning, protocol: Protocol
) -> None:
    """Against the recommendation: declining it, or a harder phase that the rules do not propose."""
    if decision.is_approval:
        is_against = (
            bool(meaning.phase_id)
            and row.recommendation != Recommendation.ADVANCE
            and _height(protocol, meaning.phase_id) > _height(protocol, row.from_phase_id)
        )
    else:
        is_against = row.recommendation != Recommendation.HOLD
    said = {"reason_code": decision.reason_code, "note": decision.note}
    missing = [name for name, text in said.items() if not text]
    if is_against and missing:
        detail = "This decision goes against the recommendation."
        raise ReasonRequired(
            detail, errors=[FieldError(f"#/{name}", "required", detail) for name in missing]
        )


def _height(protocol: Protocol, phase_id: str) -> int:
    return protocol.phase(phase_id).number


def _begins(
    row: Progression,
    decision: Decision,
    meaning: Meaning,
    course: Course,
    state: State,
    patient: Patient,
    now: datetime,
) -> date:
    """From which date on it holds.

    A date that was lived in a phase stays so: what is harder, or other, begins behind the newest
    log. A step back that is overruled was still right about its own date.
    """
    today = today_of(patient, now)
    first = max(today, course.assignment.start_date)
    last = first + DAYS_AHEAD * A_DAY
    harder = False
    if meaning.phase_id:
        harder = _check_place(row, meaning, course, state)
    if harder or meaning.ends or meaning.moves:
        logs = Session.objects.standing().filter(assignment=course.id, local_date__gte=today)
        logged = logs.order_by("-local_date").values_list("local_date", flat=True).first()
        first = max(first, logged + A_DAY) if logged else first
    if meaning.phase_id and row.recommendation == Recommendation.STEP_BACK:
        first = max(first, row.on + A_DAY)
    if meaning.ends or meaning.moves:
        last = today + A_DAY  # a plan ends today or before
    on = decision.effective_date or first
    if not first <= on <= last:
        detail = f"Must be between {first} and {last}."
        limits = {"min": first.isoformat(), "max": last.isoformat()}
        raise ValidationFailed.at("#/effective_date", "out-of-range", detail, **limits)
    if meaning.moves:
        _check_movable(course, state, on)
    return on


def _check_place(row: Progression, meaning: Meaning, course: Course, state: State) -> bool:
    """Whether the phase is harder than the present one. At most one step, from where it was."""
    higher = _height(course.protocol, meaning.phase_id) - _height(course.protocol, state.phase_id)
    moved = state.phase_id != row.from_phase_id and row.recommendation != Recommendation.STEP_BACK
    if moved or higher > 1:
        raise StateConflict(f"The patient is in {state.phase_id} now. Have it evaluated again.")
    _check_free(course, state, harder=higher > 0)
    return higher > 0


def _changed(
    row: Progression,
    decision: Decision,
    meaning: Meaning,
    course: Course,
    state: State,
    on: date,
    by: User,
    now: datetime,
) -> list[feed.Touched]:
    """The facts: the next version of the plan, and the phase from its date on."""
    assignment = course.assignment
    assignment.version += 1
    assignment.updated_at = now
    assignment.save(update_fields=["version", "updated_at"])
    touched = [feed.Touched(Change.Type.ASSIGNMENT, assignment.pk, assignment.version)]
    if meaning.tailors:
        if on < (scheduled := course.versions[0].effective_date):
            raise prescribing.ChangeScheduled(f"A change is scheduled from {scheduled} on.")
        phase_id, why = meaning.phase_id or state.phase_id, decision.note[:400]
        number = assignment.version
        touched += prescribing.change(course, decision.changes, on, phase_id, why, number, by, now)
    if meaning.phase_id:
        _record(row, Event.Kind.APPROVED, on, by, now, meaning.phase_id, state.started_on)
    return touched


def _record(
    row: Progression,
    kind: Event.Kind,
    on: date,
    by: User,
    now: datetime,
    phase_id: str = "",
    since: date | None = None,
) -> None:
    Event.objects.create(
        patient_id=row.patient_id,
        assignment_id=row.assignment_id,
        kind=kind,
        on=on,
        at=now,
        phase_id=phase_id,
        since=since,
        source_type="progression",
        source_id=row.pk,
        by=by,
    )


def _leave(
    row: Progression,
    decision: Decision,
    course: Course,
    state: State,
    on: date,
    by: User,
    now: datetime,
) -> Assignment:
    """The plan ends the day before: completed, or going on by a newer version of its protocol."""
    version = row.to_protocol_version
    kind = Assignment.EndKind.STOPPED if version else Assignment.EndKind.COMPLETED
    if version is None:
        _record(row, Event.Kind.ENDED, on, by, now)
    reason = f"Goes on by version {version.version}" if version else "Completed"
    old = prescribing.end(
        assignment=course.assignment, last=on - A_DAY, kind=kind, reason=reason, by=by, now=now
    )
    if version is not None:
        _go_on(course, version, state, decision, on, by, now)
    return old


# --- Newer versions of a protocol -------------------------------------------------------------


def _check_movable(course: Course, state: State, on: date) -> None:
    """A newer version begins as it is prescribed, so whatever makes treatment lighter now, or has
    to be looked at first, would be lost on the way."""
    if state.stop:
        raise StateConflict("A stop stands. A clinician has to end it first.")
    if lost := sorted(state.reviews - _reported(course)):
        raise StateConflict(f"Open review items come first: {', '.join(lost)}.")
    eased = any(tally.eases(on) for tally in state.eases.values())
    if state.half_left or eased or state.missed >= numbers()["missed_gap"]:
        raise StateConflict("The plan is eased off just now.")
    if any(pause.until_on is None or pause.until_on >= on for pause in course.pauses):
        raise StateConflict("The plan is paused.")
    if course.comes_on is not None:
        raise StateConflict(f"A change that was approved begins on {course.comes_on}.")


def _reported(course: Course) -> set[str]:
    """What was reported of the patient is open in every course; what rules found, in its own."""
    rows = Event.objects.filter(
        patient=course.assignment.patient_id, kind=Event.Kind.REPORTED, assignment=None
    )
    return set(rows.values_list("code", flat=True))


def _go_on(
    course: Course,
    version: ProtocolVersion,
    state: State,
    decision: Decision,
    on: date,
    by: User,
    now: datetime,
) -> Assignment:
    """The same phase, side, days and tailoring, by the newer document. What was tailored and fits
    nothing in it is refused by name."""
    old, held = course.assignment, course.versions[0]
    patient = lock(old.patient)
    wish = Wish(
        protocol_version=version,
        episode=old.episode,
        start_date=on,
        side=old.side,
        start_phase_id=state.phase_id,
        parts_of_day=tuple(held.parts_of_day),
        training_days=tuple(held.training_days),
        changes=[*_by_key(course), *decision.changes],
    )
    new = prescribing.draft(patient=patient, wish=wish, by=by, now=now)
    # Days that did not count for the phase so far do not begin to.
    new.assignment.phase_started_on = state.started_on + state.days_left_out * A_DAY
    gates = prescribing.gates_of(patient, old.episode, new.protocol, start=on, now=now)
    failed = [gate for gate in gates if not gate.passed and gate.id != BEFORE_A_START]
    if failed:
        raise AssignmentGateFailed(gates=[gate.as_json() for gate in failed])
    return prescribing.place(new, patient, now)


def _by_key(course: Course) -> list[dict[str, Any]]:
    """All that was tailored so far, oldest first, by keys that hold in other versions as well."""
    found = []
    for version in reversed(course.versions):
        for change in version.changes:
            change = dict(change)
            row = course.named(change.pop("prescription_id", ""))
            found.append(change | ({"key": row.key} if row else {}))
    return found


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


# --- Expiry -----------------------------------------------------------------------------------


def _is_over(row: Progression, now: datetime) -> bool:
    """What acts already waits until a person has seen it, however long that takes."""
    return row.valid_until <= now and row.recommendation not in proposing.ACTING


def due_to_expire(*, now: datetime, limit: int) -> list[UUID]:
    """Patients with a proposal that nobody answered in time, the longest waiting first."""
    due = Progression.objects.filter(status=Status.PROPOSED, valid_until__lte=now)
    due = due.exclude(recommendation__in=proposing.ACTING).order_by("valid_until", "pk")
    return list(dict.fromkeys(due.values_list("patient_id", flat=True)[:limit]))


@transaction.atomic
def expire(*, patient_id: UUID, now: datetime) -> int:
    """Close the proposals of a patient that nobody answered in time. Says how many.

    Any number of callers at once is harmless, and so is a repeat.
    """
    patient = lock(Patient(pk=patient_id))
    open_rows = Progression.objects.filter(patient=patient, status=Status.PROPOSED)
    over = [row for row in open_rows if _is_over(row, now)]
    touched = [proposing.gone(row, Status.EXPIRED) for row in over]
    _judge_again(patient, {row.assignment_id for row in over}, touched, now)
    return len(over)


def _judge_again(
    patient: Patient, assignments: Iterable[UUID], touched: Iterable[feed.Touched], now: datetime
) -> None:
    found = deciding.Difference()
    rows = Assignment.objects.filter(pk__in=assignments, patient=patient).with_record()
    for assignment in rows.order_by("start_date", "pk"):
        assignment.patient = patient
        found += deciding.recompute(course=course_of(assignment), patient=patient, now=now)
    deciding.tell(patient, found, touched, now=now)


# --- The clinic's switch ----------------------------------------------------------------------


def switch_proposals(*, clinic: Clinic, on: bool, now: datetime) -> int:
    """Whether the rules may ask to let patients go on; says how many patients were judged again.

    Off, what is open is withdrawn at once, patient by patient. Recording and judging go on, and
    with them all that makes treatment lighter.
    """
    set_proposals(clinic=clinic, on=on)
    return follow_switch(clinic=clinic, on=on, now=now)


@transaction.atomic
def set_proposals(*, clinic: Clinic, on: bool) -> bool:
    """The switch alone; says how it stood before."""
    row = Clinic.objects.select_for_update(no_key=True).get(pk=clinic.pk)
    before, row.proposals_on = row.proposals_on, on
    row.save(update_fields=["proposals_on"])
    return before


def follow_switch(*, clinic: Clinic, on: bool, now: datetime) -> int:
    """Judge again whomever the switch is about; says how many patients."""
    running = Assignment.objects.filter(patient__clinic=clinic, ended_on=None)
    if not on:
        open_rows = Progression.objects.filter(status=Status.PROPOSED, recommendation__in=PROPOSED)
        running = running.filter(progressions__in=open_rows)
    patients = list(dict.fromkeys(running.order_by("pk").values_list("patient", flat=True)))
    for id in patients:
        _judge_patient(patient_id=id, now=now)
    return len(patients)


@transaction.atomic
def _judge_patient(*, patient_id: UUID, now: datetime) -> None:
    patient = lock(Patient(pk=patient_id))
    running = Assignment.objects.filter(patient=patient, ended_on=None)
    _judge_again(patient, running.values_list("pk", flat=True), (), now)
