"""What is asked of both services: every operation, well and badly, always the same.

`{word}` in an address, a header or a body stands for what the service answered for it before.
"""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import time
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from tests.campaigns.same_people import NAMESPACE, PASSWORD, TOTP_SECRET
from tests.campaigns.sameness import Both
from tests.campaigns.two_services import settle

ZONE = ZoneInfo("Europe/Stockholm")
UNKNOWN = "0a0a0a0a-0000-4000-8000-00000000dead"
A_DAY = timedelta(days=1)
AUTH = "/api/auth/app/v1"

# Names that databases sort and compare in their own ways.
PEOPLE = (
    ("Eva", "Åberg"), ("Eva", "åberg"), ("Eva", "ÅBERG"), ("Eva", "Aberg"), ("Eva", "aberg"),
    ("Nils", unicodedata.normalize("NFD", "Åberg")), ("Ärla", "Öhman"), ("ärla", "öhman"),
    ("Ernst", "Straße"), ("Ernst", "Strasse"), ("Ernst", "STRASSE"), ("Ebba", "von Essen"),
    ("Ebba", "Von Essen"), ("Ebba", "Vonessen"), ("Jan", "de Geer"), ("Zoë", "Zorn"),
    ("Zoe", "Zorn"), ("ZOË", "ZORN"), ("Pat", "O'Neil"), ("Pat", "O Neil"), ("Pat", "ONeil"),
    ("Jo", "Mac-Donald"), ("Jo", "MacDonald"), ("Jo", "Macdonald"), ("Łukasz", "Łoś"),
    ("İpek", "Işık"), ("ipek", "işik"), ("😀", "Smile"), ("Smile", "😀😀"), ("王", "小明"),
    ("Per", "100%"), ("Per", "a_b"), ("Per", "axb"), ("Per", "back\\slash"), ("Per", '"quoted"'),
    ("Per", "1Numbers"), ("Per", "-Hyphen"), ("Ǆ", "ǆ"), ("K", "Kelvin"), ("Ὀδυσσεύς", "ΟΔΥΣΣΕΥΣ"),
)  # fmt: skip
SOUGHT = (
    "åberg", "ÅBERG", "Åberg", "aberg", unicodedata.normalize("NFD", "åberg"), "berg", "BERG",
    "ärla öhman", "ÖHMAN ärla", "hman", "ÖHM", "straße", "STRASSE", "strasse", "ß", "SS", "zoë",
    "ZOË", "zoe", "%", "_", "a_b", "100%", "\\", "'", '"', "😀", "王", "łoś", "ŁOŚ", "ipek", "İPEK",
    "işik", "IŞIK", "kelvin", "K", "ǆ", "Ǆ", "οδυσσευς", "ΟΔΥΣΣΕΎΣ", "o neil", "  eva  ", "-", ".",
    "von essen", "19850101-1234", "1985",
)  # fmt: skip

NOT_JSON = (
    b'{"title": "a\\u0000b"}', b'{"title": "a\x00b"}', b'{"value": NaN}', b'{"value": -Infinity}',
    b'{"value": 1e999}', b'{"reason": "a", "reason": "b"}', b'{"note": "\\ud800"}', b"",
    b'{"note": "\xff\xfe"}', '{"note": "a"}'.encode("utf-16"), b'{"note": "a',
    b'\xef\xbb\xbf{"note": "a"}', b'{"a":' * 200 + b"1" + b"}" * 200, b"[" * 100_000,
    b'{"revision": 1' + b"0" * 5000 + b"}", b'{"revision": 1' + b"0" * 400 + b"}",
    b'{"note": "' + b"a" * (1024 * 1024) + b'"}',
)  # fmt: skip
NOT_OBJECTS: tuple[object, ...] = ([], "text", 1, None, True, [[]], {"unknown": 1})


