"""Judges every course from its facts anew, and tells what was stored otherwise."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from backend.audit.actions import note_command
from backend.care.rebuilding import Changed, rebuild
from backend.clinics.models import Clinic, Patient


class Command(BaseCommand):
    help = (
        "Makes day book, flags, proposals and plans anew from the facts, patient by patient, and "
        "tells what was not so before. Exits with 1 where something was, or could not be judged. "
        "Safe to repeat, and while the service runs."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--patient", type=UUID, help="of this patient alone")
        parser.add_argument("--clinic", type=UUID, help="of the patients of this clinic alone")
        parser.add_argument("--check", action="store_true", help="tell only, and change nothing")
        parser.add_argument(
            "--quiet", action="store_true", help="differences are expected: no lines, and no 1"
        )

    def handle(
        self,
        *,
        patient: UUID | None,
        clinic: UUID | None,
        check: bool,
        quiet: bool,
        **options: Any,
    ) -> None:
        patients, run = _patients(patient, clinic), uuid4()
        console = Console(file=sys.stderr)
        differ, failed, now = 0, 0, timezone.now()
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            for id, of_clinic in progress.track(patients, description="Patients"):
                noted = partial(_note, id, of_clinic, check, run, now)
                try:
                    changed = _rebuilt(id, check, now, noted)
                except Exception as error:  # of one patient; messages may quote what they wrote
                    failed += 1
                    noted(has_failed=True)
                    self.stderr.write(f"patient {id}: not judged: {type(error).__name__}")
                    continue
                differ += len(changed)
                for one in () if quiet else changed:
                    self.stdout.write(f"patient {id}, plan {one}")
        done = "would be made anew" if check else "made anew"
        self.stdout.write(f"{len(patients)} patients; {differ} plans {done}; {failed} not judged")
        if failed or (differ and not quiet):
            sys.exit(1)


def _rebuilt(id: UUID, check: bool, now: datetime, noted: Callable[[], None]) -> list[Changed]:
    """Kept together with its audit event, or not at all."""
    with transaction.atomic():
        changed = rebuild(patient_id=id, now=now, keep=not check)
        noted()
    return changed


def _note(
    id: UUID, clinic: UUID, check: bool, run: UUID, now: datetime, has_failed: bool = False
) -> None:
    note_command(
        command="rebuild",
        action="rebuild_check" if check else "rebuild",
        clinic_id=clinic,
        patient_id=id,
        run=run,
        now=now,
        has_failed=has_failed,
    )


def _patients(patient: UUID | None, clinic: UUID | None) -> list[tuple[UUID, UUID]]:
    """Ids of patients and of their clinics."""
    rows = Patient.objects.filter(assignments__isnull=False).distinct().order_by("pk")
    if patient is not None:
        if not Patient.objects.filter(pk=patient).exists():
            raise CommandError("There is no such patient.")
        rows = rows.filter(pk=patient)
    if clinic is not None:
        if not Clinic.objects.filter(pk=clinic).exists():
            raise CommandError("There is no such clinic.")
        rows = rows.filter(clinic=clinic)
    return list(rows.values_list("pk", "clinic_id"))
