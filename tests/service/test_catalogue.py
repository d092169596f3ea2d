"""What can be prescribed: the library, the clinic's own, and what a patient sees of it."""

from __future__ import annotations

from typing import Any

import pytest

from backend.api.exercises import ExerciseChangeIn
from backend.care import cataloguing
from backend.care.models import Change
from exercises.models import Exercise
from tests.service.cast import Somebody, make_episode, make_patient
from tests.service.racing import at_once, meeting

DOSE = {"sets": 3, "reps": 10, "rest_s": 60, "tempo": "2-0-2", "per_day": 1, "days_per_week": 3}
OWN = {
    "slug": "harbour-step-up",
    "kind": "strengthening",
    "title": "Step-up on the quay",
    "target": "gluteals",
    "body_region": "hip",
    "side": "each_side",
    "position": "standing",
    "equipment": ["step"],
    "description": "Up and down one step.",
    "cues": ["Whole foot on the step", "Rise slowly"],
    "common_errors": ["Pushing off with the other foot"],
    "dose_unit": "reps",
    "dose": DOSE,
    "pain_ceiling": 3,
    "contraindications": [],
    "easier": "sg-squat-double",
    "sources": [{"text": "Our own practice"}],
}


@pytest.fixture(autouse=True)
def _library(library):
    """Everybody here has the library."""


@pytest.fixture
def own(ana):
    return ana.post("exercises", OWN, 201)


