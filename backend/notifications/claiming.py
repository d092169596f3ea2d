"""Claiming what has come up, and deciding it, before anything is sent.

A claim decides under the patients' locks and is committed then. So no send starts after a pause, a
stop or a log that was committed: whoever comes first, the other one sees it. A sender who dies
leaves the claim to run out; the next one repeats it under the same keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.functional import cached_property

from backend.care.models import CheckIn, Flag, Session
from backend.care.selectors import plan_of
from backend.clinics.actions import is_consent_given
from backend.clinics.models import Clinic, Device, Invitation, Patient, User, address_kind
from backend.notifications.gateways.base import (
    Address,
    Notice,
    Result,
)
from backend.notifications.models import Delivery, Message, ReminderSettings
from backend.notifications.planning import know
from backend.notifications.verdict import (
    REMINDERS,
    TO_PATIENTS,
    Facts,
    Verdict,
    Why,
    Wishes,
    verdict,
)
from backend.reports.models import Export

Kind = Message.Kind
Status = Message.Status

A_CLAIM = 500  # messages
LEASE = timedelta(seconds=45)  # what was claimed and not written down comes up again after that
MOST_UNANSWERED = 5  # tries in a row without any outcome: the row itself is at fault

_log = structlog.stdlib.get_logger("backend.notifications")


@dataclass(frozen=True, slots=True)
class Way:
    """One device or mailbox; by `key` its delivery is found again, at every further attempt."""

    address: Address
    key: UUID
    phone: Phone | None = None


@dataclass
class Outgoing:
    """A message that is to be sent, the ways it goes, and what came of them."""

    message: Message
    locale: str
    ways: Sequence[Way]
    notice: Notice | None = None
    change_seq: int = 0  # of the patient, when it was decided
    is_given_back: bool = False
    results: dict[UUID, Result] = field(default_factory=dict)
    failed: bool = False  # our own fault: no outcome


@dataclass
class Claim:
    """How much one claim found, and what is to become of it."""

    count: int
    outgoing: list[Outgoing] = field(default_factory=list)
    silent: dict[Why, list[Message]] = field(default_factory=lambda: defaultdict(list))
    later: list[Message] = field(default_factory=list)
    finished: list[Message] = field(default_factory=list)


@transaction.atomic
def claim(*, now: datetime, limit: int = A_CLAIM) -> Claim:
    """Take what has come up and decide it. What a patient's own upload holds just now is left."""
    rows = list(
        Message.objects.select_for_update(skip_locked=True)
        .filter(attempt_due_at__lte=now)
        .order_by("attempt_due_at", "id")[:limit]
    )
    patients = _lock({row.patient_id for row in rows if row.patient_id})
    rows = [row for row in rows if row.patient_id is None or row.patient_id in patients]
    known = Known(rows, patients, now)
    found = Claim(len(rows))
    for row in rows:
        decided = _decide(row, known, now)
        ways = known.ways_left(row) if decided.is_sent else []
        if decided.is_sent and not ways:
            decided = Verdict(False, Why.REFUSED)  # nobody is left who has not refused it
        if ways:
            row.why = decided.why if row.status == Status.WAITING else row.why
            found.outgoing.append(known.outgoing(row, ways))
        elif row.status == Status.SENT:
            found.finished.append(row)
        elif decided.again_at is not None:
            row.attempt_due_at = decided.again_at
            found.later.append(row)
        else:
            found.silent[decided.why].append(row)
    _take(found, now)
    return found


def _decide(row: Message, known: Known, now: datetime) -> Verdict:
    if row.unanswered >= MOST_UNANSWERED:
        return Verdict(False, Why.QUARANTINED)
    try:
        return verdict(row, known.facts(row), now)
    except Exception as error:  # a bad row harms no other
        _log.error("deciding failed", message_id=str(row.pk), exc_info=error)
        row.unanswered += 1
        return Verdict(False, Why.QUARANTINED, again_at=now + LEASE)


class Owner(NamedTuple):
    """A patient, as far as messages depend on one. Models would take longer to make than all the
    rest of a claim."""

    pk: UUID
    user_id: UUID | None
    email: str
    locale: str
    timezone: str
    status: str
    consented_at: datetime | None
    consent_withdrawn_at: datetime | None
    plan_version: int
    change_seq: int


