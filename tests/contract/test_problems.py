"""The catalogue of problems: which codes there are, with which status, and a page for each."""

from __future__ import annotations

import inspect
import re

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

import backend.urls  # noqa: F401  # which imports whatever can refuse
from backend.problems import Problem

# The catalogue of the contract.
CODES = {
    "malformed-request": 400,
    "cursor-invalid": 400,
    "client-too-old": 400,
    "unauthenticated": 401,
    "session-ended": 401,
    "forbidden": 403,
    "second-factor-required": 403,
    "consent-withdrawn": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "revision-conflict": 409,
    "state-conflict": 409,
    "not-a-draft": 409,
    "assignment-ended": 409,
    "change-scheduled": 409,
    "overlapping-assignment": 409,
    "already-enrolled": 409,
    "duplicate-identifier": 409,
    "already-decided": 409,
    "progression-open": 409,
    "nothing-stands": 409,
    "last-admin": 409,
    "export-not-ready": 409,
    "stop-standing": 409,
    "legal-hold": 409,
    "erasure-decided": 409,
    "request-in-progress": 409,
    "cursor-expired": 410,
    "invitation-expired": 410,
    "version-mismatch": 412,
    "payload-too-large": 413,
    "unsupported-media-type": 415,
    "validation-failed": 422,
    "export-too-large": 422,
    "idempotency-key-reused": 422,
    "reason-required": 422,
    "log-in-future": 422,
    "log-too-old": 422,
    "log-outside-assignment": 422,
    "unknown-prescription": 422,
    "slot-mismatch": 422,
    "assignment-gate-failed": 422,
    "precondition-required": 428,
    "rate-limited": 429,
    "internal-error": 500,
    "unavailable": 503,
}
# Still to come: locked accounts as a problem of ours.
LATER = {
    "account-locked": 429,
}


def test_the_catalogue_is_complete():
    assert {code: problem.status for code, problem in Problem.catalogue.items()} == CODES
    assert not CODES.keys() & LATER.keys()


@pytest.mark.parametrize("code", CODES)
def test_each_says_what_it_means_and_what_to_do(code):
    problem = Problem.catalogue[code]

    assert problem.__doc__ is not None
    assert problem.__doc__ != Problem.__doc__
    for text in (inspect.getdoc(problem) or "", problem.title, problem.remedy):
        assert len(text) > 8
    assert problem.title[0].isupper()
    assert not problem.title.endswith(".")
    assert problem.remedy.endswith(".")


@pytest.mark.parametrize("code", CODES)
def test_each_has_a_page(code, client: Client):
    page = client.get(f"/problems/{code}")
    shown = page.content.decode()

    assert page.status_code == 200
    assert page["Content-Type"] == "text/html; charset=utf-8"
    assert f"<code>{code}</code>, status {CODES[code]}" in shown
    assert "`" not in shown
    assert set(re.findall(r'<li><a href="([a-z-]+)">', shown)) == CODES.keys()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_there_is_no_other_page(method, client: Client):
    for path, status in (("/problems/no-such-problem", 404), ("/problems/", 404)):
        answer = client.generic(method, path)
        assert answer.status_code == (405 if method == "POST" and path[-1] != "/" else status)
        assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/problems/not-found", "/api/docs"])
def test_pages_bring_everything_along(path, client: Client):
    """Without internet, and without a script or style that stands in the page itself."""
    page = client.get(path)
    shown = page.content.decode()
    policy = dict(part.strip().split(" ", 1) for part in page["Content-Security-Policy"].split(";"))

    assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'")
    assert re.findall(r"<script(?![^>]* src=)|<style| on\w+=|https?://", shown) == []
    assets = re.findall(r'(?:src|href)="/static/([^"]+)"', shown)
    assert assets
    assert [asset for asset in assets if finders.find(asset) is None] == []


def test_the_description_is_public_and_asked_again_by_etag(client: Client):
    first = client.get("/api/schema.json", headers={"X-Session-Token": "of-nobody"})
    again = client.get("/api/schema.json", headers={"If-None-Match": first["ETag"]})

    assert first.status_code == 200
    assert first["Content-Type"] == "application/json"
    assert first.json()["openapi"].startswith("3.1")
    assert "public" in first["Cache-Control"]
    assert (again.status_code, again.content) == (304, b"")
