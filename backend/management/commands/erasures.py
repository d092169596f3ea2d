"""Who was forgotten: once more after a restore, and what the database's files still hold."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from backend.rights import erasing


class Command(BaseCommand):
    help = (
        "`replay`, after a restore: erases again whom the ledger names. `rewrite`, once for a "
        "database that is older than this command: writes it anew without what was deleted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["replay", "rewrite"])

    def handle(self, *, verb: str, **options: Any) -> None:
        if verb == "rewrite":
            erasing.rewrite()
            self.stdout.write("The database is written anew.")
            return
        count = erasing.replay(now=timezone.now())
        erasing.settle()
        self.stdout.write(f"Of those whom the ledger names, {count} were there again.")