class Reader(NamedTuple):
    """An account that is written to."""

    pk: UUID
    email: str
    locale: str
    is_active: bool
    clinic_id: UUID | None


class Phone(NamedTuple):
    pk: UUID
    patient_id: UUID
    device_id: UUID
    platform: str
    push_kind: str
    push_token: str


def _lock(ids: set[UUID]) -> dict[UUID, Owner]:
    rows = Patient.objects.select_for_update(skip_locked=True).filter(pk__in=ids).order_by("pk")
    return {row[0]: Owner._make(row) for row in rows.values_list(*Owner._fields)}


def _take(found: Claim, now: datetime) -> None:
    """What is sent is ours for the length of a lease. By reason: a claim takes few statements."""
    by_why: dict[str, list[UUID]] = defaultdict(list)
    for one in found.outgoing:
        by_why[one.message.why].append(one.message.pk)
    for why, ids in by_why.items():
        these(ids).update(attempt_due_at=now + LEASE, unanswered=F("unanswered") + 1, why=why)
    resent = [one.message.pk for one in found.outgoing if one.message.resent_at == now]
    if resent:
        these(resent).update(resent_at=now)
    for why, rows in found.silent.items():
        these(row.pk for row in rows).update(
            status=Status.SILENT, why=why, decided_at=now, attempt_due_at=None
        )
    if found.finished:
        these(row.pk for row in found.finished).update(attempt_due_at=None)
    for row in found.later:
        row.save(update_fields=["attempt_due_at", "unanswered"])


def these(ids: Iterable[UUID]) -> QuerySet[Message]:
    return Message.objects.filter(pk__in=list(ids))


