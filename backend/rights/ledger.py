"""Whom we have forgotten, in a file that no backup of the database contains.

One line of JSON for each erasure, appended and never changed; ids only. After a restore it says
whom to forget once more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings

from backend.rights.models import Erasure


def append(erasure: Erasure) -> None:
    """On the disk when this returns. Twice is once; a line that was cut ends here."""
    told = {
        "clinic_id": str(erasure.clinic_id),
        "patient_id": str(erasure.patient_id),
        "account_id": erasure.account_id and str(erasure.account_id),
        "reason": erasure.reason,
        "decided_by": erasure.decided_by and str(erasure.decided_by),
        "decided_at": erasure.decided_at.isoformat(),
    }
    place = Path(settings.ERASURE_LEDGER)
    handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(handle).st_size
        is_cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        os.write(handle, (b"\n" if is_cut else b"") + json.dumps(told).encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def entries() -> Iterator[Erasure]:
    """Each as it was decided, unsaved. What was cut by a crash was appended once more."""
    place = Path(settings.ERASURE_LEDGER)
    if not place.exists():
        return
    with place.open() as lines:
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                continue
            yield _erasure(told)


def _erasure(told: dict[str, str]) -> Erasure:
    return Erasure(
        clinic_id=UUID(told["clinic_id"]),
        patient_id=UUID(told["patient_id"]),
        account_id=_id(told["account_id"]),
        reason=told["reason"],
        decided_by=_id(told["decided_by"]),
        decided_at=datetime.fromisoformat(told["decided_at"]),
    )


def _id(told: str | None) -> UUID | None:
    return UUID(told) if told else None
