"""Draws the exercises anew: a file for each, and a page on which all can be looked at."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from exercises import figures
from exercises.pictures import FOLDER

PAGE = "docs/exercise-pictures.md"
INTRODUCTION = """\
# Pictures of the exercises

Every drawing with the words that stand for it. Written by `manage.py content_sheet` from the poses
in [exercises/library/figures](../exercises/library/figures); a test says when it is out of date.

The leg with a light core is the one the exercise is about: the affected one, or the one that works
where either side does. A faint body is where the movement comes from, a grey limb is the far one.
A drawing shows one side; it means the side that the plan names.

Looked over by: ______________________  Date: ______________
"""


class Command(BaseCommand):
    help = f"Writes exercises/library/pictures and {PAGE} from the poses."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail when stale")

    def handle(self, *, check: bool, **options: Any) -> None:
        drawn = {FOLDER / f"{slug}.svg": figures.svg(slug) for slug in figures.figures()}
        drawn[settings.BASE_DIR / PAGE] = "\n".join(_page())
        left_over = set(FOLDER.glob("*.svg")) - drawn.keys()
        if check:
            stale = [path for path, text in drawn.items() if _differs(path, text)]
            if names := sorted(path.name for path in {*stale, *left_over}):
                raise CommandError(f"stale: {', '.join(names)}: run manage.py content_sheet")
            return
        FOLDER.mkdir(exist_ok=True)
        for path, text in drawn.items():
            path.write_text(text)
        for path in left_over:
            path.unlink()


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text() != text


def _page() -> Iterator[str]:
    yield INTRODUCTION
    for name, entries in figures.catalogue().items():
        yield f"## {name.replace('_', ' ').capitalize()} ({len(entries)})\n"
        yield "| drawing | exercise | in words |\n|---|---|---|"
        for entry in entries:
            slug, title = entry["slug"], entry["title"]
            drawing = f'<img src="../exercises/library/pictures/{slug}.svg" width="320" alt="">'
            yield f"| {drawing} | {title}<br>`{slug}` | {figures.alt(slug)} |"
        yield ""
