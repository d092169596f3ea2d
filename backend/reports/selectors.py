"""The caseload: who of a clinic needs somebody, why, and since when.

Reasons are found for the whole clinic at once, from what each is stored as: open flags, open
proposals, concerns that judging keeps with an assignment, and when a phone was last heard from.
What a row shows besides is read for the patients of one page. The number of queries is the same for
any clinic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from backend.care.models import Assignment, ClosedDay, Flag, Pause, Progression
from backend.care.selectors import OPEN, is_closed, today_of
from backend.clinics.models import Patient, PatientQuerySet
from protocols.engine.definition import Protocol
from protocols.engine.plan import PhaseSpan, days_from
from protocols.knowledge import numbers, safety

A_DAY = timedelta(days=1)
STRIP_DAYS = 7
LIVE = (Patient.Status.INVITED, Patient.Status.ACTIVE)


class Tier(StrEnum):
    """In order of need."""

    URGENT = "urgent"
    REVIEW = "review"
    WATCH = "watch"
    ON_TRACK = "on_track"


IN_ORDER = tuple(Tier)
RANKS = {tier: rank for rank, tier in enumerate(IN_ORDER)}
NEVER = datetime.max.replace(tzinfo=UTC)

# The tier of each reason but flags, which have a level.
TIERS = {
    "standing_stop": Tier.URGENT,
    "red_day": Tier.REVIEW,
    "stepped_back": Tier.REVIEW,
    "progression_waiting": Tier.REVIEW,
    "amber_run": Tier.WATCH,
    "low_adherence": Tier.WATCH,
    "missed_3": Tier.WATCH,
    "not_heard": Tier.WATCH,
    "step_overdue": Tier.WATCH,
    "never_signed_in": Tier.WATCH,
    "data_late": Tier.WATCH,
}
TIER_OF_LEVEL = {
    Flag.Level.EMERGENCY: Tier.URGENT,
    Flag.Level.URGENT: Tier.URGENT,
    Flag.Level.ROUTINE: Tier.REVIEW,
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a patient is on the list. One that rests on a date holds since that date began."""

    code: str
    tier: Tier
    since: datetime
    params: Mapping[str, Any]
    flag_id: UUID | None = None
    progression_id: UUID | None = None
    assignment_id: UUID | None = None


class Name(NamedTuple):
    """As lists are in order of names: only ASCII has lost its case."""

    family: bytes
    given: bytes
    id: UUID


def name_of(patient: Patient) -> Name:
    return Name(_plain(patient.family_name), _plain(patient.given_name), patient.pk)


def _plain(text: str) -> bytes:
    return text.encode().lower()


class Found(NamedTuple):
    """A reason as it stands in the database: a row that begins as `WHOSE`, and what makes a reason
    of it. Of a whole clinic only those of one page are made."""

    row: Sequence[Any]
    tier: Tier
    since: datetime
    made: Callable[[Sequence[Any], Tier, datetime], Reason]


@dataclass(slots=True)
class Case:
    """A patient with the reasons to look at him. The tier he is in, and since when, is kept as they
    come: of a whole clinic that is much of what a page costs."""

    name: Name
    status: str
    found: list[Found] = field(default_factory=list)
    rank: int = len(RANKS)
    waiting_since: datetime = NEVER  # the oldest reason of the tier he is in

    def add(self, one: Found) -> None:
        self.found.append(one)
        rank = RANKS[one.tier]
        if (rank, one.since) < (self.rank, self.waiting_since):
            self.rank, self.waiting_since = rank, one.since

    @property
    def tier(self) -> Tier:
        return IN_ORDER[self.rank]

    def reasons(self) -> list[Reason]:
        """In order of need."""
        made = [one.made(one.row, one.tier, one.since) for one in self.found]
        return sorted(made, key=lambda one: (RANKS[one.tier], one.since, one.code))

    @property
    def place(self) -> tuple[int, datetime, Name]:
        return self.rank, self.waiting_since, self.name


@dataclass(frozen=True, slots=True)
class Caseload:
    """Everybody with a reason, in order, and how many there are of each tier."""

    cases: Sequence[Case]
    counts: Mapping[Tier, int]
    on_track: PatientQuerySet  # those of the clinic who may be on track

    def named(self) -> set[UUID]:
        return {case.name.id for case in self.cases}


