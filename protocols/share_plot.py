"""The share of a cohort in each phase by day, as an SVG made by hand: for eyes, readers, any page.

Bands carry patterns, not colours; everything is drawn in the colour of the text around it, so it
follows light and dark. The words say what the picture shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil

from protocols.simulation import COMPLETED, STOPPED, Summary

WIDTH, HEIGHT = 800, 440
LEFT, TOP, RIGHT, BOTTOM = 56, 70, 600, 396  # of the plot
LABEL_HEIGHT, LETTER_WIDTH = 20, 7.5
TICK_STEPS = (1, 2, 7, 14, 28, 56, 91, 182, 364, 728)
MOST_TICKS = 10

# Strokes of a tile of 8 x 8, and how dense the ground below them is.
PATTERNS = (
    ("", 0.10),
    ("M0 8L8 0M-2 2L2 -2M6 10L10 6", 0.0),
    ("M0 4H8", 0.14),
    ("M0 0L8 8M-2 6L2 10M6 -2L10 2", 0.0),
    ("M4 0V8", 0.14),
    ("M0 4H8M4 0V8", 0.0),
    ("M2 2h1M6 6h1", 0.10),
    ("M0 0L8 8M0 8L8 0", 0.10),
)
COMPLETED_PATTERN = ("", 0.45)
STOPPED_PATTERN = ("M0 2H8M0 6H8", 0.30)

STYLE = (
    "svg{color:#1c1c1c;font-family:system-ui,sans-serif;font-size:13px}.paper{fill:#fff}"
    "@media(prefers-color-scheme:dark){svg{color:#ececec}.paper{fill:#161616}}"
)


@dataclass(frozen=True, slots=True)
class Band:
    """One place in the stack: the share below it and above it, day by day."""

    name: str
    floor: tuple[float, ...]
    ceiling: tuple[float, ...]
    pattern: int

    @property
    def last(self) -> float:
        return self.ceiling[-1] - self.floor[-1]


def share_plot(summary: Summary, *, title: str, about: str) -> str:
    """The picture. From below: completed, the last phase, …, the first; stopped lies on top."""
    bands = _bands(summary)
    described = f"{about} {_in_words(bands, summary.days)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(described)}</desc>',
        f"<style>{STYLE}</style>",
        f"<defs>{''.join(_patterns(bands, summary))}</defs>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<g fill="currentColor" aria-hidden="true">{_text(LEFT, 28, title, size=16)}'
        f"{_text(LEFT, 50, about)}</g>",
        *_grid(summary),
        *(_area(band, summary.days) for band in bands),
        *(_line(band, summary.days) for band in bands if any(band.floor)),
        *_labels(bands, summary.days),
        *_legend(bands),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def within_page(picture: str) -> str:
    """The picture without its own style: the page has one, and its policy takes no other."""
    return picture.replace(f"<style>{STYLE}</style>", "")


def _bands(summary: Summary) -> list[Band]:
    """Only places in which somebody ever was."""
    phases = [phase.id for phase in summary.protocol.phases]
    floor, bands = tuple([0.0] * summary.days), []
    for place in (COMPLETED, *reversed(phases), STOPPED):
        shares = summary.shares(place)
        if not any(shares):
            continue
        ceiling = tuple(below + share for below, share in zip(floor, shares, strict=True))
        pattern = phases.index(place) if place in phases else len(phases) + (place == STOPPED)
        bands.append(Band(place.replace("-", " "), floor, ceiling, pattern))
        floor = ceiling
    return bands


def _patterns(bands: Sequence[Band], summary: Summary) -> Iterator[str]:
    count = len(summary.protocol.phases)
    ends = {count: COMPLETED_PATTERN, count + 1: STOPPED_PATTERN}
    for band in bands:
        strokes, ground = ends.get(band.pattern) or PATTERNS[band.pattern % len(PATTERNS)]
        yield (
            f'<pattern id="p{band.pattern}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f'<rect width="8" height="8" fill="currentColor" fill-opacity="{ground}"/>'
            f'<path d="{strokes}" stroke="currentColor" stroke-opacity="0.45" fill="none"/>'
            "</pattern>"
        )


def _x(day: float, days: int) -> float:
    """The left edge of a day, counted from 0."""
    return round(LEFT + (RIGHT - LEFT) * day / days, 1)


def _y(share: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * share, 1)


def _steps(shares: Sequence[float], days: int) -> list[str]:
    """A staircase: every day is as wide as the others."""
    return [f"V{_y(share)}H{_x(day + 1, days)}" for day, share in enumerate(shares)]


def _area(band: Band, days: int) -> str:
    up = "".join(_steps(band.ceiling, days))
    back = "".join(
        f"V{_y(share)}H{_x(day, days)}" for day, share in reversed(list(enumerate(band.floor)))
    )
    start = f"M{LEFT} {_y(band.floor[0])}"
    return f'<path d="{start}{up}{back}Z" fill="url(#p{band.pattern})"/>'


def _line(band: Band, days: int) -> str:
    steps = "".join(_steps(band.floor, days))
    return (
        f'<path d="M{LEFT} {_y(band.floor[0])}{steps}" fill="none" stroke="currentColor" '
        'stroke-width="1.5"/>'
    )


def _grid(summary: Summary) -> Iterator[str]:
    yield '<g fill="currentColor" stroke="none" aria-hidden="true">'
    for quarter in range(5):
        y = _y(quarter / 4)
        yield f'<path d="M{LEFT} {y}H{RIGHT}" stroke="currentColor" stroke-opacity="0.25"/>'
        yield _text(LEFT - 8, y + 4, f"{quarter * 25} %", anchor="end")
    step = next(n for n in TICK_STEPS if summary.days / n <= MOST_TICKS or n == TICK_STEPS[-1])
    for day in range(step, summary.days + 1, step):
        x = _x(day, summary.days)
        yield f'<path d="M{x} {BOTTOM}v5" stroke="currentColor"/>'
        yield _text(x, BOTTOM + 19, f"{day}", anchor="middle")
    yield f'<path d="M{LEFT} {BOTTOM}H{RIGHT}" stroke="currentColor"/>'
    yield _text((LEFT + RIGHT) / 2, BOTTOM + 38, "day", anchor="middle")
    yield "</g>"


def _labels(bands: Sequence[Band], days: int) -> Iterator[str]:
    """The name of a band inside it, where it is thickest and there is room."""
    for band in bands:
        wide = len(band.name) * LETTER_WIDTH + 12
        half = ceil((wide / 2 + 4) * days / (RIGHT - LEFT))
        best, where = 0.0, 0
        for day in range(half, days - half):
            around = range(day - half, day + half + 1)
            room = min(band.ceiling[n] for n in around) - max(band.floor[n] for n in around)
            if room > best:
                best, where = room, day
        if best * (BOTTOM - TOP) >= LABEL_HEIGHT:
            around = range(where - half, where + half + 1)
            low = max(band.floor[n] for n in around)
            x, y = _x(where + 0.5, days), _y(low + best / 2)
            yield (
                f'<rect class="paper" x="{x - wide / 2}" y="{y - 9}" width="{wide}" height="18" '
                'rx="4" fill-opacity="0.85"/>'
                f'<g fill="currentColor" aria-hidden="true">'
                f"{_text(x, y + 4.5, band.name, anchor='middle')}</g>"
            )


def _legend(bands: Sequence[Band]) -> Iterator[str]:
    """All bands in the order of the stack, with their share on the last day."""
    yield '<g fill="currentColor" aria-hidden="true">'
    yield _text(RIGHT + 24, TOP + 4, "on the last day")
    for n, band in enumerate(reversed(bands)):
        y = TOP + 16 + n * 24
        yield (
            f'<rect x="{RIGHT + 24}" y="{y}" width="22" height="16" fill="url(#p{band.pattern})" '
            'stroke="currentColor"/>'
        )
        yield _text(RIGHT + 54, y + 12.5, f"{band.name}: {_percent(band.last)}")
    yield "</g>"


def _text(x: float, y: float, content: str, *, anchor: str = "start", size: int = 13) -> str:
    return (
        f'<text x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(content)}</text>"
    )


def _in_words(bands: Sequence[Band], days: int) -> str:
    """What the picture shows, at three moments."""
    told = []
    for day in sorted({max(1, days // 3), max(1, 2 * days // 3), days}):
        shares = (
            f"{band.name} {_percent(band.ceiling[day - 1] - band.floor[day - 1])}"
            for band in reversed(bands)
            if band.ceiling[day - 1] > band.floor[day - 1]
        )
        told.append(f"Day {day}: {', '.join(shares)}.")
    return " ".join(told)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
