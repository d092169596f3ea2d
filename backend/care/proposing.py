"""Proposals to change a plan: opened, kept, superseded and withdrawn as verdicts come and go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Max, Q

from backend.care import feed
from backend.care.explaining import (
    Records,
    criteria_of,
    facts_shown,
    failed_of,
    inputs_of,
    reasons_of,
)
from backend.care.lived import Zones
from backend.care.models import Assignment, Change, Progression, Session
from backend.care.selectors import Course
from backend.clinics.models import Patient, User
from protocols.engine.case import PROPOSED, Judged, Outcome
from protocols.engine.day import Colour
from protocols.engine.looking_back import looks_back_to
from protocols.engine.progression import VERSION

A_DAY = timedelta(days=1)
VALID_FOR = timedelta(days=7)
ACTING = (Outcome.STEP_BACK, Outcome.STOP)
MACHINE_WITHDRAWS = [Progression.Recommendation.ADVANCE, Progression.Recommendation.DISCHARGE]

Status = Progression.Status


@dataclass
class Kept:
    """What became of the proposals of a course: for the feed, for people, and to go on from."""

    stands: dict[str, Any]
    touched: list[feed.Touched] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    is_unsure: bool = False


def sync(
    *,
    course: Course,
    patient: Patient,
    judged: Sequence[Judged],
    zones: Zones,
    known: Mapping[str, Any] | None,
    is_on: bool,
    recalled_to: date | None,
    now: datetime,
) -> Kept:
    """Open what the newest verdicts propose, take back what they do not any more.

    `known` says what stood when the course was last judged; without it, it is looked up. Unless it
    `is_on`, nobody is asked to let the patient go on. A course that has ended asks nothing.
    What the dates up to `recalled_to` rest on is not in hand: a proposal of one of them can stay,
    and be taken back, but not be made.
    """
    stands = dict(known) if known is not None else _stands(course)
    kept = Kept(stands)
    has_ended = course.assignment.ended_on is not None

    def wanted_beside(stands: Mapping[str, Any]) -> Judged | None:
        if has_ended:
            return None
        answered, acted = _date(stands.get("answered_on")), _date(stands.get("acted_on"))
        return _wanted(judged, answered, acted, zones, now, is_on=is_on)

    wanted, standing = wanted_beside(stands), stands.get("open")
    if standing is None and wanted is None:
        return kept
    gives_way = standing is not None and (
        has_ended or _gives_way(standing, wanted, judged, recalled_to)
    )
    if standing is not None and not gives_way:
        return kept
    if wanted is not None and recalled_to is not None and wanted.on <= recalled_to:
        kept.is_unsure = True
        return kept
    waiting_since = now
    if standing is not None:
        row = Progression.objects.get(pk=standing["id"])
        if row.proposed_by_id:  # the dates that it asked for anew are answered again
            kept.stands = _stands(course, without=row)
            wanted = wanted_beside(kept.stands)
        kept.touched.append(gone(row, Status.SUPERSEDED if wanted else Status.WITHDRAWN))
        kept.told.append(f"{row.recommendation} of {row.on} {row.status}")
        if wanted is not None and row.recommendation == wanted.outcome.value:
            waiting_since = row.waiting_since
        kept.stands["open"] = None
    if wanted is not None:
        row = made(course, patient, wanted, now=now, waiting_since=waiting_since)
        if waiting_since == now and wanted.outcome is not Outcome.STOP:  # whose flag tells of it
            row.tell_at = now
        row.save(force_insert=True)
        kept.touched.append(touched(row))
        kept.told.append(f"{row.recommendation} of {row.on} proposed")
        kept.stands["open"] = _open(row)
    return kept


def forget(assignment: Assignment) -> None:
    """A person answered what stood: the next judging looks it up anew."""
    carried = {k: held for k, held in (assignment.carried or {}).items() if k != "proposal"}
    if carried:
        Assignment.objects.filter(pk=assignment.pk).update(carried=carried)


def gone(row: Progression, status: Progression.Status) -> feed.Touched:
    """A proposal that nobody decides on any more."""
    row.status = status
    row.version += 1
    row.save(update_fields=["status", "version"])
    return touched(row)


def touched(row: Progression) -> feed.Touched:
    return feed.Touched(Change.Type.PROGRESSION, row.pk, row.version)


ANSWERED = (Status.APPROVED, Status.DECLINED, Status.MODIFIED, Status.EXPIRED)


def _stands(course: Course, *, without: Progression | None = None) -> dict[str, Any]:
    """What is open, up to which date people answered, and up to which what acts by itself.

    What a person asked for anew after it was answered is open all the same. It may be told
    `without` a proposal that gives way.
    """
    rows = Progression.objects.filter(assignment=course.id)
    if without is not None:
        rows = rows.exclude(pk=without.pk)
    standing = rows.filter(status=Status.PROPOSED).first()
    done = rows.filter(status__in=ANSWERED)
    placed = Q(proposed_by__isnull=False, recommendation="hold") & ~Q(to_phase_id="")
    acted = Q(recommendation__in=ACTING) | (placed & Q(status__in=["approved", "modified"]))
    answered = done.aggregate(newest=Max("on"), acted=Max("on", filter=acted))
    on: date | None = answered["newest"]
    if standing is not None and standing.proposed_by_id and on is not None and on >= standing.on:
        on = standing.on - A_DAY
    return {
        "open": _open(standing) if standing else None,
        "answered_on": on.isoformat() if on else None,
        "acted_on": answered["acted"].isoformat() if answered["acted"] else None,
    }


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _open(row: Progression) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "recommendation": row.recommendation,
        "on": row.on.isoformat(),
        "by_hand": is_by_hand(row),
        "inputs": row.inputs_sha256,
    }


def is_by_hand(row: Progression) -> bool:
    """A person's own idea, which the rules neither had nor take back."""
    asks = bool(row.to_phase_id) or row.to_protocol_version_id is not None
    return row.proposed_by_id is not None and asks and row.recommendation == Outcome.HOLD


