"""The drawings as they are served: one SVG an exercise, drawn by `manage.py content_sheet`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path

FOLDER = Path(__file__).parent / "library" / "pictures"
ALT = re.compile(r"<desc[^>]*>(.*?)</desc>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Picture:
    slug: str
    content: bytes
    digest: str
    alt: str

    @property
    def url(self) -> str:
        """Names the content, so that what was fetched once is never asked for again."""
        return f"/media/{self.digest}/{self.slug}.svg"

    def as_media(self) -> dict[str, object]:
        return {
            "type": "image",
            "url": self.url,
            "bytes": len(self.content),
            "alt": self.alt,
            "licence": "As this service",
            "credit": "Drawn for this service",
        }


@cache
def pictures() -> Mapping[str, Picture]:
    """Every drawing by the slug of its exercise."""
    found = {}
    for path in sorted(FOLDER.glob("*.svg")):
        content = path.read_bytes()
        told = ALT.search(content.decode())
        assert told is not None, path
        digest = hashlib.sha256(content).hexdigest()[:16]
        found[path.stem] = Picture(path.stem, content, digest, unescape(told.group(1)))
    return found


def media_of(slug: str) -> list[dict[str, object]]:
    picture = pictures().get(slug)
    return [picture.as_media()] if picture else []
