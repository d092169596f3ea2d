"""Writes docs/our-defaults.md: all choices of the library that a physiotherapist has to confirm."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from exercises.reading import Text, pointer, read
from exercises.sources import OUR_DEFAULT
from protocols import knowledge

PAGE = "docs/our-defaults.md"
SECTIONS = {
    "Exercises": ["exercises/library/*.yaml", "exercises/ladders.yaml"],
    "Protocols": ["protocols/library/*.yaml"],
    "Rules": [knowledge.RULES],
    "Metrics": [knowledge.METRICS],
    "Safety": [knowledge.SAFETY],
}
NAMES = ("slug", "id", "code", "exercise", "ladder", "parameter", "week", "pattern", "moment")
# What a source speaks of, by the first of these that stands beside it.
SUBJECTS = (
    ("dose", "schedule"),
    ("when",),
    ("value", "unit", "text"),
    ("condition", "decision"),
    ("progress", "red", "red_rise", "severe", "amber_next"),
    ("method",),
    ("sessions", "sets_x_reps"),
    ("signs", "glides"),
    ("order",),
    ("questions",),
    ("ask",),
    ("caution",),
    ("told", "plan"),
    ("text",),
    ("fact",),
    ("trigger",),
    ("effect",),
)

INTRODUCTION = """\
# Our defaults

Every figure and every wording of the library that no source we could open gives: chosen by us,
marked `[our default]` in the files, and to be confirmed by the lead physiotherapist before release.
Written by `manage.py our_defaults` from the files themselves; a test says when it is out of date.

Two things stand in no table: numbers inside the instructions of an exercise (angles, distances,
step heights) and its pain ceiling are ours too, unless the source of the exercise names them.

Signed off by: ______________________  Date: ______________

"""

HEAD = "| what | value | source as written | where | ok |\n|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Choice:
    place: str
    file: str
    line: int
    subject: str
    said: str


class Command(BaseCommand):
    help = "Writes docs/our-defaults.md from the library files."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail when stale")

    def handle(self, *, check: bool, **options: Any) -> None:
        path = settings.BASE_DIR / PAGE
        page = _page(settings.BASE_DIR)
        if not check:
            path.write_text(page)
        elif path.read_text() != page:
            raise CommandError(f"{PAGE} is stale: run manage.py our_defaults")


def _page(root: Path) -> str:
    parts = [INTRODUCTION]
    for title, patterns in SECTIONS.items():
        texts = [read(path, root=root) for name in patterns for path in sorted(root.glob(name))]
        choices = [choice for text in texts for choice in _choices(text, text.value, "", "")]
        parts.append(_table(f"{title} ({len(choices)})", choices))
    wording = list(_wording(read(root / knowledge.SAFETY, root=root)))
    parts.append(_table(f"What patients read ({len(wording)})", wording))
    return "\n".join(parts)


def _table(title: str, choices: list[Choice]) -> str:
    rows = "".join(
        f"| {_cell(choice.place)} | {_cell(choice.subject)} | {_cell(choice.said)} "
        f"| [{Path(choice.file).name}:{choice.line}](../{choice.file}#L{choice.line}) | |\n"
        for choice in choices
    )
    return f"## {title}\n\n{HEAD}{rows}"


def _choices(text: Text, value: object, path: str, place: str) -> Iterator[Choice]:
    """Every text below a value that carries the tag, with what it speaks of."""
    if isinstance(value, dict):
        named = next((str(value[name]) for name in NAMES if value.get(name)), "")
        place = " › ".join(part for part in (place, named) if part)
        for name, item in value.items():
            at = path + pointer(name)
            if isinstance(item, str) and OUR_DEFAULT in item:
                subject = _subject(value, name)
                yield Choice(
                    place or Path(text.file).stem, text.file, text.line_of(at), subject, item
                )
            else:
                yield from _choices(text, item, at, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _choices(text, item, path + pointer(number), place)


def _subject(value: dict[str, object], name: str) -> str:
    if name == "min_days_source":
        return f"min_days {value['min_days']}"
    if name != "source":
        return name
    for names in SUBJECTS:
        if names[0] in value:
            return "; ".join(f"{_shown(value[one])}" for one in names if value.get(one) is not None)
    return name


def _wording(text: Text) -> Iterator[Choice]:
    """Texts that reach a phone: the facts are sourced, their wording is ours."""
    file: Any = text.value
    for name, key in (
        *(("levels", "patient_text"), ("texts", "text"), ("red_flags", "sign")),
        *(("worse_with", "text"), ("glucose_bands", "text")),
    ):
        for number, item in enumerate(file[name]):
            if key in item:
                at = text.line_of(pointer(name, number, key))
                facts = item.get("facts") or item.get("ask") or item["source"]
                place = item.get("code") or item.get("id") or item["advice"]
                yield Choice(place, text.file, at, _shown(item[key]), facts)
    for number, item in enumerate(file["pain_light"]):
        at = text.line_of(pointer("pain_light", number, "text"))
        yield Choice(f"pain light, {item['light']}", text.file, at, item["text"], item["facts"])


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(_shown(item) for item in value)
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
