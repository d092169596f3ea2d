"""The drawings as phones and pages get them: named by their content, for good."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from exercises.models import Exercise
from exercises.pictures import pictures

NORDIC = pictures()["sg-nordic"]


@pytest.fixture(autouse=True)
def _library(library: None) -> None:
    """Everybody here has the library."""


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_every_exercise_of_the_library_says_where_its_picture_is_and_what_it_shows(ana, client):
    for slug in ("sg-nordic", "ed-ces-card", "st-childs-pose"):
        row = ana.get(f"exercises?q={slug}")["items"][0]
        [media] = row["media"]
        shown = client.get(media["url"])

        assert media.keys() == {"type", "url", "bytes", "alt", "licence", "credit"}
        assert media["type"] == "image"
        assert shown.status_code == 200
        assert len(shown.content) == media["bytes"]
        assert media["alt"].encode() in shown.content
    assert not Exercise.objects.filter(clinic=None, media=[]).exists()


def test_a_picture_is_for_everybody_and_for_good(client: Client) -> None:
    answer = client.get(NORDIC.url)

    assert answer["Content-Type"] == "image/svg+xml"
    assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer["Content-Security-Policy"] == "default-src 'none'"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers
    assert answer.content == NORDIC.content


def test_who_has_it_is_not_sent_it_again(client: Client) -> None:
    etag = client.get(NORDIC.url)["ETag"]
    again = client.get(NORDIC.url, headers={"If-None-Match": etag})

    assert (again.status_code, again.content) == (304, b"")
    assert client.get(NORDIC.url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_head_tells_without_the_picture(client: Client) -> None:
    answer = client.head(NORDIC.url)
    assert (answer.status_code, answer.content) == (200, b"")


def test_an_address_kept_from_before_leads_to_the_picture_of_today(client: Client) -> None:
    """A phone without a network for weeks still knows an older plan."""
    answer = client.get("/media/0123456789abcdef/sg-nordic.svg")

    assert (answer.status_code, answer["Location"]) == (302, NORDIC.url)
    assert answer["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("method", "path", "refused"),
    [
        ("GET", "/media/x/no-such-exercise.svg", (404, "not-found")),
        ("GET", "/media/x/..%2Fsg-nordic.svg", (404, "not-found")),
        ("GET", "/media/x/sg-nordic.png", (404, "not-found")),
        ("GET", "/media/", (404, "not-found")),
        ("POST", NORDIC.url, (405, "method-not-allowed")),
        ("DELETE", NORDIC.url, (405, "method-not-allowed")),
    ],
)
def test_what_is_no_picture(client: Client, method, path, refused) -> None:
    assert problem(client.generic(method, path)) == refused


def test_it_asks_no_database(client: Client, django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        client.get(NORDIC.url)


def test_the_next_release_brings_its_pictures(ana) -> None:
    """A drawing may change while the exercise does not; the version stays, the address moves."""
    old = [{"type": "image", "url": "/media/old/sg-nordic.svg", "bytes": 1, "alt": "Old."}]
    row = Exercise.objects.get(clinic=None, slug="sg-nordic")
    Exercise.objects.filter(pk=row.pk).update(media=old)
    before = ana.call("GET", f"exercises/{row.pk}")
    call_command("load_library", verbosity=0)
    after = ana.call("GET", f"exercises/{row.pk}")

    assert after.json()["media"][0]["url"] == NORDIC.url
    assert after.json()["version"] == before.json()["version"]
    assert after["ETag"] != before["ETag"]
