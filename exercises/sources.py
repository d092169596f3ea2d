"""Where a number comes from: evidence tags, source keys, and the bibliography."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from exercises.reading import Finding, Text, pointer, read

FILE = "exercises/sources.yaml"
TAGS = ("seed", "trial", "guideline", "expert", "our default")
OUR_DEFAULT = "[our default]"

TAG = re.compile(r"\[([a-z][a-z ]*)\]")
KEY = re.compile(r"\b[A-Z][A-Z0-9]{2,5}\b")
DATED_KEY = re.compile(r"\b[A-Z]{2,4}[0-9]{2}\b")  # AKE13: nothing but a source is written so

Key = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{2,5}$")]
Line = Annotated[str, Field(min_length=1, max_length=600)]


class BibliographyEntry(BaseModel):
    """One source, and what of it was read."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    id: Key
    text: Line
    where: Line
    read: Line


BIBLIOGRAPHY: TypeAdapter[list[BibliographyEntry]] = TypeAdapter(list[BibliographyEntry])


def tags_of(text: str) -> list[str]:
    """The evidence tags a text carries, in the order of `TAGS`."""
    found = set(TAG.findall(text))
    return [tag for tag in TAGS if tag in found]


def keys_of(text: str, known: Container[str]) -> list[str]:
    """The sources a text cites, in its order."""
    return list(dict.fromkeys(word for word in KEY.findall(text) if word in known))


def findings_in(source: str, known: Container[str], path: str) -> list[Finding]:
    """What is wrong with the source given for a number."""
    found = [
        Finding("unknown-tag", path, f"tag [{tag}]", ", ".join(f"[{known}]" for known in TAGS))
        for tag in TAG.findall(source)
        if tag not in TAGS
    ]
    found += [
        Finding("unknown-source", path, f"{key} is not among the sources", "a listed source")
        for key in DATED_KEY.findall(source)
        if key not in known
    ]
    if not tags_of(source) and not keys_of(source, known):
        found.append(Finding("no-source", path, "nothing says where this is from", "source or tag"))
    return found


def read_bibliography(root: Path) -> tuple[Text, dict[str, BibliographyEntry]]:
    """The bibliography by its keys, each of which stands once."""
    text = read(root / FILE, root=root)
    known: dict[str, BibliographyEntry] = {}
    entries = text.typed(BIBLIOGRAPHY)
    for number, entry in enumerate(entries or []):
        if entry.id in known:
            path = pointer(number, "id")
            text.find([Finding("twin-id", path, f"{entry.id} stands twice", "each key once")])
        known[entry.id] = entry
    return text, known
