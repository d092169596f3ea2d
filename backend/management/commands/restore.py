"""Puts the database back as a file has it, and sees to what follows from that."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connection
from django.utils import timezone

from backend.backups import Unusable, differences, digests, restore
from backend.health.checks import BACKUP, ages

ALIVE_S = 120


class Command(BaseCommand):
    help = (
        "Replaces everything that is there. Compares each table with FILE.json, migrates, erases "
        "again whom the ledger names, and has phones read everything anew. Stop the service first."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--force", action="store_true", help="although something is running")

    def handle(self, *, file: Path, force: bool, **options: Any) -> None:
        if not force and (running := self._running()):
            raise CommandError(f"Stop the service first: {running} was alive just now (--force).")
        try:
            wanted = restore(file)
        except Unusable as error:
            raise CommandError(str(error)) from None
        if wrong := differences(wanted, digests()):
            raise CommandError(f"Not what was copied: {', '.join(wrong)}.")
        self.stdout.write(f"{len(wanted)} tables are as they were copied.")
        call_command("migrate", verbosity=0)
        call_command("erasures", "replay", stdout=self.stdout)
        call_command("restored", stdout=self.stdout)

    def _running(self) -> str:
        """A worker or sweep that has shown life; an empty database has none."""
        try:
            found = ages(now=timezone.now())
        except Error:
            connection.close()
            return ""
        return next((name for name, age in found.items() if name != BACKUP and age < ALIVE_S), "")
