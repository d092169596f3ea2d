"""Sends a cohort through a protocol: how many go on, wait, step back, stop, and when."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from exercises.reading import read
from protocols import playing, publishing
from protocols.case_files import read_histories
from protocols.engine import definition
from protocols.engine.case import Judged, Outcome
from protocols.knowledge import metrics, numbers
from protocols.share_plot import share_plot
from protocols.simulation import (
    COMPLETED,
    Summary,
    Trace,
    cohort_of,
    day_of,
    place_of,
    quartiles,
    retold,
)

MOST_PEOPLE, MOST_DAYS, USUAL_DAYS = 100_000, 3_650, 120

WORDS = {
    Outcome.ADVANCE: "advance",
    Outcome.DISCHARGE: "complete",
    Outcome.HOLD: "hold",
    Outcome.STEP_BACK: "step back",
    Outcome.STOP: "stop",
}


def _whole(most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise ArgumentTypeError(f"a whole number from 1 to {most}")
        return int(text)

    return whole


class Command(BaseCommand):
    help = "Sends people through a protocol; the same seed gives the same synthetic cohort."
    requires_system_checks = []  # neither the database nor the service is needed

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--protocol", required=True, help="a file, or a slug of the library")
        people = parser.add_mutually_exclusive_group()
        people.add_argument("--cohort", type=_whole(MOST_PEOPLE), default=100, help="people")
        people.add_argument(
            "--histories",
            type=Path,
            help="people who were: a line each (protocols/cases/README.md)",
        )
        parser.add_argument(
            "--days", type=_whole(MOST_DAYS), help="120; of histories, as many as they have"
        )
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--json", action="store_true", help="a line a person, then the summary")
        parser.add_argument("--trace", type=Path, help="where to write a line a person, as JSON")
        parser.add_argument("--svg", type=Path, help="where to draw the share in each phase by day")

    def handle(
        self,
        *,
        protocol: str,
        cohort: int,
        histories: Path | None,
        days: int | None,
        seed: int,
        json: bool,
        trace: Path | None,
        svg: Path | None,
        **options: Any,
    ) -> None:
        chosen = _protocol(protocol)
        if histories is None:
            days = days or USUAL_DAYS
            people, count = cohort_of(chosen, people=cohort, days=days, seed=seed), cohort
        else:
            people, count = _lived(chosen, histories, days or MOST_DAYS)
        summary = Summary(chosen, 0)
        console = Console(file=sys.stderr)
        with (
            _opened(trace) as traced,
            Progress(console=console, disable=not console.is_terminal, transient=True) as progress,
        ):
            for one in progress.track(people, total=count, description=f"{count} people"):
                summary.take(one)
                if json or traced:
                    line = _trace_as_json(one)
                    if json:
                        self.stdout.write(line)
                    if traced:
                        traced.write(f"{line}\n")
        if histories is None:
            about = f"{cohort} synthetic people over {days} days, seed {seed}."
        else:
            about = f"{count} histories of {histories.name} over {summary.days} days."
        if svg is not None:
            title = f"{chosen.slug} {chosen.version}: share in each phase by day"
            _write(svg, share_plot(summary, title=title, about=about))
        if json:
            self.stdout.write(_summary_as_json(summary, None if histories else seed))
        else:
            self.stdout.write(f"{chosen.slug} {chosen.version}: {about}")
            width = None if self.stdout.isatty() else 80
            for table in (_decisions(summary), _arrivals(summary)):
                shown = Console(width=width)
                with shown.capture() as text:
                    shown.print(table)
                self.stdout.write(text.get().rstrip())


def _protocol(wanted: str) -> definition.Protocol:
    """The newest version of the library, or a file that is checked like one of the library."""
    path = Path(wanted)
    if not path.is_file():
        try:
            return playing.protocol_named(wanted)
        except KeyError:
            raise CommandError(f"{wanted} is neither a file nor a slug of the library") from None
    path = path.resolve()
    text = read(path, root=path.parent)
    if not text.findings:
        text.find(publishing.check(text.value, exercises=None, metrics=metrics()))
    if errors := publishing.errors_of(text.findings):
        raise CommandError("\n".join(str(finding) for finding in errors))
    assert isinstance(text.value, dict)
    return definition.parse(text.value)


def _lived(protocol: definition.Protocol, path: Path, days: int) -> tuple[Iterator[Trace], int]:
    """The people of a file and how many they are. A line that is none ends it before anything."""
    try:
        count = sum(
            1
            for _ in retold(
                protocol,
                read_histories(path, protocol.slug),
                numbers=numbers(),
                days=1,
            )
        )
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    if not count:
        raise CommandError(f"{path} holds no history")
    told = read_histories(path, protocol.slug)
    return retold(protocol, told, numbers=numbers(), days=days), count


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    with file:
        yield file


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None


def _decisions(summary: Summary) -> Table:
    table = Table("decision", box=SIMPLE)
    for column in ("people", "share", "dates", "first day: median (quartiles)"):
        table.add_column(column, justify="right")
    for outcome, word in WORDS.items():
        people = summary.people[outcome]
        table.add_row(
            word,
            f"{people}",
            f"{100 * people / summary.cohort:.0f} %",
            f"{summary.dates[outcome]}",
            _middle(summary.first_days.get(outcome, [])),
        )
    return table


def _arrivals(summary: Summary) -> Table:
    table = Table("reached", box=SIMPLE)
    for column in ("people", "share", "day: median (quartiles)"):
        table.add_column(column, justify="right")
    titles = {phase.id: f"{phase.number}. {phase.title}" for phase in summary.protocol.phases}
    for place, title in (titles | {COMPLETED: "completed"}).items():
        days = summary.reached.get(place, [])
        share = f"{100 * len(days) / summary.cohort:.0f} %"
        table.add_row(title, f"{len(days)}", share, _middle(days))
    return table


def _middle(days: Sequence[int]) -> str:
    found = quartiles(days)
    return "-" if found is None else f"{found[1]:.0f} ({found[0]:.0f}-{found[2]:.0f})"


def _trace_as_json(trace: Trace) -> str:
    return json.dumps(
        {
            "person": trace.number,
            **(asdict(trace.person) if trace.person else {"id": trace.name}),
            "days": [_day_as_json(one) for one in trace.days],
        }
    )


def _day_as_json(one: Judged) -> dict[str, object]:
    return {
        "day": day_of(one),
        "place": place_of(one),
        "phase_id": one.phase_id,
        "planned": one.planned,
        "done": one.day.done,
        "pain": [one.day.before, one.day.during, one.day.next_morning],
        "colour": one.colour.value,
        "decision": one.outcome.value,
        "rule": one.rule,
        "failed": list(one.failed),
        "alerts": [f"{alert.level}:{alert.code}" for alert in one.alerts],
    }


def _summary_as_json(summary: Summary, seed: int | None) -> str:
    return json.dumps(
        {
            "protocol": summary.protocol.slug,
            "version": summary.protocol.version,
            "cohort": summary.cohort,
            "days": summary.days,
            "seed": seed,
            "decisions": {
                outcome.value: {
                    "people": summary.people[outcome],
                    "dates": summary.dates[outcome],
                    "first_day": quartiles(summary.first_days.get(outcome, [])),
                }
                for outcome in Outcome
            },
            "reached": {
                place: {"people": len(days), "day": quartiles(days)}
                for place, days in summary.reached.items()
            },
            "shares": {
                place: [round(share, 4) for share in summary.shares(place)]
                for place in summary.order
            },
        }
    )
