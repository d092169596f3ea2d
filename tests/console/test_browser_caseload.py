"""A physiotherapist's morning in a real browser: by mouse, by keyboard, and without scripts."""

from __future__ import annotations

from typing import Any

import pytest

from backend.care.models import Assessment, Flag
from tests.console.looking import axe, no_sideways_scroll, tab_to
from tests.service.cast import OwnPhone, Staff


@pytest.fixture
def waiting(ben: OwnPhone, plan_of_ben: Any) -> OwnPhone:
    """Ben trained, wrote a note, and reported something to look at."""
    ben.logs(ben.slot(ben.today), plan_of_ben, pain_during=2, note="Felt tight at the end")
    ben.checks_in(stop_signs=["night_pain"])
    return ben


def test_acknowledge_and_take_it_back_by_mouse(opens: Any, ana: Staff, waiting: OwnPhone) -> None:
    page = opens(ana, "caseload")
    page.get_by_role("link", name="Acknowledge").click()
    page.get_by_role("button", name="Acknowledge").click()
    assert page.get_by_label("Contacted the patient").evaluate("one => !one.validity.valid")
    page.get_by_label("Contacted the patient").check()
    page.get_by_label("Note").fill("Called, sleeps better")
    page.get_by_role("button", name="Acknowledge").click()

    page.get_by_role("heading", name="Handled today 1").wait_for()
    page.get_by_text("Called, sleeps better").wait_for()
    axe(page)
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Taken back. It waits again.").wait_for()
    page.get_by_role("link", name="Acknowledge").wait_for()
    assert Flag.objects.get().status == "open"


def test_the_undo_goes_after_ten_seconds(opens: Any, ana: Staff, waiting: OwnPhone) -> None:
    page = opens(ana, "caseload")
    page.clock.install()
    page.get_by_role("link", name="Acknowledge").click()
    page.get_by_label("Nothing needed").check()
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_role("button", name="Undo").wait_for()
    page.locator("h1").click()
    page.clock.run_for(11_000)
    assert page.get_by_role("button", name="Undo").count() == 0


def test_the_same_by_keyboard_alone(opens: Any, ana: Staff, waiting: OwnPhone) -> None:
    page = opens(ana, "caseload")
    page.keyboard.press("ArrowDown")
    assert waiting.patient.display_name in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("a")
    page.wait_for_url("**/flags/*")
    tab_to(page, "input[type=radio]")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")  # plan changed
    tab_to(page, "textarea")
    page.keyboard.type("Half the sets")
    tab_to(page, "main button")
    page.keyboard.press("Enter")
    page.wait_for_url("**/caseload")
    assert Flag.objects.get().action == "plan_changed"
    tab_to(page, ".toast button")
    page.keyboard.press("Enter")
    page.get_by_text("Taken back.").wait_for()


def test_filters_by_keyboard(opens: Any, ana: Staff, waiting: OwnPhone) -> None:
    page = opens(ana, "caseload?tier=watch")
    page.get_by_text("Nobody matches").wait_for()
    page.keyboard.press("f")
    assert page.evaluate("document.activeElement.id") == "whose"
    page.goto("/console/caseload")
    page.keyboard.press("/")
    page.keyboard.type(waiting.patient.given_name)
    page.keyboard.press("Enter")
    page.wait_for_url("**/patients?q=*")
    page.locator("main").get_by_role("link", name=waiting.patient.display_name).wait_for()


def test_a_patient_from_tab_to_tab_by_keyboard(opens: Any, ana: Staff, waiting: OwnPhone) -> None:
    page = opens(ana, "caseload")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/patients/*")
    for key, name in ((2, "Exercises"), (3, "Log"), (4, "Plan"), (5, "Tests"), (6, "History"),
                      (1, "Overview")):  # fmt: skip
        page.keyboard.press(str(key))
        page.locator(f".tabs a[aria-current]:text-is('{name}')").wait_for()
        page.wait_for_load_state()
    page.locator(".chart-timeline .chart-box").focus()
    page.keyboard.press("End")
    assert "2" in page.locator(".chart-timeline .chart-reading").text_content()
    page.keyboard.press("Enter")
    page.wait_for_url("**day=*")
    assert page.evaluate("document.activeElement.id") == "day-panel"
    page.locator("#day-panel").get_by_text("Felt tight at the end").wait_for()
    axe(page)
    no_sideways_scroll(page, 320)


def test_a_day_opens_by_mouse_and_without_scripts(
    opens: Any, ana: Staff, waiting: OwnPhone
) -> None:
    address = f"patients/{waiting.patient.pk}"
    page = opens(ana, address)
    page.locator(f'.chart-timeline .day[data-date="{waiting.today}"]').click()
    page.wait_for_url("**day=*")
    page.locator("#day-panel").get_by_text("Felt tight at the end").wait_for()
    page.get_by_role("link", name="Close").click()
    page.locator("#day-panel").wait_for(state="detached")

    plain = opens(ana, address, java_script_enabled=False)
    plain.get_by_label("Open a day").fill(waiting.today.isoformat())
    plain.get_by_role("button", name="Open", exact=True).click()
    plain.locator("#day-panel").get_by_text("Felt tight at the end").wait_for()
    plain.get_by_text("Show as table").first.click()
    plain.locator(".chart-timeline table").wait_for()


def test_a_test_is_entered_by_keyboard(opens: Any, ana: Staff, waiting: OwnPhone) -> None:
    page = opens(ana, f"patients/{waiting.patient.pk}/tests")
    page.keyboard.press("n")
    page.keyboard.type("Single-leg ham")
    tab_to(page, "#f-value")
    page.keyboard.type("999999")
    page.keyboard.press("Enter")
    page.locator(".summary").wait_for()
    assert page.evaluate("document.activeElement.className") == "summary"
    assert page.locator("#f-value").input_value() == "999999"
    axe(page)
    page.locator("#f-value").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("18")
    page.keyboard.press("Enter")
    page.get_by_text("Recorded: Single-leg hamstring bridge.").wait_for()
    assert Assessment.objects.filter(code="slhb_reps", value=18).count() == 1


def test_a_stop_is_cleared_with_a_reason_by_keyboard(
    opens: Any, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    ben.checks_in(stop_signs=["ces_saddle_numbness"])
    page = opens(ana, "caseload")
    page.keyboard.press("a")
    page.wait_for_url("**/seen*")
    page.get_by_role("button", name="Acknowledge").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/caseload")
    page.keyboard.press("a")
    page.wait_for_url("**/clear-stop*")
    axe(page)
    tab_to(page, "#f-reason")
    page.keyboard.type("Seen in hospital, nothing found")
    tab_to(page, "input[type=radio]")
    page.keyboard.press("Space")
    tab_to(page, "main button.primary")
    page.keyboard.press("Enter")
    page.get_by_text("The stop is cleared.").wait_for()
    assert Flag.objects.get().status == "resolved"


def test_print_leaves_out_what_is_pressed(opens: Any, ana: Staff, waiting: OwnPhone) -> None:
    page = opens(ana, "caseload")
    page.emulate_media(media="print")
    page.get_by_role("heading", name=waiting.patient.display_name).wait_for()
    for hidden in (".side", ".top", ".filters", "main .actions"):
        assert not page.locator(hidden).first.is_visible(), hidden
