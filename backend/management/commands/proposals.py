"""Switches a clinic's proposals to let patients go on off, or on again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

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
        judged = reviewing.switch_proposals(
            clinic=clinic, on=options["wish"] == "on", now=timezone.now()
        )
        self.stdout.write(f"Proposals are {options['wish']}; patients judged again: {judged}.")
