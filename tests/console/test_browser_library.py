"""Patients, exercises, the handout and protocols in a real browser: by mouse, and by keys alone."""

from __future__ import annotations

import re
from typing import Any

from protocols.models import ProtocolVersion
from tests.console.looking import axe, axe_in_all_themes, no_sideways_scroll
from tests.service.cast import OwnPhone, Staff


def presses(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tabs_to(page: Any, words: str) -> None:
    """Go on by Tab until the focus is at what is called so."""
    for _ in range(150):
        presses(page, "Tab")
        found = page.evaluate(
            """() => { const e = document.activeElement; if (!e) return "";
            const label = e.id && document.querySelector(`label[for="${CSS.escape(e.id)}"]`);
            return (label || e).textContent.trim().replace(/\\s+/g, " ") }"""
        )
        if found.startswith(words):
            return
    raise AssertionError(f"{words} cannot be reached")


# --- Patients ---------------------------------------------------------------------------------


def test_somebody_is_enrolled_and_invited_by_mouse(opens: Any, ana: Staff) -> None:
    page = opens(ana, "patients")
    page.get_by_role("link", name="Enrol a patient").first.click()
    page.get_by_label("Given name").fill("Nils")
    page.get_by_label("Date of birth").fill("1989-12-31")
    page.get_by_role("button", name="Enrol").click()
    summary = page.get_by_role("alert")
    summary.wait_for()
    assert page.get_by_label("Given name").input_value() == "Nils"
    axe(page)
    page.get_by_label("Family name").fill("Ny")
    page.get_by_role("button", name="Enrol").click()
    page.wait_for_url("**/account")
    page.get_by_role("status").get_by_text("Enrolled: Nils Ny").wait_for()
    page.get_by_role("button", name="Invite to the app").click()
    page.wait_for_url("**/invitations/**")
    code = page.locator(".code").inner_text()
    assert re.fullmatch(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){4}", code)
    axe(page)
    no_sideways_scroll(page, 320)
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Page to print").click()
    assert code in opened.value.content()


def test_somebody_is_enrolled_and_invited_by_keys(opens: Any, ana: Staff) -> None:
    page = opens(ana, "patients")
    presses(page, "e")
    page.wait_for_url("**/enrol")
    for label, said in (("Given name", "Nils"), ("Family name", "Ny"), ("Date of birth", "")):
        tabs_to(page, label)
        page.keyboard.type(said or "12311989")
    presses(page, "Enter")
    page.wait_for_url("**/account")
    presses(page, "i")
    page.wait_for_url("**/invitations/**")
    page.locator(".code").wait_for()
    tabs_to(page, "Done")
    presses(page, "Enter")
    page.wait_for_url("**/account")
    page.get_by_text("Works until").wait_for()


def test_a_patient_is_found_from_anywhere(opens: Any, ana: Staff, ben: OwnPhone, bea: OwnPhone
                                          ) -> None:  # fmt: skip
    page = opens(ana, "exercises")
    presses(page, "/")
    page.keyboard.type("bea")
    presses(page, "Enter")
    page.wait_for_url("**/patients?q=bea")
    assert page.locator("tbody tr").count() == 1
    presses(page, "ArrowDown")
    if page.evaluate("document.activeElement.tagName") != "A":
        page.locator("main").focus()
        presses(page, "ArrowDown")
    assert "Bea" in page.evaluate("document.activeElement.textContent")


# --- Exercises --------------------------------------------------------------------------------


def test_an_exercise_is_found_by_mouse(opens: Any, ana: Staff) -> None:
    page = opens(ana, "exercises")
    page.get_by_role("link", name="Core", exact=True).click()
    page.get_by_label("Name or target").fill("plank")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**q=plank**")
    assert "kind=core" in page.url
    page.get_by_role("link", name="Front plank").click()
    picture = page.locator(".picture img")
    drawn = "image => image.decode().then(() => image.naturalWidth > 0)"
    assert picture.evaluate(drawn)
    assert picture.get_attribute("alt")


def test_an_exercise_is_found_by_keys(opens: Any, ana: Staff) -> None:
    page = opens(ana, "exercises")
    tabs_to(page, "Name or target")
    page.keyboard.type("plank")
    presses(page, "Enter")
    page.wait_for_url("**q=plank**")
    tabs_to(page, "Front plank")
    presses(page, "Enter")
    page.wait_for_url("**/exercises/*")
    page.get_by_role("heading", level=1, name="Front plank", exact=True).wait_for()


# --- The handout ------------------------------------------------------------------------------


def test_the_handout(opens: Any, ana: Staff, plan_of_ben: Any) -> None:
    page = opens(ana, f"assignments/{plan_of_ben['id']}/handout")

    axe_in_all_themes(page)
    for width in (360, 320):
        no_sideways_scroll(page, width)
    page.emulate_media(media="print")
    page.locator(".running").wait_for()
    assert not page.get_by_role("link", name="PDF", exact=True).is_visible()
    assert not page.locator(".side").is_visible()


def test_the_pdf_by_keys(opens: Any, ana: Staff, plan_of_ben: Any) -> None:
    page = opens(ana, f"assignments/{plan_of_ben['id']}/handout", accept_downloads=True)
    with page.expect_download() as got:
        presses(page, "p")
    assert got.value.suggested_filename == "exercises-ben-patient.pdf"


# --- Protocols --------------------------------------------------------------------------------


def test_a_protocol_is_published_by_mouse(opens: Any, ana: Staff, grade_1: ProtocolVersion) -> None:
    page = opens(ana, f"protocols/{grade_1.protocol_id}")
    page.get_by_role("button", name="Copy as the clinic’s own").click()
    page.wait_for_url("**/draft")
    page.locator(".tabs a").nth(1).click()
    page.get_by_label("Title").fill("Calm down")
    page.locator(".item summary").first.click()
    as_in_the_catalogue = page.get_by_label("Sets").first.input_value()
    page.get_by_label("Sets").first.fill("99")
    page.get_by_role("button", name="Save").last.click()
    page.get_by_role("alert").get_by_role("link").first.click()
    assert page.evaluate("document.activeElement.id").endswith("dose-sets")
    page.keyboard.press("Control+a")
    page.keyboard.type(as_in_the_catalogue)
    page.get_by_role("button", name="Save").last.click()
    page.get_by_role("status").get_by_text("Saved.").wait_for()
    page.get_by_label("Add an exercise").select_option(label="Front plank")
    page.get_by_role("button", name="Add the exercise").click()
    page.wait_for_url("**#prescriptions")
    assert page.locator(".item", has_text="Front plank").count() >= 1
    axe(page)
    no_sideways_scroll(page, 320)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("link", name="Publish…").click()
    page.get_by_label("What changed, and why").fill("Ours, with planks.")
    axe(page)
    page.get_by_role("button", name="Publish").click()
    page.wait_for_url(re.compile(r"/protocols/[0-9a-f-]{36}$"))
    page.get_by_text("Calm down").first.wait_for()
    page.get_by_role("link", name="Retire…").click()
    page.get_by_label("Why").fill("Made for a test.")
    page.get_by_role("button", name="Retire").click()
    page.get_by_text("Nobody is given it any more").wait_for()
    axe(page)


def test_a_protocol_is_published_by_keys(opens: Any, ana: Staff, grade_1: ProtocolVersion) -> None:
    page = opens(ana, f"protocols/{grade_1.protocol_id}")
    presses(page, "d")
    page.wait_for_url("**/draft")
    tabs_to(page, "1 ")
    presses(page, "Enter")
    page.wait_for_url("**part=phase-1")
    tabs_to(page, "Title")
    presses(page, "Control+a")
    page.keyboard.type("Calm down")
    presses(page, "Enter")
    page.get_by_role("status").get_by_text("Saved.").wait_for()
    assert page.get_by_label("Title").input_value() == "Calm down"
    page.locator("main").focus()
    presses(page, "p")
    page.wait_for_url("**/publish")
    tabs_to(page, "What changed, and why")
    page.keyboard.type("Ours.")
    tabs_to(page, "Publish")
    presses(page, "Enter")
    page.wait_for_url(re.compile(r"/protocols/[0-9a-f-]{36}$"))
    page.get_by_text("Ours.").wait_for()


def test_a_draft_can_be_edited_without_scripts(opens: Any, ana: Staff, grade_1: ProtocolVersion
                                               ) -> None:  # fmt: skip
    page = opens(ana, f"protocols/{grade_1.protocol_id}", java_script_enabled=False)
    page.get_by_role("button", name="Copy as the clinic’s own").click()
    page.get_by_label("Title").fill("Plain")
    page.get_by_role("button", name="Save").last.click()
    page.get_by_role("heading", level=1, name="Plain", exact=True).wait_for()
