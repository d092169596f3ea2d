"""Protocols on screens: read, drafted, checked, published, compared, retired."""

from __future__ import annotations

import copy
import re
from collections import Counter
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext

from backend.audit.models import AuditEvent
from backend.care import criteria
from backend.care.criteria import Count
from backend.care.models import Progression
from backend.console.drafts import _take, fields_of
from backend.console.frame import Form
from backend.console.protocols import line_of, parts_of, tagged
from protocols.engine.definition import in_full
from protocols.models import ProtocolDraft, ProtocolVersion
from tests.console.conftest import browses
from tests.service.cast import OwnPhone, Staff

INPUT = re.compile(r"<input([^>]*)>")
AREA = re.compile(r'<textarea[^>]* name="([^"]+)"[^>]*>(.*?)</textarea>', re.DOTALL)
SELECT = re.compile(r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', re.DOTALL)
CHOSEN = re.compile(r'<option value="([^"]*)" selected>')


def text_of(answer: Any) -> str:
    return unescape(answer.content.decode())


def typed_in(html: str) -> dict[str, str]:
    """What a browser would send of the editor's form, as it stands."""
    form = html[html.index('class="editor') : html.index("</form>", html.index('class="editor'))]
    found = {}
    for attributes in INPUT.findall(form):
        said = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        if said.get("type") != "checkbox" or " checked" in attributes:
            found[said["name"]] = unescape(said.get("value", ""))
    found |= {name: unescape(said) for name, said in AREA.findall(form)}
    for name, options in SELECT.findall(form):
        [chosen] = CHOSEN.findall(options)[:1] or [""]
        found[name] = unescape(chosen)
    return found


@pytest.fixture
def page(ana: Staff) -> Client:
    return browses(ana)


@pytest.fixture
def draft(ana: Staff, grade_1: ProtocolVersion) -> ProtocolDraft:
    id = ana.post("protocols", {"copy_of": str(grade_1.protocol_id)}, 201)["id"]
    return ProtocolDraft.objects.get(protocol_id=id)


def address(draft: ProtocolDraft, part: str = "about") -> str:
    return f"/console/protocols/{draft.protocol_id}/draft?part={part}"


def saves(page: Client, draft: ProtocolDraft, part: str, **changes: str) -> Any:
    there = address(draft, part)
    said = typed_in(page.get(there).content.decode())
    return page.post(there, said | {"do": "save"} | changes)


# --- To read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?q=nordic", "?status=draft", "?status=retired", "?q=zz"])
def test_the_list_is_that_of_the_api(query: str, ana: Staff, page: Client, draft: Any) -> None:
    listed = ana.get(f"protocols{query}")["items"]
    text = text_of(page.get(f"/console/protocols{query}"))

    found = re.findall(r'<h3><a href="/console/protocols/([0-9a-f-]{36})', text)
    assert found == [one["id"] for one in listed]


@pytest.mark.parametrize("slug", ["hs-grade-1", "pht", "post-repair", "prevent-nordic"])
def test_a_version_says_all_it_rests_on(slug: str, page: Client, library: None) -> None:
    row = ProtocolVersion.objects.get(slug=slug)
    with CaptureQueriesContext(connection) as seen:
        text = text_of(page.get(f"/console/protocols/{row.protocol_id}"))

    for phase in row.document["phases"]:
        assert phase["title"] in text
        for one in phase["exit"]:
            assert one["text"] in text
    for source in row.document["sources"]:
        assert source["text"] in text
    assert '<span class="badge">' in text
    assert len(seen) < 18


def test_tags_become_marks_and_nothing_else_does() -> None:
    assert tagged("A <b> [trial]; x [our default]") == (
        'A &lt;b&gt; <span class="badge">trial</span>; x <span class="badge">our default</span>'
    )
    assert tagged("x [unknown]") == "x [unknown]"


# --- The editor -------------------------------------------------------------------------------


def test_every_predicate_of_the_library_is_parts_and_whole_again(library: None) -> None:
    lines = [
        one["when"]
        for row in ProtocolVersion.objects.all()
        for phase in row.document["phases"]
        for one in phase["exit"]
    ]
    assert lines
    for line in [*lines, "max(pain_during; days:7) <= 4", "ratio(hold/lift; last:3) > 0.5"]:
        assert line_of(parts_of(line)) == line


def test_saving_what_was_not_touched_changes_nothing(page: Client, draft: ProtocolDraft) -> None:
    before: Any = in_full(copy.deepcopy(draft.document))
    parts = ["about", "sources", *(f"phase-{n}" for n in range(1, len(before["phases"]) + 1))]
    for part in parts:
        assert saves(page, draft, part).status_code == 302, part

    draft.refresh_from_db()
    assert in_full(draft.document) == before


def test_every_document_of_the_library_survives_its_fields(library: None) -> None:
    for row in ProtocolVersion.objects.all():
        document: Any = in_full(copy.deepcopy(row.document))
        before = copy.deepcopy(document)
        for part in ("about", *(f"phase-{n}" for n in range(1, len(document["phases"]) + 1))):
            said = QueryDict(mutable=True)
            said.update(
                {name: str(one) for name, one in fields_of(document).items()} | {"part": part}
            )
            _take(document, Form(said))
        assert in_full(document) == before, row.slug


def test_a_value_is_changed(page: Client, draft: ProtocolDraft) -> None:
    at = "phases/0/prescriptions/0"
    answer = saves(page, draft, "phase-1", **{
        f"{at}/dose/sets": "4", f"{at}/pain_ceiling": "3", "phases/0/title": "Calm down",
        "phases/0/exit/0/when/value": "2",
    })  # fmt: skip

    assert answer["Location"] == address(draft, "phase-1")
    draft.refresh_from_db()
    phase = draft.document["phases"][0]
    assert phase["title"] == "Calm down"
    assert phase["prescriptions"][0]["dose"]["sets"] == 4
    assert phase["prescriptions"][0]["pain_ceiling"] == 3
    assert phase["exit"][0]["when"].endswith(" 2")
    events = AuditEvent.objects.filter(action__startswith="console.").order_by("action")
    assert [*events.values_list("action", flat=True)] == [
        "console.protocol_check", "console.protocol_update",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("phases/0/prescriptions/0/dose/sets", "99"),
        ("phases/0/prescriptions/0/pain_ceiling", "many"),
        ("phases/0/exit/0/when/value", "much"),
        ("phases/0/min_days", "-1"),
    ],
)
def test_what_is_refused_stays_typed(
    field: str, said: str, page: Client, draft: ProtocolDraft
) -> None:
    answer = saves(page, draft, "phase-1", **{field: said, "phases/0/title": "Kept"})

    text = text_of(answer)
    assert answer.status_code == 422
    assert f'id="f-{field.replace("/", "-")}-error"' in text
    assert 'value="Kept"' in text
    draft.refresh_from_db()
    assert draft.document["phases"][0]["title"] != "Kept"