def _gives_way(
    standing: Mapping[str, Any],
    wanted: Judged | None,
    judged: Sequence[Judged],
    recalled_to: date | None,
) -> bool:
    """Whether the open proposal is not the one that should be open."""
    if wanted is not None and wanted.outcome is Outcome.STOP:
        return (standing["recommendation"], standing["on"]) != (Outcome.STOP, str(wanted.on))
    if standing["by_hand"]:
        return False
    if standing["recommendation"] == Outcome.HOLD:  # what a person asked, until there is news
        return wanted is not None
    acts = standing["recommendation"] in ACTING
    if wanted is None:
        # What acted stays until it is answered, unless its own date turned out differently.
        seen = {str(one.on): one.outcome for one in judged}
        found = seen.get(standing["on"], standing["recommendation"])
        return not acts or bool(found != standing["recommendation"])
    same = standing["on"] == str(wanted.on) and standing["recommendation"] == wanted.outcome
    if not same:
        return not acts or wanted.outcome in ACTING
    if recalled_to is not None and wanted.on <= recalled_to:
        return False
    return inputs_with_digest(wanted)[1] != str(standing["inputs"])


def _wanted(
    judged: Sequence[Judged],
    answered_on: date | None,
    acted_on: date | None,
    zones: Zones,
    now: datetime,
    *,
    is_on: bool,
) -> Judged | None:
    """The verdict that asks a person for something, if one does and nobody has answered it.

    A date on which gates failed takes a proposal back, and so does a missed one, which is no
    completed session day (GG0). On rest days and excused dates no gate is asked. What acts by
    itself is told also of a date that was answered before it turned out so.
    """
    gates_failed = False
    for one in reversed(judged):
        if one.before.ended or one.after.ended or one.rule == "R3":
            return None
        if one.outcome in ACTING and one.rule != "R2":
            return one if acted_on is None or one.on > acted_on else None
        if _is_in_force(one):
            return None
        if answered_on and one.on <= answered_on:
            continue
        if one.colour is Colour.RED:
            gates_failed = True  # GG7, and no rating makes it better
        if not is_settled(one, zones, now):
            continue
        if one.outcome in PROPOSED and not gates_failed:
            return one if is_on else None
        gates_failed = gates_failed or one.rule != "R13" or one.case.missed
    return None


