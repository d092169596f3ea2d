"""Reviews, assigning and tailoring in a browser: by mouse, and by keyboard alone."""

from __future__ import annotations

from typing import Any

from tests.console.looking import Hand, axe_in_all_themes, no_sideways_scroll
from tests.demo_clinic import DemoClinic

# Of the demo: Vera's proposal waits, Disa is done with her plan, Stina is in the midst of hers.
VERA, DISA, STINA = "progression-waiting", "discharged", "steady"
GRADE_1 = "Grade I hamstring strain"

# --- Reviews ----------------------------------------------------------------------------------


def decided(demo: DemoClinic, status: str) -> bool:
    """Whether this became of Vera's proposal."""
    asked = f"progressions?status={status}&patient_id={demo.patient(VERA)}"
    told = demo.get("physiotherapist", asked)["items"]
    return [one["recommendation"] for one in told] == ["advance"]


def opened(opens: Any, by: str) -> Hand:
    """The proposal of Vera, out of the queue."""
    page = opens("physiotherapist", "reviews")
    if by == "mouse":
        page.get_by_role("link", name="Vera Waiting").click()
    else:
        page.wait_for_load_state()  # keys are listened to from then on
        while "Vera" not in page.evaluate("document.activeElement.textContent.slice(0, 99)"):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
    page.get_by_text("in queue").wait_for()
    return Hand(page, by)


def test_a_proposal_can_be_used_by_everybody(opens: Any) -> None:
    page = opens("physiotherapist", "reviews")
    page.get_by_role("link", name="Vera Waiting").click()
    page.get_by_text("Adjust doses").click()
    page.get_by_text("Records and sources").click()
    axe_in_all_themes(page)
    no_sideways_scroll(page, 320)
    axe_in_all_themes(page)


def test_approving(opens: Any, demo: DemoClinic, by: str) -> None:
    hand = opened(opens, by)
    page = hand.page
    hand.key("a", page.get_by_role("button", name="Approve").first)
    page.get_by_text("Approved: Vera Waiting").wait_for()
    assert decided(demo, "approved")


def test_approving_with_changes(opens: Any, demo: DemoClinic, by: str) -> None:
    hand = opened(opens, by)
    page = hand.page
    hand.press(page.locator("summary").filter(has_text="Adjust doses"))
    hand.fill(page.locator(".dose input").first, "1")
    hand.fill(page.get_by_label("To the patient").first, "We start gently.")
    hand.press("button", "Approve with changes")
    page.get_by_text("Approved with changes: Vera Waiting").wait_for()
    assert decided(demo, "modified")


def test_declining_asks_why(opens: Any, demo: DemoClinic, by: str) -> None:
    hand = opened(opens, by)
    page = hand.page
    hand.key("d", page.get_by_role("link", name="Decline"))
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    hand.axe()
    hand.choose(dialog.get_by_label("Reason"), "A new finding")
    hand.fill(dialog.get_by_label("Why"), "Seen in the clinic.")
    hand.press(dialog.get_by_role("button", name="Decline"))
    page.get_by_text("Declined: Vera Waiting").wait_for()
    assert decided(demo, "declined")


def test_a_stale_decision_is_refused_and_reloaded(opens: Any, demo: DemoClinic, by: str) -> None:
    hand = opened(opens, by)
    page = hand.page
    left_out = ("id", "derived", "received_at", "history_count", "revision")
    told = demo.get(VERA, "me/sessions?limit=9")["items"][3]  # one that the proposal stands on
    body = {name: value for name, value in told.items() if name not in left_out}
    corrected = body | {"revision": told["revision"] + 1, "pain_during": 2}
    demo.put(VERA, f"me/sessions/{told['id']}", corrected)

    approve = page.get_by_role("button", name="Approve").first
    hand.fill(page.get_by_label("To the patient").first, "Kept")
    hand.press(approve)
    page.get_by_text("New data came in while this was open").wait_for()
    page.get_by_role("row", name="Worst pain during exercise").first.wait_for()
    assert page.get_by_label("To the patient").first.input_value() == "Kept"
    hand.axe()
    hand.press(approve)
    page.get_by_text("Approved: Vera Waiting").wait_for()
    assert decided(demo, "approved")


def test_it_is_decided_without_scripts(opens: Any, demo: DemoClinic) -> None:
    page = opens("physiotherapist", "reviews", java_script_enabled=False)
    page.get_by_role("link", name="Vera Waiting").click()
    page.get_by_role("link", name="Decline").click()
    page.get_by_label("Reason").select_option("new_finding")
    page.get_by_label("Why").fill("Swollen today.")
    page.get_by_role("button", name="Decline").click()
    page.get_by_text("Declined: Vera Waiting").wait_for()
    assert decided(demo, "declined")