def caseload_of(patients: PatientQuerySet, *, now: datetime) -> Caseload:
    """The list of these patients. Five queries. Who was discharged is on it for flags alone."""
    live = patients.filter(status__in=LIVE)
    found: dict[UUID, Case] = {}
    for one in _reasons(patients, live, now):
        case = found.get(one.row[0])
        if case is None:
            id, family, given, status = one.row[:4]
            case = found[id] = Case(Name(_plain(family), _plain(given), id), status)
        case.add(one)
    cases = sorted(found.values(), key=lambda case: case.place)
    counts = Counter(case.tier for case in cases)
    counts[Tier.ON_TRACK] = live.count() - sum(case.status in LIVE for case in cases)
    return Caseload(cases, {tier: counts[tier] for tier in Tier}, live)


WHO = ("id", "family_name", "given_name", "status", "timezone")
WHOSE = tuple(f"patient__{name}" for name in WHO)


def _reasons(patients: PatientQuerySet, live: PatientQuerySet, now: datetime) -> Iterable[Found]:
    yield from _flagged(patients)
    yield from _waiting(live)
    yield from _of_concern(live)
    yield from _not_heard(live, now)
    yield from _never_signed_in(live, now)


@lru_cache(maxsize=4096)
def _begins(on: date, zone: str) -> datetime:
    """When a date begins, in UTC: moments of one zone are compared much faster."""
    return datetime.combine(on, time.min, ZoneInfo(zone)).astimezone(UTC)


def _flagged(patients: PatientQuerySet) -> Iterable[Found]:
    """Every open flag, also one that somebody has acknowledged: it is not resolved."""

    def made(row: Sequence[Any], tier: Tier, since: datetime) -> Reason:
        code, level, _, on, occurrences, status, id = row[len(WHO) :]
        params = {
            "level": level,
            "observed_on": on.isoformat(),
            "occurrences": occurrences,
            "status": status,
        }
        return Reason(code, tier, since, params, flag_id=id)

    rows = Flag.objects.filter(status__in=OPEN, patient__in=patients).values_list(
        *WHOSE, "code", "level", "raised_at", "observed_on", "occurrences", "status", "id"
    )
    for row in rows:
        _, level, raised_at, *_ = row[len(WHO) :]
        yield Found(row, TIER_OF_LEVEL[Flag.Level(level)], raised_at, made)


def _waiting(patients: PatientQuerySet) -> Iterable[Found]:
    """Proposals that nobody has answered. A step back has acted already, and says so."""

    def code_of(recommendation: str) -> str:
        is_back = recommendation == Progression.Recommendation.STEP_BACK
        return "stepped_back" if is_back else "progression_waiting"

    def made(row: Sequence[Any], tier: Tier, since: datetime) -> Reason:
        _, recommendation, from_id, to_id, on, assignment_id, id = row[len(WHO) :]
        params = {
            "recommendation": recommendation,
            "date": on.isoformat(),
            "from_phase_id": from_id,
        }
        params |= {"to_phase_id": to_id} if to_id else {}
        code = code_of(recommendation)
        return Reason(code, tier, since, params, progression_id=id, assignment_id=assignment_id)

    rows = Progression.objects.filter(
        status=Progression.Status.PROPOSED, patient__in=patients
    ).values_list(
        *WHOSE,
        "waiting_since",
        "recommendation",
        "from_phase_id",
        "to_phase_id",
        "on",
        "assignment_id",
        "id",
    )
    for row in rows:
        since, recommendation, *_ = row[len(WHO) :]
        yield Found(row, TIERS[code_of(recommendation)], since, made)


def _of_concern(patients: PatientQuerySet) -> Iterable[Found]:
    """What the dates of courses that go on say by themselves."""

    def made(row: Sequence[Any], tier: Tier, since: datetime) -> Reason:
        id, one = row[len(WHO) :]
        params = one["params"] | {"date": one["on"]}
        return Reason(one["code"], tier, since, params, assignment_id=id)

    rows = Assignment.objects.filter(
        concerns__isnull=False, ended_on=None, patient__in=patients
    ).values_list(*WHOSE, "id", "concerns")
    for *told, concerns in rows:
        zone = told[WHO.index("timezone")]
        for one in concerns:
            since = _begins(date.fromisoformat(one["on"]), zone)
            yield Found((*told, one), TIERS[one["code"]], since, made)


