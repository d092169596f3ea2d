"""Every screen in a real browser: no grave finding by machine, no sideways scrolling, and keys."""

from __future__ import annotations

from typing import Any

import pytest

from tests.console.looking import Hand, axe, axe_in_all_themes, no_sideways_scroll
from tests.console.screens import SHOTS, Shot, address_of
from tests.demo_clinic import DemoClinic
from tests.service.door import totp

IN_THE_DEMO = {"ana": "physiotherapist", "cleo": "admin"}


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
def test_every_screen_can_be_used_by_everybody(shot: Shot, opens: Any) -> None:
    page = opens(IN_THE_DEMO[shot.who[0]], address_of(shot))
    for link in shot.follow:
        page.locator(link).first.click()
        page.wait_for_load_state()

    assert page.locator("h1").count() == 1
    axe_in_all_themes(page)
    for width in (320, 360):
        no_sideways_scroll(page, width)
    axe(page)


def test_it_can_be_read_without_scripts(opens: Any) -> None:
    page = opens("physiotherapist", "caseload?include=on_track", java_script_enabled=False)
    page.get_by_role("heading", name="Stina Steady").wait_for()


def test_keys(opens: Any) -> None:
    page = opens("physiotherapist", "design")
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


def test_signing_in_with_a_second_factor(opens: Any, demo: DemoClinic, by: str) -> None:
    account = demo.accounts["staff-elsewhere"]
    page = opens(None, "caseload")
    hand = Hand(page, by)

    hand.axe()
    hand.fill(page.get_by_label("Email").first, account["email"])
    hand.fill(page.get_by_label("Password").first, account["password"])
    hand.press(page.locator("form button:not([type=button])").first)
    page.wait_for_url("**/2fa/authenticate/**")
    hand.axe()
    hand.fill(page.get_by_label("Code").first, totp(account["totp_secret"]))
    hand.press(page.locator("form button:not([type=button])").first)
    page.wait_for_url("**/console/caseload")
    hand.press(page.locator("summary", has_text="Olga"))
    hand.press("button", "Sign out")
    page.wait_for_url("**/accounts/login/**")