def test_exercises_and_criteria_come_go_and_move(page: Client, draft: ProtocolDraft) -> None:
    def phase() -> Any:
        draft.refresh_from_db()
        return draft.document["phases"][0]

    def slugs() -> list[str]:
        return [one["exercise"] for one in phase()["prescriptions"]]

    before = slugs()
    saves(page, draft, "phase-1", do="add:phases/0/prescriptions", added="co-plank-front")
    assert slugs() == [*before, "co-plank-front"]
    saves(page, draft, "phase-1", do=f"up:phases/0/prescriptions/{len(before)}")
    assert slugs() == [*before[:-1], "co-plank-front", before[-1]]
    saves(page, draft, "phase-1", do=f"down:phases/0/prescriptions/{len(before) - 1}")
    saves(page, draft, "phase-1", do="remove:phases/0/prescriptions/0")
    assert slugs() == [*before[1:], "co-plank-front"]

    criteria = len(phase()["exit"])
    saves(page, draft, "phase-1", do="add:phases/0/exit", measure="walk_pain")
    added = phase()["exit"][criteria]
    assert added["when"] == "latest(walk_pain; phase) <= 0"
    assert len({one["id"] for one in phase()["exit"]}) == criteria + 1
    checked = text_of(page.get(address(draft, "phase-1")))
    assert f"#f-phases-0-exit-{criteria}-source" in checked, "a number has to say where it is from"

    phases = len(draft.document["phases"])
    answer = saves(page, draft, "phase-1", do="add:phases")
    assert answer["Location"] == address(draft, f"phase-{phases + 1}")
    saves(page, draft, f"phase-{phases + 1}", do=f"remove:phases/{phases}")
    draft.refresh_from_db()
    assert [one["number"] for one in draft.document["phases"]] == [*range(1, phases + 1)]


