"""What a version prescribes is read once; each date to come is worked out once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from backend.care import versions
from backend.care.deciding import recompute
from backend.care.models import Assignment, AssignmentVersion
from backend.care.selectors import Course, course_for_log, course_of
from backend.care.versions import Unread, prescribed_as, prescribed_in, rows_of
from protocols.engine.definition import read
from protocols.engine.plan import Prescribed
from tests.service.cast import OwnPhone

DAY = timedelta(days=1)


@pytest.fixture
def course(ben: OwnPhone, plan_of_ben: Any, monkeypatch: pytest.MonkeyPatch) -> Course:
    """As it is read for a record, with nothing known of it yet."""
    monkeypatch.setattr(versions, "_kept", {})
    found = course_for_log(ben.patient, UUID(plan_of_ben["id"]))
    assert found is not None
    return found


def test_what_is_kept_is_what_is_stored(course: Course) -> None:
    [version] = course.versions
    stored = AssignmentVersion.objects.get().prescriptions
    assert isinstance(version.prescriptions, Unread)
    by_phase = [prescribed_in(version, phase.id) for phase in course.protocol.phases]
    assert [row for rows in by_phase for row in rows] == [read(Prescribed, row) for row in stored]
    assert rows_of(version) == stored


def test_each_phase_is_read_once(course: Course, ben: OwnPhone) -> None:
    phase = course.protocol.phases[0].id
    first = prescribed_in(course.versions[0], phase)
    again = course_for_log(ben.patient, course.id)
    assert again is not None
    assert prescribed_in(again.versions[0], phase) is first
    assert isinstance(again.versions[0].prescriptions, Unread)


def test_a_prescription_of_any_phase_is_found(course: Course) -> None:
    [version] = course.versions
    last = read(Prescribed, AssignmentVersion.objects.get().prescriptions[-1])
    assert course.named(last.id) == prescribed_as(version, last.id) == last
    assert course.named("") is None


def test_no_more_is_kept_than_there_is_room_for(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "MOST_KEPT", 2)
    phase = course.protocol.phases[0].id
    for _ in range(5):
        other = AssignmentVersion(prescriptions=rows_of(course.versions[0]))
        assert len(prescribed_in(other, phase)) > 1
        assert len(versions._kept) <= 2


def test_dates_to_come_may_be_asked_for_in_any_order(course: Course, ben: OwnPhone) -> None:
    """Back after a gap: some half doses, then the whole again."""
    recompute(course=course, patient=ben.patient, now=timezone.now() + 8 * DAY)
    dates = [ben.today + n * DAY for n in range(-1, 23)]

    def asked(*order: int) -> list[object]:
        fresh = course_of(Assignment.objects.with_record().get())
        for n in order:
            fresh.terms_on(dates[n])
        return [fresh.terms_on(on) for on in dates]

    alone = [asked(n)[n] for n in range(len(dates))]
    assert alone == asked() == asked(20, 3, 12) == asked(*range(len(dates))[::-1])
    assert len({str(terms) for terms in alone}) > 1
