"""Proves that the audit is what was sealed: nothing changed, missing or moved."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from backend.audit import chain
from backend.audit.chain import Walked


class Command(BaseCommand):
    help = (
        "Walks the chain of each clinic from its first event on. Exits with 1 where one is broken, "
        "and names the first place. Safe while the service runs."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["verify"])
        parser.add_argument("--clinic", type=UUID, help="of this clinic alone")

    def handle(self, *, clinic: UUID | None, **options: Any) -> None:
        clinics = chain.clinics()
        if clinic is not None:
            if clinic not in clinics:
                raise CommandError("No event of such a clinic was ever written.")
            clinics = [clinic]
        console, broken = Console(file=sys.stderr), 0
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            task = progress.add_task("Events", total=chain.sealed(clinics))
            for one in clinics:
                walked = chain.verify(
                    clinic_id=one, step=lambda count: progress.advance(task, count)
                )
                self.stdout.write(_told(walked))
                broken += walked.broken is not None
        if broken:
            sys.exit(1)


def _told(walked: Walked) -> str:
    said = f"clinic {walked.clinic_id}: "
    if one := walked.broken:
        named = f", event {one.event_id}" if one.event_id else ""
        return f"{said}broken at {one.seq}{named}: {one.why}"
    said += f"{walked.seq} events stand as sealed, {walked.waiting} wait to be sealed"
    return f"{said}; the last hash is {walked.hash}" if walked.hash else said
