"""Proposals to change a plan: opened, kept, superseded and withdrawn as verdicts come and go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

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
from backend.care.models import Change, Progression, Session
from backend.care.selectors import Course
from backend.clinics.models import Patient, User
from protocols.engine.case import PROPOSED, Judged, Outcome
from protocols.engine.day import Colour
from protocols.engine.definition import Protocol
from protocols.engine.looking_back import looks_back_to
from protocols.engine.progression import VERSION

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
    recalled_to: date | None,
    now: datetime,
) -> Kept:
    """Open what the newest verdicts propose, take back what they do not any more.

    `known` says what stood when the course was last judged; without it, it is looked up. What the
    dates up to `recalled_to` rest on is not in hand: a proposal of one of them can stay, and be
    taken back, but not be made.
    """
    stands = dict(known) if known is not None else _stands(course)
    kept = Kept(stands)
    answered = stands.get("answered_on")
    wanted = _wanted(
        judged,
        date.fromisoformat(answered) if answered else None,
        zones,
        now,
        is_on=patient.clinic.proposals_on,
    )
    standing = stands.get("open")
    if standing is None and wanted is None:
        return kept
    if standing is not None and not _gives_way(standing, wanted, judged, recalled_to):
        return kept
    if wanted is not None and recalled_to is not None and wanted.on <= recalled_to:
        kept.is_unsure = True
        return kept
    waiting_since = now
    if standing is not None:
        row = Progression.objects.get(pk=standing["id"])
        row.status = Status.SUPERSEDED if wanted else Status.WITHDRAWN
        row.version += 1
        row.save(update_fields=["status", "version"])
        kept.touched.append(touched(row))
        kept.told.append(f"{row.recommendation} of {row.on} {row.status}")
        if wanted is not None and row.recommendation == wanted.outcome.value:
            waiting_since = row.waiting_since
        kept.stands["open"] = None
    if wanted is not None:
        row = made(course, patient, wanted, now=now, waiting_since=waiting_since)
        row.save(force_insert=True)
        kept.touched.append(touched(row))
        kept.told.append(f"{row.recommendation} of {row.on} proposed")
        kept.stands["open"] = _open(row)
    return kept


def touched(row: Progression) -> feed.Touched:
    return feed.Touched(Change.Type.PROGRESSION, row.pk, row.version)


def _stands(course: Course) -> dict[str, Any]:
    rows = Progression.objects.filter(assignment=course.id)
    standing = rows.filter(status=Status.PROPOSED).first()
    answered = (
        rows.filter(status__in=[Status.APPROVED, Status.DECLINED, Status.MODIFIED, Status.EXPIRED])
        .order_by("-on")
        .first()
    )
    return {
        "open": _open(standing) if standing else None,
        "answered_on": answered.on.isoformat() if answered else None,
    }


def _open(row: Progression) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "recommendation": row.recommendation,
        "on": row.on.isoformat(),
        "by_hand": row.proposed_by_id is not None,
        "inputs": row.inputs_sha256,
    }


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
    acts = standing["recommendation"] in (Outcome.STEP_BACK, Outcome.STOP)
    if wanted is None:
        # What acted stays until it is answered, unless its own date turned out differently.
        seen = {str(one.on): one.outcome for one in judged}
        return (
            not acts
            or seen.get(standing["on"], standing["recommendation"]) != standing["recommendation"]
        )
    same = standing["on"] == str(wanted.on) and standing["recommendation"] == wanted.outcome
    if not same:
        return not acts or wanted.outcome in ACTING
    if recalled_to is not None and wanted.on <= recalled_to:
        return False
    return _inputs(wanted)[1] != str(standing["inputs"])


def _wanted(
    judged: Sequence[Judged],
    answered_on: date | None,
    zones: Zones,
    now: datetime,
    *,
    is_on: bool,
) -> Judged | None:
    """The verdict that asks a person for something, if one does and nobody has answered it.

    A date on which gates failed takes a proposal back; one on which nothing was to be done, or was
    done, does not.
    """
    today = zones.date_of(now)
    gates_failed = False
    for one in reversed(judged):
        if one.before.ended or one.after.ended or (answered_on and one.on <= answered_on):
            return None
        if one.rule == "R3":
            return None
        if one.outcome in ACTING and one.rule != "R2":
            return one
        if one.colour is Colour.RED:
            gates_failed = True  # GG7, and no rating makes it better
        rated = one.on < today and one.day.next_morning is not None
        if not (rated or zones.closing(one.on) <= now):
            continue
        if one.outcome in PROPOSED and not gates_failed:
            return one if is_on else None
        gates_failed = gates_failed or one.rule != "R13"
    return None


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
    inputs, sha256 = _inputs(judged)
    first = date.fromisoformat(inputs["days"][0]["day"]["on"])
    records = Records.of(patient, first, judged.on)
    return Progression(
        patient=patient,
        assignment=course.assignment,
        assignment_version=course.assignment.version,
        recommendation=judged.outcome.value,
        rule=judged.rule,
        from_phase_id=judged.phase_id,
        to_phase_id=to_phase_id if to_phase_id is not None else _to(protocol, judged),
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
        data_quality=_quality(judged, records, patient),
        proposed_by=by,
        proposal_note=note,
    )


def _inputs(judged: Judged) -> tuple[dict[str, Any], str]:
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


def _to(protocol: Protocol, judged: Judged) -> str:
    if judged.outcome is Outcome.ADVANCE:
        return protocol.phases[judged.case.phase.number].id
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


def _quality(judged: Judged, records: Records, patient: Patient) -> dict[str, Any]:
    rows: list[Session] = [row for found in records.sessions.values() for row in found]
    shown: dict[str, Any] = {
        "sessions": len(rows),
        "late_sessions": sum(row.late for row in rows),
        "clock_suspect": sum(row.clock_suspect for row in rows),
    }
    if patient.last_received_at is not None:
        shown["last_received_at"] = patient.last_received_at.isoformat()
    return shown
