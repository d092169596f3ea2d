"""Reviews, assigning and tailoring in a browser: by mouse, and by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from backend.care.models import Assignment, Progression
from backend.clinics.models import Episode
from protocols.models import ProtocolVersion
from tests.console.looking import axe, axe_in_all_themes, no_sideways_scroll, tab_to
from tests.service.cast import OwnPhone, Staff
from tests.service.test_progressions import DAY, Story


class Past:
    """Four days ago, until it is `over`."""

    def __init__(self) -> None:
        begins = datetime.now(UTC).replace(hour=9, minute=0) - timedelta(days=4)
        self.travel = time_machine.travel(begins, tick=False)
        self.clock = self.travel.start()
        self.is_over = False

    def over(self) -> None:
        if not self.is_over:
            self.travel.stop()
            self.is_over = True


@pytest.fixture
def past(opens: Any) -> Iterator[Past]:
    past = Past()
    yield past
    past.over()


@pytest.fixture
def now(past: Past) -> datetime:
    return timezone.now()


@pytest.fixture
def story(past: Past, ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion
          ) -> Story:  # fmt: skip
    """Ben has trained for four days, and this morning the rules propose to go on."""
    first = ben.today
    plan = ana.assigns(grade_1, to=ben.patient, episode=thigh, on=first)
    ana.records(ben.patient, "nprs_worst", 5, unit="0-10")
    story = Story(past.clock, ana, ben, plan)
    story.lives(first, before=2, during=2, rated=2)
    assert story.to_proposal_from(first + DAY)
    past.over()
    return story


def status() -> str:
    return Progression.objects.latest("computed_at").status


# --- Reviews ----------------------------------------------------------------------------------


def test_a_proposal_can_be_used_by_everybody(opens: Any, story: Story) -> None:
    page = opens(story.ana, "reviews")
    page.get_by_role("link", name="Ben Patient").click()
    page.get_by_text("Adjust doses").click()
    page.get_by_text("Records and sources").click()
    axe_in_all_themes(page)
    no_sideways_scroll(page, 320)
    axe_in_all_themes(page)


@pytest.fixture(params=["mouse", "keyboard"])
def by_keyboard(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "keyboard")


def opened(page: Any, by_keyboard: bool) -> None:
    """The first proposal of the queue."""
    if by_keyboard:
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
    else:
        page.get_by_role("link", name="Ben Patient").click()
    page.get_by_text("1 of 1 in queue").wait_for()
    page.wait_for_load_state()  # keys are listened to from then on


def filled(page: Any, field: Any, text: str, by_keyboard: bool) -> None:
    if not by_keyboard:
        field.fill(text)
        return
    tab_to(page, field)
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


def pressed(page: Any, target: Any, by_keyboard: bool) -> None:
    if by_keyboard:
        tab_to(page, target)
        page.keyboard.press("Enter")
    else:
        target.click()


def test_approving(opens: Any, story: Story, by_keyboard: bool) -> None:
    page = opens(story.ana, "reviews")
    opened(page, by_keyboard)
    if by_keyboard:
        page.keyboard.press("a")
    else:
        page.get_by_role("button", name="Approve", exact=False).first.click()
    page.wait_for_url("**/console/reviews")
    assert status() == "approved"


def test_approving_with_changes(opens: Any, story: Story, by_keyboard: bool) -> None:
    page = opens(story.ana, "reviews")
    opened(page, by_keyboard)
    pressed(page, page.locator("summary").filter(has_text="Adjust doses"), by_keyboard)
    filled(page, page.locator(".dose input").first, "1", by_keyboard)
    filled(page, page.get_by_label("To the patient").first, "We start gently.", by_keyboard)
    pressed(page, page.get_by_role("button", name="Approve with changes"), by_keyboard)
    page.wait_for_url("**/console/reviews")
    page.get_by_text("Approved with changes: Ben Patient").wait_for()
    assert status() == "modified"


def test_declining_asks_why(opens: Any, story: Story, by_keyboard: bool) -> None:
    page = opens(story.ana, "reviews")
    opened(page, by_keyboard)
    dialog = page.get_by_role("dialog")
    if by_keyboard:
        page.keyboard.press("d")
        dialog.wait_for()
        axe(page)
        page.keyboard.press("ArrowDown")  # the first reason
    else:
        page.get_by_role("link", name="Decline").click()
        dialog.get_by_label("Reason").select_option("new_finding")
    filled(page, dialog.get_by_label("Why"), "Seen in the clinic.", by_keyboard)
    pressed(page, dialog.get_by_role("button", name="Decline"), by_keyboard)
    page.wait_for_url("**/console/reviews")
    assert status() == "declined"


def test_a_stale_decision_is_refused_and_reloaded(
    opens: Any, story: Story, by_keyboard: bool
) -> None:
    page = opens(story.ana, "reviews")
    opened(page, by_keyboard)
    on = story.ben.today - 3 * DAY
    left_out = ("id", "derived", "received_at", "history_count", "revision")
    for told in story.ben.get(f"me/sessions?from={on}&to={on}")["items"]:
        body = {name: value for name, value in told.items() if name not in left_out}
        story.ben.put(f"me/sessions/{told['id']}", body | {"revision": 2, "pain_during": 1})

    approve = page.get_by_role("button", name="Approve", exact=False).first
    filled(page, page.get_by_label("To the patient").first, "Kept", by_keyboard)
    pressed(page, approve, by_keyboard)
    page.get_by_text("New data came in while this was open").wait_for()
    page.get_by_role("row", name="Worst pain during exercise").first.wait_for()
    assert page.get_by_label("To the patient").first.input_value() == "Kept"
    axe(page)
    pressed(page, approve, by_keyboard)
    page.wait_for_url("**/console/reviews")
    assert status() == "approved"


def test_it_is_decided_without_scripts(opens: Any, story: Story) -> None:
    page = opens(story.ana, "reviews", java_script_enabled=False)
    page.get_by_role("link", name="Ben Patient").click()
    page.get_by_role("link", name="Decline").click()
    page.get_by_label("Reason").select_option("new_finding")
    page.get_by_label("Why").fill("Swollen today.")
    page.get_by_role("button", name="Decline").click()
    page.wait_for_url("**/console/reviews")
    assert status() == "declined"


# --- Assigning --------------------------------------------------------------------------------


@pytest.fixture
def patient(opens: Any, past: Past, ana: Staff, ben: OwnPhone, thigh: Episode) -> OwnPhone:
    past.over()
    return ben


def test_assigning_by_mouse(opens: Any, ana: Staff, patient: OwnPhone, grade_1: Any) -> None:
    page = opens(ana, f"patients/{patient.patient.pk}/assign")
    page.get_by_label(grade_1.title).first.check()
    page.locator("#preview").wait_for()
    page.get_by_role("link", name="Answer what is missing").click()
    axe(page)
    page.get_by_label("All of these were asked today").check()
    page.get_by_label("Grade recorded").check()
    page.get_by_label("Neurological screen recorded").check()
    page.get_by_role("button", name="Record").click()
    page.locator("#preview").wait_for()
    axe(page)
    no_sideways_scroll(page, 320)
    page.set_viewport_size({"width": 1280, "height": 800})
    with page.expect_response("**/preview"):
        page.locator(".mini-choice input").first.check()
    page.get_by_role("button", name="Assign").click()
    page.get_by_text("Assigned:").wait_for()
    assert Assignment.objects.filter(patient=patient.patient).count() == 1


def test_assigning_by_keyboard(opens: Any, ana: Staff, patient: OwnPhone, grade_1: Any) -> None:
    ana.clears_gates(patient.patient)
    page = opens(ana, f"patients/{patient.patient.pk}/assign")
    tab_to(page, page.locator("input[name=protocol_id]").first)
    page.keyboard.press("Space")
    page.locator("#preview").wait_for()
    wanted = page.get_by_label(grade_1.title).first
    for _ in range(12):
        if wanted.is_checked():
            break
        with page.expect_response("**/assign?*"):
            page.keyboard.press("ArrowDown")
    page.get_by_text(f"{grade_1.title} {grade_1.version}").last.wait_for()
    tab_to(page, page.get_by_role("button", name="Assign", exact=True))
    page.keyboard.press("Enter")
    page.get_by_text("Assigned:").wait_for()
    assert Assignment.objects.get(patient=patient.patient).protocol_version == grade_1


def test_assigning_without_scripts(opens: Any, ana: Staff, patient: OwnPhone, grade_1: Any
                                   ) -> None:  # fmt: skip
    ana.clears_gates(patient.patient)
    page = opens(ana, f"patients/{patient.patient.pk}/assign", java_script_enabled=False)
    page.get_by_label(grade_1.title).first.check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Show the preview").click()
    page.get_by_text("The next 14 days").wait_for()
    page.get_by_role("button", name="Assign", exact=True).click()
    page.get_by_text("Assigned:").wait_for()


def test_tailoring_and_pausing(
    opens: Any, ana: Staff, patient: OwnPhone, thigh: Episode, grade_1: Any, by_keyboard: bool
) -> None:
    plan = ana.assigns(grade_1, to=patient.patient, episode=thigh, on=patient.today)
    page = opens(ana, f"assignments/{plan['id']}/tailor")
    sets, why = page.locator(".dose input").first, page.get_by_role("textbox", name="Why")
    button = page.get_by_role("button", name="Tailor")
    if by_keyboard:
        tab_to(page, sets)
        page.keyboard.press("ArrowUp")
        tab_to(page, why)
        page.keyboard.type("Strong")
        tab_to(page, button)
        page.keyboard.press("Enter")
    else:
        axe(page)
        no_sideways_scroll(page, 320)
        sets.fill("4")
        why.fill("Strong")
        button.click()
    page.get_by_text("Tailored:").wait_for()
    assert ana.get(f"assignments/{plan['id']}")["changes"][-1]["reason"] == "Strong"

    page.goto(f"/console/assignments/{plan['id']}/pause")
    why, button = page.get_by_role("textbox", name="Why"), page.get_by_role("button", name="Pause")
    if by_keyboard:
        tab_to(page, why)
        page.keyboard.type("Flu")
        tab_to(page, button)
        page.keyboard.press("Enter")
    else:
        axe(page)
        why.fill("Flu")
        button.click()
    page.get_by_text("Paused from").wait_for()
    assert ana.get(f"assignments/{plan['id']}")["status"] == "paused"
