"""People whose reminders come up, many at a time. As a process it fills a database:

python -m tests.campaigns.due COUNT SECONDS: so many, spread over so long from now on.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

AT_ONCE = 1000
NOTHING = timedelta()
PEOPLE = UUID("0b0e7a52-5d0e-4a8e-93a8-0d6c2a7f4a10")


def main() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    from tests.roles import admit

    call_command("migrate", verbosity=0)
    admit()
    fill(int(sys.argv[1]), over=timedelta(seconds=float(sys.argv[2])), now=datetime.now(UTC))


def fill(
    count: int, *, over: timedelta, now: datetime, people: int = 0, since: timedelta = NOTHING
) -> None:
    """So many reminders, of as many patients or of so many, each with one phone. Without `people`
    its token names the reminder."""
    from backend.clinics.models import Clinic, Device, Patient, User
    from backend.notifications.models import Message, ReminderSettings

    clinic = Clinic.objects.create(name="Harbour", timezone="UTC", created_at=now, week_told_at=now)
    owners = people or count
    kinds = (User, Patient, Device, ReminderSettings)
    for first in range(0, owners, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, owners))
        rows = zip(*(_person(number, clinic, now) for number in numbers), strict=True)
        for kind, made in zip(kinds, rows, strict=True):
            kind._default_manager.bulk_create(made)
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        Message.objects.bulk_create(
            _reminder(number, number % owners, clinic, now - since + over * (number / count))
            for number in numbers
        )


def _person(number: int, clinic: Any, now: datetime) -> tuple[Any, ...]:
    from backend.clinics.models import Device, Patient, User
    from backend.notifications.models import ReminderSettings

    id = uuid5(PEOPLE, str(number))
    user = User(id=id, email=f"{number}@example.org", password="!", clinic=clinic)
    patient = Patient(
        id=id, clinic=clinic, user=user, given_name="P", family_name=str(number),
        birth_date=now.date(), timezone="UTC", status="active", consented_at=now, created_at=now,
        updated_at=now,
    )  # fmt: skip
    device = Device(
        id=id, patient=patient, device_id=id, platform="android", push_kind="fcm_token",
        push_token=str(id), app_version="1", updated_at=now,
    )  # fmt: skip
    wishes = ReminderSettings(
        patient=patient, enabled=True, times=["18:00"], channels=["push"], updated_at=now
    )
    return user, patient, device, wishes


def _reminder(number: int, owner: int, clinic: Any, due_at: datetime) -> Any:
    from backend.notifications.models import Message

    who = uuid5(PEOPLE, str(owner))
    return Message(
        id=uuid5(PEOPLE, str(number)), clinic=clinic, patient_id=who, person_id=who,
        kind="exercises", on=due_at.date(), slot=str(number), due_at=due_at,
        valid_until=due_at + timedelta(hours=2), attempt_due_at=due_at, plan_version=0,
        day_type="training", slots=["a-slot"], confirmed_at=due_at,
    )  # fmt: skip


if __name__ == "__main__":
    main()