class Script:
    """All of it, in order; `small`: of what differs seldom, only some."""

    def __init__(self, both: Both, *, small: bool) -> None:
        self.both, self.small = both, small
        self.now = datetime.now(ZONE).replace(microsecond=0)
        self.today = self.now.date()
        self.ask = both.ask

    def run(self) -> None:
        self.service()
        self.sign_in()
        self.patients()
        self.searching()
        self.invitations()
        self.episodes()
        self.assessments()
        self.exercises()
        self.assignments()
        self.plan()
        self.sessions()
        self.check_ins()
        self.pushes()
        self.feed()
        self.reports()
        self.audit()
        self.tailoring()
        self.steps()
        self.protocols()
        self.judging()
        self.oneself()
        self.reminders()
        self.files()
        self.clinic()
        self.bad_bodies()
        self.bad_ids()
        self.account()
        self.rights()
        if not self.small:
            self.pages()

    def few(self, all_of: Iterable[Any], every: int) -> Iterator[Any]:
        return islice(all_of, 0, None, every if self.small else 1)

    # --- Everybody --------------------------------------------------------------------------

    def service(self) -> None:
        for who in ("", "ben", "olga", "operator", "wrong"):
            self.ask(who, "GET", "meta")
        self.ask("", "GET", "/healthz", expect=200)
        self.ask("", "POST", "/healthz")
        self.ask("", "GET", "/nowhere")
        self.ask("ana", "GET", "nowhere")
        self.ask("ana", "POST", "me")
        self.ask("ana", "OPTIONS", "patients")
        self.ask("ana", "HEAD", "patients")
        for accept in ("text/html", "application/json;q=0", "application/problem+json", "*/*"):
            self.ask("ana", "GET", "me", Accept=accept)
        self.ask("ana", "GET", "me", Accept_Language="sv")
        self.ask("ana", "GET", "patients/x", Accept_Language="sv")
        self.ask("ben", "GET", "me", Client="rehab/0.1 (android 14)")
        self.ask("ben", "GET", "me", Request_Id=UNKNOWN)
        for who in ("", "wrong", "olga", "operator", "ben", "cleo"):
            self.ask(who, "GET", "me")
            self.ask(who, "GET", "patients")
            self.ask(who, "GET", "me/plan")
        # A cookie can hold what no other header can.
        for cookie in ("sessionid={ana}", "sessionid=0", 'sessionid="abcdefgh\\000ijk"'):
            self.ask("", "GET", "me", Cookie=cookie)
            self.ask("", "POST", "patients", {}, Cookie=cookie)
            self.ask("", "GET", "/accounts/password/change/", Cookie=cookie)
            self.ask("", "GET", "/api/auth/browser/v1/auth/session", Cookie=cookie)

    def sign_in(self) -> None:
        for email in self.few((
            "BEN@Example.ORG", " ben@example.org ", "who@example.org", "anna@exämple.org",
            "b%n@example.org", "ANNA@EXÄMPLE.ORG", "", "no address", "b_n@example.org",
            f"{'b' * 300}@example.org", "ben@example.org\u0000", "ΒΕΝ@example.org",
            "ben@example.orĸ", "ben@example.org%",
        ), 5):  # fmt: skip
            self.login(email, PASSWORD)
        for password in self.few(("wrong", "", PASSWORD.upper(), "a" * 5000, "å long password"), 3):
            self.login("bea@example.org", password)
        for raw in self.few((b'{"email": 1, "password": 2}', b"", b"[]", b'{"email": null}'), 2):
            self.ask("", "POST", f"{AUTH}/auth/login", raw=raw)
        self.login("ben@example.org", PASSWORD, keep={"ben_again": "meta/session_token"})
        self.ask("ben_again", "GET", f"{AUTH}/auth/session", expect=200)
        self.ask("ben_again", "GET", f"{AUTH}/auth/sessions", expect=200)
        self.ask("ben_again", "GET", "me", expect=200)
        self.ask("ben_again", "DELETE", f"{AUTH}/auth/session", expect=401)
        self.ask("ben_again", "GET", "me", expect=401)
        self.ask("wrong", "GET", f"{AUTH}/auth/session")
        self.ask("", "GET", f"{AUTH}/config")
        # Olga has no second factor and needs one, Tom has one.
        self.ask("olga", "GET", "patients", expect=403)
        self.ask("olga", "GET", "protocols", expect=403)
        self.login("tom@example.org", PASSWORD, keep={"tom": "meta/session_token"})
        self.ask("tom", "GET", "patients")
        for wrong in self.few(("000000", "", "٠٠٠٠٠٠", "0" * 40), 2):
            self.ask("tom", "POST", f"{AUTH}/auth/2fa/authenticate", {"code": wrong})
        code = {"code": totp(TOTP_SECRET)}
        self.ask("tom", "POST", f"{AUTH}/auth/2fa/authenticate", code, expect=200,
                 keep={"tom": "meta/session_token"})  # fmt: skip
        for _ in range(3):  # whichever process gets it, the code has been used
            self.login("tom@example.org", PASSWORD, keep={"door": "meta/session_token"})
            self.ask("door", "POST", f"{AUTH}/auth/2fa/authenticate", code, expect=400)
        self.ask("tom", "GET", "patients", expect=200)
        self.ask("tom", "GET", f"{AUTH}/account/authenticators", expect=200)

    def login(self, email: str, password: str, **more: Any) -> None:
        said = {"email": email, "password": password}
        self.ask("", "POST", f"{AUTH}/auth/login", said, **more)

    # --- Patients ---------------------------------------------------------------------------

    def patients(self) -> None:
        for number, (given, family) in self.few(enumerate(PEOPLE), 3):
            name = {"given_name": f"{given} {number:02}", "family_name": family}
            self.ask("ana", "POST", "patients", {**name, "birth_date": "1985-01-01"}, expect=201)
        person = {"given_name": "Ida", "family_name": "Ek", "birth_date": "1985-01-01"}
        national = {"system": "national", "value": "19850101-1234"}
        several = [national, {"system": "a", "value": "Å1"}, {"system": "B", "value": "å1"}]
        self.ask("ana", "POST", "patients", {**person, "given_name": "Isa", "identifiers": several},
                 expect=201)  # fmt: skip
        for number, more in self.few(enumerate((
            {"identifiers": [national]},
            {"identifiers": [{"system": "NATIONAL", "value": "19850101-1234"}]},
            {"identifiers": [{"system": "a", "value": "å1"}]},
            {"identifiers": [{"system": "a", "value": " Å1 "}]},
            {"identifiers": [{"system": "s", "value": "v"}] * 2},
            {"identifiers": [{"system": "s" * 200, "value": "😀" * 100}]},
            {"identifiers": [{"system": "s" * 201, "value": "v" * 101}]},
            {"given_name": "å" * 80, "family_name": "😀" * 80},
            {"given_name": "å" * 81, "family_name": "é" * 81},
            {"given_name": "", "family_name": " "},
            {"birth_date": "1899-12-31"}, {"birth_date": "1900-01-01"},
            {"birth_date": "2200-12-31"}, {"birth_date": "1985-02-29"},
            {"birth_date": "0000-01-01"}, {"birth_date": "10000-01-01"},
            {"birth_date": (self.today + A_DAY).isoformat()},
            {"sex": "female", "phone": "+46 70-123 45 67", "email": "Ida@Example.org"},
            {"sex": "x", "phone": "abc", "email": "x@", "locale": "SV", "timezone": "Mars/Base"},
            {"locale": "zh-Hans-CN", "timezone": "America/Argentina/ComodRivadavia"},
            {"timezone": "europe/stockholm"}, {"physiotherapist_id": "{dan_id}"},
            {"physiotherapist_id": UNKNOWN}, {"physiotherapist_id": "{olga_id}"},
            {"physiotherapist_id": "nobody"}, {"clinic": "x", "status": "active"},
        )), 4):  # fmt: skip
            said = {**person, "given_name": f"Ida {number:02}", **more}
            self.ask("ana", "POST", "patients", said)
        self.ask("cleo", "POST", "patients", person)
        self.ask("cleo", "POST", "patients", {**person, "physiotherapist_id": "{ana_id}"})
        twice = {**person, "given_name": "Once", "birth_date": "1990-10-10"}
        self.ask("ana", "POST", "patients", twice, expect=201, keep={"once_id": "id"},
                 tag="once", key="a patient")  # fmt: skip
        self.ask("ana", "POST", "patients", dict(reversed(twice.items())), key="a patient")
        self.ask("ana", "POST", "patients", twice, expect=201, key="a patient")
        self.ask("ana", "POST", "patients", {**twice, "phone": "123"}, expect=422, key="a patient")
        other = {**twice, "given_name": "Other", "physiotherapist_id": "{ana_id}"}
        self.ask("cleo", "POST", "patients", other, expect=201, key="a patient")
        self.ask("ana", "POST", "patients", twice, Idempotency_Key="x")
        self.ask("ana", "GET", "patients/{once_id}", expect=304, If_None_Match="{once_tag}")
        self.ask("ana", "GET", "patients/{ben_id}", expect=200, tag="ben")
        self.ask("ana", "GET", "patients/{ben_id}", expect=304, If_None_Match="{ben_tag}")
        self.ask("ana", "GET", "patients/{ben_id}", expect=304, If_None_Match="W/{ben_tag}")
        self.ask("ana", "GET", "patients/{ben_id}", expect=304, If_None_Match="*")
        self.ask("ana", "GET", "patients/{otto_id}", expect=404)
        at = "patients/{ben_id}"
        self.ask("ana", "PATCH", at, {"phone": "+46 1"}, expect=428)
        self.ask("ana", "PATCH", at, {"phone": "+46 1"}, expect=412, If_Match='"old"')
        self.ask("ana", "PATCH", at, {"phone": "+46 1"}, If_Match="W/{ben_tag}")
        self.ask("ana", "PATCH", at, {"phone": "+46 2"}, expect=200, If_Match="{ben_tag}",
                 tag="ben")  # fmt: skip
        known = {"identifiers": [{"system": "z", "value": "2"}, {"system": "Z", "value": "1"}]}
        self.ask("ana", "PATCH", at, known, expect=200, If_Match="{ben_tag}", tag="ben")
        self.ask("ana", "GET", at, expect=304, If_None_Match="{ben_tag}")
        taken = {"identifiers": [national]}
        self.ask("ana", "PATCH", at, taken, expect=409, If_Match="{ben_tag}")
        self.ask("ana", "PATCH", at, {"given_name": None, "email": "", "sex": ""}, If_Match="*")

    def searching(self) -> None:
        self.pages_of("ana", "patients", limit=13)
        self.pages_of("cleo", "patients?status=invited", limit=50)
        self.pages_of("ana", "patients?q=e", limit=8)
        for q in self.few(SOUGHT, 3):
            self.ask("ana", "GET", f"patients?q={quote(q)}")
        for asked in self.few(("q=", "q=%00", "q=%FF", "q=%ED%A0%80", f"q={'a' * 101}", "status=x",
                      "limit=0", "limit=201", "limit=1.5", "limit=%D9%A1", "cursor=x", "cursor=",
                      "cursor=%00", "physiotherapist_id={ana_id}", "physiotherapist_id=x",
                      "physiotherapist_id={otto_id}", "unknown=1", "limit=2&limit=3",
                      "status=active&q=ben", "limit=200"), 3):  # fmt: skip
            self.ask("ana", "GET", f"patients?{asked}")
        self.ask("ana", "GET", "patients?limit=2", keep={"of_list": "next_cursor"})
        self.ask("ana", "GET", "patients?limit=2&status=active&cursor={of_list}")
        self.ask("ana", "GET", "exercises?limit=2&cursor={of_list}")
        self.ask("tom", "GET", "patients?cursor={of_list}")

    def pages_of(self, who: str, path: str, *, limit: int) -> None:
        """All pages of a list, as its cursors lead."""
        path += f"{'&' if '?' in path else '?'}limit={limit}"
        more = self.ask(who, "GET", path, expect=200, keep={"next": "next_cursor"})
        for _ in range(60):
            if not more:
                return
            more = self.ask(who, "GET", f"{path}&cursor={{next}}", expect=200,
                            keep={"next": "next_cursor"})  # fmt: skip

    def invitations(self) -> None:
        at = "patients/{once_id}/invitations"
        self.ask("ana", "POST", at, {}, expect=201, keep={"code": "code"})
        self.ask("ana", "POST", at, {}, expect=201, keep={"code": "code"}, key="an invitation")
        self.ask("ana", "POST", at, {}, expect=201, key="an invitation")
        self.ask("ana", "POST", "patients/{ben_id}/invitations", {}, expect=409)
        self.ask("ana", "POST", "patients/{otto_id}/invitations", {}, expect=404)
        for said in (
            "{code}",
            "unknown",
            "",
            "0" * 41,
            "ÅÄÖ-0000-0000-0000-0000",
            "%" * 8,
            "ß" * 9,
        ):
            self.ask("", "POST", "enrolments/check", {"invitation_code": said})
        signs_up = {"email": "Once@Example.org", "password": PASSWORD, "birth_year": 1990}
        for wrong in self.few((
            {"invite": "unknown"}, {"birth_year": 1991}, {"birth_year": 10**30},
            {"email": "BEN@example.org"}, {"birth_year": -1}, {"email": "ben@example.org"},
            {"email": "x"}, {"password": "short"}, {"birth_year": None}, {"email": "a" * 300},
        ), 3):  # fmt: skip
            self.ask("ana", "POST", at, {}, keep={"code": "code"})
            self.ask("", "POST", f"{AUTH}/auth/signup",
                     {**signs_up, "invite": "{code}", **wrong})  # fmt: skip
        self.ask("ana", "POST", at, {}, expect=201, keep={"code": "code"})
        signs_up |= {"invite": "{code}"}
        self.ask("", "POST", f"{AUTH}/auth/signup", signs_up, expect=200,
                 keep={"once": "meta/session_token"})  # fmt: skip
        self.ask("", "POST", f"{AUTH}/auth/signup", signs_up)
        self.ask("", "POST", "enrolments/check", {"invitation_code": "{code}"}, expect=410)
        self.ask("once", "GET", "me", expect=200)

    def episodes(self) -> None:
        at = "patients/{ben_id}/episodes"
        course = {"title": "Hip", "body_region": "hip", "side": "left", "started_on": "2024-02-29"}
        self.ask("ana", "POST", at, course, expect=201, keep={"hip": "id"}, tag="hip")
        self.ask("ana", "PATCH", "episodes/{hip}", {"title": "Höft"}, expect=200,
                 If_Match="{hip_tag}", tag="hip")  # fmt: skip
        for number, more in self.few(enumerate((
            {"diagnosis_code": {"system": "icd", "code": "M79.6", "text": "Pain"}},
            {"diagnosis_code": {"system": "i" * 201, "code": "c" * 41, "text": "t" * 401}},
            {"diagnosis_code": {"text": "t"}}, {"diagnosis_code": None}, {"diagnosis_code": "M79"},
            {"title": "å" * 200, "body_region": "sit_bone", "started_on": "2024-02-28"},
            {"title": "å" * 201}, {"body_region": ""}, {"body_region": "😀" * 60},
            {"side": "up"}, {"started_on": "2024-02-30"},
            {"started_on": "1900-01-01", "onset_date": "2200-12-31"}, {"new_pain": "yes"},
            {"ended_on": "2024-03-01"}, {"end_reason": "completed"}, {"patient_id": "{bea_id}"},
            {"started_on": "2024-02-27", "ended_on": "2024-02-26", "end_reason": "other"},
            {"started_on": "2024-02-26", "ended_on": "2024-02-26", "end_reason": "other"},
        ), start=1), 3):  # fmt: skip
            self.ask("ana", "POST", at, {**course, "started_on": f"2024-01-{number:02}", **more})
        self.ask("ana", "GET", at, expect=200)
        self.pages_of("ana", at, limit=2)
        for more in ({"side": "none", "new_pain": False}, {"ended_on": "2023-01-01"}, {}, {"x": 1}):
            self.ask("ana", "PATCH", "episodes/{hip}", more)
        self.ask("ana", "PATCH", "episodes/{hip}", {"title": "x"}, expect=412, If_Match='"x"')
        self.ask("ana", "GET", "patients/{otto_id}/episodes", expect=404)
        self.ask("cleo", "GET", at, expect=403)

    def assessments(self) -> None:
        at = "patients/{ben_id}/assessments"
        said = {"code": "nprs_worst", "value": 4, "unit": "0-10"}
        moments = (f"2024-03-0{day}T10:00:00.{fraction}{offset}" for day, fraction, offset in (
            (1, "1", "Z"), (2, "123456", "+01:00"), (3, "123456789", "-14:00"), (4, "999999", "Z"),
            (5, "000001", "+14:00"), (6, "5", "Z"), (7, "5", "Z"), (8, "5", "Z"),
        ))  # fmt: skip
        values = (0, 10, 4.5, 0.1, 10.0, 4.25, 4.255, -1)
        for value, moment in zip(values, moments, strict=True):
            self.ask("ana", "POST", at, {**said, "value": value, "measured_at": moment})
        for number, more in self.few(enumerate((
            {"value": 99_999}, {"value": -99_999}, {"value": 100_000}, {"value": 1e300},
            {"value": 0.005}, {"value": -0.0}, {"value": "4"}, {"value": True}, {"value": 10**40},
            {"code": "unknown"}, {"code": "c" * 61}, {"unit": "u" * 41}, {"note": "å" * 1000},
            {"note": "å" * 1001}, {"side": "left"}, {"measured_at": "2024-01-01T10:00:00"},
            {"measured_at": "2024-02-30T10:00:00Z"}, {"measured_at": "1900-01-01T00:00:00Z"},
            {"measured_at": "2199-12-31T23:59:59.999999Z"}, {"measured_at": "2024-01-01T24:00:00Z"},
            {"measured_at": "2024-06-30T23:59:60Z"}, {"measured_at": 1}, {"findings": ["unknown"]},
            {"findings": ["night_pain", "night_pain"]}, {"findings": []},
            {"code": "slr_deg", "value": 70.25, "unit": "deg"},
        )), 5):  # fmt: skip
            old = {"measured_at": f"2024-01-01T10:{number:02}:00Z"}
            self.ask("ana", "POST", at, {**said, **old, **more})
        self.pages_of("ana", at, limit=5)
        for code in self.few(("nprs_worst", "NPRS_worst", "%00", "%25", "x" * 61, ""), 2):
            self.ask("ana", "GET", f"{at}?code={code}")
        for who in ("ana", "dan"):
            for fact in ("red_flag_screen_clear", "grade_recorded", "diagnosis_recorded",
                         "neuro_screen_recorded"):  # fmt: skip
                patient = "{ben_id}" if who == "ana" else "{bea_id}"
                fact_said = {"code": fact, "value": 1, "unit": "0/1"}
                self.ask(who, "POST", f"patients/{patient}/assessments",
                         {**fact_said, "measured_at": self.ago(hours=1)}, expect=201)  # fmt: skip
            if who == "ana":
                self.preview_before_gates()

    def preview_before_gates(self) -> None:
        self.ask("ana", "POST", "patients/{bea_id}/assignments", self.wish("bea"), expect=422)
        self.ask("ana", "POST", "patients/{bea_id}/assignments/preview", self.wish("bea"))

    # --- What can be prescribed -------------------------------------------------------------

    def exercises(self) -> None:
        titles = ("Ångström", "ångström", "angstrom", "Zebra", "%", "_", "😀", "ß", "-a", "Å")
        for number, title in enumerate(titles[: 4 if self.small else None]):
            said = an_exercise(f"ours-{number}", title)
            self.ask("ana", "POST", "exercises", said, expect=201, keep={"exercise": "id"},
                     tag="exercise")  # fmt: skip
        one = "exercises/{exercise}"
        self.ask("ana", "GET", one, expect=304, If_None_Match="{exercise_tag}")
        self.ask("ana", "PATCH", one, {"cues": ["One", "Two"]}, expect=200, tag="exercise",
                 If_Match="{exercise_tag}")  # fmt: skip
        dose = {"sets": 3, "per_day": 2, "reps": 8, "days_per_week": 3, "hold_s": 20}
        self.ask("ana", "PATCH", one, {"dose": dose}, expect=200, tag="exercise",
                 If_Match="{exercise_tag}")  # fmt: skip
        self.ask("ana", "GET", one, expect=304, If_None_Match="{exercise_tag}")
        source = {"url": "https://example.org", "text": "A book", "doi": "10.1/x"}
        self.ask("ana", "PATCH", one, {"sources": [source]}, expect=200, tag="exercise",
                 If_Match="{exercise_tag}")  # fmt: skip
        for change in self.few((
            {"title": "å" * 120}, {"title": "å" * 121}, {"easier": "ours-0"}, {"harder": "nothing"},
            {"dose": {}}, {"dose": {**dose, "distance_m": 5}}, {"pain_ceiling": 11}, {"kind": "x"},
            {"pain_ceiling": 2**31}, {"equipment": ["Mat", "mat"]}, {"cues": []}, {"target": None},
            {"description": "d" * 2000}, {"description": "d" * 2001}, {"dose_unit": "hold_s"},
        ), 4):  # fmt: skip
            self.ask("ana", "PATCH", one, change)
        self.ask("ana", "PATCH", one, {"title": "x"}, expect=412, If_Match="{exercise_tag}x")
        self.ask("ana", "POST", "exercises", an_exercise("ours-0", "Twice"), expect=422)
        self.ask("ana", "POST", "exercises", an_exercise("Ours", "Upper"))
        self.ask("ana", "POST", "exercises", an_exercise("o" * 65, "Long"))
        self.ask("ana", "POST", "exercises", {})
        self.pages_of("ana", "exercises", limit=40)
        self.ask("ben", "GET", "exercises", expect=200)
        self.ask("tom", "GET", "exercises?limit=5", expect=200)
        self.ask("cleo", "GET", one, expect=200)
        self.ask("tom", "GET", one, expect=404)
        for asked in self.few((
            "q=ÅNG", "q=ng", "q=%25", "q=_", "q=%00", "kind=stretch", "kind=x", "q=ß",
            "body_region=hip&q=STRETCH", "equipment=MAT", "equipment=", "q=SS",
            "updated_after=2020-01-01T00:00:00Z&limit=2", "updated_after=2020-01-01",
            "updated_after=2190-01-01T00:00:00.000001Z",
        ), 4):  # fmt: skip
            self.ask("ana", "GET", f"exercises?{quote(asked, safe='=&%:')}")
        self.ask("ana", "GET", "exercises?limit=1", keep={"of_library": "items/0/id"}, tag="list")
        self.ask("ana", "GET", "exercises?limit=1", expect=304, If_None_Match="{list_tag}")
        self.ask("ana", "PATCH", "exercises/{of_library}", {"title": "x"})

    def protocols(self) -> None:
        self.ask("ana", "GET", "protocols", expect=200, tag="list")
        self.ask("ana", "GET", "protocols", expect=304, If_None_Match="{list_tag}")
        self.pages_of("cleo", "protocols", limit=3)
        for asked in self.few((
            "q=HAM", "q=%25", "q=å", "status=draft", "status=retired", "condition=%00",
            "condition=x", "status=x", "q=%00",
        ), 5):  # fmt: skip
            self.ask("ana", "GET", f"protocols?{quote(asked, safe='=&%')}")
        one = "protocols/{library}"
        self.ask("ana", "GET", one, expect=200, tag="library")
        self.ask("ana", "GET", f"{one}?version=1.0.0", expect=304, If_None_Match="{library_tag}")
        for version in self.few(("9.9.9", "draft", "", "%00", "1.0", "x" * 30), 3):
            self.ask("ana", "GET", f"{one}?version={version}")
        self.ask("ana", "PUT", f"{one}/draft", {}, expect=409)
        self.ask("ana", "POST", f"{one}/check", {}, expect=409)
        self.ask("ana", "POST", "protocols", {}, expect=201, keep={"draft": "id"}, tag="draft")
        self.ask("ana", "PUT", "protocols/{draft}/draft", {"title": "Å"}, expect=200,
                 If_Match="{draft_tag}", tag="draft")  # fmt: skip
        self.ask("ana", "POST", "protocols/{draft}/check", {}, expect=200)
        first = {"version": "1.0.0", "change_note": "First"}
        self.ask("ana", "POST", "protocols/{draft}/publish", first, If_Match="{draft_tag}")
        self.ask("ana", "POST", "protocols", {"copy_of": "{library}"}, expect=201,
                 keep={"copy": "id"}, tag="copy")  # fmt: skip
        self.ask("ana", "GET", "protocols/{copy}?version=draft", expect=304,
                 If_None_Match="{copy_tag}")  # fmt: skip
        self.ask("ana", "POST", "protocols/{copy}/check", {}, expect=200)
        for number, document in enumerate(self.documents()):
            self.ask("ana", "PUT", "protocols/{copy}/draft", document, If_Match="{copy_tag}",
                     tag="copy")  # fmt: skip
            self.ask("ana", "GET", "protocols/{copy}?version=draft", tag="copy",
                     If_None_Match="{copy_tag}" if number % 2 else '"x"')  # fmt: skip
        for more in self.few(({"version": "1.0"}, {"change_note": ""}, {"version": 1},
                              {"change_note": "n" * 501}), 3):  # fmt: skip
            said = {**first, **more}
            self.ask("ana", "POST", "protocols/{copy}/publish", said, If_Match="{copy_tag}")
        self.ask("dan", "POST", "protocols/{copy}/publish", first, expect=403, If_Match="*")
        self.ask("ana", "POST", "protocols/{copy}/publish", first, expect=428)
        self.ask("ana", "POST", "protocols/{copy}/publish", first, expect=201,
                 If_Match="{copy_tag}", tag="published", key="publish")  # fmt: skip
        self.ask("ana", "POST", "protocols/{copy}/publish", first, expect=201,
                 If_Match="{copy_tag}", key="publish")  # fmt: skip
        self.ask("ana", "GET", "protocols/{copy}", expect=304, If_None_Match="{published_tag}")
        self.by_the_copy()
        self.ask("ana", "POST", "protocols", {"copy_of": "{copy}"}, expect=201)
        self.ask("ana", "POST", "protocols", {"copy_of": "{copy}"}, expect=409)
        self.ask("ana", "GET", "protocols/{copy}/versions", expect=200)
        self.ask("cleo", "GET", "protocols/{copy}/diff?from=1.0.0&to=draft", expect=200, tag="diff")
        for asked in self.few(("from=1.0.0", "from=1.0.0&to=9.9.9", "from=%00&to=draft"), 2):
            self.ask("ana", "GET", f"protocols/{{copy}}/diff?{asked}")
        few = {"cohort": 3, "days": 20, "trace": [2], "picture": True}
        self.ask("ana", "POST", f"{one}/simulations", few, expect=200)
        for more in self.few(({"version": "draft"}, {"cohort": 0}, {"trace": [4]}, {"x": 1}), 2):
            self.ask("ana", "POST", "protocols/{copy}/simulations", {**few, **more})
        old = {"version": "1.0.0", "reason": "Ålder"}
        self.ask("ana", "POST", f"{one}/retire", old, expect=403, If_Match="*")
        self.ask("dan", "POST", "protocols/{copy}/retire", old, expect=403, If_Match="*")
        self.ask("ana", "POST", "protocols/{copy}/retire", old, expect=428)
        self.ask("ana", "POST", "protocols/{copy}/retire", old, expect=200,
                 If_Match="{published_tag}", tag="retired")  # fmt: skip
        self.ask("ana", "POST", "protocols/{copy}/retire", old, expect=412,
                 If_Match="{published_tag}")  # fmt: skip
        self.ask("ana", "POST", "protocols/{copy}/retire", old, expect=409, If_Match="*")
        self.ask("ana", "GET", "protocols?status=retired", expect=200)
        self.ask("tom", "GET", "protocols/{copy}/versions", expect=404)
        for wrong in self.few(({"copy_of": UNKNOWN}, {"copy_of": "x"}, {"copy_of": None}), 3):
            self.ask("ana", "POST", "protocols", wrong)
        self.ask("tom", "GET", "protocols/{copy}", expect=404)
        self.pages_of("ana", "protocols", limit=4)
        self.pages_of("ana", "protocols?status=draft", limit=1)

    def by_the_copy(self) -> None:
        """Somebody is given what will be replaced."""
        at, today = "patients/{bea_id}/assignments", self.today.isoformat()
        self.ask("dan", "GET", "assignments/{bea_plan}", tag="bea_plan")
        self.ask("dan", "POST", "assignments/{bea_plan}/end", {"from": today, "reason": "Another"},
                 expect=200, If_Match="{bea_plan_tag}")  # fmt: skip
        self.ask("dan", "POST", at, self.wish("bea", protocol_id="{copy}"), expect=201,
                 keep={"bea_plan": "id"})  # fmt: skip

    def documents(self) -> Iterator[Any]:
        """A library document with changes; the last one can be published."""
        whole = self.both.library
        yield whole | {"title": "x" * 121}
        yield whole | {"title": "Å" * 120, "condition": "c" * 65}
        yield whole | {"slug": "s" * 65}
        yield whole | {"limits": {**whole["limits"], "severe": 10**30}}
        yield whole | {"phases": []}
        yield {**whole, "summary": None}
        yield [whole]
        for number in (1.0, 1e2, 1.5e-7, 12.50, -0.0, 4.000000000000001):
            phases = json.loads(json.dumps(whole["phases"]))
            phases[0]["prescriptions"][0]["dose"]["load_kg"] = number
            yield whole | {"phases": phases}
        yield whole | {"title": "Ångström 😀", "slug": "our-own"}

    # --- Plans ------------------------------------------------------------------------------

    def wish(self, who: str, **more: object) -> dict[str, object]:
        return {
            "protocol_id": "{library}", "protocol_version": "1.0.0",
            "episode_id": f"{{{who}_episode}}", "start_date": self.today.isoformat(), **more,
        }  # fmt: skip

    def assignments(self) -> None:
        at = "patients/{ben_id}/assignments"
        self.ask("ana", "POST", f"{at}/preview", self.wish("ben"), expect=200)
        tailoring = [
            {"op": "add", "exercise": "ours-0"},
            {"op": "add", "exercise": "ours-1", "phase_id": "phase-1",
             "dose": {"reps": {"max": 12, "min": 8}, "sets": 3, "load_kg": 7.5, "tempo": "3-1-3"},
             "schedule": {"kind": "weekly", "per_week": 3}},
        ]  # fmt: skip
        for more in self.few((
            {"episode_id": "{otto_episode}"}, {"episode_id": UNKNOWN}, {"protocol_id": UNKNOWN},
            {"protocol_version": "9.9.9"}, {"protocol_version": "v" * 21},
            {"start_date": "2020-01-01"}, {"start_date": "2200-12-31"}, {"side": "up"},
            {"start_phase_id": "phase-9"}, {"start_phase_id": "p" * 41},
            {"schedule": {"parts_of_day": ["noon"]}}, {"schedule": {"days": ["mon"]}},
            {"tailoring": [{"op": "add"}]}, {"tailoring": [{"op": "set_dose", "key": "x"}]},
            {"tailoring": [{"op": "swap", "key": "phase-1/x", "exercise": "ours-0"}]},
            {"tailoring": tailoring}, {"tailoring": tailoring * 31}, {"unknown": 1, "other": 2},
            {"tailoring": [{"op": "add", "exercise": "ours-0", "dose": {"sets": 2**40}}]},
            {"tailoring": [{"op": "add", "exercise": "o" * 81, "dose": {"sets": 1, "reps": 5}}]},
        ), 4):  # fmt: skip
            self.ask("ana", "POST", f"{at}/preview", self.wish("ben", **more))
        schedule = {"parts_of_day": ["evening", "morning"], "days": ["fri", "mon"]}
        said = self.wish("ben", tailoring=tailoring, side="both", schedule=schedule)
        self.ask("ana", "POST", at, said, expect=201, keep={"plan": "id"}, tag="plan", key="assign")
        self.ask("ana", "POST", at, said, expect=201, key="assign")
        self.ask("ana", "POST", at, said, expect=409)
        self.ask("ana", "GET", "assignments/{plan}", expect=304, If_None_Match="{plan_tag}")
        self.ask("ana", "GET", "assignments/{plan}", expect=200)
        self.ask("ben", "GET", "assignments/{plan}", expect=304, If_None_Match="{plan_tag}")
        self.ask("bea", "GET", "assignments/{plan}", expect=404)
        for version in self.few(("1", "2", "0", "999999", "2147483648", "x", "-1", "%D9%A1"), 4):
            self.ask("ana", "GET", f"assignments/{{plan}}?version={version}")
        self.ask("ben", "GET", "me/assignments", expect=200)
        self.ask("dan", "POST", "patients/{bea_id}/assignments", self.wish("bea"), expect=201,
                 keep={"bea_plan": "id"})  # fmt: skip
        # The phones hear of a change in what they were given.
        self.ask("ana", "GET", "exercises?q=ours-0", keep={"given": "items/0/id"})
        self.ask("ana", "PATCH", "exercises/{given}", {"title": "Given"}, expect=200)

    def plan(self) -> None:
        at = "me/plan"
        for days in self.few(("1", "14", "28", "0", "29", "-1", "", "x", "%D9%A1", "9" * 12), 2):
            self.ask("ben", "GET", f"{at}?days={days}")
        far = (self.today + 30 * A_DAY).isoformat()
        for first in self.few(("2020-01-01", "2200-12-31", "2201-01-01", far, "x", "", "%00"), 3):
            self.ask("ben", "GET", f"{at}?from={first}&days=2")
        self.ask("ben", "GET", at, expect=200, tag="phone", keep={
            "slot": "days/0/slots/0/slot_id", "slot_2": "days/0/slots/1/slot_id",
            "item": "days/0/slots/0/items/0/prescription_id",
            "item_2": "days/0/slots/0/items/1/prescription_id",
            "tomorrow": "days/1/slots/0/slot_id",
        })  # fmt: skip
        self.ask("ben", "GET", at, expect=304, If_None_Match="{phone_tag}")
        self.ask("ben", "GET", f"{at}?days=3", expect=200, If_None_Match="{phone_tag}")
        self.ask("bea", "GET", at, expect=200, If_None_Match="{phone_tag}")
        self.ask("ben", "GET", at, Accept_Language="sv", If_None_Match="{phone_tag}")
        soon = (self.now + 40 * A_DAY).isoformat()
        self.ask("ben", "GET", f"{at}?days=28&from={self.today}", Demo_Now=soon)
        self.ask("ben", "GET", at, Demo_Now="2190-01-01T00:00:00Z")
        self.ask("ben", "GET", at, Demo_Now="1971-01-01T00:00:00.000001+14:00")
        self.ask("ben", "GET", at, Demo_Now="now")
        self.ask("once", "GET", at, expect=200)

    # --- Records ----------------------------------------------------------------------------

    def ago(self, **span: float) -> str:
        return (self.now - timedelta(**span)).isoformat()

    def session(self, revision: int = 1, **more: object) -> dict[str, object]:
        return {
            "revision": revision, "local_date": self.today.isoformat(),
            "timezone": "Europe/Stockholm", "started_at": self.ago(minutes=40),
            "ended_at": self.ago(minutes=20), "recorded_at": self.ago(minutes=19),
            "state": "finished", **more,
        }  # fmt: skip

    def check_in(self, revision: int = 1, **more: object) -> dict[str, object]:
        return {
            "revision": revision, "local_date": self.today.isoformat(),
            "timezone": "Europe/Stockholm", "recorded_at": self.ago(minutes=15), "pain_now": 1,
            **more,
        }  # fmt: skip

    def planned(self, revision: int = 1, **more: object) -> dict[str, object]:
        sets = [{"reps": 8, "load_kg": 7.5, "effort": 6.5}, {"effort": 6.0, "reps": 8}]
        return self.session(revision) | {
            "assignment_id": "{plan}", "assignment_version": 1, "slot_id": "{slot}",
            "pain_before": 1, "pain_during": 2, "pain_after": 1, "effort": 5.5,
            "entries": [
                {"prescription_id": "{item}", "state": "done", "sets": sets, "note": "Å 😀"},
                {"prescription_id": "{item_2}", "state": "skipped", "skip_reason": "pain"},
            ],
        } | more  # fmt: skip

    def named(self, name: object) -> str:
        """The id a phone gives to a record."""
        return str(uuid5(NAMESPACE, f"record {name}"))

    def sessions(self) -> None:
        at = f"me/sessions/{self.named('session')}"
        self.ask("ben", "PUT", at, self.planned(), expect=201, tag="session")
        self.ask("ben", "GET", at, expect=304, If_None_Match="{session_tag}")
        self.ask("ben", "PUT", at, self.planned(), expect=200)
        self.ask("ben", "PUT", at, dict(reversed(self.planned().items())), expect=200)
        self.ask("ben", "PUT", at, self.planned(effort=5.0), expect=409)
        self.ask("ben", "PUT", at, self.planned(3, pain_during=6, unknown="x"), expect=200)
        self.ask("ben", "PUT", at, self.planned(2, pain_during=9, pop_felt=True), expect=200)
        self.ask("ben", "PUT", at, self.planned(2), expect=200)
        self.ask("ben", "GET", at, expect=200)
        self.ask("bea", "GET", at, expect=404)
        self.ask("bea", "PUT", at, self.session(), expect=201)
        self.ask("ben", "GET", "me/plan?days=2", expect=200)
        for number, more in self.few(enumerate(self.odd_sessions()), 3):
            path = f"me/sessions/{self.named(number)}"
            self.ask("ben", "PUT", path, self.session(**more))
            self.ask("ben", "GET", path)
        self.ask("ben", "DELETE", at, expect=400)
        for revision in ("x", "1000001", "9" * 20, "1", "3", "4", "4", "6"):
            self.ask("ben", "DELETE", f"{at}?revision={revision}")
        self.ask("ben", "GET", at, expect=200)
        self.ask("ben", "PUT", at, self.planned(5), expect=200)
        self.ask("ben", "PUT", at, self.planned(7), expect=200)
        self.ask("ben", "DELETE", f"me/sessions/{UNKNOWN}?revision=1")
        self.pages_of("ben", "me/sessions", limit=6)
        for asked in (f"from={self.today}&to={self.today}", "from=x", "to=2200-12-31", "to=%00"):
            self.ask("ben", "GET", f"me/sessions?{asked}")

    def odd_sessions(self) -> Iterator[dict[str, Any]]:
        extra = {"exercise_id": "{given}", "state": "done"}
        sets = ({"reps": 0}, {"hold_s": 29.5}, {"load_kg": 499.99}, {"distance_m": 50_000},
                {"duration_s": 21_600.0, "side": "left", "pain": 10})  # fmt: skip
        yield {"entries": [{**extra, "sets": list(sets)}]}
        yield {"entries": [{**extra, "sets": [{"reps": 201}, {"reps": 2**31}, {"reps": 1.0}]}]}
        yield {"entries": [{**extra, "sets": [{"load_kg": 0.001}, {"effort": 6.4}]}]}
        yield {
            "entries": [
                {**extra, "exercise_id": UNKNOWN},
                {**extra, "exercise_id": self.named("e")},
            ]
        }
        yield {"entries": [{"state": "done"}, {"state": "skipped", "exercise_id": "{given}"}]}
        yield {"entries": [{"prescription_id": UNKNOWN, "state": "done"}]}
        yield {"assignment_id": "{plan}"}
        yield {"assignment_id": "{bea_plan}", "assignment_version": 1}
        yield {"assignment_id": UNKNOWN, "assignment_version": 1_000_000}
        yield {"assignment_id": "{plan}", "assignment_version": 999, "slot_id": "{tomorrow}"}
        yield {"assignment_id": "{plan}", "assignment_version": 1, "slot_id": UNKNOWN}
        yield {"slot_id": "{slot}"}
        yield {"state": "open", "ended_at": "{}", "note": "x"}
        yield {"state": "skipped", "skip_reason": "no_time", "pain_before": 11}
        yield {"state": "skipped"}
        yield {"local_date": "2200-12-31"}
        yield {"local_date": (self.today - 9 * A_DAY).isoformat()}
        yield {"recorded_at": (self.now + timedelta(hours=5)).isoformat()}
        last = {"started_at": "2199-12-31T23:00:00Z", "ended_at": "2199-12-31T23:30:00Z"}
        yield {**last, "recorded_at": "2199-12-31T23:59:59Z", "local_date": "2199-12-31"}
        old = self.now - 20 * A_DAY
        yield {"local_date": old.date().isoformat(), "started_at": old.isoformat(),
               "ended_at": (old + timedelta(microseconds=1)).isoformat(),
               "recorded_at": (old + timedelta(minutes=1)).isoformat()}  # fmt: skip
        yield {"started_at": self.ago(hours=7), "ended_at": self.ago(minutes=20)}
        yield {"timezone": "Pacific/Kiritimati"}
        yield {"timezone": "europe/stockholm"}
        yield {"note": "😀" * 1000, "settle_min": 1440, "stop_signs": ["night_pain"]}
        yield {"note": "😀" * 1001, "settle_min": 1441, "stop_signs": ["x"]}
        yield {"pain_during": 10, "pop_felt": True, "leg_symptom": "calf"}
        yield {"effort": 5.25, "pain_after": -1, "pain_before": 1.0}
        yield {"revision": 1_000_000}
        yield {"revision": 1_000_001}
        yield {"revision": 2**63}
        yield {"revision": None}
        yield {"note": None, "unknown": {"deep": [1, 2.0, None]}, "other": 1}

    def check_ins(self) -> None:
        at = f"me/check-ins/{self.named('check-in')}"
        self.ask("ben", "PUT", at, self.check_in(), expect=201, tag="rating")
        self.ask("ben", "GET", at, expect=304, If_None_Match="{rating_tag}")
        signs = ["night_pain", "ces_saddle_numbness"]
        self.ask("ben", "PUT", at, self.check_in(2, stop_signs=signs), expect=200)
        self.ask("ben", "PUT", at, self.check_in(2, note="other"), expect=409)
        self.ask("ben", "PUT", at, self.check_in(1), expect=200)
        yesterday = self.now - A_DAY
        rated = self.session(
            local_date=yesterday.date().isoformat(),
            started_at=(yesterday - timedelta(hours=1)).isoformat(),
            ended_at=yesterday.isoformat(),
            recorded_at=yesterday.isoformat(),
        )
        self.ask("ben", "PUT", f"me/sessions/{self.named('rated')}", rated, expect=201)
        self.ask("ben", "GET", at, expect=200)
        for number, more in self.few(enumerate((
            {"pain_now": 0, "stiffness": 10, "confidence": 5, "nprs_worst": 3}, {"pain_now": 2**31},
            {"pain_now": None}, {"note": "a\u0301", "leg_symptom": "none"}, {"leg_symptom": "x"},
            {"local_date": (self.today - A_DAY).isoformat()}, {"timezone": "UTC"},
            {"recorded_at": self.ago(minutes=15) + "x"}, {"pain_now": True},
        )), 2):  # fmt: skip
            path = f"me/check-ins/{self.named(f'c{number}')}"
            self.ask("ben", "PUT", path, self.check_in(**more))
        self.ask("ben", "DELETE", f"me/check-ins/{self.named('c0')}?revision=2", expect=200)
        self.ask("ben", "DELETE", f"me/check-ins/{self.named('c0')}?revision=2", expect=200)
        self.ask("bea", "DELETE", f"{at}?revision=9")
        self.pages_of("ben", "me/check-ins", limit=3)

    def pushes(self) -> None:
        def item(name: str, kind: str = "check_in", **more: Any) -> dict[str, object]:
            data = self.check_in() if kind == "check_in" else self.session()
            revision = data.pop("revision")
            return {
                "type": kind,
                "id": self.named(name),
                "revision": revision,
                "data": data,
                **more,
            }

        good = [item(f"p{n}", kind) for n, kind in enumerate(("session", "check_in") * 3)]
        self.push(good)
        self.push(good[::-1])
        odd: tuple[dict[str, Any], ...] = (
            {"revision": 0}, {"revision": 2**40}, {"type": "x"}, {"id": "x"}, {"id": None},
            {"data": None}, {"data": []}, {"more": 1},
        )  # fmt: skip
        self.push([
            item("p1", data=self.check_in(note="x")), item("p1", "session"), item("p2", revision=2),
            item("p2", withdrawn=True, revision=3), *(item("p3", **one) for one in odd),
            None, 1, [], {}, item("gone", withdrawn=True),
        ])  # fmt: skip
        self.push([item("skewed")], ahead=-timedelta(hours=1))
        self.push([item("ahead")], ahead=timedelta(days=3))
        self.push([item("years")], ahead=timedelta(days=40_000))
        self.push([])
        self.push([item(f"m{n}") for n in range(100 if not self.small else 10)])
        self.push([item("x")] * 101)
        self.push("x")
        self.push([item("device")], device_id=self.named("device"))
        self.push([item("device 2")], device_id="x", unknown=1)
        self.ask("ben", "POST", "me/sync/push", {"items": []})
        self.ask("ben", "POST", "me/sync/push", {"sent_at": "now", "items": []})
        packed = gzip.compress(json.dumps({"sent_at": self.now.isoformat(), "items": []}).encode())
        self.ask("ben", "POST", "me/sync/push", raw=packed, Content_Encoding="gzip")
        self.ask("ben", "POST", "me/sync/push", raw=packed[:-5], Content_Encoding="gzip")
        self.ask("ben", "POST", "me/sync/push", raw=packed, Content_Encoding="br")

    def push(self, items: object, ahead: timedelta = timedelta(), **more: object) -> None:
        sent_at = (datetime.now(ZONE) + ahead).isoformat()
        self.ask("ben", "POST", "me/sync/push", {"sent_at": sent_at, "items": items, **more})

    def feed(self) -> None:
        for who in ("ben", "bea", "once"):
            at = "me/sync/changes?limit=20"
            self.ask(who, "GET", at, expect=200, keep={"cursor": "cursor"})
            for _ in range(3 if self.small else 10):
                self.ask(who, "GET", f"{at}&cursor={{cursor}}", expect=200,
                         keep={"cursor": "cursor"})  # fmt: skip
        self.ask("ben", "GET", "me/sync/changes?cursor={cursor}", expect=400)
        for asked in self.few(("cursor=x", "cursor=", "cursor=%00", "limit=0", "cursor=W10"), 2):
            self.ask("ben", "GET", f"me/sync/changes?{asked}")

    def reports(self) -> None:
        for kind in ("sessions", "check-ins"):
            at = f"patients/{{ben_id}}/{kind}"
            self.pages_of("ana", at, limit=6 if kind == "sessions" else 50)
            self.ask("ana", "GET", f"{at}?include=history", expect=200)
            for asked in self.few(("include=x", "to=1900-01-01", "from=x", "from=%00"), 3):
                self.ask("ana", "GET", f"{at}?{asked}")
            self.ask("cleo", "GET", at, expect=403)
            self.ask("ana", "GET", f"patients/{{otto_id}}/{kind}", expect=404)

    def audit(self) -> None:
        at = "audit-events"
        for action in ("patient_check_ins", "patient_create", "flag_list", "nothing"):
            self.pages_of("cleo", f"{at}?action={action}", limit=20)
        for asked in self.few((
            "patient_id={ben_id}", "patient_id={otto_id}", f"actor_id={UNKNOWN}", "to=2020-01-01",
            "to=2020-01-01T00:00:00Z", "from=2100-01-01T00:00:00%2B01:00", "from=x", "action=%00",
            "actor_id=x", "patient_id=", "action=" + quote("å" * 61), "cursor=x", "limit=201",
            "unknown=1",
        ), 3):  # fmt: skip
            self.ask("cleo", "GET", f"{at}?{asked}&limit=5")
        for who, status in (("ana", 403), ("ben", 403), ("", 401), ("olga", 403)):
            self.ask(who, "GET", at, expect=status)

    def tailoring(self) -> None:
        plan, today = "assignments/{plan}", self.today
        bike, dig = "phase-1/ca-bike", "phase-1/sg-iso-heel-dig"
        said = {"effective_date": today.isoformat(), "reason": "Öm"}
        self.ask("ana", "GET", plan, tag="plan")
        down = {"changes": [{"op": "swap", "key": dig, "to": "easier"}]}
        self.ask("ana", "PATCH", plan, {**said, **down}, expect=428)
        self.ask("ana", "PATCH", plan, {**said, **down}, expect=412, If_Match='"x"')
        self.ask("cleo", "PATCH", plan, {**said, **down}, expect=403, If_Match="*")
        for change in self.few((
            {"op": "remove", "key": "x"}, {"op": "add", "exercise": "sg-nordic"},
            {"op": "add", "exercise": "st-hamstring-towel"}, {"op": "set_limit", "key": bike},
            {"op": "set_limit", "key": bike, "during_max": 6}, {"op": "add", "key": bike},
            {"op": "swap", "key": "phase-1/ba-single-leg", "to": "easier"},
        ), 4):  # fmt: skip
            self.ask("ana", "PATCH", plan, {**said, "changes": [change]}, expect=422,
                     If_Match="{plan_tag}")  # fmt: skip
        self.ask("ana", "PATCH", plan, {**said, **down}, expect=200, If_Match="{plan_tag}",
                 tag="plan")  # fmt: skip
        self.ask("ben", "GET", "me/plan?days=28", expect=200)
        more = [
            {"op": "set_dose", "key": bike, "dose": {"sets": 2, "duration_s": 60}},
            {"op": "add", "exercise": "co-dead-bug"},
            {"op": "swap", "key": dig, "exercise": "sg-iso-heel-dig"},
        ]
        later = {"effective_date": (today + 3 * A_DAY).isoformat(), "changes": more}
        self.ask("ana", "PATCH", plan, {**said, **later}, expect=200, If_Match="{plan_tag}",
                 tag="plan")  # fmt: skip
        self.ask("ana", "PATCH", plan, {**said, **down}, expect=409, If_Match="{plan_tag}")
        self.ask("ana", "GET", f"{plan}?version=1", expect=200)
        self.ask("ben", "GET", "me/plan?days=28", expect=200)
        self.ask("ben", "GET", "me/sync/changes", expect=200)

    def steps(self) -> None:
        plan, today = "assignments/{plan}", self.today
        pause = {"from": today.isoformat(), "reason": "Away"}
        self.ask("ana", "GET", plan, tag="plan")
        self.ask("ana", "POST", f"{plan}/pause", pause, expect=428)
        self.ask("ana", "POST", f"{plan}/pause", pause, expect=412, If_Match='"x"')
        for more in (
            {"from": "2020-01-01"}, {"until": "2020-01-01"}, {"reason": ""}, {"reason": "å" * 401},
            {"until": None}, {"from": "x"}, {"unknown": 1},
        ):  # fmt: skip
            self.ask("ana", "POST", f"{plan}/pause", {**pause, **more}, If_Match="{plan_tag}")
        later = {
            "from": (today + 20 * A_DAY).isoformat(),
            "until": (today + 22 * A_DAY).isoformat(),
        }
        self.ask("ana", "POST", f"{plan}/pause", {**pause, **later}, expect=200,
                 If_Match="{plan_tag}", tag="plan")  # fmt: skip
        until = {"until": (today + 5 * A_DAY).isoformat(), "reason": "å" * 400}
        self.ask("ana", "POST", f"{plan}/pause", {**pause, **until}, expect=200,
                 If_Match="{plan_tag}", tag="paused", key="pause")  # fmt: skip
        self.ask("ana", "POST", f"{plan}/pause", {**pause, **until}, expect=200,
                 If_Match="{plan_tag}", key="pause")  # fmt: skip
        self.ask("ana", "POST", f"{plan}/pause", pause, expect=412, If_Match="{plan_tag}")
        self.ask("ana", "POST", f"{plan}/pause", pause, expect=409, If_Match="{paused_tag}")
        self.ask("ben", "GET", "me/plan?days=28", expect=200)
        resume = {"from": (today + 2 * A_DAY).isoformat()}
        self.ask("ana", "POST", f"{plan}/resume", {"from": "2020-01-01"}, If_Match="{paused_tag}")
        self.ask("ana", "POST", f"{plan}/resume", resume, expect=200, If_Match="{paused_tag}",
                 tag="plan")  # fmt: skip
        self.ask("ana", "POST", f"{plan}/resume", resume, expect=409, If_Match="{plan_tag}")
        self.ask("ana", "GET", plan, expect=304, If_None_Match="{plan_tag}")
        self.ask("ben", "GET", "me/plan?days=28", expect=200)
        end = {"from": today.isoformat(), "reason": "Done", "status": "completed"}
        for more in ({"from": "2020-01-01"}, {"from": "2200-12-31"}, {"status": "x"}):
            self.ask("ana", "POST", f"{plan}/end", {**end, **more}, If_Match="{plan_tag}")
        in_use = {"ended_on": today.isoformat(), "end_reason": "completed"}
        self.ask("ana", "PATCH", "episodes/{ben_episode}", in_use, expect=409)
        self.ask("ana", "POST", f"{plan}/end", end, expect=200, If_Match="{plan_tag}", tag="plan")
        self.ask("ana", "POST", f"{plan}/end", end, expect=409, If_Match="{plan_tag}")
        self.ask("ana", "PATCH", "episodes/{ben_episode}", in_use, expect=200)
        self.ask("ana", "POST", "patients/{ben_id}/assignments", self.wish("ben"), expect=409)
        self.ask("ben", "GET", "me/assignments?limit=1", expect=200)
        self.ask("ben", "GET", "me/sync/changes", expect=200)

    # --- What is judged and decided ---------------------------------------------------------

    def judging(self) -> None:
        plan, today = "assignments/{bea_plan}", self.today
        for path in (f"{plan}/decisions", f"{plan}/decisions/{today}", "caseload?include=on_track"):
            self.ask("dan", "GET", path, expect=200)
        self.ask("bea", "GET", f"{plan}/decisions", expect=200)
        for who, path in (("bea", "me/progress"), ("dan", "patients/{bea_id}/timeline")):
            self.ask(who, "GET", path, expect=200, tag="chart")
            self.ask(who, "GET", path, expect=304, If_None_Match="{chart_tag}")
            for asked in self.few(("from=2020-01-01", "to=x", "from=2200-12-30&to=2200-12-31"), 2):
                self.ask(who, "GET", f"{path}?{asked}")
        self.ask("tom", "GET", "patients/{bea_id}/timeline", expect=404)
        for asked in self.few(("from=2020-01-01", "from=x", "to=2200-12-31", "limit=0"), 2):
            self.ask("dan", "GET", f"{plan}/decisions?{asked}")
        for day in self.few(("2020-01-01", "x", "2200-12-31", "%00"), 2):
            self.ask("dan", "GET", f"{plan}/decisions/{day}")
        for asked in self.few(("q=ÅBERG", "q=%25", "tier=x", "tier=on_track", "limit=1"), 2):
            self.ask("dan", "GET", f"caseload?{quote(asked, safe='=&%')}")
        self.accounting()
        self.proposals(plan)
        self.stops()

    def accounting(self) -> None:
        for group in ("patient", "physiotherapist", "protocol", "phase", "week", "exercise_kind"):
            asked = f"reports/adherence?group_by={group}&to={self.today}&heatmap=day"
            self.ask("dan", "GET", asked, expect=200)
            self.ask("dan", "GET", asked, expect=200, Accept="text/csv")
        for asked in self.few((
            "group_by=x", "from=x", "from=2200-12-31", "target=2", "min_due=-1", "min_due=4",
            "cursor=x", "limit=0", "phase_id=%00", "protocol_id=x", "bom=1",
        ), 4):  # fmt: skip
            self.ask("dan", "GET", f"reports/adherence?{asked}")
        self.ask("dan", "GET", "reports/adherence", expect=406, Accept="image/png")
        self.ask("bea", "GET", "reports/adherence", expect=403)

    def proposals(self, plan: str) -> None:
        newest = {"version": "1.1.0", "change_note": "Anew"}
        self.ask("ana", "GET", "protocols/{copy}?version=draft", tag="copy")
        self.ask("ana", "POST", "protocols/{copy}/publish", newest, expect=201,
                 If_Match="{copy_tag}")  # fmt: skip
        self.ask("dan", "POST", f"{plan}/progressions", {}, key="evaluate")
        for more in self.few(({"to_phase_id": "phase-9"}, {"to_phase_id": "phase-1"}, {"x": 1}), 2):
            self.ask("dan", "POST", f"{plan}/progressions", more)
        newer = f"{plan}/version-proposals"
        self.ask("dan", "POST", newer, {"protocol_version": "9.9.9"}, expect=422)
        self.ask("cleo", "POST", newer, {"protocol_version": "1.1.0"}, expect=403)
        self.ask("dan", "POST", newer, {"protocol_version": "1.1.0"}, expect=201,
                 keep={"wish": "id"}, tag="wish")  # fmt: skip
        self.ask("dan", "POST", newer, {"protocol_version": "1.1.0"}, expect=409)
        self.ask("dan", "GET", "progressions", expect=200)
        self.ask("dan", "GET", "progressions/{wish}", expect=304, If_None_Match="{wish_tag}")
        self.ask("bea", "GET", "progressions/{wish}", expect=200)
        self.ask("tom", "GET", "progressions/{wish}", expect=404)
        at, declined = "progressions/{wish}/decision", {"outcome": "decline"}
        self.ask("dan", "POST", at, declined, expect=428)
        self.ask("dan", "POST", at, declined, expect=412, If_Match='"x"')
        declined |= {"note": "Ännu inte", "reason_code": "other"}
        self.ask("dan", "POST", at, declined, expect=200, If_Match="{wish_tag}", key="decide")
        self.ask("dan", "POST", at, declined, expect=200, If_Match="{wish_tag}", key="decide")
        self.ask("dan", "POST", at, declined, expect=409, If_Match="{wish_tag}")
        by_hand = {"to_phase_id": "phase-2", "note": "Å"}
        self.ask("dan", "POST", f"{plan}/progressions", by_hand, expect=201)

    def stops(self) -> None:
        signs = self.check_in(stop_signs=["ces_bladder"])
        self.ask("bea", "PUT", f"me/check-ins/{self.named('signs')}", signs, expect=201)
        self.ask("dan", "GET", "flags?level=emergency", expect=200, keep={"flag": "items/0/id"})
        self.ask("cleo", "GET", "flags", expect=403)
        seen = "flags/{flag}/acknowledge"
        for who, status in (("tom", 404), ("dan", 200), ("ana", 200)):
            self.ask(who, "POST", seen, {"note": "Å"}, expect=status)
        self.ask("dan", "POST", "flags/{flag}/resolve", {"action": "advised"}, expect=409)
        at = "patients/{bea_id}/stop-clearances"
        clears = {"reason": "Sedd av läkare", "action": "referred"}
        for more in self.few(
            ({"reason": ""}, {"action": "x"}, {"resume_phase_ids": {"x": "y"}}), 2
        ):
            self.ask("dan", "POST", at, clears | more, expect=422)
        self.ask("dan", "POST", at, clears, expect=201, key="clear")
        self.ask("dan", "POST", at, clears, expect=201, key="clear")
        self.ask("dan", "POST", at, clears, expect=409)
        found = {
            "code": "nprs_worst", "value": 4, "unit": "0-10", "measured_at": self.ago(minutes=5),
            "findings": ["night_pain"],
        }  # fmt: skip
        self.ask("dan", "POST", "patients/{bea_id}/assessments", found, expect=201)
        self.ask("dan", "GET", "flags?level=routine", expect=200, keep={"flag": "items/0/id"})
        for status in (200, 409):
            self.ask("dan", "POST", "flags/{flag}/resolve", {"action": "advised"}, expect=status)

    # --- Oneself ----------------------------------------------------------------------------

    def oneself(self) -> None:
        self.ask("bea", "GET", "me", expect=200, tag="bea")
        self.ask("bea", "GET", "me", expect=304, If_None_Match="{bea_tag}")
        for said in self.few((
            {"locale": "sv"}, {"timezone": "America/Nuuk"}, {"phone": ""}, {"email": "B@Exa.org"},
            {"locale": "svenska"}, {"timezone": ""}, {"phone": "x" * 41}, {"consents": []},
            {"given_name": "x"}, {}, {"consents": [{"code": "health_data", "granted": False}]},
        ), 10):  # fmt: skip
            self.ask("bea", "PATCH", "me", said)
        self.ask("bea", "GET", "me/plan", expect=403)
        self.ask("bea", "PUT", f"me/sessions/{self.named('late')}", self.session(), expect=403)
        self.ask("bea", "POST", "me/sync/push", {"sent_at": self.ago(), "items": []}, expect=403)
        again = {"consents": [{"code": "health_data", "granted": True}]}
        self.ask("bea", "PATCH", "me", again, expect=200, tag="bea")
        self.ask("bea", "PATCH", "me", {"locale": "en"}, expect=412, If_Match='"x"')
        self.ask("bea", "PATCH", "me", {"locale": "en"}, expect=200, If_Match="{bea_tag}")
        self.ask("ana", "PATCH", "me", {"timezone": "Asia/Kolkata", "locale": "sv"}, expect=200)
        self.ask("ana", "PATCH", "me", {"phone": "1", "email": "x@example.org"})
        at = f"me/devices/{self.named('phone')}"
        device = {"platform": "ios", "app_version": "1.2.3", "push_token": "å" * 4096}
        settle(self.both.services)  # what was due without a phone went without one
        self.ask("bea", "PUT", at, device, expect=200)
        self.ask("ben", "PUT", at, device, expect=200)
        for more in ({"push_token": "t" * 4097}, {"app_version": "v" * 41}, {"platform": "x"},
                     {"app_version": ""}, {"push_token": None}, {"push_token": ""}):  # fmt: skip
            self.ask("bea", "PUT", at, {**device, **more})
        self.ask("bea", "DELETE", at, expect=204)
        self.ask("bea", "DELETE", at, expect=404)

    # --- Reminders --------------------------------------------------------------------------

    def reminders(self) -> None:
        at = "me/reminder-settings"
        wishes = {
            "enabled": True, "times": ["18:00", "08:00"], "days": ["sun", "mon"],
            "check_in_at": "07:30", "nudge_after_min": 90, "quiet_from": "21:00",
            "quiet_to": "07:00", "channels": ["email", "push", "local"], "weekly_summary": True,
        }  # fmt: skip
        self.ask("ben", "GET", at, expect=200)
        self.ask("ben", "PATCH", at, wishes, expect=200, tag="wishes")
        self.ask("ben", "PATCH", at, {"enabled": True}, expect=412, If_Match='"x"')
        self.ask("ben", "PATCH", at, {"times": ["18:00"]}, expect=200, If_Match="{wishes_tag}")
        refused: tuple[dict[str, Any], ...] = (
            {"times": ["18:00"] * 2}, {"times": ["25:00"]}, {"times": ["22:00"]}, {"days": []},
            {"quiet_from": None}, {"nudge_after_min": 1}, {"channels": ["x"]}, {"x": 1},
            {"paused_until": "2026-02-30"}, {"enabled": None},
        )  # fmt: skip
        for wrong in refused:
            self.ask("ben", "PATCH", at, wrong)
        settle(self.both.services)
        for asked in ("", "?kind=check_in", "?status=waiting&limit=1", "?kind=x", "?on=tomorrow"):
            self.ask("ben", "GET", f"me/reminders{asked}")
            self.ask("ana", "GET", f"patients/{{ben_id}}/reminders{asked}")
        self.ask("olga", "GET", "patients/{ben_id}/reminders", expect=403)
        self.ask("ben", "POST", f"me/reminders/{UNKNOWN}/snooze", {"minutes": 10}, expect=404)
        for ids in ([UNKNOWN], [], ["x"], [UNKNOWN] * 101):
            self.ask("ben", "POST", "me/reminder-receipts", {"ids": ids})
        self.ask("ben", "PATCH", at, {"enabled": False}, expect=200)

    # --- Files ------------------------------------------------------------------------------

    def files(self) -> None:
        wish = {
            "kind": "sessions", "format": "csv", "from": "2026-01-01", "to": "2026-12-31",
            "de_identified": False, "purpose": "Review",
        }  # fmt: skip
        self.ask("cleo", "POST", "exports", wish, expect=202, keep={"export": "id"})
        refused: tuple[dict[str, Any], ...] = (
            {"purpose": ""}, {"to": "2020-01-01"}, {"kind": "x"}, {"format": "pdf"}, {"x": 1},
        )  # fmt: skip
        for wrong in refused:
            self.ask("cleo", "POST", "exports", wish | wrong)
        for who in ("cleo", "ana", "ben"):
            self.ask(who, "GET", "exports?limit=1")
        self.ask("cleo", "GET", "exports/{export}", expect=200)
        self.ask("cleo", "GET", f"exports/{UNKNOWN}/file", expect=404)
        self.ask("ana", "GET", "exports/{export}", expect=403)

    # --- Running the clinic -----------------------------------------------------------------

    def clinic(self) -> None:
        self.ask("cleo", "GET", "clinic", expect=200, tag="clinic")
        self.ask("cleo", "GET", "clinic", expect=304, If_None_Match="{clinic_tag}")
        self.ask("ana", "GET", "clinic", expect=403)
        said = {"crisis_line": "90101 Å", "typing_delay_days": 6, "emergency_number": "113"}
        self.ask("cleo", "PATCH", "clinic", said, expect=428)
        self.ask("cleo", "PATCH", "clinic", said, expect=412, If_Match='"x"')
        self.ask("cleo", "PATCH", "clinic", said, expect=200, If_Match="{clinic_tag}", tag="clinic")
        for on in (False, True):
            self.ask("cleo", "PATCH", "clinic", {"proposals_on": on}, expect=200, If_Match="*")
        self.ask("dan", "GET", "progressions")
        self.ask("ben", "GET", "me/sync/changes", expect=200)
        for wrong in self.few((
            {"name": "å" * 120}, {"name": "å" * 121}, {"timezone": "Mars"}, {"urgent_email": "x"},
            {"upload_delay_days": 10**30}, {"typing_delay_days": 0}, {"emergency_number": "x"},
            {"crisis_line": None}, {"x": 1}, {"urgent_contact": "😀" * 200},
        ), 3):  # fmt: skip
            self.ask("cleo", "PATCH", "clinic", wrong, If_Match="*")
        self.staff()
        self.tokens()

    def tokens(self) -> None:
        wish = {"name": "Register Å", "scopes": ["reports.read"]}
        self.ask("cleo", "POST", "service-tokens", wish, expect=201, keep={"key": "id"})
        refused: tuple[dict[str, Any], ...] = (
            {"scopes": []}, {"scopes": ["x"]}, {"days": 367}, {"name": ""}, {"x": 1},
        )  # fmt: skip
        for wrong in refused:
            self.ask("cleo", "POST", "service-tokens", wish | wrong, expect=422)
        for who in ("cleo", "ana", "ben"):
            self.ask(who, "GET", "service-tokens?limit=1")
        self.ask("cleo", "DELETE", "service-tokens/{key}", expect=204)
        self.ask("cleo", "DELETE", f"service-tokens/{UNKNOWN}", expect=404)

    def rights(self) -> None:
        """At the end: somebody is forgotten."""
        settle(self.both.services)
        self.ask("bea", "GET", "me/data", expect=200)
        self.ask("cleo", "GET", "me/data", expect=403)
        self.ask("bea", "PUT", "me/erasure-request", expect=200)
        self.ask("bea", "DELETE", "me/erasure-request", expect=204)
        place, why = "patients/{bea_id}", {"reason": "A claim, Å"}
        self.ask("cleo", "PUT", f"{place}/legal-hold", why, expect=200)
        self.ask("ana", "PUT", f"{place}/legal-hold", why, expect=403)
        self.ask("cleo", "POST", f"{place}/erasure", {"reason": "asked"}, expect=428)
        self.ask("cleo", "POST", f"{place}/erasure", {"reason": "asked"}, expect=409, If_Match="*")
        self.ask("cleo", "DELETE", f"{place}/legal-hold", expect=204)
        for wrong in ({"reason": "retention"}, {"reason": None}, {"x": 1}):
            self.ask("cleo", "POST", f"{place}/erasure", wrong, expect=422, If_Match="*")
        self.ask("cleo", "POST", f"{place}/erasure", {"reason": "asked"}, expect=202, If_Match="*")
        self.ask("bea", "GET", "me", expect=401)

    def staff(self) -> None:
        kim = {"email": "Kim@Example.org", "given_name": "Kim", "family_name": "Åberg",
               "roles": ["physiotherapist"]}  # fmt: skip
        self.ask("cleo", "POST", "staff", kim, expect=201, keep={"kim": "id"}, tag="kim", key="kim")
        self.ask("cleo", "POST", "staff", kim, expect=201, key="kim")
        for more in self.few((
            {}, {"email": "BEA@example.org"}, {"email": "x"}, {"roles": []}, {"roles": ["x"]},
            {"roles": ["clinic_admin"] * 2}, {"given_name": "å" * 81}, {"active": True},
        ), 3):  # fmt: skip
            self.ask("cleo", "POST", "staff", {**kim, **more}, expect=422)
        self.pages_of("cleo", "staff", limit=2)
        self.ask("ana", "GET", "staff", expect=403)
        at = "staff/{kim}"
        self.ask("cleo", "PATCH", at, {"can_publish": True}, expect=412, If_Match='"x"')
        self.ask("cleo", "PATCH", at, {"can_publish": True}, expect=200, If_Match="{kim_tag}")
        self.ask("cleo", "PATCH", "staff/{ana_id}", {"active": False}, expect=422)
        for who in ("{kim}", "{ana_id}", "{dan_id}", UNKNOWN, "x"):
            said = {"active": False, "reassign_to": who}
            self.ask("cleo", "PATCH", at, said)
        self.ask("cleo", "PATCH", f"staff/{UNKNOWN}", {}, expect=404)
        self.ask("cleo", "PATCH", at, {"active": False}, expect=200)
        self.ask("cleo", "PATCH", at, {"active": True}, expect=200)

    # --- Nonsense ---------------------------------------------------------------------------

    def bad_bodies(self) -> None:
        for number, (who, method, path) in self.few(enumerate((
            ("ben", "PUT", f"me/sessions/{self.named('bad')}"), ("ben", "POST", "me/sync/push"),
            ("ana", "POST", "patients"), ("ana", "PUT", "protocols/{draft}/draft"),
            ("bea", "PATCH", "me"), ("", "POST", "enrolments/check"),
            ("ana", "POST", "patients/{ben_id}/assessments"), ("ana", "POST", "exercises"),
            ("ben", "PUT", f"me/check-ins/{self.named('bad')}"),
            ("bea", "PUT", f"me/devices/{self.named('bad')}"),
            ("ana", "PATCH", "patients/{ben_id}"), ("ana", "PATCH", "exercises/{exercise}"),
            ("ana", "POST", "patients/{ben_id}/episodes"), ("ana", "PATCH", "episodes/{hip}"),
            ("ana", "POST", "patients/{bea_id}/assignments"), ("ana", "POST", "protocols"),
            ("ana", "POST", "patients/{bea_id}/assignments/preview"),
            ("ana", "POST", "assignments/{bea_plan}/pause"),
            ("ana", "POST", "assignments/{bea_plan}/end"), ("", "POST", f"{AUTH}/auth/login"),
            ("cleo", "PATCH", "clinic"), ("cleo", "POST", "staff"),
            ("cleo", "PATCH", "staff/{kim}"),
        )), 4):  # fmt: skip
            bodies = [*NOT_JSON, *(json.dumps(one).encode() for one in NOT_OBJECTS)]
            for raw in bodies[number % 4 :: 4]:
                self.ask(who, method, path, raw=raw, If_Match="*")
            for kind in ("application/x-www-form-urlencoded", "application/json; charset=latin-1"):
                self.ask(who, method, path, raw=b"{}", Content_Type=kind)

    def bad_ids(self) -> None:
        for id in self.few((
            UNKNOWN, "%00", UNKNOWN.upper(), "x", "0", UUID(UNKNOWN).hex, f"%7B{UNKNOWN}%7D",
            "2147483648", "%F0%9F%98%80", "..%2F", f"{UNKNOWN}%20",
        ), 6):  # fmt: skip
            for at in ("patients", "assignments", "exercises", "protocols"):
                self.ask("ana", "GET", f"{at}/{id}")
            self.ask("ana", "PATCH", f"episodes/{id}", {})
            for at in ("me/sessions", "me/check-ins"):
                self.ask("ben", "GET", f"{at}/{id}")
            self.ask("ben", "DELETE", f"me/devices/{id}")

    # --- The account ------------------------------------------------------------------------

    def account(self) -> None:
        self.ask("", "POST", f"{AUTH}/auth/code/request", {"email": "Ben@example.org"},
                 keep={"door": "meta/session_token"})  # fmt: skip
        self.both.keep_mailed("mailed")
        self.ask("door", "POST", f"{AUTH}/auth/code/confirm", {"code": "WRONG1"})
        self.ask("door", "POST", f"{AUTH}/auth/code/confirm", {"code": "{mailed}"}, expect=200)
        self.ask("", "POST", f"{AUTH}/auth/code/request", {"email": "who@example.org"})
        self.ask("", "POST", f"{AUTH}/auth/password/request", {"email": "ben@example.org"},
                 keep={"door": "meta/session_token"})  # fmt: skip
        self.both.keep_mailed("mailed")
        reset = {"key": "{mailed}", "password": "quite another one"}
        self.ask("door", "POST", f"{AUTH}/auth/password/reset", {**reset, "key": "WRONG1"})
        self.ask("door", "POST", f"{AUTH}/auth/password/reset", {**reset, "password": "short"})
        self.ask("door", "POST", f"{AUTH}/auth/password/reset", reset)
        self.ask("ben", "GET", "me", expect=401)
        self.login("ben@example.org", PASSWORD)
        self.login("ben@example.org", "quite another one", keep={"ben": "meta/session_token"})
        change = {"current_password": "wrong", "new_password": "one more password"}
        self.ask("ben", "POST", f"{AUTH}/account/password/change", change)
        change["current_password"] = "quite another one"
        self.ask("ben", "POST", f"{AUTH}/account/password/change", change, expect=200,
                 keep={"ben": "meta/session_token"})  # fmt: skip
        self.ask("ben", "POST", f"{AUTH}/account/email", {"email": "New@example.org"}, expect=401)
        self.ask("ben", "POST", f"{AUTH}/auth/reauthenticate", {"password": "one more password"})
        for email in ("bea@example.org", "BEA@EXAMPLE.ORG", "x", "New@example.org"):
            self.ask("ben", "POST", f"{AUTH}/account/email", {"email": email})
        self.both.keep_mailed("mailed")
        self.ask("ben", "POST", f"{AUTH}/auth/email/verify", {"key": "{mailed}"})
        self.ask("ben", "GET", f"{AUTH}/account/email", expect=200)
        self.login("new@example.org", "one more password")
        self.login("ben@example.org", "one more password")
        self.ask("ana", "GET", f"{AUTH}/account/authenticators/totp")
        self.ask("ana", "POST", f"{AUTH}/account/authenticators/totp", {"code": "123456"})
        for n in range(0 if self.small else 12):  # more than may be tried
            self.login("dan@example.org", f"wrong {n}")
        self.login("dan@example.org", PASSWORD)

    def pages(self) -> None:
        for path in (
            "/problems/not-found", "/problems/unknown", "/problems/%00", "/accounts/login/",
            "/accounts/", "/admin/", "/admin/login/?next=%00", "/invitations/x",
            "/invitations/%00", "/api/docs", "/api/schema.json", "/robots.txt",
            "/media/of-before/sg-nordic.svg", "/media/of-before/unknown.svg",
        ):  # fmt: skip
            self.ask("", "GET", path)
        self.ask("", "DELETE", "/problems/not-found")
        form = "application/x-www-form-urlencoded"
        self.ask("", "POST", "/accounts/login/", raw=b"login=a%00b&password=c", Content_Type=form)


def an_exercise(slug: str, title: str) -> dict[str, object]:
    return {
        "slug": slug, "kind": "stretch", "title": title, "body_region": "hip", "side": "affected",
        "cues": ["Slowly"], "dose_unit": "reps", "pain_ceiling": 2,
        "dose": {"sets": 2, "reps": 5, "per_day": 1, "days_per_week": 7},
    }  # fmt: skip


def totp(secret: str) -> str:
    """What an authenticator app shows now (RFC 6238)."""
    count = int(time.time()) // 30
    digest = hmac.digest(base64.b32decode(secret), count.to_bytes(8), "sha1")
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4]) & 0x7FFFFFFF) % 10**6:06}"