@pytest.mark.parametrize(
    ("patients", "met", "unknown", "told"),
    [
        (0, 0, 0, "Nobody is in treatment for this condition."),
        (12, 3, 0, "Met now by 3 of 12 with this condition."),
        (12, 3, 4, "Met now by 3 of 12 with this condition; of 4 it is not known."),
    ],
)
def test_a_criterion_says_who_would_meet_it(
    patients: int, met: int, unknown: int, told: str, page: Client, draft: ProtocolDraft,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    counts = Count(pointer="#/phases/0/exit/0", patients=patients, met=met, unknown=unknown)
    monkeypatch.setattr(criteria, "counted", lambda **_: [counts])

    assert told in text_of(page.get(address(draft, "phase-1")))
    assert told not in text_of(page.get(address(draft, "phase-2")))


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ("add:phases/0/prescriptions", 422),
        ("add:phases/0/exit", 422),
        ("remove:phases/0/exit/99", 400),
        ("up:title/0", 400),
        ("remove:phases/x/exit/0", 400),
        ("nonsense", 302),
    ],
)
def test_buttons_that_lead_nowhere(
    wish: str, status: int, page: Client, draft: ProtocolDraft
) -> None:
    assert saves(page, draft, "phase-1", do=wish).status_code == status


def test_a_colleague_saved_meanwhile(page: Client, draft: ProtocolDraft) -> None:
    there = address(draft)
    said = typed_in(page.get(there).content.decode())
    assert saves(page, draft, "about", title="Theirs").status_code == 302
    answer = page.post(there, said | {"title": "Mine", "do": "save"})

    assert answer.status_code == 412
    again = typed_in(answer.content.decode())
    assert again["title"] == "Mine"
    assert page.post(there, again | {"do": "save"}).status_code == 302
    draft.refresh_from_db()
    assert draft.document["title"] == "Mine"


def test_an_empty_draft_says_all_that_is_missing(page: Client, ana: Staff, library: None) -> None:
    token = typed_in_token(page)
    made = page.post("/console/protocols", {"csrfmiddlewaretoken": token})
    there = made["Location"]
    draft = ProtocolDraft.objects.get()
    text = text_of(page.get(there))
    assert "They keep it from being published" in text
    assert saves(page, draft, "about", title="Knee", do="add:phases").status_code == 302
    saves(page, draft, "phase-1", do="add:phases/0/prescriptions", added="co-plank-front")
    assert saves(page, draft, "sources", do="add:sources").status_code == 302
    for part in ("about", "phase-1", "sources"):
        assert page.get(address(draft, part)).status_code == 200


def typed_in_token(page: Client) -> str:
    text = page.get("/console/protocols").content.decode()
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', text)[:1]
    return str(token)


# --- Publish, compare, retire -----------------------------------------------------------------


def publishes(page: Client, draft: ProtocolDraft, **said: str) -> Any:
    there = f"/console/protocols/{draft.protocol_id}/publish"
    text = page.get(there).content.decode()
    [etag] = re.findall(r'name="etag" value="([^"]+)"', text)
    token = typed_in_token(page)
    return page.post(there, {"csrfmiddlewaretoken": token, "etag": unescape(etag), **said})


def test_from_a_draft_to_a_retired_version(page: Client, draft: ProtocolDraft) -> None:
    refused = publishes(page, draft, version="1.0.0")
    assert refused.status_code == 422
    assert 'id="f-change_note-error"' in text_of(refused)
    done = publishes(page, draft, version="1.0.0", change_note="Ours now.")
    there = f"/console/protocols/{draft.protocol_id}"
    assert done["Location"] == there
    assert "Ours now." in text_of(page.get(there))

    token = typed_in_token(page)
    page.post("/console/protocols", {"csrfmiddlewaretoken": token,
                                         "copy_of": str(draft.protocol_id)})  # fmt: skip
    again = page.post("/console/protocols", {"csrfmiddlewaretoken": token,
                                                 "copy_of": str(draft.protocol_id)})  # fmt: skip
    assert again["Location"] == f"{there}/draft", "the draft there is, is opened"
    second = ProtocolDraft.objects.get()
    saves(page, second, "phase-1", **{"phases/0/title": "Calm down"})
    assert "Calm down" in text_of(page.get(f"{there}/publish"))
    assert publishes(page, second, version="1.1.0", change_note="A title.").status_code == 302
    compared = text_of(page.get(f"{there}/differences?from=1.0.0&to=1.1.0"))
    assert "Calm down" in compared

    asks = page.get(f"{there}/retire?version=1.0.0").content.decode()
    [etag] = re.findall(r'name="etag" value="([^"]+)"', asks)
    said = {"csrfmiddlewaretoken": token, "etag": unescape(etag), "version": "1.0.0"}
    assert page.post(f"{there}/retire", said).status_code == 422
    assert page.post(f"{there}/retire", said | {"reason": "Superseded."}).status_code == 302
    old = text_of(page.get(f"{there}?version=1.0.0"))
    assert "Superseded." in old
    actions = [one.action for one in AuditEvent.objects.order_by("pk")]
    assert Counter(one for one in actions if one.startswith("console.")) == {
        "console.protocol_publish": 3, "console.protocol_create": 2,
        "console.protocol_update": 1, "console.protocol_retire": 2, "console.protocol_check": 5,
    }  # fmt: skip