def every(person: Somebody, query: str = "") -> list[Any]:
    """All pages of the catalogue."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = person.get(f"exercises?limit=100{query}{cursor}")
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_staff_see_the_library_by_title(ana, cleo):
    found = every(ana)

    assert {row["slug"] for row in found} == set(
        Exercise.objects.filter(clinic=None, retired_at=None).values_list("slug", flat=True)
    )
    assert len(found) == len({row["id"] for row in found})
    assert every(cleo) == found


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        pytest.param("kind=core", lambda row: row["kind"] == "core", id="kind"),
        pytest.param("body_region=hip", lambda row: row["body_region"] == "hip", id="region"),
        pytest.param(
            "equipment=MAT",
            lambda row: any("mat" in item.lower() for item in row["equipment"]),
            id="equipment, whatever its case",
        ),
        pytest.param(
            "q=nordic",
            lambda row: "nordic" in f"{row['title']} {row['slug']} {row['target']}".lower(),
            id="words",
        ),
        pytest.param(
            "kind=core&q=plank",
            lambda row: (
                row["kind"] == "core" and "plank" in f"{row['title']} {row['slug']}".lower()
            ),
            id="both",
        ),
        pytest.param("q=100%25", lambda row: "100%" in row["title"], id="no wildcards"),
    ],
)
def test_filters(ana, query, fits):
    everything = every(ana)

    found = every(ana, f"&{query}")

    assert found == [row for row in everything if fits(row)]
    assert found or "100" in query


def test_changed_since(ana, own):
    assert every(ana, f"&updated_after={own['updated_at']}") == []
    before = own["updated_at"][:19].replace("20", "19", 1) + "Z"
    assert len(every(ana, f"&updated_after={before}")) == len(every(ana))
    in_far_offset = "2041-05-10T06:58:06%2B18:51"  # right by RFC 3339, on earth there is none
    assert every(ana, f"&updated_after={in_far_offset}") == []


@pytest.mark.parametrize(
    "query",
    ["kind=yoga", "body_region=", "updated_after=yesterday", "limit=0", "q=%00", "q=" + "x" * 121],
)
def test_a_bad_filter_is_400(ana, query):
    assert ana.get(f"exercises?{query}", 400)["code"] == "malformed-request"


def test_a_cursor_fits_only_its_list(ana):
    cursor = ana.get("exercises?limit=2")["next_cursor"]

    assert ana.get(f"exercises?limit=2&kind=core&cursor={cursor}", 400)["code"] == "cursor-invalid"


def test_kept_for_a_day_and_asked_again_by_etag(ana):
    for path in ("exercises", f"exercises/{every(ana)[0]['id']}"):
        first = ana.call("GET", path)
        again = ana.call("GET", path, If_None_Match=first["ETag"])

        assert first["Cache-Control"] == again["Cache-Control"] == "private, max-age=86400"
        assert (again.status_code, again.content) == (304, b"")


def test_patients_see_what_they_were_given(ana, ben, bea, plan_of_ben):
    given = {row["exercise"] for row in plan_of_ben["prescriptions"]}
    other = next(row for row in every(ana) if row["slug"] not in given)

    assert {row["slug"] for row in every(ben)} == given
    assert every(bea) == []
    assert ben.get(f"exercises/{every(ben)[0]['id']}")["slug"] in given
    assert ben.get(f"exercises/{other['id']}", 404)["code"] == "not-found"


def test_an_exercise_of_the_clinic(ana, cleo, olga, own):
    assert own.items() >= OWN.items()
    assert own["version"] == "1.0.0"
    assert own["log_fields"] == ["reps", "pain", "effort"]
    assert cleo.get(f"exercises/{own['id']}") == own
    assert [row["slug"] for row in every(ana, "&q=quay")] == [OWN["slug"]]

    assert olga.get(f"exercises/{own['id']}", 404)["code"] == "not-found"
    assert every(olga, "&q=quay") == []
    assert olga.post("exercises", OWN, 201)["id"] != own["id"]


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        pytest.param({"side": "left"}, "#/side", "invalid-value", id="a side of one patient"),
        pytest.param({"kind": "yoga"}, "#/kind", "invalid-value", id="kind"),
        pytest.param({"slug": "Step Up"}, "#/slug", "invalid-value", id="slug"),
        pytest.param({"slug": "sg-nordic"}, "#/slug", "duplicate", id="slug of the library"),
        pytest.param({"easier": "no-such"}, "#/easier", "unknown-reference", id="easier"),
        pytest.param({"harder": OWN["slug"]}, "#/harder", "unknown-reference", id="itself"),
        pytest.param({"pain_ceiling": 11}, "#/pain_ceiling", "out-of-range", id="pain ceiling"),
        pytest.param({"dose": DOSE | {"sets": 0}}, "#/dose/sets", "out-of-range", id="no sets"),
        pytest.param({"dose": DOSE | {"reps": 8.0}}, "#/dose/reps", "invalid-type", id="no whole"),
        pytest.param(
            {"dose": DOSE | {"duration_s": 30}}, "#/dose", "invalid-value", id="two amounts"
        ),
        pytest.param({"dose_unit": "hold_s"}, "#/dose_unit", "invalid-value", id="other unit"),
        pytest.param({"clinic_id": "x"}, "#/clinic_id", "unknown-field", id="somebody else's"),
        pytest.param({"title": ""}, "#/title", "required", id="no title"),
    ],
)
def test_what_cannot_be_an_exercise(ana, change, pointer, code):
    refused = ana.post("exercises", OWN | change, 422)

    assert (pointer, code) in [(error["pointer"], error["code"]) for error in refused["errors"]]
    assert not Exercise.objects.filter(clinic=ana.user.clinic).exists()


def test_one_slug_a_clinic(ana, own):
    assert ana.post("exercises", OWN, 422)["errors"][0]["code"] == "duplicate"


def test_no_ladder_in_a_circle(ana, own):
    higher = ana.post("exercises", OWN | {"slug": "higher", "easier": OWN["slug"]}, 201)

    refused = ana.patch(f"exercises/{own['id']}", {"easier": higher["slug"]}, 422)

    assert refused["errors"][0]["pointer"] == "#/easier"
    ana.patch(f"exercises/{own['id']}", {"harder": higher["slug"]})


def test_a_key_makes_one_exercise(ana):
    key = "0193448e-5d2a-7c11-9a4e-3b1f5d6c7e80"

    first = ana.call("POST", "exercises", OWN, Idempotency_Key=key)
    again = ana.call("POST", "exercises", OWN, Idempotency_Key=key)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again["Idempotency-Replayed"] == "true"
    assert (again.content, again["ETag"]) == (first.content, first["ETag"])


def test_only_physiotherapists_write(cleo, ben, own, nobody):
    path = f"exercises/{own['id']}"
    for person in (cleo, ben):
        assert person.post("exercises", OWN | {"slug": "other"}, 403)["code"] == "forbidden"
        assert person.patch(path, {"title": "Other"}, 403)["code"] == "forbidden"
    assert nobody.post("exercises", OWN, 401)["code"] == "unauthenticated"
    assert cleo.get(path) == own


def test_nobody_changes_the_library(ana, olga, own):
    nordic = next(row for row in every(ana, "&q=sg-nordic") if row["slug"] == "sg-nordic")

    assert ana.patch(f"exercises/{nordic['id']}", {"title": "Ours"}, 403)["code"] == "forbidden"
    assert olga.patch(f"exercises/{own['id']}", {"title": "Ours"}, 404)["code"] == "not-found"
    assert ana.get(f"exercises/{nordic['id']}") == nordic


def test_a_change_is_the_next_version(ana, own):
    path = f"exercises/{own['id']}"
    first = ana.call("GET", path)["ETag"]

    changed = ana.patch(path, {"title": "Step-up", "easier": ""}, If_Match=first)

    assert (changed["title"], changed["version"]) == ("Step-up", "1.0.1")
    assert "easier" not in changed
    stale = ana.patch(path, {"title": "Again"}, 412, If_Match=first)
    assert stale["current_etag"] == ana.call("GET", path)["ETag"]
    assert ana.patch(path, {"title": "Step-up"})["version"] == "1.0.1", "nothing changed"
    assert ana.patch(path, {"slug": "other"}, 422)["errors"][0]["code"] == "unknown-field"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("named", [True, False], ids=["If-Match", "no If-Match"])
def test_of_two_changes_at_once_none_is_lost(ana, own, monkeypatch, named):
    """Both read the first version before either wrote: one is told, or its change comes on top."""
    path = f"exercises/{own['id']}"
    said = {"If_Match": ana.call("GET", path)["ETag"]} if named else {}
    meeting(monkeypatch, ExerciseChangeIn, "checked")

    def changes(body):
        return lambda: Somebody(ana.token).call("PATCH", path, body, **said)

    answers = at_once(changes({"title": "First"}), changes({"target": "calf"}))

    first, second = sorted(answers, key=lambda answer: (answer.status_code, answer.content))
    shown = ana.get(path)
    if named:
        assert (first.status_code, second.status_code) == (200, 412)
        assert second.json()["current_etag"] == first["ETag"] == ana.call("GET", path)["ETag"]
        assert shown == first.json()
    else:
        assert (first.status_code, second.status_code) == (200, 200)
        assert (shown["title"], shown["target"], shown["version"]) == ("First", "calf", "1.0.2")


def test_what_was_not_told_is_told_by_a_repeat(ana, ben, thigh, grade_1, own, monkeypatch):
    """Cut short between storing and telling: the change stands, and nobody has heard of it."""
    add = {"op": "add", "exercise": OWN["slug"], "phase_id": "phase-1"}
    ana.assigns(grade_1, to=ben.patient, episode=thigh, on=ben.today, tailoring=[add])
    path, cursor = f"exercises/{own['id']}", ben.get("me/sync/changes")["cursor"]
    with monkeypatch.context() as cut:
        cut.setattr(cataloguing, "tell", lambda rows, now: 1 / 0)
        ana.patch(path, {"title": "Renamed"}, 500)
    assert ben.get(f"me/sync/changes?cursor={cursor}")["items"] == []

    assert ana.patch(path, {"title": "Renamed"})["version"] == "1.0.1"
    told = ben.get(f"me/sync/changes?cursor={cursor}")["items"]
    assert [one["data"]["title"] for one in told if one["type"] == "exercise"] == ["Renamed"]


def test_a_change_reaches_the_phones_that_have_it(ana, ben, thigh, grade_1, own, harbour, now):
    add = {"op": "add", "exercise": OWN["slug"], "phase_id": "phase-1"}
    ana.assigns(grade_1, to=ben.patient, episode=thigh, on=ben.today, tailoring=[add])
    carl = make_patient(harbour, "Carl", now, ana.user)
    side = make_episode(carl.patient, ana.user, now)
    ana.assigns(grade_1, to=carl.patient, episode=side, on=carl.today)
    plan, other_plan = (person.call("GET", "me/plan")["ETag"] for person in (ben, carl))
    cursor = ben.get("me/sync/changes")["cursor"]

    ana.patch(f"exercises/{own['id']}", {"title": "Renamed"})

    assert ben.call("GET", "me/plan", If_None_Match=plan).status_code == 200
    assert carl.call("GET", "me/plan", If_None_Match=other_plan).status_code == 304
    told = ben.get(f"me/sync/changes?cursor={cursor}")["items"]
    assert [(item["type"], item["op"]) for item in told] == [
        (Change.Type.EXERCISE, "upsert"), (Change.Type.PLAN, "refetch"),
    ]  # fmt: skip
    assert told[0]["data"]["title"] == "Renamed"
    titles = [
        item["exercise"]["title"]
        for day in ben.plan()["days"] for slot in day["slots"] for item in slot["items"]
    ]  # fmt: skip
    assert "Renamed" in titles


def test_what_left_the_library_is_read_and_not_listed(ana, ben, plan_of_ben, now):
    gone = every(ben)[0]
    Exercise.objects.filter(pk=gone["id"]).update(retired_at=now)

    assert gone["slug"] not in {row["slug"] for row in every(ben)}
    assert ben.get(f"exercises/{gone['id']}")["retired_at"]
