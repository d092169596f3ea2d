"""The catalogue on screens."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from exercises.models import Exercise
from tests.console.conftest import browses
from tests.service.cast import Staff


def text_of(answer: Any) -> str:
    return unescape(answer.content.decode())


@pytest.mark.parametrize(
    "query", ["", "?kind=core", "?q=nordic", "?body_region=hip&kind=stretch", "?q=%20", "?q=xyzzy"]
)
def test_the_catalogue_is_that_of_the_api(query: str, ana: Staff, library: None) -> None:
    listed = ana.get(f"exercises{query or '?'}&limit=200" if query else "exercises?limit=200")
    text = text_of(browses(ana).get(f"/console/exercises{query}"))

    found = re.findall(r'<h3><a href="/console/exercises/([0-9a-f-]+)">', text)
    assert sorted(found) == sorted(one["id"] for one in listed["items"])
    assert ("Nothing matches" in text) is not bool(found)
    assert text.count("<img") == sum(len(one["media"]) for one in listed["items"])


def test_one_exercise_whole(ana: Staff, library: None) -> None:
    row = Exercise.objects.exclude(easier_slug="").exclude(harder_slug="").first()
    assert row is not None
    with CaptureQueriesContext(connection) as seen:
        text = text_of(browses(ana).get(f"/console/exercises/{row.pk}"))

    easier = Exercise.objects.get(slug=row.easier_slug)
    for said in (row.title, *row.cues, *row.contraindications, *row.common_errors, easier.title):
        assert said in text
    for source in row.sources:
        assert source["text"] in text
    assert row.media[0]["url"] in text
    assert row.media[0]["alt"] in text
    assert "Licence" in text
    assert len(seen) < 10


def test_an_exercise_of_another_clinic_is_not_there(ana: Staff, olga: Staff, library: None) -> None:
    own = {"slug": "own-one", "kind": "core", "title": "Own one", "body_region": "hip",
           "side": "none", "cues": ["Lie down"], "dose_unit": "reps", "pain_ceiling": 2,
           "dose": {"sets": 1, "reps": 3, "per_day": 1, "days_per_week": 7}}  # fmt: skip
    id = ana.post("exercises", own, 201)["id"]

    page = browses(ana).get(f"/console/exercises/{id}")
    assert "of this clinic" in text_of(page)
    assert "None named." in text_of(page)
    assert browses(olga).get(f"/console/exercises/{id}").status_code == 404
