"""Every screen in a real browser: no grave finding by machine, no sideways scrolling, and keys."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.totp.internal import auth

from tests.console.looking import axe, axe_in_all_themes, no_sideways_scroll, tab_to
from tests.console.screens import SHOTS, Shot, address_of
from tests.service.cast import OwnPhone, Staff
from tests.service.door import totp


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
def test_every_screen_can_be_used_by_everybody(
    shot: Shot, opens: Any, request: pytest.FixtureRequest, ben: OwnPhone,
    plan_of_ben: Any,
) -> None:  # fmt: skip
    ben.logs(ben.slot(ben.today), plan_of_ben, pain_during=2, note="Felt tight at the end")
    ben.checks_in(stop_signs=["night_pain"])
    page = opens(request.getfixturevalue(shot.who[0]), address_of(shot))
    for link in shot.follow:
        page.locator(link).first.click()
        page.wait_for_load_state()

    assert page.locator("h1").count() == 1
    axe_in_all_themes(page)
    for width in (320, 360):
        no_sideways_scroll(page, width)
    axe(page)


def test_it_can_be_read_without_scripts(opens: Any, ana: Staff, ben: OwnPhone) -> None:
    page = opens(ana, "caseload?include=on_track", java_script_enabled=False)
    page.get_by_role("heading", name=ben.patient.display_name).wait_for()


def test_keys(opens: Any, ana: Staff) -> None:
    page = opens(ana, "design")
    focused = "document.activeElement.textContent"

    page.keyboard.press("ArrowDown")
    first = page.evaluate(focused)
    page.keyboard.press("ArrowDown")
    assert (first, page.evaluate(focused)) == ("Ines Okafor, 32", "Tomas Berg, 29")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("ap/")
    assert page.locator("#search").input_value() == "ap/", "letters are letters while one types"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("details.person[open]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("details[open].menu").count() == 0
    page.get_by_role("link", name="Open a dialog").click()
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


@pytest.mark.parametrize("by_keyboard", [False, True], ids=["mouse", "keyboard"])
def test_signing_in_with_a_second_factor(opens: Any, ana: Staff, by_keyboard: bool) -> None:
    secret = auth.generate_totp_secret()
    auth.TOTP.activate(ana.user, secret)
    page = opens(None, "caseload")

    def gives(label: str, text: str) -> None:
        field = page.get_by_label(label).first
        if by_keyboard:
            tab_to(page, field)
            page.keyboard.type(text)
        else:
            field.fill(text)

    def goes_on() -> None:
        if by_keyboard:
            page.keyboard.press("Enter")
        else:
            page.locator("form button[type=submit], form button:not([type])").first.click()

    axe(page)
    gives("Email", ana.user.email)
    gives("Password", "a long password")
    goes_on()
    page.wait_for_url("**/2fa/authenticate/**")
    axe(page)
    gives("Code", totp(secret))
    goes_on()
    page.wait_for_url("**/console/caseload")
    page.get_by_text("Ana").first.click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/accounts/login/**")