# --- Assigning --------------------------------------------------------------------------------


def plans(demo: DemoClinic, story: str) -> list[Any]:
    """That run or stand still, as the patient's phone reads them."""
    found = demo.get(story, "me/assignments")["items"]
    return [one for one in found if one["status"] in ("active", "paused")]


def to_new_episode(page: Any, hand: Hand) -> None:
    """Disa's last episode is over: a plan needs a new one."""
    hand.press("link", "Assign a plan")
    hand.press("link", "Add an episode")
    page.get_by_role("heading", name="Add an episode").wait_for()


def test_assigning(opens: Any, demo: DemoClinic, by: str) -> None:
    page = opens("physiotherapist", f"patients/{demo.patient(DISA)}")
    hand = Hand(page, by)
    to_new_episode(page, hand)
    hand.press("button", "Add")
    page.get_by_role("link", name="Where: This field is required.").wait_for()
    hand.axe()
    no_sideways_scroll(page, 320)
    page.set_viewport_size({"width": 1280, "height": 800})
    hand.fill(page.get_by_label("In a few words"), "Right hamstring, again")
    hand.choose(page.get_by_label("Where"), "Posterior thigh")
    hand.choose(page.get_by_label("Side", exact=True), "Right")
    hand.press("button", "Add")

    page.get_by_text("Added: Right hamstring, again").wait_for()
    protocol = page.get_by_label(GRADE_1).first
    wanted = protocol.get_attribute("value")
    hand.tick(protocol)
    if hand.has_mouse:
        page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"**protocol_id={wanted}**")  # by arrows one passes others, shown as well
    page.locator("#preview").wait_for()
    hand.press("link", "Answer what is missing")
    page.wait_for_url("**/screening**")
    hand.axe()
    for box in ("All of these were asked", "Grade recorded", "Neurological screen recorded"):
        hand.tick(page.get_by_label(box))
    hand.press("button", "Record")
    page.locator("#preview").wait_for()
    hand.axe()
    no_sideways_scroll(page, 320)
    page.set_viewport_size({"width": 1280, "height": 800})
    hand.press("button", "Assign")
    page.get_by_text("Assigned:").wait_for()
    assert [one["title"] for one in plans(demo, DISA)] == [GRADE_1]
    assert demo.get("physiotherapist", f"patients/{demo.patient(DISA)}")["status"] == "active"


def test_assigning_without_scripts(opens: Any, demo: DemoClinic) -> None:
    address = f"patients/{demo.patient(DISA)}"
    page = opens("physiotherapist", address, java_script_enabled=False)
    to_new_episode(page, Hand(page, "mouse"))
    page.get_by_label("In a few words").fill("Right hamstring, again")
    page.get_by_label("Where").select_option("posterior_thigh")
    page.get_by_label("Side").select_option("right")
    page.get_by_role("button", name="Add").click()
    page.get_by_label(GRADE_1).first.check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Show the preview").click()
    page.get_by_text("The next 14 days").wait_for()


def test_an_episode_is_put_right(opens: Any, demo: DemoClinic, by: str) -> None:
    page = opens("physiotherapist", f"patients/{demo.patient(STINA)}")
    hand = Hand(page, by)
    hand.press("link", "Left hamstring, sprinting")
    page.get_by_role("heading", name="Change the episode").wait_for()
    hand.axe()
    hand.fill(page.get_by_label("In a few words"), "Left hamstring, hurdles")
    hand.press("button", "Save")
    page.get_by_text("Changed: Left hamstring, hurdles.").wait_for()


def test_tailoring_and_pausing(opens: Any, demo: DemoClinic, by: str) -> None:
    [plan] = plans(demo, STINA)
    page = opens("physiotherapist", f"patients/{demo.patient(STINA)}")
    hand = Hand(page, by)
    hand.key("t", page.get_by_role("link", name="Tailor plan"))
    page.wait_for_url("**/tailor")
    hand.axe()
    no_sideways_scroll(page, 320)
    page.set_viewport_size({"width": 1280, "height": 800})
    sets = page.locator(".dose input").first
    hand.fill(sets, str(int(sets.input_value()) + 1))
    hand.fill(page.get_by_role("textbox", name="Why"), "Strong")
    hand.press("button", "Tailor")
    page.get_by_text("Tailored:").wait_for()
    told = demo.get("physiotherapist", f"assignments/{plan['id']}")
    assert told["changes"][-1]["reason"] == "Strong"

    hand.press("link", "Pause")
    page.wait_for_url("**/pause")
    hand.axe()
    hand.fill(page.get_by_role("textbox", name="Why"), "Flu")
    hand.press("button", "Pause")
    page.get_by_text("Paused from").wait_for()
    assert demo.get("physiotherapist", f"assignments/{plan['id']}")["status"] == "paused"
