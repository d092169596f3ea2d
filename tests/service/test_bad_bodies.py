"""Whatever arrives as a body: a clear problem, never a 500, nothing half done."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from backend.api.parsing import with_length
from backend.care.models import Change, CheckIn, Revision, Session
from tests.service.cast import OwnPhone, Staff
from tests.service.uploading import body_of, check_in_at

MIB = 1024 * 1024


@pytest.fixture
def said(ben: OwnPhone) -> dict[str, Any]:
    """A check-in that is taken as it is."""
    return {**check_in_at(timezone.now().astimezone(ben.patient.zone)), "revision": 1}


def send(ben: OwnPhone, raw: bytes, path: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    answer = ben.call("PUT", path or f"me/check-ins/{uuid4()}", raw=raw, **headers)
    body = body_of(answer)
    if answer.status_code >= 400:
        assert answer["Content-Type"] == "application/problem+json"
        assert body["status"] == answer.status_code
        assert body["instance"] == f"urn:uuid:{answer['Request-Id']}"
    assert b"Traceback" not in answer.content
    return answer.status_code, body


@pytest.fixture
def nothing_stored(ben: OwnPhone) -> Iterator[None]:
    yield
    assert [model.objects.count() for model in (Revision, CheckIn, Session, Change)] == [0] * 4


# --- Not JSON ----------------------------------------------------------------------------------

NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "cut": b'{"pain_now": 1',
    "text": b"pain_now=1",
    "two of them": b"{}{}",
    "comments": b"{} // mine",
    "single quotes": b"{'pain_now': 1}",
    "trailing comma": b'{"pain_now": 1,}',
    "NaN": b'{"pain_now": NaN}',
    "Infinity": b'{"pain_now": Infinity}',
    "-Infinity": b'{"pain_now": -Infinity}',
    "1e400": b'{"pain_now": 1e400}',
    "-1e400": b'{"pain_now": -1e400}',
    "in a field nobody knows": b'{"mood": 1e999}',
    "a number of 5,000 digits": b'{"pain_now": ' + b"9" * 5000 + b"}",
    "leading zero": b'{"pain_now": 01}',
    "twin keys": b'{"pain_now": 1, "pain_now": 2}',
    "twin keys further in": b'{"entries": [{"sets": [{"reps": 1, "reps": 2}]}]}',
    "twin keys, one escaped": b'{"note": "a", "n\\u006fte": "b"}',
    "NUL": b'{"note": "a\\u0000b"}',
    "NUL in a key": b'{"a\\u0000": 1}',
    "raw NUL": b'{"note": "a\x00b"}',
    "half a pair": b'{"note": "\\ud83d"}',
    "the other half": b'{"note": "\\udc00"}',
    "halves the wrong way round": b'{"note": "\\udc00\\ud83d"}',
    "half a pair in a key": b'{"\\ud83d": 1}',
    "not UTF-8": b'{"note": "\xe5"}',
    "overlong UTF-8": b'{"note": "\xc0\xaf"}',
    "half a pair in UTF-8": b'{"note": "\xed\xa0\xbd"}',
    "UTF-16": '{"note": "a"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "33 deep": b'{"entries": ' + b"[" * 33 + b"]" * 33 + b"}",
    "100,000 deep": b"[" * 100_000,
    "100,000 objects deep": b'{"a":' * 100_000,
    "a list": b"[]",
    "a text": b'"check-in"',
    "a number": b"7",
    "nothing": b"null",
}


@pytest.mark.usefixtures("nothing_stored")
def test_what_cannot_be_read_is_malformed(ben: OwnPhone, subtests: pytest.Subtests) -> None:
    for name, raw in NOT_JSON.items():
        for path in ("me/check-ins", "me/sessions"):
            with subtests.test(name, path=path):
                status, problem = send(ben, raw, f"{path}/{uuid4()}")
                assert (status, problem["code"]) == (400, "malformed-request")
        with subtests.test(name, path="me/sync/push"):
            pushed = body_of(ben.call("POST", "me/sync/push", raw=raw))
            assert (pushed["status"], pushed["code"]) == (400, "malformed-request")


def test_json_as_the_standard_means_it_is_taken(ben: OwnPhone, said: dict[str, Any]) -> None:
    """The twin of the refusals above: escapes, pairs, space, depth, any key order."""
    note = 'aé€😀\u2028\\"/\t'
    plain = json.dumps({**said, "note": note})
    deep = "[" * 31 + "]" * 31
    for raw in (
        plain.encode(),
        json.dumps({**said, "note": note}, ensure_ascii=False, indent=2).encode(),
        f"\n\t {plain} \r\n".encode(),
        plain.replace("{", '{"mood": ' + deep + ", ", 1).encode(),
    ):
        id = uuid4()
        assert send(ben, raw, f"me/check-ins/{id}")[0] == 201
        assert ben.get(f"me/check-ins/{id}")["note"] == note


# --- Media types, encodings, sizes -------------------------------------------------------------


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/xml", "application/jsonl", "application/octet-stream", "nonsense", "/"],
)  # fmt: skip
def test_other_media_types_are_not_taken(media_type: str, ben: OwnPhone, said: Any) -> None:
    status, problem = send(ben, json.dumps(said).encode(), Content_Type=media_type)
    assert (status, problem["code"]) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8",
     "application/json;charset=UTF-8", "application/json; charset=nonsense",
     "application/json; charset=iso-8859-1"],
)  # fmt: skip
def test_json_is_utf_8_whatever_the_charset_says(
    media_type: str, ben: OwnPhone, said: dict[str, Any]
) -> None:
    """RFC 8259: the parameter has no meaning. What is not UTF-8 is refused by its bytes."""
    id = uuid4()
    raw = json.dumps({**said, "note": "å"}, ensure_ascii=False)
    latin = send(ben, raw.encode("latin-1"), Content_Type=media_type)
    assert (latin[0], latin[1]["code"]) == (400, "malformed-request")
    assert send(ben, raw.encode(), f"me/check-ins/{id}", Content_Type=media_type)[0] == 201
    assert ben.get(f"me/check-ins/{id}")["note"] == "å"


@pytest.mark.parametrize("coding", ["gzip", "GZIP", " gzip ", "x-gzip"])
def test_gzip_is_welcome(coding: str, ben: OwnPhone, said: dict[str, Any]) -> None:
    raw = gzip.compress(json.dumps(said).encode())
    assert send(ben, raw, Content_Encoding=coding)[0] == 201


BAD_GZIP: dict[str, tuple[bytes, int]] = {
    "not gzip": (b'{"pain_now": 1}', 400),
    "cut": (gzip.compress(b'{"pain_now": 1}')[:-1], 400),
    "cut in the middle": (gzip.compress(b'{"pain_now": 1}')[:15], 400),
    "only its head": (gzip.compress(b"{}")[:10], 400),
    "a wrong checksum": (gzip.compress(b"{}")[:-8] + b"\0" * 8, 400),
    "more behind it": (gzip.compress(b"{}") + b"{}", 400),
    "two of them": (gzip.compress(b"{") + gzip.compress(b"}"), 400),
    "zlib": (zlib.compress(b"{}"), 400),
    "twice": (gzip.compress(gzip.compress(b"{}")), 400),
    "of nothing": (gzip.compress(b""), 400),
    "a bomb": (gzip.compress(b" " * (200 * MIB)), 413),
    "one byte too much": (gzip.compress(b" " * (MIB + 1)), 413),
    "large and hard to pack": (gzip.compress(b"x" * 10, 0) * (MIB // 20), 413),
}


@pytest.mark.usefixtures("nothing_stored")
def test_bad_gzip(ben: OwnPhone, subtests: pytest.Subtests) -> None:
    for name, (raw, expected) in BAD_GZIP.items():
        with subtests.test(name):
            status, problem = send(ben, raw, Content_Encoding="gzip")
            assert status == expected
            assert problem["code"] == {400: "malformed-request", 413: "payload-too-large"}[status]


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd", "nonsense"])
def test_other_encodings_are_not_taken(coding: str, ben: OwnPhone, said: Any) -> None:
    status, problem = send(ben, json.dumps(said).encode(), Content_Encoding=coding)
    assert (status, problem["code"]) == (415, "unsupported-media-type")


def test_one_mebibyte_and_not_a_byte_more(ben: OwnPhone, said: dict[str, Any]) -> None:
    raw = json.dumps(said).encode()
    assert send(ben, raw + b" " * (MIB - len(raw)))[0] == 201
    for path, method in ((f"me/check-ins/{uuid4()}", "PUT"), ("me/sync/push", "POST")):
        refused = ben.call(method, path, raw=raw + b" " * (MIB + 1 - len(raw)))
        assert refused.status_code == 413
        assert body_of(refused)["params"] == {"limit": MIB}
    assert CheckIn.objects.count() == 1


# --- Well-formed and wrong ---------------------------------------------------------------------

WHOLE = [-1, 11, 10**30, -(10**30), 1.0, 1.5, "1", True, None, [], {}, [1], {"value": 1}]
HALVES = [-0.5, 10.5, 0.25, 1e300, 10**30, "1", True, None, [], {}]
WORDS = ["", "FINISHED", "finished ", 1, True, None, [], {}, "x" * 100_000]
DAYS = ["", "2026-11-1", "20261119", "2026-02-29", "2026-13-01", "0000-01-01", "9999-12-31",
        "19.11.2026", "2026-11-19T00:00:00Z", "2026-W47-4", " 2026-11-19", "２０２６-11-19",
        20261119, 1.5, True, None, [], {}]  # fmt: skip
MOMENTS = ["", "2026-11-19", "2026-11-19T18:31:20", "2026-11-19 18:31:20Z", "18:31:20Z",
           "2026-11-19T18:31Z", "2026-11-19T24:00:00Z", "2026-11-19T18:31:60Z",
           "2026-11-19T18:31:20+25:00", "2026-11-19T18:31:20+0100", "2026-11-19T18:31:20,5Z",
           "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 1763573480, 1.5, True, None,
           [], {}]  # fmt: skip
ZONES = ["", "Mars/Olympus", "europe/stockholm", "../../etc/passwd", "/etc/localtime", "CEST",
         "+01:00", "Europe/Stockholm ", "x" * 100_000, 1, True, None, [], {}]  # fmt: skip
TRUTHS = [0, 1, "true", "", None, [], {}]
TEXTS = ["x" * 1001, 1, 1.5, True, None, [], {}]
IDS = ["", "1", uuid4().hex, "{" + str(uuid4()) + "}", f"urn:uuid:{uuid4()}", str(uuid4()) + "0",
       1, 10**40, True, None, [], {}]  # fmt: skip
LISTS = [{}, "", "[]", 1, True, None, [None], [1], ["x"], [[]]]

# Where, what is put there. A pointer goes through lists by number.
WRONG: dict[str, list[Any]] = {
    "/revision": [0, 1_000_001, *WHOLE[2:]],
    "/local_date": DAYS,
    "/timezone": ZONES,
    "/recorded_at": MOMENTS,
    "/started_at": MOMENTS,
    "/ended_at": MOMENTS,
    "/state": [*WORDS, "done"],
    "/skip_reason": [*WORDS, "lazy"],
    "/leg_symptom": [*WORDS, "arm"],
    "/assignment_id": IDS,
    "/assignment_version": [0, *WHOLE[2:]],
    "/slot_id": IDS,
    "/pain_before": WHOLE,
    "/pain_during": WHOLE,
    "/pain_after": WHOLE,
    "/effort": HALVES,
    "/settle_min": [1441, -1, *WHOLE[2:]],
    "/pop_felt": TRUTHS,
    "/stop_signs": [*LISTS, ["ces_bladder"] * 41, ["severe"]],
    "/note": TEXTS,
    "/entries": [*LISTS, [{}] * 41],
    "/entries/0/prescription_id": IDS,
    "/entries/0/exercise_id": IDS,
    "/entries/0/state": [*WORDS, "open"],
    "/entries/0/skip_reason": [*WORDS, "lazy"],
    "/entries/0/pain": WHOLE,
    "/entries/0/effort": HALVES,
    "/entries/0/note": TEXTS,
    "/entries/0/sets": [*LISTS, [{}] * 21],
    "/entries/0/sets/0/reps": [201, *WHOLE[2:]],
    "/entries/0/sets/0/hold_s": [601, -1, 1.001, *HALVES[3:]],
    "/entries/0/sets/0/load_kg": [501, -1, 20.125, *HALVES[3:]],
    "/entries/0/sets/0/distance_m": [50_001, -1, *HALVES[3:]],
    "/entries/0/sets/0/duration_s": [21_601, -1, *HALVES[3:]],
    "/entries/0/sets/0/side": [*WORDS, "alternate"],
    "/entries/0/sets/0/pain": WHOLE,
    "/entries/0/sets/0/effort": HALVES,
}


def put_at(said: Any, pointer: str, value: object) -> Any:
    """A copy with this value at this place."""
    copy = json.loads(json.dumps(said))
    *steps, last = pointer.removeprefix("/").split("/")
    place = copy
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    return copy


@pytest.fixture
def session(ben: OwnPhone, plan_of_ben: Any) -> dict[str, Any]:
    """A session that says everything there is to say, as an app may."""
    said = ben.session_of(ben.slot(), plan_of_ben)
    one = {"reps": 5, "hold_s": 10, "load_kg": 12.25, "distance_m": 0.5, "duration_s": 60,
           "side": "left", "pain": 0, "effort": 6.5}  # fmt: skip
    said["entries"][0] |= {
        "sets": [one],
        "pain": 0,
        "effort": 10,
        "note": "",
        "skip_reason": "other",
    }
    return said | {
        "pain_before": 0, "pain_after": 2, "effort": 0.5, "settle_min": 1440, "pop_felt": False,
        "leg_symptom": "calf", "stop_signs": [], "note": "å\n", "skip_reason": "away",
    }  # fmt: skip


def test_a_wrong_value_is_pointed_at(
    ben: OwnPhone, session: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for pointer, values in WRONG.items():
        with subtests.test(pointer):
            for value in values:
                body = json.dumps(put_at(session, pointer, value)).encode()
                status, problem = send(ben, body, f"me/sessions/{uuid4()}")
                assert (status, problem["code"]) == (422, "validation-failed"), value
                assert all(
                    error["pointer"].startswith(f"#{pointer}") for error in problem["errors"]
                )
    assert Revision.objects.count() == 0
    assert ben.put(f"me/sessions/{uuid4()}", session, 201)["warnings"] == []


def test_the_codes_of_errors_are_those_of_the_contract(ben: OwnPhone, session: Any) -> None:
    expected = {
        ("/pain_before", 11): ("out-of-range", {"min": 0, "max": 10}),
        ("/pain_before", "3"): ("invalid-type", None),
        ("/pain_before", None): ("invalid-type", None),
        ("/effort", 7.3): ("invalid-value", {"step": 0.5}),
        ("/note", "x" * 1001): ("too-long", {"max": 1000}),
        ("/state", "gone"): ("invalid-value", {"known": ["open", "finished", "skipped"]}),
        ("/timezone", "Mars/Olympus"): ("invalid-value", None),
    }
    for (pointer, value), (code, params) in expected.items():
        body = json.dumps(put_at(session, pointer, value)).encode()
        [error] = send(ben, body, f"me/sessions/{uuid4()}")[1]["errors"]
        assert (error["code"], error.get("params")) == (code, params)
        assert error["detail"]
    many = json.dumps({**session, "entries": session["entries"] * 41}).encode()
    [error] = send(ben, many, f"me/sessions/{uuid4()}")[1]["errors"]
    assert (error["code"], error["params"]) == ("too-many", {"max": 40})


def test_every_error_is_told_at_once(ben: OwnPhone, session: dict[str, Any]) -> None:
    for pointer in ("/revision", "/local_date", "/entries/0/sets/0/reps", "/entries/0/state"):
        session = put_at(session, pointer, [])
    _, problem = send(ben, json.dumps(session).encode(), f"me/sessions/{uuid4()}")
    assert {error["pointer"] for error in problem["errors"]} == {
        "#/revision", "#/local_date", "#/entries/0/sets/0/reps", "#/entries/0/state",
    }  # fmt: skip
    assert problem["detail"] == "4 values cannot be accepted."


def test_what_was_sent_is_what_is_kept(ben: OwnPhone, session: dict[str, Any]) -> None:
    """0 altered: zeros stay zeros, empty stays empty, absent stays absent."""
    id = uuid4()
    ben.put(f"me/sessions/{id}", session, 201)
    shown = ben.get(f"me/sessions/{id}")
    added = {"id", "derived", "received_at", "history_count"}
    assert {name: value for name, value in shown.items() if name not in added} == session
    assert json.dumps(shown["entries"][0]["sets"][0]["reps"]) == "5"


def test_names_of_unknown_fields_may_be_anything(ben: OwnPhone, said: dict[str, Any]) -> None:
    wild = {"": 1, "~/": 1, "__proto__": {}, "x" * 500: 1, "å": 1, "id": 3, "patient_id": 4,
            "derived": {"outcome": "completed"}, "received_at": 1}  # fmt: skip
    id = uuid4()
    result = ben.put(f"me/check-ins/{id}", {**said, **wild}, 201)
    assert len(result["warnings"]) == len(wild)
    assert max(map(len, result["warnings"])) < 120
    shown = ben.get(f"me/check-ins/{id}")
    assert shown["id"] == str(id)
    assert shown["derived"] == {"clock": "ok"}


def test_a_session_of_the_greatest_size(ben: OwnPhone, session: Any) -> None:
    """40 entries × 20 sets, each text as long as it may be."""
    entry = {
        **session["entries"][0],
        "note": "😀" * 1000,
        "sets": session["entries"][0]["sets"] * 20,
    }
    whole = {**session, "entries": [entry] * 40, "note": "å" * 1000}
    id = uuid4()
    assert ben.put(f"me/sessions/{id}", whole, 201)["status"] == "created"
    assert ben.put(f"me/sessions/{id}", whole, 200)["status"] == "unchanged"
    assert ben.get(f"me/sessions/{id}")["entries"] == whole["entries"]


def test_a_body_that_comes_in_chunks_gets_its_length() -> None:
    """A phone packs a body while it sends it, and cannot say how long it will be."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return [environ["CONTENT_LENGTH"].encode(), environ["wsgi.input"].read()]

    def sent(**said: Any) -> list[bytes]:
        environ = {"wsgi.input": BytesIO(b"{}"), "wsgi.input_terminated": True, **said}
        return list(with_length(application)(environ, lambda *_: lambda _: None))

    assert sent(HTTP_TRANSFER_ENCODING="Chunked") == [b"2", b"{}"]
    assert sent(CONTENT_LENGTH="7") == [b"7", b"{}"]
    bomb = BytesIO(b" " * (2 * MIB))
    assert (
        sent(HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": bomb})[0] == str(MIB + 1).encode()
    )


def test_warnings_are_few_and_short(ben: OwnPhone, said: dict[str, Any]) -> None:
    """As many as say what is wrong; a phone that sends a thousand fields hears of thirty."""
    del said["revision"]
    odd = {f"{n:03}{'x' * 300}": n for n in range(1000)}
    record = {"type": "check_in", "id": str(uuid4()), "revision": 1, "data": {**said, **odd}}
    frame = {"sent_at": timezone.now().isoformat(), "items": [{**record, **odd}], **odd}
    answer = ben.post("me/sync/push", frame, 200)
    [result] = answer["results"]

    assert result["status"] == "created"
    for warnings, count in ((result["warnings"], 2000), (answer["warnings"], 1000)):
        assert len(warnings) == 31
        assert warnings[0] == f"unknown-field: 000{'x' * 76}…"
        assert warnings[-1] == f"more-warnings: {count - 30}"


@pytest.mark.parametrize("count", [30, 31])
def test_only_what_is_left_out_is_counted(ben: OwnPhone, said: dict[str, Any], count: int) -> None:
    odd = {f"odd_{n:02}": n for n in range(count)}
    warnings = ben.put(f"me/check-ins/{uuid4()}", {**said, **odd}, 201)["warnings"]
    assert warnings[:30] == [f"unknown-field: odd_{n:02}" for n in range(30)]
    assert warnings[30:] == ["more-warnings: 1"] * (count - 30)


# --- Slow senders ------------------------------------------------------------------------------


class Arriving(BytesIO):
    """A body on its way: notes how many transactions are open whenever it is waited for."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.open_while_read: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.open_while_read.append(len(connection.atomic_blocks))
        return super().read(size)


@pytest.mark.parametrize("key", ["", str(uuid4())], ids=["without a key", "with a key"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "patients"),
        ("PATCH", "patients/{patient}"),
        ("POST", "patients/{patient}/assessments"),
        ("POST", "patients/{patient}/invitations"),
        ("POST", "patients/{patient}/assignments"),
        ("POST", "assignments/{plan}/pause"),
        ("PATCH", "assignments/{plan}"),
        ("PATCH", "episodes/{episode}"),
        ("POST", "exercises"),
        ("POST", "protocols"),
        ("PATCH", "me"),
    ],
)
def test_nobody_waits_while_a_body_arrives(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, method: str, path: str, key: str
) -> None:
    """A transaction of SQLite is the one writer: it begins when all that was sent is here."""
    ids = {"plan": plan_of_ben["id"], "episode": plan_of_ben["episode_id"]}
    at = path.format(patient=ben.patient.pk, **ids)
    already, body = len(connection.atomic_blocks), Arriving(b"{}")
    headers = {"X-Session-Token": ana.token} | ({"Idempotency-Key": key} if key else {})
    slowly: dict[str, Any] = {"wsgi.input": body}
    answer = ana.client.generic(
        method, f"/api/v1/{at}", b"{}", "application/json", headers=headers, **slowly
    )

    assert answer.status_code < 500
    waited = not path.endswith("invitations") or key
    assert set(body.open_while_read) == ({already} if waited else set())