def is_settled(one: Judged, zones: Zones, now: datetime) -> bool:
    """Whether all that a date is judged by is known: it is rated, or has closed."""
    rated = one.on < zones.date_of(now) and one.day.next_morning is not None
    return rated or zones.closing(one.on) <= now


def _is_in_force(one: Judged) -> bool:
    """Whether a person put the patient into a phase from this date on."""
    approval, before = one.day.approval, one.before
    if approval is None:
        return False
    return (before.phase_id, before.started_on) == (approval.phase_id, one.on)


# --- Making one -------------------------------------------------------------------------------


def made(
    course: Course,
    patient: Patient,
    judged: Judged,
    *,
    now: datetime,
    waiting_since: datetime | None = None,
    by: User | None = None,
    to_phase_id: str | None = None,
    note: str = "",
) -> Progression:
    """A proposal with everything it rests on; not stored yet."""
    protocol = course.protocol
    inputs, sha256 = inputs_with_digest(judged)
    first = date.fromisoformat(inputs["days"][0]["day"]["on"])
    records = Records.of(patient, first, judged.on)
    return Progression(
        patient=patient,
        assignment=course.assignment,
        assignment_version=course.assignment.version,
        recommendation=judged.outcome.value,
        rule=judged.rule,
        from_phase_id=judged.phase_id,
        to_phase_id=to_phase_id if to_phase_id is not None else _to(judged),
        on=judged.on,
        window_from=first,
        waiting_since=waiting_since or now,
        computed_at=now,
        valid_until=now + VALID_FOR,
        engine_version=VERSION,
        inputs=inputs,
        inputs_sha256=sha256,
        criteria=criteria_of(judged, protocol, records),
        failed_gates=failed_of(judged),
        reasons=[*reasons_of(judged), _facts_reason(judged, records)],
        data_quality=_quality(judged, first, records, patient),
        proposed_by=by,
        proposal_note=note,
    )


def inputs_with_digest(judged: Judged) -> tuple[dict[str, Any], str]:
    """What the verdict rests on, and its digest: with it a replay can be compared."""
    course = judged.case.course
    back: list[date] = []
    one = judged.case.past
    while one is not None:
        if one.counts:
            back.append(one.on)
        one = one.case.past
    first = looks_back_to(course, judged.before, judged.on, back)
    inputs = inputs_of(judged, first) | {
        "baseline": course.baseline,
        "first": course.first.isoformat(),
        "joined": str(course.joined or course.first),
    }
    said = {"engine": VERSION, "protocol": course.protocol.slug, "version": course.protocol.version}
    text = json.dumps(said | inputs, sort_keys=True, separators=(",", ":"))
    return inputs, hashlib.sha256(text.encode()).hexdigest()


def next_of(judged: Judged) -> str:
    """The phase behind the one that a date was lived in."""
    return judged.case.course.protocol.phases[judged.case.phase.number].id


def _to(judged: Judged) -> str:
    if judged.outcome is Outcome.ADVANCE:
        return next_of(judged)
    if judged.outcome is Outcome.STEP_BACK:
        return judged.after.phase_id
    return ""


def _facts_reason(judged: Judged, records: Records) -> dict[str, Any]:
    return {
        "code": "facts_of_the_date",
        "severity": "info",
        "text": f"What is known of {judged.on}",
        "params": facts_shown(judged, records),
    }


def _quality(judged: Judged, first: date, records: Records, patient: Patient) -> dict[str, Any]:
    rows: list[Session] = [row for found in records.sessions.values() for row in found]
    shown: dict[str, Any] = {
        "sessions": len(rows),
        "late_sessions": sum(row.late for row in rows),
        "clock_suspect": sum(row.clock_suspect for row in rows),
        "days_not_heard": _not_heard(judged, first, patient),
    }
    if patient.last_received_at is not None:
        shown["last_received_at"] = patient.last_received_at.isoformat()
    return shown


def _not_heard(judged: Judged, first: date, patient: Patient) -> int:
    """Dates with something to do of which the phone has told nothing, not even by being heard."""
    zones, heard, count = Zones.of(patient), patient.last_received_at, 0
    one: Judged | None = judged
    while one is not None and one.on >= first:
        silent = heard is None or heard < zones.closing(one.on)
        count += silent and one.planned > 0 and not one.day.is_session
        one = one.case.past
    return count
