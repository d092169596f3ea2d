"""How a story of the demo becomes facts: by the actions of staff and phones, each at its time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property, partial
from heapq import heappop, heappush
from itertools import count, cycle, islice
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from django.db import transaction

from backend.api.records import report_of
from backend.care import assessing, deciding, feed, prescribing, recording, reviewing
from backend.care.models import Assignment, Change, Progression, Revision
from backend.care.recording import Batch, Report, Upload
from backend.care.selectors import Course, course_of, today_of
from backend.clinics import actions
from backend.clinics.models import Patient, User
from backend.management.demo_stories import PASSWORD, Story
from backend.notifications import actions as reminders
from protocols.engine.definition import Dose
from protocols.engine.plan import Item, Slot
from protocols.knowledge import metrics
from protocols.models import ProtocolVersion

DEMO = UUID("5d0c6f2e-3f0a-4c0e-9a55-de30de30de30")  # namespace of every id that is chosen here
A_DAY = timedelta(days=1)
REMINDED = {
    "enabled": True, "times": ["08:00", "18:00"], "quiet_from": time(21), "quiet_to": time(7),
    "channels": ["local", "push"], "weekly_summary": True,
}  # fmt: skip
BEGINS = {"morning": time(7, 40), "midday": time(12, 35), "evening": time(18, 10)}
JOURNEYS = (
    "America/New_York",
    "America/Santiago",
    "Australia/Sydney",
    "Africa/Cairo",
    "Europe/Lisbon",
)

Kind = Revision.Kind
Act = Callable[[datetime], object]


@dataclass(frozen=True, slots=True)
class Lived:
    """One date as the patient tells it."""

    before: int
    during: int
    next_morning: int | None
    how: str = ""

    @classmethod
    def of(cls, word: str) -> Lived | None:
        if word == "---":
            return None
        rated = None if word[2] == "x" else int(word[2])
        return cls(int(word[0]), int(word[1]), rated, word[3:])

    @property
    def share(self) -> float:
        return {"": 1.0, "h": 0.5, "s": 0.0}[self.how]


@transaction.atomic
def tell(story: Story, *, by: User, seed: int, stamp: str, now: datetime) -> None:
    """Let a story happen, up to now. `by` treats; `stamp` says of which making it is."""
    Telling(story, by, seed, stamp, now).told()


class Telling:
    """One story on its way: what is known of it so far, and what happens when."""

    patient: Patient
    course: Course

    def __init__(self, story: Story, by: User, seed: int, stamp: str, now: datetime) -> None:
        self.story, self.by, self.stamp, self.now = story, by, stamp, now
        self.seed = f"{seed}/{story.name}"
        self.chance = random.Random(self.seed)  # noqa: S311 - the same seed, the same demo
        self.home = ZoneInfo(story.timezone)
        self.today = now.astimezone(self.home).date()
        self.happening: list[tuple[datetime, int, Act]] = []  # a heap; acts make further ones
        self.places = count()
        self.batch = Batch()

    def told(self) -> None:
        arrival = self._at(self.first - A_DAY, time(15, 0))
        self._take_in(arrival)
        if self.story.signs_in:
            self._enrol(arrival + timedelta(hours=4))
        self._plan_everything()
        while self.happening and self.happening[0][0] <= self.now:
            at, _, act = heappop(self.happening)
            act(at)
        if self.story.signs_in:
            reminders.set_reminders(patient=self.patient, changes=REMINDED, now=self.now)

    # --- When -----------------------------------------------------------------------------

    @cached_property
    def first(self) -> date:
        if self.story.travels:
            return self.journey[1] - timedelta(days=10)
        last = self.today - timedelta(days=self.story.until)
        return last - timedelta(days=len(self.story.course.split()) - 1)

    @cached_property
    def days(self) -> list[tuple[date, Lived | None]]:
        words = self.story.course.split()
        length = (self.today - self.first).days if self.story.travels else len(words)
        told = map(Lived.of, islice(cycle(words), length))
        return [(self.first + timedelta(days=n), lived) for n, lived in enumerate(told)]

    @cached_property
    def journey(self) -> tuple[str, date]:
        """Where the clocks changed last, and on which date: the journey goes there."""
        return max(
            ((zone, last_change(ZoneInfo(zone), self.today - A_DAY)) for zone in JOURNEYS),
            key=lambda one: (one[1], one[0]),
        )

    def _date(self, day: int) -> date:
        return self.first + timedelta(days=day - 1)

    def _zone(self, on: date) -> ZoneInfo:
        if not self.story.travels:
            return self.home
        zone, changed_on = self.journey
        away = changed_on - timedelta(days=3) <= on <= changed_on + timedelta(days=4)
        return ZoneInfo(zone) if away else self.home

    def _at(self, on: date, at: time) -> datetime:
        return datetime.combine(on, at, self._zone(on))

    def _later(self, at: datetime, act: Act) -> None:
        heappush(self.happening, (at, next(self.places), act))

    def _id(self, *parts: object) -> UUID:
        return uuid5(DEMO, "/".join([self.seed, *map(str, parts)]))

    # --- In the clinic --------------------------------------------------------------------

    def _take_in(self, now: datetime) -> None:
        """The first visit: record, examine, answer every gate, prescribe from the next day on."""
        story = self.story
        version = ProtocolVersion.objects.visible_to(self.by).get(
            clinic=None, slug=story.protocol, version="1.0.0"
        )
        self.patient = actions.create_patient(
            clinic=self.by.clinic,  # type: ignore[arg-type]  # staff have one
            given_name=story.given_name,
            family_name=story.family_name,
            birth_date=date(now.year - story.age - 1, 12, 31),
            sex=story.sex,
            email=story.email,
            timezone=story.timezone,
            physiotherapist=self.by,
            identifiers=[{"system": self.stamp, "value": story.name}],
            now=now,
        )
        self._tell_phones(now)
        episode = actions.create_episode(
            patient=self.patient,
            by=self.by,
            now=now,
            said={
                "title": story.problem,
                "body_region": story.region,
                "side": story.side,
                "onset_date": self.first - timedelta(days=5 if story.new_pain else 150),
                "new_pain": story.new_pain,
                "diagnosis_text": story.diagnosis,
                "started_on": now.date(),
            },
        )
        facts = {"red_flag_screen_clear", *(need.fact for need in version.definition.requires)}
        if story.region == "sit_bone":
            facts.add("imaging_decision_recorded")
        for fact in sorted(facts):
            self._measure(fact, 1, now)
        changes = [{"op": "add", "key": key} for key in story.switched_on]
        assignment = prescribing.assign(
            patient=self.patient,
            wish=prescribing.Wish(
                protocol_version=version,
                episode=episode,
                start_date=self.first,
                start_phase_id=story.phase,
                training_days=story.training_days,
                changes=changes,
            ),
            by=self.by,
            now=now,
        )
        self.course = course_of(self._assignment(assignment.pk))

    def _tell_phones(self, now: datetime) -> None:
        """What whoever calls `clinics.actions` about a record does, too."""
        patient = actions.lock(self.patient)
        feed.touch(
            patient, [feed.Touched(Change.Type.PATIENT, patient.pk, patient.version)], now=now
        )

    def _assignment(self, pk: UUID) -> Assignment:
        return Assignment.objects.visible_to(self.by).with_record().get(pk=pk)

    def _enrol(self, now: datetime) -> None:
        invitation = actions.invite(patient=self.patient, by=self.by, now=now)
        actions.enrol(
            code=actions.code_of(invitation),
            birth_year=self.patient.birth_date.year,
            email=self.story.email,
            password=PASSWORD,
            now=now,
        )
        actions.put_device(
            patient=self.patient,
            device_id=self._id("phone"),
            platform=self.chance.choice(("android", "ios")),
            push_token=f"demo-{self._id('phone')}",  # nobody is there: the log shows what was sent
            app_version="1.0.0",
            now=now,
        )

    def _measure(self, code: str, value: float, now: datetime) -> None:
        assessing.record(
            patient=self.patient,
            code=code,
            value=Decimal(str(value)),
            unit=metrics()[code].unit,
            side="none",
            measured_at=now,
            findings=(),
            remark="",
            by=self.by,
            now=now,
        )

    def _pause(self, now: datetime) -> None:
        prescribing.pause(
            assignment=self._assignment(self.course.id),
            first=today_of(self.patient, now),
            last=None,
            reason="Fever; called in sick.",
            by=self.by,
            now=now,
        )

    def _discharge(self, now: datetime) -> None:
        on = today_of(self.patient, now)
        ended = prescribing.end(
            assignment=self._assignment(self.course.id),
            last=on - A_DAY,
            kind=Assignment.EndKind.COMPLETED,
            reason="All criteria of return met. Back in full training.",
            by=self.by,
            now=now,
        )
        actions.update_episode(
            episode=ended.episode, changes={"ended_on": on, "end_reason": "completed"}, now=now
        )
        self._tell_phones(now)

    # --- What happens when ----------------------------------------------------------------

    def _plan_everything(self) -> None:
        story = self.story
        for day, values in story.measured.items():
            at = self._at(self._date(day), time(10, 30))
            for code, value in values.items():
                self._later(at, partial(self._measure, code, value))
        if story.paused_on:
            self._later(self._at(self._date(story.paused_on), time(8, 30)), self._pause)
        if story.discharged_on:
            self._later(self._at(self._date(story.discharged_on), time(11, 0)), self._discharge)
        for day in story.approved_on:
            self._later(self._at(self._date(day), time(8, 45)), self._approve)
        for day, (on, lived) in enumerate(self.days, start=1):
            self._later(self._at(on + A_DAY, time(12, 1)), self._close)
            if lived is not None:
                self._later(self._at(on, time(5, 0)), partial(self._live, day, on, lived))
                self._check_in(day, on, lived)
        for day, codes in story.signs.items():
            self._something_is_wrong(self._date(day), codes)

    def _live(self, day: int, on: date, lived: Lived, now: datetime) -> None:
        """Get up, and read what the plan asks for today."""
        self.course = course_of(self._assignment(self.course.id))
        if not self.course.terms_on(on).stopped:
            self._sessions(day, on, lived)

    def _close(self, now: datetime) -> None:
        deciding.close(patient_id=self.patient.pk, now=now)

    def _approve(self, now: datetime) -> None:
        """The physiotherapist agrees to what is proposed."""
        for row in Progression.objects.filter(patient=self.patient, status="proposed"):
            note = "Well done. Start gently, and tell me how it goes."
            reviewing.decide(
                progression=row,
                decision=reviewing.Decision(is_approval=True, note_to_patient=note),
                by=self.by,
                now=now,
            )

    def _sessions(self, day: int, on: date, lived: Lived) -> None:
        slots = [slot for slot in self.course.slots(on) if slot.counts]
        for n, slot in enumerate(slots):
            is_last = n == len(slots) - 1
            began = self._at(on, _begins(slot, len(slots)))
            began += timedelta(minutes=self.chance.randrange(25))
            ended = began + timedelta(minutes=14 + self.chance.randrange(15))
            said = self._session(day, slot, lived, began, ended, is_last=is_last)
            typed = self._typed(day, on, ended)
            id = self._id("session", on, slot.key)
            self._upload(typed, Kind.SESSION, id, said)
            if not is_last:
                continue
            if day == self.story.corrected_on:
                better = said | {"pain_after": 0, "note": "Pain after was 0, not what I wrote."}
                self._upload(typed + timedelta(minutes=9), Kind.SESSION, id, better, revision=2)
            if day == self.story.withdrawn_on:
                twin = self._id("session", on, slot.key, "twin")
                self._upload(typed + timedelta(minutes=2), Kind.SESSION, twin, said)
                self._upload(typed + timedelta(minutes=5), Kind.SESSION, twin, None, revision=2)
            if self.story.has_tablet and day % 4 == 2:
                self._on_tablet(id, said, slot, ended, day)

    def _typed(self, day: int, on: date, ended: datetime) -> datetime:
        """When a log is written down: at once, or on the evening when all that is open is."""
        waits = -day % self.story.typed_every
        if not waits:
            return ended + timedelta(seconds=40)
        evening = self._at(on + timedelta(days=waits), time(20, 45))
        return evening + timedelta(minutes=self.chance.randrange(20))

    def _session(
        self,
        day: int,
        slot: Slot,
        lived: Lived,
        began: datetime,
        ended: datetime,
        *,
        is_last: bool,
    ) -> dict[str, Any]:
        version = self.course.version_on(slot.on)
        said: dict[str, Any] = {
            "assignment_id": str(self.course.id),
            "assignment_version": version.number,
            "slot_id": str(slot.id),
            "local_date": slot.on.isoformat(),
            "timezone": str(self._zone(slot.on)),
            "pain_before": lived.before,
        }
        if is_last and day in self.story.notes:
            said["note"] = self.story.notes[day]
        if not lived.share:
            return said | {"state": "skipped", "skip_reason": "illness"}
        items = [item for item in slot.items if item.prescribed.counts]
        done = max(1, round(len(items) * lived.share))
        said |= {
            "state": "finished",
            "started_at": self._by_phone(began),
            "ended_at": self._by_phone(ended),
            "pain_during": lived.during if is_last else min(lived.before, lived.during),
            "pain_after": (lived.before + lived.during) // 2,
            "effort": 4 + self.chance.randrange(6) / 2,
            "entries": [_done(item) for item in items[:done]]
            + [_skipped(item, "pain") for item in items[done:]],
        }
        if self.story.settles_in_min is not None:
            said["settle_min"] = self.story.settles_in_min
            said["leg_symptom"] = "thigh" if lived.during else "none"
        return said

    def _check_in(self, day: int, on: date, lived: Lived) -> None:
        """The rating of the next morning."""
        if lived.next_morning is None:
            return
        morning = on + A_DAY
        at = self._at(morning, time(6, 50)) + timedelta(minutes=self.chance.randrange(30))
        said: dict[str, Any] = {
            "local_date": morning.isoformat(),
            "timezone": str(self._zone(morning)),
            "pain_now": lived.next_morning,
            "stiffness": min(10, lived.next_morning + self.chance.randrange(2)),
            "confidence": max(0, 9 - lived.next_morning - self.chance.randrange(2)),
        }
        if self.course.protocol.limits.nerve:
            said["leg_symptom"] = "thigh" if lived.next_morning else "none"
        if day % 7 == 0:
            said["screen"] = "weekly"
            said["nprs_worst"] = min(10, max(lived.during, lived.next_morning) + 1)
        self._upload(at, Kind.CHECK_IN, self._id("check-in", morning), said)

    def _something_is_wrong(self, on: date, codes: tuple[str, ...]) -> None:
        said = {
            "local_date": on.isoformat(),
            "timezone": str(self._zone(on)),
            "stop_signs": list(codes),
            "note": "Numb between the legs since dinner, and now the other leg tingles too.",
        }
        self._upload(self._at(on, time(21, 40)), Kind.CHECK_IN, self._id("wrong", on), said)

    # --- Phones ---------------------------------------------------------------------------

    def _patient(self) -> Patient:
        """As a request finds the patient: fresh."""
        rows = Patient.objects.visible_to(self.by).select_related("clinic")
        return rows.get(pk=self.patient.pk)

    def _by_phone(self, at: datetime) -> str:
        """A moment as the clock of this phone has it."""
        return (at + self.story.clock_ahead).isoformat(timespec="seconds")

    def _upload(
        self,
        at: datetime,
        kind: Kind,
        id: UUID,
        said: dict[str, Any] | None,
        *,
        revision: int = 1,
        device: str = "phone",
    ) -> None:
        """Written down at a moment, and sent a little later. Nothing said: taken back."""
        if said is None:
            report = Report(kind, id, revision, None)
        else:
            report = report_of(kind, id, revision, said | {"recorded_at": self._by_phone(at)})
        sent = at + timedelta(seconds=5 + self.chance.randrange(50))

        def arrive(now: datetime) -> None:
            # A request of its own; only the plans that were read before stay known.
            self.batch = replace(self.batch, wanted=set(), heads={}, change_seq=-1)
            recording.put(
                patient=self._patient(),
                report=report,
                upload=Upload(now, now + self.story.clock_ahead, self._id(device)),
                batch=self.batch,
            )

        self._later(sent, arrive)

    def _on_tablet(
        self, id: UUID, said: dict[str, Any], slot: Slot, ended: datetime, day: int
    ) -> None:
        """The same slot once more, as a session of the tablet's own; once, both change one log."""
        own = self._id("session", slot.on, slot.key, "tablet")
        short = said | {"entries": said["entries"][:2], "note": "Also noted on the tablet."}
        self._upload(ended + timedelta(minutes=30), Kind.SESSION, own, short, device="tablet")
        if day == 10:
            one, other = said | {"pain_after": 2}, said | {"pain_after": 1}
            self._upload(
                ended + timedelta(hours=1), Kind.SESSION, id, one, revision=2, device="tablet"
            )
            self._upload(ended + timedelta(hours=2), Kind.SESSION, id, other, revision=2)


