"""Plays a worked case through the engine, one line a date."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from protocols import case_files, playing


class Command(BaseCommand):
    help = "Plays a case file (protocols/cases/README.md); exit 1 with the first difference."
    requires_system_checks = []  # neither the database nor the service is needed

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--json", action="store_true", help="one JSON object a date")

    def handle(self, *, file: Path, json: bool, **options: Any) -> None:
        case, text = case_files.read_case(file.resolve())
        if case is None:
            raise CommandError("\n".join(str(finding) for finding in text.findings))
        try:
            protocol = playing.protocol_named(case.protocol)
        except KeyError:
            raise CommandError(f"there is no protocol {case.protocol} in the library") from None
        if unknown := playing.unknown_phases(case, protocol):
            raise CommandError(f"{case.protocol} has no {', '.join(unknown)}")
        played = playing.play(case, protocol)
        for one in played:
            self.stdout.write(as_json(one) if json else as_line(one))
        for one in played:
            if one.differences:
                self.stderr.write(f"D{one.number} {one.judged.on}: {one.differences[0]}")
                sys.exit(1)


def as_line(one: playing.Played) -> str:
    judged = one.judged
    failed = " ".join(judged.failed) if judged.rule == "R15" else ""
    told = " ".join(f"{alert.level}:{alert.code}" for alert in judged.alerts)
    return (
        f"D{one.number:<3} {judged.on} {judged.phase_id:<8} {judged.credit:>3}/{judged.planned:<3} "
        f"{judged.colour.value:<6} {judged.outcome.value:<15} {judged.rule:<4} {failed} {told}"
    ).rstrip()


def as_json(one: playing.Played) -> str:
    judged = one.judged
    return json.dumps(
        {
            "d": one.number,
            "on": judged.on.isoformat(),
            "phase_id": judged.phase_id,
            "planned": judged.planned,
            "credit": judged.credit,
            "colour": judged.colour.value,
            "decision": judged.outcome.value,
            "rule": judged.rule,
            "failed": list(judged.failed),
            "findings": [
                {"gate": f.gate, "passed": f.passed, "text": f.text, "observed": f.observed,
                 "limit": f.limit, "samples": f.samples, "records": list(f.records)}
                for f in judged.findings
            ],
            "alerts": [f"{alert.level}:{alert.code}" for alert in judged.alerts],
            "open_reviews": sorted(judged.after.reviews),
            "phase_of_next_date": judged.after.phase_id,
            "planned_on_next_date": one.planned_next,
            "eased": dict(one.eased),
            "irritability": one.irritability,
            "tensioner": list(one.tensioner),
            "differences": list(one.differences),
        }
    )  # fmt: skip
