"""Writes the API description into docs/openapi.json, unless it would break its clients."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from backend.api.compatibility import breaks
from backend.api.documents import description

PLACE = settings.BASE_DIR / "docs" / "openapi.json"


class Command(BaseCommand):
    help = "Writes docs/openapi.json. Within v1, changes only add; a breaking one is refused."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", type=Path, default=PLACE)
        parser.add_argument(
            "--breaking", action="store_true", help="for what was never released, or for v2"
        )

    def handle(self, *, to: Path, breaking: bool, **options: Any) -> None:
        told = json.dumps(description(), indent=1, ensure_ascii=False) + "\n"
        if to.exists() and not breaking:
            found = breaks(json.loads(to.read_text()), json.loads(told))
            if found:
                raise CommandError("\n".join(["this would break clients:", *found]))
        to.write_text(told)
        self.stdout.write(f"written: {to}")