def _begins(slot: Slot, count: int) -> time:
    """The usual time of a part of day; what has no part is done after work, or all day long."""
    if slot.part_of_day in BEGINS:
        return BEGINS[slot.part_of_day]
    return time(17, 30) if count == 1 else time(8 + 12 * (int(slot.key) - 1) // count, 20)


def _done(item: Item) -> dict[str, Any]:
    return {
        "prescription_id": item.prescribed.id,
        "state": "done",
        "sets": list(_sets(item.dose)),
    }


def _skipped(item: Item, why: str) -> dict[str, Any]:
    return {"prescription_id": item.prescribed.id, "state": "skipped", "skip_reason": why}


def _sets(dose: Dose) -> Iterator[dict[str, Any]]:
    """Exactly what was asked for, set by set."""
    one = {
        name: value
        for name in ("hold_s", "duration_s", "distance_m")
        if (value := getattr(dose, name)) is not None
    }
    least = dose.reps.min if dose.reps else None
    for reps in dose.reps_by_set or [least] * dose.sets:
        yield one if reps is None else one | {"reps": reps}


def last_change(zone: ZoneInfo, before: date) -> date:
    """The newest date up to this one on which the clocks of a zone were changed."""
    noon = time(12, 0, tzinfo=zone)

    def offset(on: date) -> timedelta | None:
        return datetime.combine(on, noon).utcoffset()

    days = (before - timedelta(days=n) for n in range(400))
    return next((on for on in days if offset(on) != offset(on - A_DAY)), before)
