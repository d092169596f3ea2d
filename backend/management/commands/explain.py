"""Says why a date of a plan was decided as it was: each number with its records and its source."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import date
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from backend.audit.actions import note_command
from backend.care.models import Assignment
from backend.care.selectors import course_of
from backend.reports.decisions import Told, explanation_shown


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("assignment", type=UUID)
        parser.add_argument("date", type=date.fromisoformat)
        parser.add_argument("--json", action="store_true", help="as the API answers staff")

    def handle(self, *args: Any, **options: Any) -> None:
        row = Assignment.objects.with_record().filter(pk=options["assignment"]).first()
        if row is None:
            raise CommandError("There is no such assignment.")
        now = timezone.now()
        note_command(
            command="explain",
            action="explain",
            clinic_id=row.patient.clinic_id,
            patient_id=row.patient_id,
            object_id=row.pk,
            run=uuid4(),
            now=now,
        )
        told = Told.of(course_of(row), row.patient, now)
        judged = told.on(options["date"])
        if judged is None:
            raise CommandError("This date was not judged: the plan does not cover it so far.")
        shown = explanation_shown(told, judged, to_patient=False)
        if options["json"]:
            print(written(shown))
        else:
            print("\n".join(lines_of(shown)))


WIDTH = 130  # an evidence row


def written(value: Any, indent: str = "") -> str:
    """JSON for people: what fits on a line stands on one."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + len(line) <= WIDTH:
        return line
    deeper = indent + "  "
    if isinstance(value, list):
        rows = [written(one, deeper) for one in value]
        return "[\n" + ",\n".join(deeper + row for row in rows) + f"\n{indent}]"
    rows = [f"{json.dumps(name)}: {written(one, deeper)}" for name, one in value.items()]
    return "{\n" + ",\n".join(deeper + row for row in rows) + f"\n{indent}}}"


def lines_of(shown: dict[str, Any]) -> list[str]:
    phase, sources = shown["phase"], {one["of"]: one["text"] for one in shown["sources"]}
    lines = [
        f"{shown['date']}  {shown['colour']}  {shown['rule']}  {shown['outcome']}  "
        f"in phase {phase['number']}, {phase['title']}" + ("  (still open)" * shown["is_open"]),
        f"  rule: {shown['condition']} -> {shown['decision']}",
        f"  source: {sources.get(shown['rule'], 'none')}",
        f"  sets: {shown['done_sets']} of {shown['planned_sets']}",
        f"  known: {json.dumps(shown['facts']['day'], ensure_ascii=False)}",
    ]
    lines += [f"  record: {_record(one)}" for one in shown["facts"]["evidence"]]
    lines += [
        f"  {one['kind']}: {one.get('code') or one.get('phase_id', '')} at {one['at']}"
        for one in shown["facts"]["events"]
    ]
    lines += [f"  alert: {one['level']} {one['code']}: {one['text']}" for one in shown["alerts"]]
    for one in shown["criteria"]:
        lines.append(f"  {one['result']:8} {one['id']}: {one['text']} ({one['finding']})")
        lines.append(f"           source: {one['source']}")
        lines += [f"           record: {_record(two)}" for two in one["evidence"]]
    lines.append(f"  after: {json.dumps(shown['after'], ensure_ascii=False)}")
    lines.append(f"  engine {shown['engine']['version']}, inputs {shown['inputs_sha256']}")
    return lines


def _record(one: dict[str, Any]) -> str:
    told = [one["type"], one["id"], one.get("local_date", ""), f"{one.get('value', '')}"]
    return " ".join(part for part in told if part)
