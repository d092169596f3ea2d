"""The cast of the service tests, in front of the console, and the demo clinic in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from tests.console.looking import CHROMIUM, chromium
from tests.demo_clinic import DemoClinic, made, running
from tests.service.cast import Somebody
from tests.service.conftest import (
    ana,
    bea,
    ben,
    cleo,
    django_db_setup,
    elsewhere,
    grade_1,
    harbour,
    library,
    no_rates_remembered,
    nobody,
    now,
    olga,
    plan_of_ben,
    thigh,
)

__all__ = [
    "ana", "bea", "ben", "cleo", "django_db_setup", "elsewhere", "grade_1", "harbour", "library",
    "no_rates_remembered", "nobody", "now", "olga", "plan_of_ben", "thigh",
]  # fmt: skip


def browses(person: Somebody) -> Client:
    """The browser of somebody who is signed in. It needs no CSRF token: `test_forms.py` does."""
    client = Client(raise_request_exception=False)
    if person.token:
        client.cookies[django_settings.SESSION_COOKIE_NAME] = person.token
    return client


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium.

    Playwright runs a loop in this thread from now on, so Django takes plain queries of later tests
    for a mistake. They are none: nothing is awaited between them.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: the screens are not looked at")
    with pytest.MonkeyPatch.context() as patch, chromium() as browser:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield browser


@pytest.fixture(scope="session")
def demo_as_made(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoClinic]:
    """The demo clinic with its web, worker and clock. (It does not run where nobody looks.)"""
    with running(made(tmp_path_factory)) as demo:
        yield demo


@pytest.fixture
def demo(demo_as_made: DemoClinic) -> DemoClinic:
    """The demo clinic, in which no other test did anything."""
    demo_as_made.restore()
    return demo_as_made


Opens = Callable[..., Any]


@pytest.fixture
def opens(browser: Any, demo: DemoClinic) -> Iterator[Opens]:
    """A page of the demo's console for somebody who is signed in (or nobody):
    `opens("physiotherapist", "caseload", width=360, scheme="dark")`. Whatever leaves the origin,
    and any error the browser tells of, fails the test."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_(who: str | None, path: str = "", *, width: int = 1280, height: int = 800,
              scheme: str = "light", **options: Any) -> Any:  # fmt: skip
        context = browser.new_context(
            base_url=demo.origin, viewport={"width": width, "height": height},
            color_scheme=scheme, **options,
        )  # fmt: skip
        contexts.append(context)
        if who is not None:
            context.add_cookies([demo.cookie(who)])
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: _listen(said, wrong))
        page.on("request", lambda asked: _stays(asked.url, demo.origin, wrong))
        page.goto(path if path.startswith("/") else f"/console/{path}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(params=["mouse", "keyboard"])
def by(request: pytest.FixtureRequest) -> str:
    """With what a task is done."""
    return str(request.param)


def _listen(said: Any, wrong: list[str]) -> None:
    """A refusal (a status of 400 and more) is told as an error, too, and is none of the page."""
    if said.type == "error" and "the server responded with a status" not in said.text:
        wrong.append(said.text)


def _stays(url: str, origin: str, wrong: list[str]) -> None:
    if not url.startswith((origin, "data:", "blob:", "about:")):
        wrong.append(f"leaves the origin: {url}")