def _not_heard(patients: PatientQuerySet, now: datetime) -> Iterable[Found]:
    """A plan runs, and its patient's phone has been silent for days, counted from its start on."""
    days = int(numbers()["caseload_not_heard_days"])
    latest = now - days * A_DAY

    def made(row: Sequence[Any], tier: Tier, since: datetime) -> Reason:
        heard_at = row[-1]
        params = {"heard_at": heard_at, "days": (now - heard_at).days}
        return Reason("not_heard", tier, since, params)

    running = (
        Assignment.objects.filter(
            patient__in=patients.filter(status=Patient.Status.ACTIVE),
            ended_on=None,
            start_date__lte=latest.date(),
        )
        .annotate(
            heard_at=Coalesce(
                "patient__last_received_at", "patient__consented_at", "patient__created_at"
            )
        )
        .filter(~Exists(_pauses(now)), heard_at__lte=latest)
    )
    rows = running.order_by("patient_id", "start_date").values_list(
        *WHOSE, "start_date", "heard_at"
    )
    seen = None
    for row in rows:
        id, *_, zone, start, heard_at = row
        if id == seen:
            continue  # the plan begun first counts
        seen = id
        since = max(_begins(start, zone), heard_at) + days * A_DAY
        if since <= now:
            yield Found(row, TIERS["not_heard"], since, made)


def _pauses(now: datetime) -> QuerySet[Pause]:
    on = now.date()
    return Pause.objects.filter(
        Q(until_on=None) | Q(until_on__gte=on), assignment=OuterRef("pk"), from_on__lte=on
    )


def _never_signed_in(patients: PatientQuerySet, now: datetime) -> Iterable[Found]:
    days = int(numbers()["caseload_never_signed_in_days"])

    def made(row: Sequence[Any], tier: Tier, since: datetime) -> Reason:
        invited_at = row[-1]
        params = {"invited_at": invited_at, "days": (now - invited_at).days}
        return Reason("never_signed_in", tier, since, params)

    rows = (
        patients.filter(status=Patient.Status.INVITED, user=None)
        .values(*WHO)
        .annotate(invited_at=Min("invitations__created_at"))
        .filter(invited_at__lte=now - days * A_DAY)
        .values_list(*WHO, "invited_at")
    )
    for row in rows:
        yield Found(row, TIERS["never_signed_in"], row[-1] + days * A_DAY, made)


# --- What a row shows besides -----------------------------------------------------------------

