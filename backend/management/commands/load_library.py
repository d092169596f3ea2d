"""Brings the library's files into the database; safe to repeat."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from backend.care import cataloguing
from exercises import loader
from exercises.models import Exercise
from exercises.reading import Finding
from protocols import knowledge, publishing


class Command(BaseCommand):
    help = "Checks every library file, names everything that is wrong, then loads all or nothing."
    requires_system_checks = []  # it is the library that is checked

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--root", type=Path, default=settings.BASE_DIR, help="for tests")

    def handle(self, *, root: Path, **options: Any) -> None:
        catalogue = loader.read_catalogue(root)
        shared = knowledge.check(root)
        library = publishing.read_library(root, catalogue=catalogue, shared=shared)
        self._refuse_errors([*catalogue.findings, *shared.findings, *library.findings])

        now = timezone.now()
        total = len(catalogue.entries) + len(library.documents)
        console = Console(file=sys.stderr)
        with (
            Progress(console=console, disable=not console.is_terminal, transient=True) as progress,
            transaction.atomic(),
        ):
            self._refuse_errors(
                [*loader.stored_findings(catalogue), *publishing.stored_findings(library)]
            )
            task = progress.add_task("Library", total=total)
            exercises = loader.load(
                catalogue=catalogue, now=now, step=lambda: progress.advance(task)
            )
            protocols = publishing.load(
                library=library, now=now, step=lambda: progress.advance(task)
            )
        cataloguing.tell(Exercise.objects.filter(clinic=None), now=now)
        if options["verbosity"]:
            self.stdout.write(f"exercises: {_counted(exercises)}; protocols: {_counted(protocols)}")

    def _refuse_errors(self, findings: list[Finding]) -> None:
        for finding in findings:
            prefix = "" if finding.severity == "error" else "warning: "
            self.stderr.write(f"{prefix}{finding}")
        if errors := publishing.errors_of(findings):
            noun = "error" if len(errors) == 1 else "errors"
            raise CommandError(f"{len(errors)} {noun}; nothing was loaded")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number) or "none"
