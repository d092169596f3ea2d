"""Reports, exports, staff, audit and settings in a browser, each by mouse and by keyboard alone."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from backend.reports import exports
from backend.reports.models import Export
from tests.console.looking import axe, no_sideways_scroll, tab_to
from tests.service.cast import OwnPhone, Staff, make_staff
from tests.service.test_adherence import cohort
from tests.service.test_cohort import FIRST

LAST = FIRST + timedelta(days=8)
WINDOW = f"from={FIRST}&to={LAST}"


class Hand:
    """Who presses and types, with a mouse or with the keyboard alone."""

    def __init__(self, page: Any, by: str) -> None:
        self.page, self.has_mouse = page, by == "mouse"

    def press(self, role: str, name: str, *, exact: bool = True) -> None:
        target = self.page.get_by_role(role, name=name, exact=exact).first
        if self.has_mouse:
            target.click()
        else:
            tab_to(self.page, target)
            self.page.keyboard.press("Enter")

    def fills(self, label: str, text: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        if self.has_mouse:
            field.fill(text)
        else:
            tab_to(self.page, field)
            self.page.keyboard.press("Control+A")
            self.page.keyboard.type(text)

    def dates(self, label: str, text: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        if self.has_mouse:
            field.fill(text)
        else:
            year, month, day = text.split("-")
            tab_to(self.page, field)
            self.page.keyboard.type(f"{month}{day}{year}")

    def chooses(self, label: str, option: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        if self.has_mouse:
            field.select_option(label=option)
        else:
            tab_to(self.page, field)
            self.page.keyboard.type(option[:12])

    def ticks(self, label: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        if self.has_mouse:
            field.click()
        else:
            tab_to(self.page, field)
            self.page.keyboard.press("Space")


@pytest.fixture(params=["mouse", "keyboard"])
def by(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_report_is_read_exported_and_opened(
    opens: Any, cleo: Staff, ana: Staff, by: str, tmp_path: Path
) -> None:
    assert cleo.user.clinic
    cohort(cleo.user.clinic, [ana], seed=1, people=3, last=LAST)
    told = cleo.get(f"reports/adherence?{WINDOW}&group_by=protocol")
    page = opens(cleo, f"reports?{WINDOW}")
    hand = Hand(page, by)

    page.locator("#c5 [data-cursor]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.locator("#c5 .chart-reading").inner_text() != ""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        axe(page)
    no_sideways_scroll(page, 360)
    page.set_viewport_size({"width": 1280, "height": 800})
    hand.chooses("A row for each", "Protocol")
    hand.press("button", "Show")
    page.wait_for_url("**group_by=protocol**")
    rows = page.locator("tr[data-group]")
    assert rows.count() == len(told["groups"])
    axe(page)
    hand.press("link", "Due")
    page.wait_for_url("**sort=-due**")
    assert page.locator('th[aria-sort="descending"]').inner_text().startswith("Due")
    if by == "keyboard":
        page.locator("body").press("e")
    else:
        hand.press("link", "Export…")
    page.wait_for_url("**/new-export**")
    assert page.get_by_label("From", exact=True).input_value() == str(FIRST)
    hand.fills("What is it for?", "board report")
    axe(page)
    hand.press("button", "Export")
    page.wait_for_url("**/console/exports")
    page.get_by_text("1 file being written").wait_for()

    export = Export.objects.get()
    while exports.write(export_id=export.pk, now=timezone.now() + timedelta(seconds=1)):
        continue
    page.get_by_text("Ready", exact=True).wait_for(timeout=20_000)  # without a hand
    axe(page)
    with page.expect_download() as fetched:
        hand.press("link", "Download", exact=False)
    fetched.value.save_as(tmp_path / "report.csv")
    text = (tmp_path / "report.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(text.partition("\n")[2])))
    assert [one["protocol_id"] for one in lines] == [one["key"] for one in told["groups"]]


def test_somebody_is_invited(opens: Any, cleo: Staff, by: str) -> None:
    page = opens(cleo, "staff")
    hand = Hand(page, by)

    hand.press("link", "Invite")
    page.wait_for_url("**/invite-staff")
    hand.fills("Given name", "Eva")
    hand.fills("Family name", "Ek")
    hand.fills("E-mail", "eva@example.org")
    hand.ticks("Clinic admin")
    hand.press("button", "Invite")
    page.wait_for_url("**/console/staff")
    page.get_by_text("Eva Ek is invited.", exact=False).wait_for()
    [made] = [one for one in cleo.get("staff")["items"] if one["email"] == "eva@example.org"]
    assert made["roles"] == ["physiotherapist", "clinic_admin"]


def test_a_caseload_is_handed_over(
    opens: Any, cleo: Staff, ana: Staff, ben: OwnPhone, by: str
) -> None:
    assert cleo.user.clinic
    make_staff(cleo.user.clinic, "Dan", is_physiotherapist=True)
    page = opens(cleo, "staff")
    hand = Hand(page, by)

    hand.press("link", "Ana Staff")
    page.get_by_role("heading", name="Caseload and account").wait_for()
    axe(page)
    hand.chooses("Who treats them from now on?", "Dan Staff")
    hand.press("button", "Hand over and end the account")
    page.get_by_text("signed out everywhere", exact=False).first.wait_for()
    ben.patient.refresh_from_db()
    ana.user.refresh_from_db()
    assert ben.patient.physiotherapist
    assert (ben.patient.physiotherapist.given_name, ana.user.is_active) == ("Dan", False)
    hand.press("button", "Undo")
    page.get_by_text("Taken back.", exact=False).wait_for()
    ana.user.refresh_from_db()
    assert ana.user.is_active


def test_a_setting_is_previewed_changed_and_taken_back(opens: Any, cleo: Staff, by: str) -> None:
    clinic = cleo.user.clinic
    assert clinic
    page = opens(cleo, "settings")
    hand = Hand(page, by)

    hand.fills("Days to type a record in", "5")
    hand.ticks("Proposals to let patients go on")
    hand.press("button", "Preview")
    page.get_by_text("Nothing is stored yet").wait_for()
    page.get_by_text("patients would be in Review", exact=False).wait_for()
    axe(page)
    hand.press("button", "Save")
    page.get_by_text("Saved:", exact=False).wait_for()
    clinic.refresh_from_db()
    assert (clinic.typing_delay_days, clinic.proposals_on) == (5, False)
    axe(page)
    hand.press("button", "Undo")
    page.get_by_text("Taken back.", exact=False).wait_for()
    clinic.refresh_from_db()
    assert (clinic.typing_delay_days, clinic.proposals_on) == (7, True)


def test_the_audit_is_searched(
    opens: Any, cleo: Staff, ana: Staff, ben: OwnPhone, bea: OwnPhone, by: str
) -> None:
    ana.get(f"patients/{ben.patient.pk}")
    ana.get(f"patients/{bea.patient.pk}")
    page = opens(cleo, "audit")
    hand = Hand(page, by)

    hand.fills("Patient", "Ben")
    hand.chooses("Person", "Ana Staff")
    hand.press("button", "Show")
    page.wait_for_url("**patient=Ben**")
    assert page.locator("tbody tr").count() == 1
    hand.press("link", "Check whether", exact=False)
    page.get_by_text("Chain verified.").wait_for()
    axe(page)
