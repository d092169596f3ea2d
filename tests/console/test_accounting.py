"""Reports, exports, audit, staff and settings on screens: what they say is what the API says."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backend.audit import chain
from backend.audit.models import AuditEvent
from backend.clinics.models import Clinic
from backend.console import reports as screen
from backend.reports import exports
from backend.reports.definitions import definitions
from backend.reports.models import Export
from tests.console.conftest import browses
from tests.service.cast import OwnPhone, Staff, make_patient, make_staff
from tests.service.test_adherence import LAST, cohort
from tests.service.test_cohort import FIRST

WINDOW = f"from={FIRST}&to={LAST}"
CELL = re.compile(r'data-figure="(\w+)">([^<]*)<')
ROW = re.compile(r'<tr data-row data-group="([^"]+)">(.*?)</tr>', re.DOTALL)


@pytest.fixture
def dan(harbour: Clinic) -> Staff:
    return make_staff(harbour, "Dan", is_physiotherapist=True)


@pytest.fixture
def people(library: None, harbour: Clinic, ana: Staff, dan: Staff) -> None:
    cohort(harbour, [ana, dan], seed=1, people=3)


def shown(client: Client, path: str) -> str:
    answer = client.get(f"/console/{path}")
    assert answer.status_code == 200, answer.content[:400]
    return unescape(answer.content.decode())


def figure(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    percent = name in screen.RATIOS
    return f"{round(value * 100, 2):g}\u00a0%" if percent else str(value)


# --- The report -------------------------------------------------------------------------------


def test_the_report_says_what_the_api_says(
    cleo: Staff, ana: Staff, dan: Staff, people: None
) -> None:
    """A cohort takes its time to live, so that all questions are asked of one."""
    for group_by in screen.GROUPINGS:
        figures_are_those_of_json_and_csv_to_the_last_digit(cleo, group_by)
    charts_show_the_same_people(cleo)
    rows_are_sorted_by_query(cleo)
    days_with_data_are_those_of_windows_of_the_api(cleo)
    a_physiotherapist_sees_the_own_caseload(ana, dan)
    the_csv_is_the_apis(cleo)
    queries_do_not_grow(cleo, ana)
    a_report_is_exported_and_fetched(cleo)


def figures_are_those_of_json_and_csv_to_the_last_digit(cleo: Staff, group_by: str) -> None:
    asked = f"{WINDOW}&group_by={group_by}"
    told = cleo.get(f"reports/adherence?{asked}")
    text = cleo.call("GET", f"reports/adherence?{asked}&preamble=0", Accept="text/csv").content
    lines = {next(iter(one.values())): one for one in csv.DictReader(io.StringIO(text.decode()))}
    page = shown(browses(cleo), f"reports?{asked}")

    rows = {key: dict(CELL.findall(cells)) for key, cells in ROW.findall(page)}
    assert rows.keys() == lines.keys() == {one["key"] for one in told["groups"]}
    assert rows
    for one in told["groups"]:
        row, line = rows[one["key"]], lines[one["key"]]
        assert {name: figure(name, one.get(name)) for name in row} == row
        for name in row.keys() & line.keys():
            assert figure(name, float(line[name]) if line[name] else None) in (
                row[name], f"{row[name]}.0",
            ), name  # fmt: skip
        if one.get("small"):
            assert "few" in page
    total = dict(CELL.findall(page[: page.index("<table")]))
    for name in ("pooled_session_adherence", "pooled_session_adherence_low",
                 "median_session_adherence"):  # fmt: skip
        assert total[name] == f"{round(told['total'][name] * 100, 2):g}\u00a0%"
    on_target = f"{told['total']['patients_on_target']} of {told['total']['patients']}"
    assert total["patients_on_target"] == on_target


def charts_show_the_same_people(cleo: Staff) -> None:
    told = cleo.get(f"reports/adherence?{WINDOW}&heatmap=day")
    for query in ("", "&columns=week", "&group_by=physiotherapist", "&group_by=phase"):
        page = shown(browses(cleo), f"reports?{WINDOW}{query}")
        assert 'class="chart chart-heat"' in page
        assert 'class="chart chart-dots"' in page
    page = shown(browses(cleo), f"reports?{WINDOW}")
    heat = page[page.index("chart-heat") : page.index("chart-dots")]
    for one in told["groups"]:
        assert one["label"] in heat
        assert f'data-value="{one["session_adherence"]:g}"' in heat
    letters = re.findall(r"<td[^>]*>([CPSM?X·])</td>", heat)
    drawn = sorted("".join(one["days"] for one in told["groups"]).replace("-", "·"))
    assert sorted(letters) == drawn


def rows_are_sorted_by_query(cleo: Staff) -> None:
    told = {one["key"]: one for one in cleo.get(f"reports/adherence?{WINDOW}")["groups"]}

    def order(sort: str) -> list[Any]:
        page = shown(browses(cleo), f"reports?{WINDOW}&sort={sort}")
        return [told[key] for key, _ in ROW.findall(page)]

    names = [one["label"] for one in order("label")]
    assert names == sorted(names, key=str.casefold)
    figures = [one["session_adherence"] for one in order("-session_adherence")]
    assert figures == sorted(figures, reverse=True)
    assert [one["due"] for one in order("due")] == sorted(one["due"] for one in told.values())
    assert 'aria-sort="descending"' in shown(browses(cleo), f"reports?{WINDOW}&sort=-due")


def days_with_data_are_those_of_windows_of_the_api(cleo: Staff) -> None:
    last = FIRST + timedelta(days=44)
    page = shown(browses(cleo), f"reports?from={FIRST}&to={last}")
    table = page[page.index("<summary>Days with data") :]
    found = {
        name: [int(one) for one in re.findall(r">(\d+)<", cells)]
        for name, cells in re.findall(r'<tr><th scope="row">([^<]+)</th>(.*?)</tr>', table)
    }
    middle = FIRST + timedelta(days=29)
    windows = ((FIRST, middle), (middle + timedelta(days=1), last))
    asked = [cleo.get(f"reports/adherence?from={a}&to={b}")["groups"] for a, b in windows]
    for name, counts in found.items():
        if len(counts) == 2:
            told = [
                next((one["data_days"] for one in groups if one["label"] == name), 0)
                for groups in asked
            ]
            assert counts == told, name
    assert found


def test_definitions_are_those_of_the_one_page(cleo: Staff) -> None:
    page = shown(browses(cleo), "reports")
    for block in definitions():
        for cell in block.cells:
            assert cell in page


def a_physiotherapist_sees_the_own_caseload(ana: Staff, dan: Staff) -> None:
    for who in (ana, dan):
        told = {one["key"] for one in who.get(f"reports/adherence?{WINDOW}")["groups"]}
        page = shown(browses(who), f"reports?{WINDOW}")
        assert {key for key, _ in ROW.findall(page)} == told
        assert "new-export" not in page


def the_csv_is_the_apis(cleo: Staff) -> None:
    answer: Any = browses(cleo).get(f"/console/reports?{WINDOW}&group_by=protocol&as=csv")
    told = cleo.call("GET", f"reports/adherence?{WINDOW}&group_by=protocol", Accept="text/csv")
    assert answer.content == told.content
    assert answer["Content-Disposition"] == told["Content-Disposition"]
    assert answer["Content-Type"] == "text/csv; charset=utf-8"


def queries_do_not_grow(cleo: Staff, ana: Staff) -> None:
    """As many for the whole clinic as for a part of it."""
    client = browses(cleo)
    shown(client, "reports")  # notes in the session that it is used
    for group_by in ("patient", "physiotherapist", "phase"):
        counts = []
        for more in ("", f"&physiotherapist_id={ana.user.pk}"):
            with CaptureQueriesContext(connection) as asked:
                shown(client, f"reports?{WINDOW}&group_by={group_by}{more}")
            # Where no flag was acknowledged, no median is asked for.
            counts.append(sum('FROM "care_flag"' not in one["sql"] for one in asked))
        assert len(set(counts)) == 1, (group_by, counts)


@pytest.mark.parametrize("query", ["from=x", "group_by=shoe", "min_due=-1", "cursor=x",
                                   "from=2026-03-09&to=2026-03-01", "protocol_id=1"])  # fmt: skip
def test_what_cannot_be_asked_is_a_page(cleo: Staff, query: str) -> None:
    answer = browses(cleo).get(f"/console/reports?{query}")
    assert answer.status_code == 400
    assert b"<h1>" in answer.content


# --- Exports ----------------------------------------------------------------------------------


def written() -> Export:
    export = Export.objects.latest("created_at")
    while exports.write(export_id=export.pk, now=timezone.now() + timedelta(seconds=1)):
        continue
    export.refresh_from_db()
    return export


def a_report_is_exported_and_fetched(cleo: Staff) -> None:
    client = browses(cleo)
    asked = {"kind": "adherence", "format": "csv", "from": str(FIRST), "to": str(LAST),
             "group_by": "protocol", "min_due": "", "purpose": "board report"}  # fmt: skip
    answer = client.post("/console/new-export", asked)
    assert answer["Location"] == "/console/exports"
    assert "every 5s" in shown(client, "exports")
    export = written()

    page = shown(client, "exports")
    assert "every 5s" not in page
    for told in ("board report", cleo.user.display_name, export.sha256, "Ready",
                 f"{export.rows} row"):  # fmt: skip
        assert told in page
    file: Any = client.get(f"/console/exports/{export.pk}/file")
    content = b"".join(file.streaming_content)
    assert len(content) == export.size
    wish = f"reports/adherence?{WINDOW}&group_by=protocol"
    assert content == cleo.call("GET", wish, Accept="text/csv").content
    assert [one.action for one in AuditEvent.objects.filter(object_id=export.pk)] == [
        "console.export_create", "console.export_file",
    ]  # fmt: skip


def test_what_is_wrong_with_an_export_stands_at_its_field(cleo: Staff) -> None:
    said = {"kind": "sessions", "format": "pdf", "from": "2026-03-02", "to": "2026-03-01",
            "purpose": "audit <of> care"}  # fmt: skip
    empty = said | {"format": "csv", "to": "2026-04-01", "purpose": " "}
    for wrong, field in ((said, "format"), (said | {"format": "csv"}, "to"), (empty, "purpose")):
        answer = browses(cleo).post("/console/new-export", wrong)
        text = answer.content.decode()
        assert answer.status_code == 422
        assert f'id="f-{field}-error"' in text
        if field != "purpose":
            assert "audit &lt;of&gt; care" in text
        assert "Sessions, one a line" in text


def test_every_format_of_the_api_is_offered(cleo: Staff) -> None:
    for kind, formats in exports.FORMATS.items():
        page = shown(browses(cleo), f"new-export?kind={kind}")
        offered = set(re.findall(r'<option value="(\w+)"', page.split("</select>")[0]))
        assert offered == set(formats)


def test_exports_of_another_clinic_are_not_there(olga: Staff, cleo: Staff) -> None:
    asked = {"kind": "sessions", "format": "csv", "from": "2026-03-01", "to": "2026-03-02",
             "purpose": "ours"}  # fmt: skip
    browses(cleo).post("/console/new-export", asked)
    export = written()
    assert "ours" not in shown(browses(olga), "exports")
    assert browses(olga).get(f"/console/exports/{export.pk}/file").status_code == 404


# --- Staff ------------------------------------------------------------------------------------


def etag_on(page: str) -> str:
    found = re.search(r'name="etag" value="([^>]*)">', page)
    assert found
    return unescape(found[1]).strip()


def test_somebody_is_invited(cleo: Staff, django_capture_on_commit_callbacks: Any) -> None:
    said = {"given_name": "Eva", "family_name": "Ek", "email": "eva@example.org", "locale": "sv",
            "roles": ["physiotherapist"], "can_publish": "on"}  # fmt: skip
    with django_capture_on_commit_callbacks(execute=True):
        answer = browses(cleo).post("/console/invite-staff", said)
    assert answer["Location"] == "/console/staff"
    [made] = [one for one in cleo.get("staff")["items"] if one["email"] == "eva@example.org"]
    assert (made["roles"], made["can_publish"]) == (["physiotherapist"], True)
    assert [one.to for one in mail.outbox] == [["eva@example.org"]]

    again = browses(cleo).post("/console/invite-staff", said | {"roles": []})
    text = again.content.decode()
    assert again.status_code == 422
    assert 'value="Eva"' in text
    assert 'id="f-roles-error"' in text


def test_a_caseload_is_handed_over_before_an_account_ends(
    cleo: Staff, ana: Staff, dan: Staff, ben: OwnPhone, bea: OwnPhone
) -> None:
    client, address = browses(cleo), f"/console/staff/{ana.user.pk}"
    page = shown(client, f"staff/{ana.user.pk}")
    assert "2 patients have to be handed over" in page

    refused = client.post(address, {"do": "end", "etag": etag_on(page)})
    assert refused.status_code == 422
    assert 'id="f-reassign_to-error"' in refused.content.decode()

    said = {"do": "end", "etag": etag_on(page), "reassign_to": str(dan.user.pk)}
    assert client.post(address, said)["Location"] == address
    ben.patient.refresh_from_db()
    ana.user.refresh_from_db()
    assert (ben.patient.physiotherapist_id, ana.user.is_active) == (dan.user.pk, False)
    assert "signed out everywhere" in shown(client, f"staff/{ana.user.pk}")

    assert client.post(f"{address}/undo")["Location"] == address
    ana.user.refresh_from_db()
    assert ana.user.is_active
    assert client.post(f"{address}/undo").status_code == 409, "once"


def test_a_caseload_alone_is_handed_over(
    cleo: Staff, ana: Staff, dan: Staff, ben: OwnPhone
) -> None:
    client = browses(cleo)
    page = shown(client, f"staff/{ana.user.pk}")
    said = {"do": "hand-over", "etag": etag_on(page), "reassign_to": ""}
    assert client.post(f"/console/staff/{ana.user.pk}", said).status_code == 422
    client.post(f"/console/staff/{ana.user.pk}", said | {"reassign_to": str(dan.user.pk)})
    ben.patient.refresh_from_db()
    ana.user.refresh_from_db()
    assert (ben.patient.physiotherapist_id, ana.user.is_active) == (dan.user.pk, True)


def test_roles_change_and_a_stale_form_is_refused(cleo: Staff, ana: Staff) -> None:
    client, address = browses(cleo), f"/console/staff/{ana.user.pk}"
    page = shown(client, f"staff/{ana.user.pk}")
    said = {"do": "save", "etag": etag_on(page), "given_name": "Anna", "family_name": "Staff",
            "roles": ["physiotherapist", "clinic_admin"]}  # fmt: skip
    client.post(address, said)
    ana.user.refresh_from_db()
    assert (ana.user.given_name, ana.user.is_clinic_admin) == ("Anna", True)
    stale = client.post(address, said | {"given_name": "Anne"})
    assert stale.status_code == 412
    assert 'value="Anne"' in stale.content.decode()
    client.post(f"{address}/undo")
    ana.user.refresh_from_db()
    assert (ana.user.given_name, ana.user.is_clinic_admin) == ("Ana", False)


def test_the_last_admin_stays(cleo: Staff) -> None:
    page = shown(browses(cleo), f"staff/{cleo.user.pk}")
    assert "Nobody ends their own account" in page
    said = {"do": "save", "etag": etag_on(page), "given_name": "Cleo", "family_name": "Staff",
            "roles": ["physiotherapist"]}  # fmt: skip
    answer = browses(cleo).post(f"/console/staff/{cleo.user.pk}", said)
    assert answer.status_code == 409
    assert "last admin" in answer.content.decode()


def test_queries_of_the_staff_do_not_grow(cleo: Staff, harbour: Clinic, now: datetime) -> None:
    counts = []
    for number in range(4):
        who = make_staff(harbour, f"Eve{number}", is_physiotherapist=True)
        make_patient(harbour, f"P{number}", now, who.user)
        with CaptureQueriesContext(connection) as asked:
            shown(browses(cleo), "staff")
        counts.append(len(asked))
    assert len(set(counts[1:])) == 1, counts


# --- Settings ---------------------------------------------------------------------------------


def settings_form(page: str, **changes: str) -> dict[str, str]:
    """What a browser would send of the form as it stands."""
    kept = dict(re.findall(r'<input type="\w+" id="[^"]+" name="(\w+)" value="([^"]*)"', page))
    boxes = ("proposals_on", "second_factor_required")
    sent = {name: text for name, text in kept.items() if name not in boxes}
    sent |= {name: "on" for name in boxes if f'name="{name}" value="on" checked' in page}
    return {"etag": etag_on(page), "do": "save"} | sent | changes


def test_a_setting_is_changed_told_of_and_taken_back(cleo: Staff, harbour: Clinic) -> None:
    client = browses(cleo)
    form = settings_form(shown(client, "settings"), typing_delay_days="5", crisis_line="Call 90101")
    assert client.post("/console/settings", form)["Location"] == "/console/settings"
    harbour.refresh_from_db()
    assert (harbour.typing_delay_days, harbour.crisis_line) == (5, "Call 90101")
    page = shown(client, "settings")
    assert "by Cleo Staff; it was 7." in page
    assert "Usual: 7." in page
    [event] = AuditEvent.objects.filter(action="console.clinic_update")
    assert (event.before["typing_delay_days"], event.after["typing_delay_days"]) == (7, 5)

    stale = client.post("/console/settings", form | {"typing_delay_days": "6"})
    assert stale.status_code == 412
    assert 'value="6"' in stale.content.decode()

    client.post("/console/settings/undo")
    harbour.refresh_from_db()
    assert (harbour.typing_delay_days, harbour.crisis_line) == (7, "")


def test_what_is_wrong_with_a_setting_stands_at_its_field(cleo: Staff) -> None:
    client = browses(cleo)
    form = settings_form(shown(client, "settings"), typing_delay_days="0", emergency_number="call",
                         timezone="Nowhere/Here")  # fmt: skip
    answer = client.post("/console/settings", form)
    text = answer.content.decode()
    assert answer.status_code == 422
    for name in ("typing_delay_days", "emergency_number", "timezone"):
        assert f'id="f-{name}-error"' in text
    assert 'value="Nowhere/Here"' in text


def test_nothing_changed_is_nothing_stored(cleo: Staff) -> None:
    client = browses(cleo)
    client.post("/console/settings", settings_form(shown(client, "settings")))
    assert "Nothing was changed." in shown(client, "settings")
    assert not any(one.after for one in AuditEvent.objects.all())


def test_a_preview_stores_nothing(cleo: Staff, harbour: Clinic) -> None:
    client = browses(cleo)
    form = settings_form(shown(client, "settings"), do="preview", upload_delay_days="30")
    del form["proposals_on"]
    page = unescape(client.post("/console/settings", form).content.decode())
    assert "0 open proposals would be withdrawn" in page
    assert "0 instead of 0 patients would be in Review" in page
    assert "Nothing is stored yet" in page
    assert 'value="30"' in page
    harbour.refresh_from_db()
    assert (harbour.proposals_on, harbour.upload_delay_days) == (True, 90)


# --- Audit ------------------------------------------------------------------------------------


@pytest.fixture
def looked_at(cleo: Staff, ana: Staff, ben: OwnPhone, bea: OwnPhone) -> None:
    ana.get(f"patients/{ben.patient.pk}")
    ana.get(f"patients/{bea.patient.pk}")
    browses(ana).get("/console/caseload?include=on_track")
    cleo.call("PATCH", "clinic", {"typing_delay_days": 9},
              If_Match=cleo.call("GET", "clinic")["ETag"])  # fmt: skip
    chain.seal(now=datetime.now(UTC), limit=100)


def rows_of(page: str) -> int:
    return page.count("<tr data-row")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 5), ("actor_id={ana}", 3), ("patient_id={ben}", 2), ("patient=Ben", 2),
        ("action=patient_get", 2), ("action=console.caseload_list", 1), ("patient=Zoe", 0),
        ("from=2099-01-01", 0), ("to=2099-01-01", 5), ("to=2001-01-01", 0),
    ],
)  # fmt: skip
def test_the_audit_is_filtered(
    cleo: Staff, ana: Staff, ben: OwnPhone, looked_at: None, query: str, count: int
) -> None:
    query = query.format(ana=ana.user.pk, ben=ben.patient.pk)
    assert rows_of(shown(browses(cleo), f"audit?{query}")) == count


def test_a_name_that_fits_several_is_asked_back(cleo: Staff, looked_at: None) -> None:
    page = shown(browses(cleo), "audit?patient=Patient")
    assert "Which of them?" in page
    assert rows_of(page) == 0


def test_the_audit_says_what_a_change_was_and_that_the_chain_holds(
    cleo: Staff, looked_at: None
) -> None:
    page = shown(browses(cleo), "audit?check=1")
    assert "Days to type a record in" in page
    assert re.search(r"<del>7</del>.*?<ins>9</ins>", page, re.DOTALL)
    assert "Chain verified." in page
    assert "2 patients in a list" in page


def test_the_audit_has_pages(cleo: Staff, looked_at: None, monkeypatch: Any) -> None:
    monkeypatch.setattr("backend.console.audit.A_PAGE", 3)
    page = shown(browses(cleo), "audit?action=patient_get")
    assert 'rel="next"' not in page
    page = shown(browses(cleo), "audit?from=2001-01-01")
    link = re.search(r'rel="next" href="\?([^"]*)"', page)
    assert link
    assert rows_of(page) == 3
    assert rows_of(shown(browses(cleo), f"audit?{link[1]}")) == 3


@pytest.mark.parametrize("query", ["from=x", "actor_id=x", "patient_id=x", "cursor=x"])
def test_what_the_audit_cannot_be_asked(cleo: Staff, query: str) -> None:
    assert browses(cleo).get(f"/console/audit?{query}").status_code == 400


def test_queries_of_the_audit_do_not_grow(cleo: Staff, ana: Staff, now: datetime) -> None:
    counts = []
    for number in range(4):
        phone = make_patient(ana.user.clinic, f"P{number}", now, ana.user)  # type: ignore[arg-type]
        ana.get(f"patients/{phone.patient.pk}")
        with CaptureQueriesContext(connection) as asked:
            shown(browses(cleo), "audit")
        counts.append(len(asked))
    assert len(set(counts[1:])) == 1, counts
