"""Patients, exercises, the handout and protocols in a real browser: by mouse, and by keys alone."""

from __future__ import annotations

import re
from typing import Any

from tests.console.looking import Hand, axe_in_all_themes, no_sideways_scroll
from tests.demo_clinic import DemoClinic

GRADE_1 = "Grade I hamstring strain"


# --- Patients ---------------------------------------------------------------------------------


def test_somebody_is_enrolled_and_invited(opens: Any, by: str) -> None:
    page = opens("physiotherapist", "patients")
    hand = Hand(page, by)
    hand.key("e", page.get_by_role("link", name="Enrol a patient").first)
    page.wait_for_url("**/enrol")
    hand.fill("Given name", "Nora")
    hand.date("Date of birth", "1989-12-31")
    hand.press("button", "Enrol")
    page.get_by_role("link", name="Family name: This field is required.").wait_for()
    assert page.get_by_label("Given name").input_value() == "Nora"
    hand.axe()
    hand.fill("Family name", "Ny")
    hand.press("button", "Enrol")
    page.get_by_role("status").get_by_text("Enrolled: Nora Ny").wait_for()
    hand.key("i", page.get_by_role("button", name="Invite to the app"))
    page.wait_for_url("**/invitations/**")
    code = page.locator(".code").inner_text()
    assert re.fullmatch(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){4}", code)
    hand.axe()
    no_sideways_scroll(page, 320)
    page.set_viewport_size({"width": 1280, "height": 800})
    with page.context.expect_page() as opened:
        hand.key("p", page.get_by_role("link", name="Page to print"))
    assert code in opened.value.content()
    hand.press("link", "Done")
    page.get_by_text("Works until").wait_for()
    hand.key("c", page.get_by_role("link", name="Change", exact=True))
    page.wait_for_url("**/change")
    hand.axe()
    hand.fill(page.get_by_label("E-mail"), "nora@example.org")
    hand.press("button", "Save")
    page.get_by_text("Changed: Nora Ny.").wait_for()


def test_a_patient_is_found_from_anywhere(opens: Any) -> None:
    page = opens("physiotherapist", "exercises")
    page.wait_for_load_state()
    page.keyboard.press("/")
    page.keyboard.type("rut")
    page.keyboard.press("Enter")
    page.wait_for_url("**/patients?q=rut")
    assert page.locator("tbody tr").count() == 1
    page.wait_for_load_state()
    page.keyboard.press("ArrowDown")
    assert "Rut" in page.evaluate("document.activeElement.textContent")


# --- Exercises --------------------------------------------------------------------------------


def test_an_exercise_is_found(opens: Any, by: str) -> None:
    page = opens("physiotherapist", "exercises")
    hand = Hand(page, by)
    hand.press("link", "Core")
    page.wait_for_url("**kind=core**")
    hand.fill("Name or target", "plank")
    hand.press("button", "Show")
    page.wait_for_url("**q=plank**")
    assert "kind=core" in page.url
    hand.press("link", "Front plank")
    page.get_by_role("heading", level=1, name="Front plank", exact=True).wait_for()
    picture = page.locator(".picture img")
    drawn = "image => image.decode().then(() => image.naturalWidth > 0)"
    assert picture.evaluate(drawn)
    assert picture.get_attribute("alt")


# --- The handout ------------------------------------------------------------------------------


def to_handout(opens: Any, demo: DemoClinic) -> Any:
    page = opens("physiotherapist", f"patients/{demo.patient('steady')}", accept_downloads=True)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Handout").click()
    page.wait_for_url("**/handout")
    return page


def test_the_handout(opens: Any, demo: DemoClinic) -> None:
    page = to_handout(opens, demo)
    axe_in_all_themes(page)
    for width in (360, 320):
        no_sideways_scroll(page, width)
    page.emulate_media(media="print")
    page.locator(".running").wait_for()
    assert not page.get_by_role("link", name="PDF", exact=True).is_visible()
    assert not page.locator(".side").is_visible()


def test_the_pdf(opens: Any, demo: DemoClinic, by: str) -> None:
    page = to_handout(opens, demo)
    with page.expect_download() as got:
        Hand(page, by).key("p", page.get_by_role("link", name="PDF", exact=True))
    assert got.value.suggested_filename == "exercises-stina-steady.pdf"


# --- Protocols --------------------------------------------------------------------------------


def test_a_protocol_is_published(opens: Any, by: str) -> None:
    page = opens("physiotherapist", "protocols")
    hand = Hand(page, by)
    hand.press(page.get_by_role("link", name=GRADE_1).first)
    page.wait_for_url(re.compile(r"/protocols/[0-9a-f-]{36}$"))
    hand.key("d", page.get_by_role("button", name="Copy as the clinic’s own"))
    page.wait_for_url("**/draft")
    hand.press(page.locator(".tabs a").nth(1))
    page.wait_for_url("**part=phase-1")
    hand.fill("Title", "Calm down")
    hand.press(page.locator(".item summary").first)
    sets = page.get_by_label("Sets").first
    as_in_the_catalogue = sets.input_value()
    hand.fill(sets, "99")
    page.keyboard.press("Enter")  # saves, from any field
    page.get_by_role("alert").wait_for()
    hand.press(page.get_by_role("alert").get_by_role("link").first)
    assert page.evaluate("document.activeElement.id").endswith("dose-sets")
    page.keyboard.press("Control+a")
    page.keyboard.type(as_in_the_catalogue)
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("Saved.").wait_for()
    assert page.get_by_label("Title").input_value() == "Calm down"
    hand.choose("Add an exercise", "Front plank")
    hand.press("button", "Add the exercise")
    page.wait_for_url("**#prescriptions")
    assert page.locator(".item", has_text="Front plank").count() >= 1
    hand.axe()
    no_sideways_scroll(page, 320)
    page.set_viewport_size({"width": 1280, "height": 800})
    hand.press("link", "Publish…")
    page.wait_for_url("**/publish")
    hand.fill(page.get_by_label("What changed, and why"), "Ours, with planks.")
    hand.axe()
    hand.press("button", "Publish")
    page.wait_for_url(re.compile(r"/protocols/[0-9a-f-]{36}$"))
    page.get_by_text("Ours, with planks.").wait_for()
    hand.press("link", "Retire…")
    page.wait_for_url("**/retire*")
    hand.fill(page.get_by_label("Why"), "Made for a test.")
    hand.press("button", "Retire")
    page.get_by_text("Nobody is given it any more").wait_for()
    hand.axe()


def test_a_draft_can_be_edited_without_scripts(opens: Any) -> None:
    page = opens("physiotherapist", "protocols", java_script_enabled=False)
    page.get_by_role("link", name=GRADE_1).first.click()
    page.get_by_role("button", name="Copy as the clinic’s own").click()
    page.get_by_label("Title").fill("Plain")
    page.get_by_role("button", name="Save").last.click()
    page.get_by_role("heading", level=1, name="Plain", exact=True).wait_for()
