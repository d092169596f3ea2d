"""A physiotherapist's morning in a real browser: by mouse, by keyboard, and without scripts."""

from __future__ import annotations

from typing import Any

from tests.console.looking import Hand, axe, no_sideways_scroll, tab_to
from tests.demo_clinic import DemoClinic

# Of the demo: Rut stands still by a stop, Calle has something to look at, and Vera a proposal.
RUT, CALLE, VERA = "red-flag", "wrong-clock", "progression-waiting"
WHAT_VERA_WROTE = "Nothing hurts any more. When may I run?"


def has(demo: DemoClinic, story: str, code: str, status: str) -> bool:
    """Whether what this patient has to be looked at for stands so."""
    asked = f"flags?status={status}&patient_id={demo.patient(story)}"
    return code in {one["code"] for one in demo.get("physiotherapist", asked)["items"]}


def to_row(page: Any, name: str) -> None:
    """By arrows, from the top."""
    page.wait_for_load_state()  # keys are listened to from then on
    for _ in range(20):
        page.keyboard.press("ArrowDown")
        if name in page.evaluate("document.activeElement.textContent"):
            return
    raise AssertionError(f"no way by arrows to {name}")


def test_acknowledge_and_take_it_back_by_mouse(opens: Any, demo: DemoClinic) -> None:
    page = opens("physiotherapist", "caseload")
    calle = page.locator("[data-row]", has_text="Calle Clock")
    calle.get_by_role("link", name="Acknowledge").click()
    page.get_by_role("button", name="Acknowledge").click()
    assert page.get_by_label("Contacted the patient").evaluate("one => !one.validity.valid")
    page.get_by_label("Contacted the patient").check()
    page.get_by_label("Note").fill("Called, sleeps better")
    page.get_by_role("button", name="Acknowledge").click()

    page.get_by_role("heading", name="Handled today").wait_for()
    page.get_by_text("Called, sleeps better").wait_for()
    assert has(demo, CALLE, "age-review", "resolved")
    axe(page)
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Taken back. It waits again.").wait_for()
    calle.get_by_role("link", name="Acknowledge").wait_for()
    assert has(demo, CALLE, "age-review", "open")


def test_the_undo_goes_after_ten_seconds(opens: Any) -> None:
    page = opens("physiotherapist", "caseload")
    page.clock.install()
    page.locator("[data-row]", has_text="Calle Clock").get_by_text("Acknowledge").click()
    page.get_by_label("Nothing needed").check()
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_role("button", name="Undo").wait_for()
    page.locator("h1").click()
    page.clock.run_for(11_000)
    assert page.get_by_role("button", name="Undo").count() == 0


def test_the_same_by_keyboard_alone(opens: Any, demo: DemoClinic) -> None:
    page = opens("physiotherapist", "caseload")
    to_row(page, "Calle Clock")
    page.keyboard.press("a")
    page.wait_for_url("**/flags/*")
    hand = Hand(page, "keyboard")
    hand.tick(page.get_by_label("Changed the plan"))
    hand.fill(page.get_by_label("Note"), "Half the sets")
    hand.press("button", "Acknowledge")
    page.wait_for_url("**/caseload")
    assert has(demo, CALLE, "age-review", "resolved")
    tab_to(page, ".toast button")
    page.keyboard.press("Enter")
    page.get_by_text("Taken back.").wait_for()


def test_filters_by_keyboard(opens: Any) -> None:
    page = opens("both", "caseload?tier=watch")  # who treats nobody
    page.get_by_text("Nobody matches").wait_for()
    page.wait_for_load_state()
    page.keyboard.press("f")
    assert page.evaluate("document.activeElement.id") == "whose"
    page.goto("/console/caseload")
    page.keyboard.press("/")
    page.keyboard.type("stina")
    page.keyboard.press("Enter")
    page.wait_for_url("**/patients?q=*")
    page.locator("main").get_by_role("link", name="Stina Steady").wait_for()


