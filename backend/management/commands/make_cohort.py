"""Fills a database with patients whose months are behind them, to see what many of them cost."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any
from uuid import UUID, uuid4, uuid5

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.audit.actions import begin_demo, note_command
from backend.audit.models import Chain
from backend.clinics import actions
from backend.clinics.models import Clinic, Patient, PatientIdentifier, User
from backend.management.cohort_lives import FAMILY, GIVEN, life
from backend.management.copying import Model, Person, make_copies
from backend.management.demo_telling import tell
from protocols.models import ProtocolVersion

COHORT = UUID("0c040c04-7c0e-4c7e-9a55-c0c0c0c0c0c0")  # namespace of the clinics' ids
VERSION = 1  # goes up with every change that makes another cohort out of the same seed
SEED, LIVES = 1, 8
AT_ONCE = 50  # copies in one transaction
A_CASELOAD = 60
PARTS = (
    TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
)  # fmt: skip


class Command(BaseCommand):
    help = (
        "Fills clinics of their own with patients who lived through so many days. A few lives are "
        "told by the actions of staff and phones; the others are copies of their rows under ids of "
        "their own. Goes on where it was stopped, and adds nothing that is there. Nobody can sign "
        "in as one of them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--clinics", type=int, default=1)
        parser.add_argument("--patients", type=int, default=100, help="in all clinics together")
        parser.add_argument("--days", type=int, default=28, help="of each patient, up to yesterday")
        parser.add_argument("--seed", type=int, default=SEED, help="another seed, another cohort")
        parser.add_argument(
            "--lives", type=int, default=LIVES, help=f"how many are told; {LIVES} when absent"
        )
        parser.add_argument(
            "--beside-real-patients", action="store_true",
            help="also where neither DEBUG nor DEMO is on",
        )  # fmt: skip

    def handle(
        self, *, clinics: int, patients: int, days: int, seed: int, lives: int,
        beside_real_patients: bool, **options: Any,
    ) -> None:  # fmt: skip
        if not (settings.DEBUG or settings.DEMO or beside_real_patients):
            raise CommandError(
                "Invented patients do not belong beside real ones. Where that is meant: "
                "--beside-real-patients."
            )
        if not (1 <= clinics <= patients and days >= 1 and lives >= 1):
            raise CommandError("At least one clinic, a patient in each, one day and one life.")
        if not ProtocolVersion.objects.filter(clinic=None).exists():
            raise CommandError("There is no protocol to prescribe: load_library comes first.")
        cohort = _Cohort(clinics, patients, days, seed)
        if other := cohort.other():
            raise CommandError(
                f"Seed {seed} has made another one already ({other}); take another seed."
            )
        began, before = time.monotonic(), cohort.count()
        console = Console(file=sys.stderr)
        with Progress(*PARTS, console=console, disable=not console.is_terminal) as progress:
            rows = cohort.make(min(lives, patients), progress)
        made = cohort.count() - before
        if not made:
            self.stdout.write(f"All {patients} patients of this cohort are there already.")
            return
        took = time.monotonic() - began
        self.stdout.write(
            f"{made} patients of {days} days in {clinics} clinics ({cohort.stamp}): "
            f"{rows:,} rows copied, {took:.0f} s."
        )


class _Cohort:
    """Who belongs to it is known by an identifier, so it can be gone on with."""

    def __init__(self, clinics: int, patients: int, days: int, seed: int) -> None:
        self.clinics, self.patients, self.days, self.seed = clinics, patients, days, seed
        self.of_seed = f"cohort {VERSION}.{seed} "
        self.stamp = f"{self.of_seed}{clinics}x{days}"
        self.staff: dict[int, list[User]] = {}

    def _identified(self) -> Any:
        return PatientIdentifier.objects.filter(system=self.stamp)

    def count(self) -> int:
        found: int = self._identified().count()
        return found

    def other(self) -> str | None:
        rows = PatientIdentifier.objects.filter(system__startswith=self.of_seed)
        return rows.exclude(system=self.stamp).values_list("system", flat=True).first()

    def name(self, number: int) -> str:
        return f"cohort-{self.seed}-{number}"

    def make(self, lives: int, progress: Progress) -> int:
        """How many rows were copied."""
        there = set(self._identified().values_list("value", flat=True))
        missing = [n for n in range(self.patients) if self.name(n) not in there]
        if not missing:
            return 0
        run = uuid4()
        for clinic in range(self.clinics):
            self.staff[clinic] = self._staffed(clinic)
        task = progress.add_task("Lives", total=lives)
        for number in range(lives):
            if number in missing:
                self._tell(number)
            progress.advance(task)
        rows, copies = 0, [n for n in missing if n >= lives]
        task = progress.add_task("Copies", total=len(copies))
        for of in range(lives):
            mine = [n for n in copies if n % lives == of]
            for some in _chunks(mine, AT_ONCE):
                # Read anew each time: the service may have gone on with the one they are made of.
                rows += self._copy(of, some)
                progress.advance(task, len(some))
        for clinic in range(self.clinics):
            note_command(
                command="make_cohort", action="make_cohort", clinic_id=self._id(clinic), run=run,
                now=timezone.now(),
            )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        return rows

    # --- Who is there ---------------------------------------------------------------------

    def _id(self, clinic: int) -> UUID:
        return uuid5(COHORT, f"{self.seed}/{clinic}")

    @transaction.atomic
    def _staffed(self, number: int) -> list[User]:
        """The clinic, with as many physiotherapists as its patients need."""
        id, now = self._id(number), timezone.now()
        clinic = Clinic.objects.filter(pk=id).first()
        if clinic is None:
            if not Chain.objects.filter(clinic_id=id).exists():
                begin_demo(clinic_id=id)
            clinic = actions.create_clinic(
                id=id, name=f"Cohort {self.seed}, clinic {number + 1}", timezone="Europe/Stockholm",
                second_factor_required=False, urgent_contact="Nobody: this clinic is invented",
                now=now,
            )  # fmt: skip
        known = {user.email: user for user in User.objects.filter(clinic=clinic)}
        staff = []
        for n in range(-(-self.patients // self.clinics // A_CASELOAD) or 1):
            email = f"{self.name(number)}-physiotherapist-{n}@cohort.demo"
            staff.append(
                known.get(email) or actions.add_staff(
                    clinic=clinic, email=email, given_name=GIVEN[n % len(GIVEN)],
                    family_name=FAMILY[n % len(FAMILY)], is_physiotherapist=True,
                    is_clinic_admin=n == 0,
                )
            )  # fmt: skip
        return staff

    def _treating(self, number: int) -> User:
        staff = self.staff[number % self.clinics]
        return staff[number // self.clinics % len(staff)]

    def _tell(self, number: int) -> None:
        story = life(number, name=self.name(number), days=self.days, seed=self.seed)
        with transaction.atomic():
            tell(
                story, by=self._treating(number), seed=self.seed, stamp=self.stamp,
                now=timezone.now(),
            )  # fmt: skip
            User.objects.filter(email=story.email).update(password=make_password(None))

    @transaction.atomic
    def _copy(self, of: int, numbers: Sequence[int]) -> int:
        row = self._identified().get(value=self.name(of))
        patient = actions.lock(Patient(pk=row.patient_id))
        return make_copies(Model(patient), [self._person(n) for n in numbers])

    def _person(self, number: int) -> Person:
        name = self.name(number)
        dice = Random(name)  # noqa: S311  # the same name, the same person
        return Person(
            name=name, email=f"{name}@cohort.demo", given_name=dice.choice(GIVEN),
            family_name=dice.choice(FAMILY), treated_by=self._treating(number),
        )  # fmt: skip


def _chunks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]
