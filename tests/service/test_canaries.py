"""Nothing of who was erased is left: a word in every text of a person, looked for in the bytes of
the database, its log, the caches, the files and what was logged."""

from __future__ import annotations

import io
import logging
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from django.conf import settings as configured
from django.db import connection, models
from django.utils import timezone

from backend import tasks
from backend.clinics.models import Patient
from backend.logs import logging_settings
from backend.rights import erasing
from backend.rights.belongings import TABLES, Person, Table, rows
from tests.service.cast import OwnPhone, Staff, make_reminder
from tests.service.door import Door

WORD = "kanarie7"
LENGTH = len(WORD) + 4  # what is shorter holds codes of ours

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the service writes to its log, in the form it has in service."""
    said = dict(logging_settings(for_people=False)["formatters"]["line"])
    said.pop("()")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(**said))
    logging.getLogger().addHandler(handler)
    yield handler.stream
    logging.getLogger().removeHandler(handler)


def texts(table: Table) -> list[models.Field[Any, Any]]:
    """The columns that somebody's words could stand in."""
    return [
        field
        for field in table.model._meta.concrete_fields
        if isinstance(field, models.CharField | models.TextField | models.JSONField)
        and not field.choices
        and (field.max_length or LENGTH) >= LENGTH
    ]


def mark(person: Person) -> set[str]:
    """Put the word into every one of them; says where there was none to put it into."""
    missing = set()
    for number, table in enumerate(TABLES):
        found = rows(table, person)
        for at, field in enumerate(texts(table)):
            word = f"{WORD}{number:02d}{at:02d}"
            value = {"said": word} if isinstance(field, models.JSONField) else word
            changed = found.model._default_manager.filter(pk__in=found.values("pk"))
            if not changed.update(**{field.name: value}):
                missing.add(table.label)
    return missing


def hits() -> dict[str, int]:
    """Files in which the word stands, and how often. Of PostgreSQL a dump is one."""
    found = {}
    for path in Path(configured.VAR_DIR).rglob("*"):
        if path.is_file() and (count := path.read_bytes().lower().count(WORD.encode())):
            found[path.name] = count
    if connection.vendor == "postgresql" and (count := dumped().lower().count(WORD.encode())):
        found["dump"] = count
    return found


def dumped() -> bytes:
    place = connection.settings_dict
    told = {"PGPASSWORD": place["PASSWORD"]} if place["PASSWORD"] else {}
    command = [
        "pg_dump",
        "-h",
        place["HOST"],
        "-U",
        place["USER"],
        "-p",
        str(place["PORT"] or 5432),
    ]
    done = subprocess.run(
        [*command, place["NAME"]], env=os.environ | told, capture_output=True, check=True
    )
    return done.stdout


def test_no_word_of_who_was_erased_is_left(
    library: None,
    ana: Staff,
    cleo: Staff,
    ben: OwnPhone,
    plan_of_ben: Any,
    now: Any,
    logged: io.StringIO,
    settings: Any,
) -> None:
    settings.ERASURE_LEDGER = str(Path(configured.VAR_DIR) / "erasures.jsonl")
    place, today = f"patients/{ben.patient.pk}", ben.today.isoformat()
    # Everybody writes down what they can, some of it twice.
    said = {
        "given_name": f"{WORD}a", "family_name": f"{WORD}b", "email": f"{WORD}@example.org",
        "identifiers": [{"system": f"{WORD}c", "value": f"{WORD}d"}],
    }  # fmt: skip
    for _ in range(2):
        tag = ana.call("GET", place)["ETag"]
        ana.patch(place, said, If_Match=tag)
        said |= {"family_name": f"{WORD}e"}
    ben.logs(ben.slot(), plan_of_ben, note=f"{WORD} hurts")
    ben.checks_in(note=f"{WORD} at night", stop_signs=["night_pain"])
    ben.put("me/devices/0193448e-5d2a-7c11-9a4e-3b1f5d6c7e80", {
        "platform": "ios", "app_version": "1", "push_token": WORD,
    })  # fmt: skip
    ben.patch("me/reminder-settings", {"enabled": True, "times": ["17:00"], "channels": ["push"]})
    make_reminder(ben, now)
    ana.post(f"assignments/{plan_of_ben['id']}/progressions", {"note": WORD}, 201)
    tag = ana.call("GET", f"assignments/{plan_of_ben['id']}")["ETag"]
    pause = {"from": today, "reason": WORD}
    ana.post(f"assignments/{plan_of_ben['id']}/pause", pause, If_Match=tag)
    measured = {
        "code": "nprs_worst", "value": 4, "unit": "0-10", "measured_at": now.isoformat(),
        "note": WORD,
    }  # fmt: skip
    ana.post(f"{place}/assessments", measured, Idempotency_Key=str(uuid4()))
    Door().signs_in("ben@example.org", "a long password")
    wish = {"kind": "sessions", "format": "csv", "from": today, "to": today, "purpose": "Review"}
    for unnamed in (False, True):
        cleo.post("exports", wish | {"de_identified": unnamed}, 202)
    for sweep in tasks.SWEEPS:
        sweep()
    ben.get("me/data")
    cleo.put(f"{place}/legal-hold", {"reason": WORD})
    cleo.delete(f"{place}/legal-hold")
    cleo.get("audit-events")
    # Then the word goes wherever a text can stand.
    tag = cleo.call("GET", place)["ETag"]
    cleo.post(f"{place}/erasure", {"reason": "asked"}, 202, If_Match=tag)
    person = Person.of(Patient.objects.select_related("user").get(pk=ben.patient.pk))
    Patient.objects.filter(pk=person.patient_id).update(
        legal_hold_since=now, legal_hold_reason=WORD
    )
    missing = mark(person)
    assert missing <= {
        "clinics.Invitation", "account.EmailAddress", "account.EmailConfirmation",
        "mfa.Authenticator", "admin.LogEntry", "notifications.Delivery", "care.ClosedDay",
        "usersessions.UserSession",
    }, missing  # fmt: skip
    before = hits()
    assert sum(before.values()) > 30, before

    later = timezone.now() + erasing.GRACE + timedelta(seconds=1)
    for id in erasing.due(now=later, limit=10):
        assert erasing.erase(erasure_id=id, now=later)
    assert erasing.settle()

    assert hits() == {}
    assert WORD not in logged.getvalue().lower()
    assert '"event": "request"' in logged.getvalue()
