"""Switches a clinic's proposals to let patients go on off, or on again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from backend.audit.actions import note_command
from backend.care import reviewing
from backend.clinics.models import Clinic


class Command(BaseCommand):
    help = (
        "Off: open proposals to progress are withdrawn at once, and none is made. Recording, "
        "judging, and all that makes treatment lighter go on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("clinic", type=UUID, metavar="CLINIC_ID")
        parser.add_argument("wish", choices=["on", "off"])

    def handle(self, **options: Any) -> None:
        clinic = Clinic.objects.filter(pk=options["clinic"]).first()
        if clinic is None:
            raise CommandError("There is no such clinic.")
        on, now = options["wish"] == "on", timezone.now()
        with transaction.atomic():
            before = reviewing.set_proposals(clinic=clinic, on=on)
            note_command(
                command="proposals",
                action="proposals_switch",
                clinic_id=clinic.pk,
                run=uuid4(),
                now=now,
                before={"proposals_on": before},
                after={"proposals_on": on},
            )
        judged = reviewing.follow_switch(clinic=clinic, on=on, now=now)
        self.stdout.write(f"Proposals are {options['wish']}; patients judged again: {judged}.")
