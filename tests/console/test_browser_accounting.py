"""Reports, exports, staff, audit and settings in a browser, each by mouse and by keyboard alone."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.console.looking import Hand, no_sideways_scroll
from tests.demo_clinic import DemoClinic


def test_a_report_is_read_exported_and_opened(
    opens: Any, demo: DemoClinic, by: str, tmp_path: Path
) -> None:
    last = datetime.now(UTC).date() - timedelta(days=2)
    window = f"from={last - timedelta(days=13)}&to={last}"
    told = demo.get("admin", f"reports/adherence?{window}&group_by=protocol")
    page = opens("admin", f"reports?{window}")
    hand = Hand(page, by)

    page.locator("#c5 [data-cursor]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.locator("#c5 .chart-reading").inner_text() != ""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        hand.axe()
    no_sideways_scroll(page, 360)
    page.set_viewport_size({"width": 1280, "height": 800})
    hand.choose("A row for each", "Protocol")
    hand.press("button", "Show")
    page.wait_for_url("**group_by=protocol**")
    rows = page.locator("tr[data-group]")
    assert rows.count() == len(told["groups"]) > 1
    hand.axe()
    hand.press("link", "Due")
    page.wait_for_url("**sort=-due**")
    assert page.locator('th[aria-sort="descending"]').inner_text().startswith("Due")
    hand.key("e", page.get_by_role("link", name="Export…"))
    page.wait_for_url("**/new-export**")
    assert page.get_by_label("From", exact=True).input_value() == told["from"]
    hand.fill("What is it for?", "board report")
    hand.axe()
    hand.press("button", "Export")
    page.wait_for_url("**/console/exports")
    page.get_by_text("Ready", exact=True).wait_for()  # without a hand: a worker writes it
    hand.axe()
    with page.expect_download() as fetched:
        hand.press(page.get_by_role("link", name="Download").first)
    fetched.value.save_as(tmp_path / "report.csv")
    text = (tmp_path / "report.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(text.partition("\n")[2])))
    assert [one["protocol_id"] for one in lines] == [one["key"] for one in told["groups"]]


def test_somebody_is_invited(opens: Any, demo: DemoClinic, by: str) -> None:
    page = opens("admin", "staff")
    hand = Hand(page, by)

    hand.key("i", page.get_by_role("link", name="Invite"))
    page.wait_for_url("**/invite-staff")
    hand.fill("Given name", "Eva")
    hand.fill("Family name", "Ek")
    hand.fill("E-mail", "eva@example.org")
    hand.tick("Clinic admin")
    hand.press("button", "Invite")
    page.wait_for_url("**/console/staff")
    page.get_by_text("Eva Ek is invited.", exact=False).wait_for()
    [made] = [
        one for one in demo.get("admin", "staff")["items"] if one["email"] == "eva@example.org"
    ]
    assert made["roles"] == ["physiotherapist", "clinic_admin"]


def test_a_caseload_is_handed_over(opens: Any, demo: DemoClinic, by: str) -> None:
    page = opens("admin", "staff")
    hand = Hand(page, by)

    def has_dana(story: str) -> bool:
        """Whether it is Dana who treats this patient."""
        shown = demo.get("both", f"patients/{demo.patient(story)}")
        staff = {one["id"]: one["email"] for one in demo.get("admin", "staff")["items"]}
        return staff.get(shown["physiotherapist_id"]) == "both@harbour.demo"

    assert not has_dana("steady")
    hand.press("link", "Ana Lindholm")
    page.get_by_role("heading", name="Caseload and account").wait_for()
    hand.axe()
    hand.choose("Who treats them from now on?", "Dana Holm")
    hand.press("button", "Hand over and end the account")
    page.get_by_text("signed out everywhere", exact=False).first.wait_for()
    assert has_dana("steady")
    assert has_dana("red-flag")
    hand.press("button", "Undo")
    page.get_by_text("Patients who were handed over stay where they are.").wait_for()
    assert has_dana("steady")


def test_a_setting_is_previewed_changed_and_taken_back(
    opens: Any, demo: DemoClinic, by: str
) -> None:
    page = opens("admin", "settings")
    hand = Hand(page, by)

    def stand() -> tuple[int, bool]:
        clinic = demo.get("admin", "clinic")
        return clinic["typing_delay_days"], clinic["proposals_on"]

    hand.fill("Days to type a record in", "5")
    hand.tick("Proposals to let patients go on")
    hand.press("button", "Preview")
    page.get_by_text("Nothing is stored yet").wait_for()
    page.get_by_text("would be in Review", exact=False).wait_for()
    hand.axe()
    hand.press("button", "Save")
    page.get_by_text("Saved:", exact=False).wait_for()
    assert stand() == (5, False)
    hand.axe()
    hand.press("button", "Undo")
    page.get_by_text("Taken back.", exact=False).wait_for()
    assert stand() == (7, True)


def test_the_audit_is_searched(opens: Any, demo: DemoClinic, by: str) -> None:
    for story in ("steady", "red-flag"):
        demo.get("both", f"patients/{demo.patient(story)}")
    page = opens("admin", "audit")
    hand = Hand(page, by)

    hand.fill("Patient", "Rut")
    hand.choose("Person", "Dana Holm")
    hand.press("button", "Show")
    page.wait_for_url("**patient=Rut**")
    assert page.locator("tbody tr").count() == 1
    hand.press(page.get_by_role("link", name="Check whether"))
    page.get_by_text("Chain verified.").wait_for()
    hand.axe()