def test_a_patient_from_tab_to_tab_by_keyboard(opens: Any) -> None:
    page = opens("physiotherapist", "caseload")
    to_row(page, "Vera Waiting")
    page.keyboard.press("Enter")
    page.wait_for_url("**/patients/*")
    for key, name in ((2, "Exercises"), (3, "Log"), (4, "Plan"), (5, "Tests"), (6, "History"),
                      (1, "Overview")):  # fmt: skip
        page.wait_for_load_state()
        page.keyboard.press(str(key))
        page.locator(f".tabs a[aria-current]:text-is('{name}')").wait_for()
    page.wait_for_load_state()
    page.locator(".chart-timeline .chart-box").focus()
    page.keyboard.press("End")
    assert " 202" in page.locator(".chart-timeline .chart-reading").text_content()  # a date
    page.keyboard.press("Enter")
    page.wait_for_url("**day=*")
    assert page.evaluate("document.activeElement.id") == "day-panel"
    axe(page)
    no_sideways_scroll(page, 320)


def test_a_day_opens_by_mouse_and_without_scripts(opens: Any, demo: DemoClinic) -> None:
    [last] = demo.get("physiotherapist", f"patients/{demo.patient(VERA)}/sessions?limit=1")["items"]
    day = last["local_date"]
    address = f"patients/{demo.patient(VERA)}"
    page = opens("physiotherapist", address)
    page.locator(f'.chart-timeline .day[data-date="{day}"]').click()
    page.wait_for_url("**day=*")
    page.locator("#day-panel").get_by_text(WHAT_VERA_WROTE).wait_for()
    page.get_by_role("link", name="Close").click()
    page.locator("#day-panel").wait_for(state="detached")

    plain = opens("physiotherapist", address, java_script_enabled=False)
    plain.get_by_label("Open a day").fill(day)
    plain.get_by_role("button", name="Open", exact=True).click()
    plain.locator("#day-panel").get_by_text(WHAT_VERA_WROTE).wait_for()
    plain.get_by_text("Show as table").first.click()
    plain.locator(".chart-timeline table").wait_for()


def test_a_test_is_entered_by_keyboard(opens: Any, demo: DemoClinic) -> None:
    page = opens("physiotherapist", f"patients/{demo.patient(VERA)}/tests")
    page.wait_for_load_state()
    page.keyboard.press("n")
    page.keyboard.type("Single-leg ham")
    tab_to(page, "#f-value")
    page.keyboard.type("999999")
    page.keyboard.press("Enter")
    page.locator(".summary:focus").wait_for()
    assert page.locator("#f-value").input_value() == "999999"
    axe(page)
    page.locator("#f-value").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("18")
    page.keyboard.press("Enter")
    page.get_by_text("Recorded: Single-leg hamstring bridge.").wait_for()
    told = demo.get("physiotherapist", f"patients/{demo.patient(VERA)}/assessments")["items"]
    assert [one["value"] for one in told if one["code"] == "slhb_reps"] == [18]


def test_a_stop_is_cleared_with_a_reason(opens: Any, demo: DemoClinic, by: str) -> None:
    page = opens("physiotherapist", "caseload")
    hand = Hand(page, by)
    rut = page.locator("[data-row]", has_text="Rut Redflag")
    hand.key("a", rut.get_by_role("link", name="Acknowledge"))
    page.wait_for_url("**/seen*")
    hand.press("button", "Acknowledge")
    page.wait_for_url("**/caseload")
    hand.key("a", rut.get_by_role("link", name="Clear stop"))
    page.wait_for_url("**/clear-stop*")
    hand.axe()
    hand.fill(page.locator("#f-reason"), "Seen in hospital, nothing found")
    hand.tick(page.locator("main input[type=radio]").first)
    hand.press(page.locator("main button.primary"))
    page.get_by_text("The stop is cleared.").wait_for()
    assert has(demo, RUT, "ces_saddle_numbness", "resolved")


def test_print_leaves_out_what_is_pressed(opens: Any) -> None:
    page = opens("physiotherapist", "caseload")
    page.emulate_media(media="print")
    page.get_by_role("heading", name="Vera Waiting").wait_for()
    for hidden in (".side", ".top", ".filters", "main .actions"):
        assert not page.locator(hidden).first.is_visible(), hidden
