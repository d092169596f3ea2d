"""Copies the database into one file, while the service runs."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from backend.backups import Unusable, back_up
from backend.health.checks import BACKUP, beat


class Command(BaseCommand):
    help = "Writes FILE, and FILE.json that says what is in it. Neither is encrypted."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *, file: Path, **options: Any) -> None:
        now = timezone.now()
        try:
            found = back_up(file, now=now)
        except Unusable as error:
            raise CommandError(str(error)) from None
        beat(BACKUP, now=now)
        size = file.stat().st_size / 1e6
        self.stdout.write(f"{file}: {len(found)} tables, {size:.1f} MB, as of {now:%F %T} UTC.")