OF_WEEK = (
    "on", "closed_at", "slots_due", "slots_completed", "slots_partial", "slots_skipped",
    "slots_excused", "pain_during", "pain_next",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Week:
    """The last closed dates of a patient, over all courses."""

    strip: str
    due: int
    done: int
    pain_during_worst: int | None
    pain_morning_last: int | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A patient of the page."""

    patient: Patient
    assignments: Sequence[Assignment]  # that go on, the one begun last at the end
    today: date
    week: Week


def shown_of(ids: Sequence[UUID], patients: PatientQuerySet, *, now: datetime) -> list[Shown]:
    """The patients with these ids, in this order, with what their rows show. Three queries."""
    by_id = {row.pk: row for row in patients.filter(pk__in=ids)}
    assignments: dict[UUID, list[Assignment]] = {id: [] for id in ids}
    running = Assignment.objects.filter(patient__in=ids, ended_on=None).order_by("start_date", "id")
    for row in running.select_related("protocol_version").defer(
        "carried", "concerns", "protocol_version__document"
    ):
        assignments[row.patient_id].append(row)
    days: dict[UUID, list[ClosedDay]] = {id: [] for id in ids}
    first = now.date() - (STRIP_DAYS + 2) * A_DAY  # wherever the patient is
    lived = ClosedDay.objects.filter(assignment__patient__in=ids, on__gte=first)
    for day in lived.annotate(patient_id=F("assignment__patient")).only(*OF_WEEK).order_by("on"):
        days[getattr(day, "patient_id")].append(day)  # noqa: B009  # annotated
    found = []
    for id in ids:
        if (patient := by_id.get(id)) is not None:
            week = week_of(patient, days[id], now)
            found.append(Shown(patient, assignments[id], today_of(patient, now), week))
    return found


def span_of(assignment: Assignment, today: date) -> PhaseSpan:
    """As `Course.span_on`, for today and with what the row itself holds."""
    standing = assignment.standing
    if standing is None:
        begun = assignment.phase_started_on or assignment.start_date
        return PhaseSpan(assignment.start_phase_id, begun)
    told = next((one for one in standing["open"] if one["on"] == today.isoformat()), None)
    told = told or standing["state"]
    return PhaseSpan(told["phase_id"], date.fromisoformat(told["started_on"]))


def week_of(patient: Patient, days: Iterable[ClosedDay], now: datetime) -> Week:
    """The last seven closed dates, from the rows of the day book that lie in them."""
    last = today_of(patient, now) - A_DAY
    if not is_closed(last, patient.zone, now):
        last -= A_DAY
    dates = days_from(last - (STRIP_DAYS - 1) * A_DAY, STRIP_DAYS)
    by_date: dict[date, list[ClosedDay]] = {on: [] for on in dates}
    for row in days:
        if row.on in by_date:
            by_date[row.on].append(row)
    rows = [row for on in dates for row in by_date[on]]
    mornings = [row.pain_next for row in rows if row.pain_next is not None]
    return Week(
        strip="".join(letter_of(by_date[on], patient.last_received_at) for on in dates),
        due=sum(row.slots_due - not_heard(row, patient.last_received_at) for row in rows),
        done=sum(row.slots_completed + row.slots_partial for row in rows),
        pain_during_worst=max(
            (row.pain_during for row in rows if row.pain_during is not None), default=None
        ),
        pain_morning_last=mornings[-1] if mornings else None,
    )


def missing(row: ClosedDay) -> int:
    """Slots that were due and of which nobody said anything."""
    return row.slots_due - row.slots_completed - row.slots_partial - row.slots_skipped


def not_heard(row: ClosedDay, heard_at: datetime | None) -> int:
    """Of these the ones that are unknown: the phone was not heard from since the date closed."""
    return missing(row) if heard_at is None or heard_at < row.closed_at else 0


def letter_of(rows: Sequence[ClosedDay], heard_at: datetime | None) -> str:
    """One letter for a closed date: its least complete slot."""
    if any(missing(row) - not_heard(row, heard_at) for row in rows):
        return "M"
    if any(not_heard(row, heard_at) for row in rows):
        return "?"
    for letter, name in (("S", "skipped"), ("P", "partial"), ("C", "completed"), ("X", "excused")):
        if any(getattr(row, f"slots_{name}") for row in rows):
            return letter
    return "-"


# --- In words ---------------------------------------------------------------------------------


def words_of(reason: Reason, assignments: Sequence[Assignment]) -> str:
    """A reason as people read it. What a flag is about stands in the library."""
    if reason.flag_id is not None:
        flag = safety().red_flags[reason.code]
        return flag.sign or flag.ask
    protocol = next(
        (one.protocol_version.definition for one in assignments if one.pk == reason.assignment_id),
        None,
    )
    return WORDS[reason.code](reason.params, protocol)


def _phase(protocol: Protocol | None, id: str | None) -> str:
    if protocol is None or not id:
        return "a phase"
    phase = protocol.phase(id)
    return f"phase {phase.number}, {phase.title}"


def _day(told: str) -> str:
    on = date.fromisoformat(told)
    return f"{on.day} {on:%b}"


def _proposal(params: Mapping[str, Any], protocol: Protocol | None) -> str:
    here = _phase(protocol, params["from_phase_id"])
    match params["recommendation"]:
        case Progression.Recommendation.ADVANCE:
            what = f"advance to {_phase(protocol, params.get('to_phase_id'))}"
        case Progression.Recommendation.DISCHARGE:
            what = f"complete the plan after {here}"
        case Progression.Recommendation.STOP_AND_REVIEW:
            what = "stop and review"
        case _:
            what = f"hold {here}"
    return f"Proposal to {what}, waits for you"


WORDS: Mapping[str, Callable[[Mapping[str, Any], Protocol | None], str]] = {
    "standing_stop": lambda params, _: (
        f"The plan stands still since {_day(params['date'])}, until a clinician clears the stop"
    ),
    "red_day": lambda params, _: "RED on " + ", ".join(map(_day, params["dates"])),
    "stepped_back": lambda params, protocol: (
        f"Stepped back to {_phase(protocol, params.get('to_phase_id'))}, "
        f"for what {_day(params['date'])} showed"
    ),
    "progression_waiting": _proposal,
    "amber_run": lambda params, _: f"The last {params['session_days']} session days were AMBER",
    "low_adherence": lambda params, _: (
        f"{params['observed']:.0%} of the planned sets done on the last {params['days']} closed "
        f"dates, below {params['limit']:.0%}"
    ),
    "missed_3": lambda params, _: f"{params['missed']} planned dates in a row missed",
    "not_heard": lambda params, _: f"Phone not heard from for {params['days']} days",
    "step_overdue": lambda params, protocol: (
        f"Day {params['day_in_phase']} of {_phase(protocol, params['phase_id'])}, "
        f"which is expected to take {params['expected']} days at most"
    ),
    "never_signed_in": lambda params, _: f"Invited {params['days']} days ago, not signed in yet",
    "data_late": lambda params, _: (
        f"{params['late']} of the last {params['logs']} logs typed in after their day had closed"
    ),
}
