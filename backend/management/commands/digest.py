"""Says what each table holds, in a line: how many rows, and what they come to in any order."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from backend.backups import digests


class Command(BaseCommand):
    help = "Two databases of one kind that hold the same print the same."

    def handle(self, **options: Any) -> None:
        for table, digest in digests().items():
            self.stdout.write(f"{table} {digest}")