class Known:
    """What a claim's messages are decided by, read once for all of them."""

    def __init__(
        self, rows: Sequence[Message], patients: Mapping[UUID, Owner], now: datetime
    ) -> None:
        self.rows, self.patients, self.now = rows, patients, now
        self._found: dict[UUID, list[Way]] = {}

    def facts(self, row: Message) -> Facts:
        patient = self.patients.get(row.patient_id) if row.patient_id else None
        addresses = len(self.ways(row))
        if row.kind not in TO_PATIENTS:
            return Facts(
                is_reachable=self._is_staff_reachable(row, patient),
                is_handled=self._is_handled(row),
                addresses=addresses,
            )
        assert patient is not None
        wishes = self._wishes.get(patient.pk)
        facts = Facts(
            is_reachable=_is_reachable(patient, self._people.get(row.person_id)),
            wishes=wishes,
            zone=ZoneInfo(patient.timezone),
            addresses=addresses,
        )
        if row.kind not in REMINDERS or not facts.is_reachable:
            return facts
        return self._of_the_day(row, patient, wishes, addresses)

    def _of_the_day(
        self, row: Message, patient: Owner, wishes: Wishes | None, addresses: int
    ) -> Facts:
        if row.plan_version != patient.plan_version:
            whole = Patient.objects.select_related("clinic").get(pk=patient.pk)
            [day] = plan_of(whole, first=row.on, days=1, now=self.now).days
            know(row, day, patient.plan_version)
        outcomes = self._outcomes.get((patient.pk, row.on), {})
        return Facts(
            is_reachable=True,
            wishes=wishes,
            zone=ZoneInfo(patient.timezone),
            is_stopped=patient.pk in self._stopped,
            day_type=row.day_type,
            due=len(row.slots),
            done=sum(outcomes.get(id) in DONE for id in row.slots),
            is_logged=bool(outcomes),
            is_checked_in=(patient.pk, row.on) in self._checked_in,
            addresses=addresses,
        )

    def _is_staff_reachable(self, row: Message, patient: Owner | None) -> bool:
        if row.kind == Kind.INVITATION:
            return patient is not None and patient.user_id is None
        if row.person_id is None:
            return True  # the clinic's urgent contact
        person = self._people.get(row.person_id)
        return person is not None and person.is_active and person.clinic_id == row.clinic_id

    def _is_handled(self, row: Message) -> bool:
        """Whether somebody has dealt meanwhile with what it is about."""
        if row.kind == Kind.FLAG:
            return row.about_id not in self._open_flags
        if row.kind == Kind.EXPORT:
            return row.about_id not in self._files
        if row.kind == Kind.INVITATION:
            return row.about_id not in self._invitations
        return False

    def outgoing(self, row: Message, ways: Sequence[Way]) -> Outgoing:
        patient = self.patients.get(row.patient_id) if row.patient_id else None
        seq = patient.change_seq if patient is not None else 0
        return Outgoing(row, self.locale(row), ways, change_seq=seq)

    def locale(self, row: Message) -> str:
        if row.person_id is not None and (person := self._people.get(row.person_id)):
            return person.locale
        patient = self.patients.get(row.patient_id) if row.patient_id else None
        return patient.locale if patient is not None and row.kind == Kind.INVITATION else "en"

    def ways(self, row: Message) -> list[Way]:
        """Where it may go. Patients by what they chose, staff by e-mail."""
        if row.pk not in self._found:
            self._found[row.pk] = self._ways(row)
        return self._found[row.pk]

    def _ways(self, row: Message) -> list[Way]:
        if row.kind in TO_PATIENTS:
            assert row.patient_id is not None
            return [*self._pushes(row), *self._mails(row)]
        to = self._staff_address(row)
        return [_mail(row, to)] if to else []

    def _pushes(self, row: Message) -> Iterator[Way]:
        wishes = self._wishes.get(row.patient_id) if row.patient_id else None
        if wishes is not None and "push" not in wishes.channels:
            return
        for phone in self._phones.get(row.patient_id, ()):
            kind = address_kind(phone.push_kind, phone.platform)
            yield Way(Address(kind.value, phone.push_token), phone.device_id, phone)  # type: ignore[arg-type]

    def _mails(self, row: Message) -> Iterator[Way]:
        wishes = self._wishes.get(row.patient_id) if row.patient_id else None
        person = self._people.get(row.person_id)
        if wishes is not None and "email" in wishes.channels and person is not None:
            yield _mail(row, person.email)

    def _staff_address(self, row: Message) -> str:
        if row.kind == Kind.INVITATION:
            patient = self.patients.get(row.patient_id) if row.patient_id else None
            return patient.email if patient is not None else ""
        if row.person_id is None:
            return self._urgent[row.clinic_id]
        person = self._people.get(row.person_id)
        return person.email if person is not None else ""

    def ways_left(self, row: Message) -> list[Way]:
        """Of a message that was on its way before: what a provider has not taken yet; or, where
        nobody has confirmed it, once more what phones were sent."""
        if row.status == Status.WAITING and not row.retries:
            return self.ways(row)
        if row.status == Status.SENT and row.confirmed_at is not None:
            return []
        taken = {one.key: one for one in self._deliveries.get(row.pk, ())}
        waiting = [
            way
            for way in self.ways(row)
            if way.key not in taken or taken[way.key].status == Delivery.Status.LATER
        ]
        if waiting or row.status == Status.WAITING or row.resent_at is not None:
            return waiting
        row.resent_at = self.now
        return [
            way
            for way in self.ways(row)
            if way.phone is not None and taken[way.key].status == Delivery.Status.SENT
        ]

    # What is asked of the database, and only where a message needs it.

    def _ids(self, kinds: Iterable[str]) -> set[UUID]:
        return {row.patient_id for row in self.rows if row.kind in kinds and row.patient_id}

    @cached_property
    def _people(self) -> dict[UUID | None, Reader]:
        ids = {row.person_id for row in self.rows if row.person_id}
        rows = User.objects.filter(pk__in=ids).values_list(*Reader._fields)
        return {row[0]: Reader._make(row) for row in rows}

    @cached_property
    def _wishes(self) -> dict[UUID, Wishes]:
        rows = ReminderSettings.objects.filter(pk__in=self._ids(TO_PATIENTS))
        return {row[0]: _wishes(*row[1:]) for row in rows.values_list("pk", *OF_WISHES)}

    @cached_property
    def _phones(self) -> dict[UUID | None, list[Phone]]:
        found: dict[UUID | None, list[Phone]] = defaultdict(list)
        rows = Device.objects.filter(patient__in=self._ids(TO_PATIENTS)).exclude(push_token="")
        for row in rows.order_by("device_id").values_list(*Phone._fields):
            phone = Phone._make(row)
            found[phone.patient_id].append(phone)
        return found

    @cached_property
    def _stopped(self) -> set[UUID]:
        standing = Flag.objects.filter(
            patient__in=self._ids(REMINDERS), status__in=["open", "acknowledged"]
        ).exclude(level=Flag.Level.ROUTINE)
        return set(standing.values_list("patient_id", flat=True))

    @cached_property
    def _days(self) -> set[date]:
        return {row.on for row in self.rows if row.kind in REMINDERS}

    @cached_property
    def _outcomes(self) -> dict[tuple[UUID, date], dict[str, str]]:
        """The best outcome of each slot that was logged on a day."""
        found: dict[tuple[UUID, date], dict[str, str]] = defaultdict(dict)
        rows = Session.objects.filter(
            patient__in=self._ids(REMINDERS), local_date__in=self._days
        ).standing()
        for patient_id, on, slot, outcome in rows.values_list(
            "patient_id", "local_date", "slot_id", "outcome"
        ):
            assert on is not None
            slots = found[patient_id, on]
            if slots.get(str(slot)) not in DONE:
                slots[str(slot)] = outcome
        return found

    @cached_property
    def _checked_in(self) -> set[tuple[UUID, date | None]]:
        rows = CheckIn.objects.filter(
            patient__in=self._ids({Kind.CHECK_IN}), local_date__in=self._days
        ).standing()
        return set(rows.values_list("patient_id", "local_date"))

    @cached_property
    def _urgent(self) -> dict[UUID, str]:
        ids = {row.clinic_id for row in self.rows if row.person_id is None}
        return dict(Clinic.objects.filter(pk__in=ids).values_list("pk", "urgent_email"))

    @cached_property
    def _files(self) -> set[UUID | None]:
        """Those that are still there, or will not be."""
        ids = [row.about_id for row in self.rows if row.about_id and row.kind == Kind.EXPORT]
        found = Export.objects.filter(pk__in=ids).exclude(status=Export.Status.EXPIRED)
        return set(found.values_list("pk", flat=True))

    @cached_property
    def _open_flags(self) -> set[UUID | None]:
        ids = [row.about_id for row in self.rows if row.about_id and row.kind == Kind.FLAG]
        return set(
            Flag.objects.filter(pk__in=ids, status=Flag.Status.OPEN).values_list("pk", flat=True)
        )

    @cached_property
    def _invitations(self) -> set[UUID | None]:
        ids = [row.about_id for row in self.rows if row.about_id and row.kind == Kind.INVITATION]
        valid = Q(used_at=None, ended_at=None, expires_at__gt=self.now)
        return set(Invitation.objects.filter(valid, pk__in=ids).values_list("pk", flat=True))

    @cached_property
    def _deliveries(self) -> dict[UUID, list[Delivery]]:
        ids = [row.pk for row in self.rows if row.status == Status.SENT or row.retries]
        found: dict[UUID, list[Delivery]] = defaultdict(list)
        for one in Delivery.objects.filter(message__in=ids):
            found[one.message_id].append(one)
        return found


# A slot that was left on purpose is dealt with, too.
DONE = frozenset({Session.Outcome.COMPLETED, Session.Outcome.PARTIAL, Session.Outcome.SKIPPED})
REACHABLE = frozenset({Patient.Status.ACTIVE, Patient.Status.INVITED})


def _is_reachable(patient: Owner, person: Reader | None) -> bool:
    if person is None or not person.is_active or patient.user_id != person.pk:
        return False
    return patient.status in REACHABLE and is_consent_given(patient)


OF_WISHES = (
    "enabled", "weekly_summary", "paused_until", "quiet_from", "quiet_to", "channels",
)  # fmt: skip


def _wishes(
    enabled: bool,
    weekly_summary: bool,
    paused_until: date | None,
    quiet_from: time | None,
    quiet_to: time | None,
    channels: Sequence[str],
) -> Wishes:
    quiet = None if quiet_from is None or quiet_to is None else (quiet_from, quiet_to)
    return Wishes(enabled, weekly_summary, paused_until, quiet, frozenset(channels))


def _mail(row: Message, to: str) -> Way:
    return Way(Address("email", to), row.pk)