# --- What becomes of a version ----------------------------------------------------------------


def test_tried_on_people_who_do_not_exist(ana: Staff, page: Client, draft: ProtocolDraft) -> None:
    id = draft.protocol_id
    wish = {"version": "draft", "cohort": 100, "days": 120, "trace": [2]}
    found = ana.post(f"protocols/{id}/simulations", wish)
    [person] = found["traces"]

    answer = page.get(f"/console/protocols/{id}/try?version=draft&person=2")

    text = text_of(answer)
    assert text.count('<tr><th scope="row" class="number">') == len(person["days"])
    for one in found["reached"]:
        assert f'<td class="number">{one["people"]}</td>' in text
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in answer.content.decode()
    assert "<style" not in text
    assert 'href="?version=draft&amp;person=3#told"' in answer.content.decode()
    assert not AuditEvent.objects.filter(action__startswith="console.").exists()


def test_an_empty_draft_cannot_be_tried(ana: Staff, page: Client, library: None) -> None:
    id = ana.post("protocols", {}, 201)["id"]
    text = text_of(page.get(f"/console/protocols/{id}/try?version=draft"))
    assert "First put right" in text
    assert "share-plot" not in text


@pytest.mark.parametrize("number", ["0", "101", "x", "٣", "99999999999"])
def test_there_are_only_so_many_of_them(number: str, page: Client, grade_1: Any) -> None:
    at = f"/console/protocols/{grade_1.protocol_id}/try?person={number}"
    assert page.get(at).status_code == 400


def test_a_move_to_the_newest_version_is_proposed(
    ana: Staff, ben: OwnPhone, page: Client, draft: ProtocolDraft, thigh: Any
) -> None:
    id = str(draft.protocol_id)

    def publishes(version: str) -> ProtocolVersion:
        etag = ana.call("GET", f"protocols/{id}?version=draft")["ETag"]
        said = {"version": version, "change_note": "Sets"}
        ana.post(f"protocols/{id}/publish", said, 201, If_Match=etag)
        return ProtocolVersion.objects.get(protocol_id=id, version=version)

    plan = ana.assigns(publishes("1.0.0"), to=ben.patient, episode=thigh, on=ben.today)
    there = f"/console/protocols/{id}/older"
    assert "Nobody has an older version" in text_of(page.get(there))
    ana.post("protocols", {"copy_of": id}, 201)
    publishes("1.1.0")
    assert "Older versions" in text_of(page.get(f"/console/protocols/{id}"))

    text = text_of(page.get(there))
    assert ben.patient.display_name in text
    event = AuditEvent.objects.filter(action="console.caseload_list").latest("seq")
    assert event.listed == [str(ben.patient.pk)]
    said = {"assignment": plan["id"], "protocol_version": "1.1.0"}
    answer = page.post(there, said)

    row = Progression.objects.get(assignment=plan["id"])
    assert answer["Location"] == f"/console/reviews/{row.pk}"
    assert row.to_protocol_version
    assert row.to_protocol_version.version == "1.1.0"
    event = AuditEvent.objects.get(action="console.progression_propose_version")
    assert event.patient_id == ben.patient.pk
    assert "A proposal waits" in text_of(page.get(there))
    assert ana.get(f"assignments/{plan['id']}")["protocol_version"] == "1.0.0"


def test_whose_drafts_they_are(
    ana: Staff, cleo: Staff, olga: Staff, draft: ProtocolDraft, page: Client
) -> None:
    for person, status in ((cleo, 403), (olga, 404)):
        for path in (address(draft), f"/console/protocols/{draft.protocol_id}/publish"):
            assert browses(person).get(path).status_code == status
    assert browses(cleo).get("/console/protocols?status=draft").status_code == 200
    ana.user.can_publish = False
    ana.user.save()
    assert publishes(page, draft, version="1.0.0", change_note="x").status_code == 403
