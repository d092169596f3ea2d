"""How adherence is counted, out of the page that says it (docs/adherence.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

PAGE = Path(settings.BASE_DIR, "docs", "adherence.md")
SECTIONS = ("What is counted", "Measures", "Groups", "As of when", "What it is not")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the page: a `heading`, some `text`, a `point` of a list, or a `row` of a table.

    `cells` are what stands in it, without the signs that set it."""

    kind: str
    cells: Sequence[str]


@cache
def definitions() -> Sequence[Block]:
    """The sections that a report prints, in the order of the page."""
    return tuple(_blocks(PAGE.read_text(encoding="utf-8")))


def _blocks(page: str) -> Iterator[Block]:
    for section in page.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if title not in SECTIONS:
            continue
        yield Block("heading", (title,))
        for piece in re.split(r"\n\s*\n|\n(?=[*|])", body.strip()):
            yield from _block(piece)


def _block(piece: str) -> Iterator[Block]:
    text = re.sub(r"[`*_]{1,2}(\S[^`*]*?)[`*]{1,2}", r"\1", " ".join(piece.split()))
    if text.startswith("|"):
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if set(text) - set("|- "):
            yield Block("row", cells)
    elif text.startswith("* "):
        yield Block("point", (text[2:],))
    else:
        yield Block("text", (text,))
