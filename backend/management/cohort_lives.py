"""Lives for cohorts: the people of the demo, with other and longer weeks drawn by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from backend.management.demo_stories import STORIES, Story

BASES = tuple(
    one for one in STORIES
    if one.signs_in and one.place == "harbour" and not one.travels and not one.discharged_on
)  # fmt: skip
GIVEN = (
    "Alva", "Arne", "Birgit", "Bo", "Cilla", "Dag", "Ebba", "Egil", "Frida", "Gösta", "Hanna",
    "Ivar", "Jonna", "Karl", "Lea", "Malte", "Nora", "Olle", "Petra", "Quist", "Runa", "Sven",
    "Tyra", "Ulf", "Vera", "Wille", "Ylva", "Åke", "Östen",
)  # fmt: skip
FAMILY = (
    "Ahl", "Berg", "Calle", "Dahl", "Ek", "Falk", "Gran", "Holm", "Isaksen", "Jonsson", "Kvist",
    "Lind", "Modig", "Nord", "Olin", "Palm", "Quick", "Rask", "Sjö", "Torn", "Uggla", "Vik",
    "Wall", "Yng", "Zander", "Åberg", "Öberg",
)  # fmt: skip
MOST_PAIN = 6  # below what stops a plan
SILENT, FLARES, HALF, SKIPPED, UNRATED = 0.12, 0.03, 0.08, 0.03, 0.15


def life(number: int, *, name: str, days: int, seed: int) -> Story:
    """A story of so many days up to yesterday. Everybody is unlike the one before."""
    dice = Random(f"{seed}/{number}")  # noqa: S311  # the same seed, the same lives
    base = BASES[number % len(BASES)]
    return replace(
        base,
        name=name, place="cohort", given_name=dice.choice(GIVEN), family_name=dice.choice(FAMILY),
        age=dice.randrange(18, 75), course=" ".join(_weeks(days, dice)), until=1,
        approved_on=tuple(range(8, days + 1, 7)), notes={}, signs={}, paused_on=0,
        corrected_on=dice.randrange(1, days + 1), withdrawn_on=dice.randrange(1, days + 1),
        typed_every=1 if dice.random() < 0.8 else 3,
    )  # fmt: skip


def _weeks(days: int, dice: Random) -> Iterator[str]:
    """One word a date: it hurts less and less, with flares, and now and then nobody says a word."""
    hurts, silent = dice.uniform(1.5, 4), 0
    for _ in range(days):
        if silent or dice.random() < SILENT:
            silent = silent - 1 if silent else dice.choice((0, 0, 0, 1, 4))
            yield "---"
            continue
        flare = dice.random() < FLARES
        before = _pain(hurts + dice.gauss(0, 0.5))
        during = min(MOST_PAIN, before + (3 if flare else dice.randrange(2)))
        rated = "x" if dice.random() < UNRATED else str(_pain(before + dice.gauss(0, 0.6)))
        how = dice.random()
        share = "s" if how < SKIPPED else "h" if how < SKIPPED + HALF else ""
        yield f"{before}{during}{rated}{share}"
        hurts = min(4.5, max(0.0, hurts - 0.02 + (0.7 if flare else 0)))


def _pain(about: float) -> int:
    return max(0, min(MOST_PAIN, round(about)))
