"""Writes schema.json beside the library files, for editors: the shapes that the checks use."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from pydantic import TypeAdapter

from exercises.loader import ENTRIES
from protocols.shape import PROTOCOL

SCHEMAS: dict[str, TypeAdapter[Any]] = {
    "exercises/schema.json": ENTRIES,
    "protocols/schema.json": PROTOCOL,
}


class Command(BaseCommand):
    help = "Writes exercises/schema.json and protocols/schema.json."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail when stale")

    def handle(self, *, check: bool, **options: Any) -> None:
        for name, adapter in SCHEMAS.items():
            path = settings.BASE_DIR / name
            schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
            written = json.dumps(schema | adapter.json_schema(), indent=2) + "\n"
            if not check:
                path.write_text(written)
            elif path.read_text() != written:
                raise CommandError(f"{name} is stale: run manage.py library_schemas")
