"""What becomes of a message at each provider, over real connections to peers on this machine."""

from __future__ import annotations

import json
import logging
import smtplib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Literal, cast

import httpcore
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from backend.notifications.gateways import calling, gateways_of_settings
from backend.notifications.gateways.apns import Apns
from backend.notifications.gateways.base import (
    Address,
    Gateway,
    Gone,
    Kind,
    Later,
    Notice,
    Refused,
    Result,
    Sent,
    backoff,
    collapse_id,
    retry_after,
    uuid_of,
)
from backend.notifications.gateways.calling import Timeouts, is_public
from backend.notifications.gateways.fcm import Fcm
from backend.notifications.gateways.log import Log
from backend.notifications.gateways.mail import Mail, Smtp
from backend.notifications.gateways.web_push import WebPush, encrypt, topic
from tests.peers.apns import ApnsPeer
from tests.peers.base import DRIPS, HANGS, LOSES, Says, closed_port
from tests.peers.fcm import ACCOUNT, FcmPeer, error
from tests.peers.smtp import SmtpPeer
from tests.peers.web_push import WebPushPeer, decode, encode

PATIENT = Timeouts(connect=5, total=20)  # a busy machine is no failure
HASTY = Timeouts(connect=0.3, total=0.3)
TITLE, BODY, URL = "Your exercises", "Ten minutes of calf raises — now", "/today/calf-raises"
TOKEN = "ab12" * 16  # of an iPhone
PHONE = "fcm-token-of-bens-phone"
MAILBOX = "ben@mail.test"
SECONDS = 3600

RSA = rsa.generate_private_key(65537, 2048)
APNS_KEY = ec.generate_private_key(ec.SECP256R1())
VAPID_KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def notice(now: datetime) -> Notice:
    return Notice("reminder:7f3a", TITLE, BODY, URL, now + timedelta(seconds=SECONDS), False)


# --- The peers, and gateways to them ----------------------------------------------------------


@pytest.fixture
def google() -> Iterator[FcmPeer]:
    with FcmPeer(RSA.public_key(), key_id="key-1") as peer:
        yield peer


def credentials(peer: FcmPeer) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": "rehab-test",
        "private_key_id": "key-1",
        "private_key": pem(RSA),
        "client_email": ACCOUNT,
        "token_uri": f"{peer.url}/token",
    }


@pytest.fixture
def fcm(google: FcmPeer) -> Iterator[Fcm]:
    gateway = Fcm(credentials(google), url=google.url, timeouts=PATIENT)
    yield gateway
    gateway.close()


@pytest.fixture
def apple() -> Iterator[ApnsPeer]:
    names = {"key_id": "K3Y", "team_id": "T3AM", "topic": "test.rehab"}
    with ApnsPeer(APNS_KEY.public_key(), **names) as peer:
        yield peer


def apns_to(peer: ApnsPeer, timeouts: Timeouts = PATIENT, **other: Any) -> Apns:
    usual = {"key_id": "K3Y", "team_id": "T3AM", "topic": "test.rehab", "url": peer.url}
    return Apns(pem(APNS_KEY), timeouts=timeouts, **{**usual, "trust": peer.trust, **other})


@pytest.fixture
def apns(apple: ApnsPeer) -> Iterator[Apns]:
    gateway = apns_to(apple)
    yield gateway
    gateway.close()


def web_push_to(timeouts: Timeouts = PATIENT, allow_local: bool = True) -> WebPush:
    return WebPush(
        pem(VAPID_KEY), contact="care@rehab.test", allow_local=allow_local, timeouts=timeouts
    )


@pytest.fixture
def web_push() -> Iterator[WebPush]:
    gateway = web_push_to()
    yield gateway
    gateway.close()


@pytest.fixture
def browser(web_push: WebPush) -> Iterator[WebPushPeer]:
    with WebPushPeer(web_push.public_key) as peer:
        yield peer


@pytest.fixture
def post() -> Iterator[SmtpPeer]:
    with SmtpPeer() as peer:
        yield peer


def mail_to(port: int, timeouts: Timeouts = PATIENT) -> Mail:
    smtp = Smtp(host="127.0.0.1", port=port, timeouts=timeouts)
    return Mail(smtp, sender="Rehab <rehab@mail.test>", links_from="https://rehab.test")


@pytest.fixture
def letters(post: SmtpPeer) -> Iterator[Mail]:
    gateway = mail_to(post.port)
    yield gateway
    gateway.close()


# --- Waiting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tries", "after", "jitter", "seconds"),
    [
        (1, None, 0.0, 2.5),
        (1, None, 1.0, 5),
        (2, None, 1.0, 10),
        (4, None, 0.5, 30),
        (8, None, 1.0, 640),
        (10_000, None, 1.0, 3600),
        (0, None, 1.0, 5),
        (1, timedelta(seconds=5), 0.0, 5),
        (1, timedelta(seconds=100), 0.0, 100),
        (1, timedelta(seconds=100), 1.0, 110),
        (1, timedelta(hours=5), 0.0, 5 * 3600),
        (1, timedelta(days=3650), 0.0, 24 * 3600),
    ],
)
def test_waits_grow_and_a_provider_may_ask_for_longer_ones(
    tries: int, after: timedelta | None, jitter: float, seconds: float
):
    assert backoff(tries, after=after, jitter=jitter) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("99999999999999999999", 24 * 3600),
        ("Sun, 01 Nov 2026 12:02:00 GMT", 120),
        ("Sun, 01 Nov 2026 12:02:00 -0000", 120),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0),
        ("Sun, 01 Nov 2099 11:00:00 GMT", 24 * 3600),
        ("", None),
        (None, None),
        ("-5", None),
        ("soon", None),
        ("٣", None),
        ("Sun, 01 Nov 99999999999999999999 11:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: int | None):
    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    expected = None if seconds is None else timedelta(seconds=seconds)

    assert retry_after(value, now=at) == expected


# --- FCM --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "target"), [("fcm_token", "token"), ("fcm_installation", "fid")])
def test_fcm_takes_a_message_for_every_platform(
    fcm: Fcm, google: FcmPeer, notice: Notice, now: datetime, kind: Kind, target: str
):
    sent = fcm.send(Address(kind, PHONE), notice, now=now)

    assert isinstance(sent, Sent)
    assert sent.provider_id.startswith("projects/rehab-test/messages/")
    [message] = google.heard
    assert message == {
        target: PHONE,
        "notification": {"title": TITLE, "body": BODY},
        "data": {"key": notice.key, "url": URL},
        "android": {
            "collapse_key": notice.key,
            "ttl": "3600s",
            "priority": "NORMAL",
            "notification": {"tag": notice.key},
        },
        "apns": {
            "headers": {
                "apns-collapse-id": notice.key,
                "apns-expiration": str(int(now.timestamp()) + SECONDS),
                "apns-priority": "5",
            },
            "payload": {"aps": {"sound": "default"}},
        },
        "webpush": {
            "headers": {"TTL": "3600", "Urgency": "normal"},
            "notification": {"tag": notice.key},
        },
    }


def test_fcm_is_told_what_is_urgent(fcm: Fcm, google: FcmPeer, notice: Notice, now: datetime):
    fcm.send(Address("fcm_token", PHONE), replace(notice, is_urgent=True), now=now)

    [message] = google.heard
    assert message["android"]["priority"] == "HIGH"
    assert message["apns"]["headers"]["apns-priority"] == "10"
    assert message["webpush"]["headers"]["Urgency"] == "high"


@pytest.mark.parametrize(
    ("says", "result"),
    [
        (error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), Refused("bad_request")),
        (error(400, "INVALID_ARGUMENT"), Refused("bad_request")),
        (error(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), Later(None, "auth")),
        (error(403, "PERMISSION_DENIED"), Later(None, "auth")),
        (error(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), Later(None, "auth")),
        (error(404, "NOT_FOUND", "UNREGISTERED"), Gone()),
        (error(404, "NOT_FOUND"), Later(None, "unexpected")),
        (Says(404), Later(None, "unexpected")),
        (Says(413), Refused("too_large")),
        (
            error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
            Later(timedelta(minutes=1), "too_many"),
        ),
        (
            replace(
                error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), headers={"Retry-After": "90"}
            ),
            Later(timedelta(seconds=90), "too_many"),
        ),
        (error(500, "INTERNAL", "INTERNAL"), Later(None, "unavailable")),
        (
            replace(error(503, "UNAVAILABLE", "UNAVAILABLE"), headers={"Retry-After": "7"}),
            Later(timedelta(seconds=7), "unavailable"),
        ),
        (Says(502, {"error": [1]}), Later(None, "unavailable")),
        (Says(400, {"error": {"details": [None, {"@type": 5}]}}), Refused("bad_request")),
        (Says(302, headers={"Location": "http://127.0.0.1/"}), Later(None, "unexpected")),
        (LOSES, Later(None, "connection_lost")),
    ],
)
def test_what_fcm_answers(
    fcm: Fcm, google: FcmPeer, notice: Notice, now: datetime, says: Says, result: Result
):
    google.says(says)

    assert fcm.send(Address("fcm_token", PHONE), notice, now=now) == result


def test_fcm_tells_which_addresses_are_dead_or_malformed(
    fcm: Fcm, google: FcmPeer, notice: Notice, now: datetime
):
    google.unregistered.add("old")

    assert fcm.send(Address("fcm_token", "old"), notice, now=now) == Gone()
    assert fcm.send(Address("fcm_installation", "old"), notice, now=now) == Gone()
    assert fcm.send(Address("fcm_token", "malformed"), notice, now=now) == Refused("bad_request")


def test_an_access_token_is_used_until_shortly_before_its_end(
    fcm: Fcm, google: FcmPeer, notice: Notice, now: datetime
):
    phone = Address("fcm_token", PHONE)
    for ago in (55, 25, 1):
        assert isinstance(fcm.send(phone, notice, now=now - timedelta(minutes=ago)), Sent)
    assert len(google.tokens) == 1

    fcm.send(phone, notice, now=now)
    assert len(google.tokens) == 2


def test_a_revoked_access_token_is_replaced_at_once(
    fcm: Fcm, google: FcmPeer, notice: Notice, now: datetime
):
    phone = Address("fcm_token", PHONE)
    fcm.send(phone, notice, now=now)
    google.forget_tokens()

    assert isinstance(fcm.send(phone, notice, now=now), Sent)
    assert google.taken == {notice.key: 2}
    assert len(google.tokens) == 2


def test_a_token_that_is_never_accepted_is_asked_for_once_more_and_not_again(
    fcm: Fcm, google: FcmPeer, notice: Notice, now: datetime
):
    google.says(error(401, "UNAUTHENTICATED"), error(401, "UNAUTHENTICATED"))

    assert fcm.send(Address("fcm_token", PHONE), notice, now=now) == Later(None, "auth")
    assert len(google.tokens) == 2


@pytest.mark.parametrize(
    ("says", "result"),
    [
        (Says(400, {"error": "invalid_grant"}), Later(None, "auth")),
        (Says(200, {"access_token": 5}), Later(None, "auth")),
        (Says(200), Later(None, "auth")),
        (Says(503, headers={"Retry-After": "9"}), Later(timedelta(seconds=9), "unavailable")),
        (LOSES, Later(None, "connection_lost")),
    ],
)
def test_without_an_access_token_a_message_waits(
    fcm: Fcm, google: FcmPeer, notice: Notice, now: datetime, says: Says, result: Result
):
    google.token_told.append(says)
    phone = Address("fcm_token", PHONE)

    assert fcm.send(phone, notice, now=now) == result
    assert google.heard == []
    assert isinstance(fcm.send(phone, notice, now=now), Sent)


def test_another_account_gets_no_access_token(google: FcmPeer, notice: Notice, now: datetime):
    other = credentials(google) | {"private_key": pem(rsa.generate_private_key(65537, 2048))}
    gateway = Fcm(other, url=google.url, timeouts=PATIENT)

    assert gateway.send(Address("fcm_token", PHONE), notice, now=now) == Later(None, "auth")
    gateway.close()


# --- APNs -------------------------------------------------------------------------------------


def test_apple_takes_a_message(apns: Apns, apple: ApnsPeer, notice: Notice, now: datetime):
    sent = apns.send(Address("apns", TOKEN), notice, now=now)

    assert sent == Sent(str(uuid_of(notice.key)))
    [headers] = apple.heard
    assert headers["apns-collapse-id"] == notice.key
    assert headers["apns-id"] == str(uuid_of(notice.key))
    assert headers["apns-expiration"] == str(int(now.timestamp()) + SECONDS)
    assert headers["apns-priority"] == "5"
    assert apple.taken == {notice.key: 1}


def test_many_messages_share_one_connection(
    apns: Apns, apple: ApnsPeer, notice: Notice, now: datetime
):
    for number in range(20):
        one = replace(notice, key=f"key-{number}", is_urgent=True)
        assert isinstance(apns.send(Address("apns", TOKEN), one, now=now), Sent)

    assert apple.connections == 1
    assert {headers["apns-priority"] for headers in apple.heard} == {"10"}


@pytest.mark.parametrize(
    ("status", "reason", "result"),
    [
        (400, "BadDeviceToken", Gone()),
        (410, "Unregistered", Gone()),
        (410, "ExpiredToken", Gone()),
        (410, None, Later(None, "unexpected")),
        (400, "BadCollapseId", Refused("bad_request")),
        (400, "PayloadEmpty", Refused("bad_request")),
        (400, None, Refused("bad_request")),
        (400, "BadTopic", Later(None, "setup")),
        (400, "DeviceTokenNotForTopic", Later(None, "setup")),
        (400, "IdleTimeout", Later(None, "setup")),
        (403, "BadDeviceToken", Later(None, "auth")),
        (403, "ExpiredProviderToken", Later(None, "auth")),
        (403, "InvalidProviderToken", Later(None, "auth")),
        (404, "BadPath", Later(None, "unexpected")),
        (413, "PayloadTooLarge", Refused("too_large")),
        (429, "TooManyRequests", Later(None, "too_many")),
        (429, "TooManyProviderTokenUpdates", Later(None, "too_many")),
        (500, "InternalServerError", Later(None, "unavailable")),
        (503, "Shutdown", Later(None, "unavailable")),
        (503, None, Later(None, "unavailable")),
    ],
)
def test_what_apple_answers(
    apns: Apns,
    apple: ApnsPeer,
    notice: Notice,
    now: datetime,
    status: int,
    reason: str | None,
    result: Result,
):
    apple.says(Says(status, {"reason": reason}))
    phone = Address("apns", TOKEN)

    assert apns.send(phone, notice, now=now) == result
    assert isinstance(apns.send(phone, notice, now=now), Sent)


def test_apple_may_ask_for_a_pause(apns: Apns, apple: ApnsPeer, notice: Notice, now: datetime):
    date = format_datetime(now + timedelta(seconds=50), usegmt=True)
    apple.says(
        Says(503, {"reason": "ServiceUnavailable"}, {"retry-after": "40"}),
        Says(429, None, {"retry-after": date}),
    )
    phone = Address("apns", TOKEN)

    assert apns.send(phone, notice, now=now) == Later(timedelta(seconds=40), "unavailable")
    assert apns.send(phone, notice, now=now) == Later(timedelta(seconds=50), "too_many")


def test_addresses_that_apple_does_not_know(
    apns: Apns, apple: ApnsPeer, notice: Notice, now: datetime
):
    apple.unregistered.add("cd" * 32)

    assert apns.send(Address("apns", "cd" * 32), notice, now=now) == Gone()
    assert apns.send(Address("apns", "cd" * 8), notice, now=now) == Gone()
    # What is no token at all never gets into a path.
    for odd in ("", "../" + TOKEN, TOKEN + "?x", "x" * 64, TOKEN + "\n"):
        assert apns.send(Address("apns", odd), notice, now=now) == Refused("address_invalid")


def test_set_up_wrongly_nothing_is_lost(apple: ApnsPeer, notice: Notice, now: datetime):
    for name, reason in (("team_id", "auth"), ("topic", "setup")):
        other: Any = {name: "other"}
        gateway = apns_to(apple, **other)
        assert gateway.send(Address("apns", TOKEN), notice, now=now) == Later(None, reason)
        gateway.close()


def test_a_provider_token_lives_for_half_an_hour_in_every_process(
    apple: ApnsPeer, notice: Notice, now: datetime
):
    start = datetime.fromtimestamp((int(now.timestamp()) // 1800 - 1) * 1800, tz=UTC)
    phone = Address("apns", TOKEN)
    first, second = apns_to(apple), apns_to(apple)
    for gateway, minutes in ((first, 1), (first, 29), (second, 17), (first, 31), (first, 59)):
        assert isinstance(gateway.send(phone, notice, now=start + timedelta(minutes=minutes)), Sent)
    first.close()
    second.close()

    tokens = [headers["authorization"].removeprefix("bearer ") for headers in apple.heard]
    issued = [
        jwt.decode(one, options={"verify_signature": False})["iat"] - int(start.timestamp())
        for one in tokens
    ]
    assert issued == [0, 0, 0, 1800, 1800]
    assert tokens[0] == tokens[1]
    assert tokens[3] == tokens[4]


def test_long_keys_are_collapsed_by_their_hash(
    apns: Apns, apple: ApnsPeer, notice: Notice, now: datetime
):
    for key in ("k" * 64, "k" * 65, "ключ"):
        assert isinstance(
            apns.send(Address("apns", TOKEN), replace(notice, key=key), now=now), Sent
        )

    ids = [headers["apns-collapse-id"] for headers in apple.heard]
    assert ids == [collapse_id(key) for key in ("k" * 64, "k" * 65, "ключ")]
    assert ids[0] == "k" * 64
    assert {len(one) for one in ids} == {64}


def test_what_is_too_large_is_not_sent(
    apns: Apns,
    web_push: WebPush,
    apple: ApnsPeer,
    browser: WebPushPeer,
    notice: Notice,
    now: datetime,
):
    big = replace(notice, body="ä" * 2048)

    assert apns.send(Address("apns", TOKEN), big, now=now) == Refused("too_large")
    subscription = Address("web_push", browser.subscription())
    assert web_push.send(subscription, big, now=now) == Refused("too_large")
    assert (apple.heard, browser.heard) == ([], [])


def test_an_answer_that_is_lost_may_be_sent_again_under_the_same_name(
    apns: Apns, apple: ApnsPeer, notice: Notice, now: datetime
):
    apple.says(LOSES)
    phone = Address("apns", TOKEN)

    assert apns.send(phone, notice, now=now) == Later(None, "connection_lost")
    assert isinstance(apns.send(phone, notice, now=now), Sent)
    assert apple.taken == {notice.key: 2}
    assert len({headers["apns-id"] for headers in apple.heard}) == 1
    assert len({headers["apns-collapse-id"] for headers in apple.heard}) == 1


def test_a_certificate_that_nobody_vouches_for_is_not_talked_to(
    apple: ApnsPeer, notice: Notice, now: datetime
):
    gateway = apns_to(apple, trust=None)

    assert gateway.send(Address("apns", TOKEN), notice, now=now) == Later(None, "unreachable")
    assert apple.heard == []
    gateway.close()


# --- Web Push ---------------------------------------------------------------------------------


def test_a_browser_reads_what_its_push_service_cannot(
    web_push: WebPush, browser: WebPushPeer, notice: Notice, now: datetime
):
    sent = web_push.send(Address("web_push", browser.subscription()), notice, now=now)

    assert sent == Sent(f"{browser.url}/m/1")
    [heard] = browser.heard
    assert (heard["title"], heard["body"], heard["url"]) == (TITLE, BODY, URL)
    assert heard["key"] == notice.key
    assert (heard["ttl"], heard["urgency"]) == ("3600", "normal")
    assert heard["topic"] == topic(notice.key)
    assert len(topic(notice.key)) == 32


def test_lengths_do_not_tell_messages_apart(
    web_push: WebPush, browser: WebPushPeer, notice: Notice, now: datetime
):
    subscription = Address("web_push", browser.subscription())
    for body in ("", "short", "x" * 800, "x" * 3850):
        one = replace(notice, body=body, is_urgent=True)
        assert isinstance(web_push.send(subscription, one, now=now), Sent)

    assert browser.sizes == [86 + 1024 + 16] * 3 + [4096]
    assert {heard["urgency"] for heard in browser.heard} == {"high"}


def test_the_encryption_is_that_of_the_example_in_rfc_8291():
    sender = ec.derive_private_key(
        int.from_bytes(decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big"), ec.SECP256R1()
    )
    receiver = ec.derive_private_key(
        int.from_bytes(decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), "big"), ec.SECP256R1()
    )
    found = encrypt(
        b"When I grow up, I want to be a watermelon\x02",
        receiver.public_key(),
        decode("BTBZMqHH6r4Tts7J_aSIgg"),
        salt=decode("DGv6ra1nlYgDCS1FRnbzlw"),
        key=sender,
    )
    assert encode(found) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS"
        "6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qu"
        "lcy4a-fN"
    )


@pytest.mark.parametrize(
    ("says", "result"),
    [
        (Says(200), Sent("")),
        (Says(201, headers={"Location": "/m/" + "x" * 300}), Sent("/m/" + "x" * 252)),
        (Says(202), Sent("")),
        (Says(204), Sent("")),
        (Says(404), Gone()),
        (Says(410), Gone()),
        (Says(400), Refused("bad_request")),
        (Says(401), Later(None, "auth")),
        (Says(403), Later(None, "auth")),
        (Says(413), Refused("too_large")),
        (Says(429, headers={"Retry-After": "30"}), Later(timedelta(seconds=30), "too_many")),
        (Says(500), Later(None, "unavailable")),
        (Says(503, headers={"Retry-After": "x"}), Later(None, "unavailable")),
        (Says(307, headers={"Location": "http://127.0.0.1/"}), Later(None, "unexpected")),
        (LOSES, Later(None, "connection_lost")),
    ],
)
def test_what_push_services_answer(
    web_push: WebPush,
    browser: WebPushPeer,
    notice: Notice,
    now: datetime,
    says: Says,
    result: Result,
):
    browser.says(says)

    assert web_push.send(Address("web_push", browser.subscription()), notice, now=now) == result


def test_another_sender_is_not_taken(browser: WebPushPeer, notice: Notice, now: datetime):
    other = pem(ec.generate_private_key(ec.SECP256R1()))
    gateway = WebPush(other, contact="care@rehab.test", allow_local=True, timeouts=PATIENT)
    subscription = Address("web_push", browser.subscription())

    assert gateway.send(subscription, notice, now=now) == Later(None, "auth")
    gateway.close()


KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIA"
    "iw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}


def subscription(endpoint: Any, **keys: Any) -> str:
    return json.dumps({"endpoint": endpoint, "keys": KEYS | keys})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "invalid"),
        ("[" * 4096, "invalid"),
        ("[]", "invalid"),
        ('{"endpoint": "https://push.test/x"}', "invalid"),
        (subscription(5), "invalid"),
        (subscription("https:///x"), "invalid"),
        (subscription("https://push.test/x y"), "invalid"),
        (subscription("https://push.test/\nx"), "invalid"),
        (subscription("https://push.test:x/"), "invalid"),
        (subscription("https://[push/"), "invalid"),
        (subscription("file:///etc/passwd"), "invalid"),
        (subscription("https://push.test/x", auth="AAAA"), "invalid"),
        (subscription("https://push.test/x", p256dh=encode(b"\4" + b"\1" * 64)), "invalid"),
        (subscription("http://push.test/x"), "forbidden"),
        (subscription("https://push.test:8443/x"), "forbidden"),
        (subscription("https://me@push.test/x"), "forbidden"),
        (subscription("https://127.0.0.1/x"), "forbidden"),
        (subscription("https://127.1/x"), "forbidden"),
        (subscription("https://2130706433/x"), "forbidden"),
        (subscription("https://[::1]/x"), "forbidden"),
        (subscription("https://[::ffff:10.0.0.1]/x"), "forbidden"),
        (subscription("https://169.254.169.254/latest/meta-data"), "forbidden"),
        (subscription("https://localhost/x"), "forbidden"),
    ],
)
def test_phones_cannot_send_us_anywhere(value: str, reason: str, notice: Notice, now: datetime):
    gateway = web_push_to(allow_local=False)

    found = gateway.send(Address("web_push", value), notice, now=now)
    assert found == Refused(f"address_{reason}")
    gateway.close()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("64:ff9b::101:101", True),
        ("::ffff:1.1.1.1", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.8.8.8", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("2001:db8::1", False),
        ("fc00::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool):
    assert is_public(address) is public


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["10.0.0.1", "1.1.1.1"], ["::1"]]
)
def test_a_name_is_looked_up_once_and_that_is_what_counts(
    addresses: list[str], notice: Notice, now: datetime, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def look_up(host: str, port: int, *, within: float) -> list[str]:
        asked.append(host)
        return addresses

    monkeypatch.setattr(calling, "look_up", look_up)
    gateway = web_push_to(allow_local=False)
    found = gateway.send(Address("web_push", subscription("https://push.test/x")), notice, now=now)
    gateway.close()

    assert found == Refused("address_forbidden")
    assert asked == ["push.test"]


def test_what_was_looked_at_is_connected_to(
    notice: Notice, now: datetime, monkeypatch: pytest.MonkeyPatch
):
    """And nothing is looked up again: a name may stand for something else a moment later."""
    connected: list[tuple[str, int]] = []

    def connect_tcp(_: object, host: str, port: int, *__: object) -> None:
        connected.append((host, port))
        raise httpcore.ConnectError

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    monkeypatch.setattr(calling, "look_up", lambda *_, **__: ["1.1.1.1", "2606:4700::1111"])
    gateway = web_push_to(allow_local=False)
    found = gateway.send(Address("web_push", subscription("https://push.test/x")), notice, now=now)
    gateway.close()

    assert found == Later(None, "unreachable")
    assert connected == [("1.1.1.1", 443), ("2606:4700::1111", 443)]


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "x" * 70 + ".test"])
def test_a_name_without_a_place(
    host: str, web_push: WebPush, notice: Notice, now: datetime, monkeypatch: pytest.MonkeyPatch
):
    def found_nowhere(host: str, *_: object, **__: object) -> list[Any]:
        host.encode("idna")  # as the real one begins
        raise socket.gaierror

    monkeypatch.setattr(calling, "getaddrinfo", found_nowhere)
    found = web_push.send(Address("web_push", subscription(f"https://{host}/x")), notice, now=now)

    assert found == Later(None, "unreachable")


# --- E-mail -----------------------------------------------------------------------------------


def test_a_letter(letters: Mail, post: SmtpPeer, notice: Notice, now: datetime):
    sent = letters.send(Address("email", MAILBOX), notice, now=now)

    [letter] = post.messages
    assert sent == Sent(letter["Message-ID"]) == Sent(f"<{uuid_of(notice.key)}@mail.test>")
    assert (letter["Subject"], letter["To"]) == (TITLE, MAILBOX)
    assert letter["Auto-Submitted"] == "auto-generated"
    text = cast(bytes, letter.get_payload(decode=True)).decode().replace("\r\n", "\n")
    assert text == f"{BODY}\n\nhttps://rehab.test{URL}\n"


def test_letters_share_a_connection_and_a_repeat_its_name(
    letters: Mail, post: SmtpPeer, notice: Notice, now: datetime
):
    for key in ("one", "one", "two"):
        letters.send(Address("email", MAILBOX), replace(notice, key=key), now=now)

    assert post.connections == 1
    assert sorted(post.taken.values()) == [1, 2]


@pytest.mark.parametrize(
    ("command", "reply", "result"),
    [
        ("hello", "421 busy", Later(None, "unavailable")),
        ("hello", "554 go away", Later(None, "unavailable")),
        ("MAIL", "451 later", Later(None, "unavailable")),
        ("MAIL", "530 5.7.0 sign in", Later(None, "setup")),
        ("MAIL", "552 5.3.4 too big", Refused("too_large")),
        ("RCPT", "421 4.7.0 too many", Later(None, "unavailable")),
        ("RCPT", "450 4.2.0 greylisted", Later(None, "unavailable")),
        ("RCPT", "550 5.1.1 no such user", Gone()),
        ("RCPT", "550 5.1.10 no such user", Refused("recipient")),
        ("RCPT", "550 5.7.1 policy", Refused("recipient")),
        ("RCPT", "552 5.2.2 mailbox full", Refused("recipient")),
        ("RCPT", "550 no", Refused("recipient")),
        ("DATA", "451 4.3.0 later", Later(None, "unavailable")),
        ("DATA", "554 5.6.0 content", Refused("content")),
        (".", "452 4.3.1 disk full", Later(None, "unavailable")),
        (".", "554 5.7.1 spam", Refused("content")),
        (".", "loses", Later(None, "connection_lost")),
        ("RCPT", "loses", Later(None, "connection_lost")),
        ("hello", "loses", Later(None, "connection_lost")),
    ],
)
def test_what_mail_servers_answer(
    letters: Mail,
    post: SmtpPeer,
    notice: Notice,
    now: datetime,
    command: str,
    reply: str,
    result: Result,
):
    post.replies[command] = reply
    mailbox = Address("email", MAILBOX)
    assert letters.send(mailbox, notice, now=now) == result

    post.replies.clear()
    assert isinstance(letters.send(mailbox, notice, now=now), Sent)


def test_a_wrong_password_is_ours_to_fix(post: SmtpPeer, notice: Notice, now: datetime):
    post.replies |= {"EHLO": "250-mail.test\r\n250 AUTH PLAIN", "AUTH": "535 5.7.8 no"}
    smtp = Smtp(host="127.0.0.1", port=post.port, username="u", password="p", timeouts=PATIENT)
    gateway = Mail(smtp, sender="rehab@mail.test", links_from="https://rehab.test")

    assert gateway.send(Address("email", MAILBOX), notice, now=now) == Later(None, "auth")
    gateway.close()


def test_encryption_that_a_server_lacks_is_not_done_without(
    post: SmtpPeer, notice: Notice, now: datetime
):
    smtp = Smtp(host="127.0.0.1", port=post.port, use_tls=True, timeouts=PATIENT)
    gateway = Mail(smtp, sender="rehab@mail.test", links_from="https://rehab.test")

    assert gateway.send(Address("email", MAILBOX), notice, now=now) == Later(None, "setup")
    gateway.close()


@pytest.mark.parametrize(("encrypts", "use"), [("asked", "use_tls"), ("always", "use_ssl")])
def test_letters_go_encrypted(
    encrypts: Literal["asked", "always"], use: str, notice: Notice, now: datetime
):
    with SmtpPeer(encrypts=encrypts) as peer:
        how: Any = {use: True}
        smtp = Smtp(host="localhost", port=peer.port, timeouts=PATIENT, **how)
        gateway = Mail(smtp, sender="rehab@mail.test", links_from="https://rehab.test")
        mailbox = Address("email", MAILBOX)
        refused = gateway.send(mailbox, notice, now=now)
        vars(smtp)["ssl_context"] = peer.trust
        sent = gateway.send(mailbox, notice, now=now)
        gateway.close()

    assert refused == Later(None, "unreachable")
    assert isinstance(sent, Sent)
    assert len(peer.messages) == 1


def test_a_letter_that_cannot_be_written(letters: Mail, notice: Notice, now: datetime):
    refused = Refused("bad_request")
    broken = replace(notice, title="a\nBcc: all@mail.test")

    assert letters.send(Address("email", MAILBOX), broken, now=now) == refused
    assert letters.send(Address("email", "a@b\nBcc: c@d"), notice, now=now) == refused
    assert letters.send(Address("email", "@"), notice, now=now) == refused


def test_a_connection_that_ended_meanwhile_is_made_anew(
    letters: Mail, post: SmtpPeer, notice: Notice, now: datetime
):
    mailbox = Address("email", MAILBOX)
    letters.send(mailbox, notice, now=now)
    post.replies["MAIL"] = "421 4.4.2 idle for too long"
    assert letters.send(mailbox, notice, now=now) == Later(None, "unavailable")
    post.replies.clear()

    assert isinstance(letters.send(mailbox, notice, now=now), Sent)
    assert post.connections == 2


# --- All of them ------------------------------------------------------------------------------

KINDS: list[Kind] = ["fcm_token", "fcm_installation", "apns", "web_push", "email"]

Way = tuple[Gateway, Address]


@pytest.fixture
def ways(
    google: FcmPeer, apple: ApnsPeer, browser: WebPushPeer, post: SmtpPeer
) -> Iterator[Callable[[Timeouts], dict[str, Way]]]:
    made: list[Gateway] = []

    def make(timeouts: Timeouts) -> dict[str, Way]:
        found: dict[str, Way] = {
            "fcm": (
                Fcm(credentials(google), url=google.url, timeouts=timeouts),
                Address("fcm_token", PHONE),
            ),
            "apns": (apns_to(apple, timeouts), Address("apns", TOKEN)),
            "web_push": (web_push_to(timeouts), Address("web_push", browser.subscription())),
            "email": (mail_to(post.port, timeouts), Address("email", MAILBOX)),
        }
        made.extend(gateway for gateway, _ in found.values())
        return found

    yield make
    for gateway in made:
        gateway.close()


def test_a_repeat_is_known_by_its_key(
    ways: Callable[[Timeouts], dict[str, Way]],
    google: FcmPeer,
    apple: ApnsPeer,
    browser: WebPushPeer,
    post: SmtpPeer,
    notice: Notice,
    now: datetime,
):
    """From two processes, at two times: provider and phone see the same name."""
    for earlier in (timedelta(minutes=20), timedelta(0)):
        for gateway, address in ways(PATIENT).values():
            assert isinstance(gateway.send(address, notice, now=now - earlier), Sent)

    assert google.taken == apple.taken == browser.taken == {notice.key: 2}
    assert [*post.taken.values()] == [2]
    assert {one["android"]["collapse_key"] for one in google.heard} == {notice.key}
    assert {one["apns-collapse-id"] for one in apple.heard} == {notice.key}
    assert {one["topic"] for one in browser.heard} == {topic(notice.key)}


@pytest.mark.parametrize("way", ["fcm", "apns", "web_push", "email"])
def test_a_peer_that_hangs_is_left(
    way: str,
    ways: Callable[[Timeouts], dict[str, Way]],
    google: FcmPeer,
    apple: ApnsPeer,
    browser: WebPushPeer,
    post: SmtpPeer,
    notice: Notice,
    now: datetime,
):
    gateway, address = ways(HASTY)[way]
    google.says(HANGS)
    apple.says(HANGS)
    browser.says(HANGS)
    post.replies["RCPT"] = "hangs"
    started = monotonic()

    assert gateway.send(address, notice, now=now) == Later(None, "timeout")
    assert monotonic() - started < 3


def test_a_peer_that_answers_letter_by_letter_is_left_as_well(
    browser: WebPushPeer, notice: Notice, now: datetime
):
    gateway = web_push_to(HASTY)
    browser.says(DRIPS)
    started = monotonic()

    found = gateway.send(Address("web_push", browser.subscription()), notice, now=now)
    assert found == Later(None, "timeout")
    assert monotonic() - started < 3
    gateway.close()


def test_whoever_accepts_and_says_nothing_is_left(apple: ApnsPeer, notice: Notice, now: datetime):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        gateways: list[Way] = [
            (apns_to(apple, HASTY, url=f"https://localhost:{port}"), Address("apns", TOKEN)),
            (mail_to(port, HASTY), Address("email", MAILBOX)),
        ]
        for gateway, address in gateways:
            assert gateway.send(address, notice, now=now) == Later(None, "timeout")
            gateway.close()


def test_a_name_that_is_not_found_in_time(
    notice: Notice, now: datetime, monkeypatch: pytest.MonkeyPatch
):
    def slow(*_: object, **__: object) -> list[Any]:
        Event().wait(1)
        return []

    monkeypatch.setattr(calling, "getaddrinfo", slow)
    gateway = web_push_to(HASTY)

    found = gateway.send(Address("web_push", subscription("https://push.test/x")), notice, now=now)
    assert found == Later(None, "timeout")
    gateway.close()


def test_nobody_there(apple: ApnsPeer, google: FcmPeer, notice: Notice, now: datetime):
    url = f"http://127.0.0.1:{closed_port()}"
    gateways: list[Way] = [
        (Fcm(credentials(google), url=url, timeouts=PATIENT), Address("fcm_token", PHONE)),
        (apns_to(apple, url=url.replace("http", "https")), Address("apns", TOKEN)),
        (web_push_to(), Address("web_push", subscription(f"{url}/x"))),
        (mail_to(closed_port()), Address("email", MAILBOX)),
    ]
    for gateway, address in gateways:
        assert gateway.send(address, notice, now=now) == Later(None, "unreachable")
        gateway.close()


def test_what_has_expired_is_not_sent(
    ways: Callable[[Timeouts], dict[str, Way]], google: FcmPeer, notice: Notice, now: datetime
):
    log: Way = (Log(), Address("apns", TOKEN))
    for gateway, address in [*ways(PATIENT).values(), log]:
        assert gateway.send(address, notice, now=notice.expires_at) == Refused("expired")
    assert google.heard == []


def test_neither_texts_nor_addresses_are_logged(
    ways: Callable[[Timeouts], dict[str, Way]],
    google: FcmPeer,
    apple: ApnsPeer,
    browser: WebPushPeer,
    post: SmtpPeer,
    notice: Notice,
    now: datetime,
    caplog: pytest.LogCaptureFixture,
):
    """Whatever happens, and however much is logged; nor do they show where something is printed."""
    caplog.set_level(logging.DEBUG)
    said: list[object] = [notice]
    for bad in (None, Says(400), Says(410), Says(503), LOSES):
        if bad is not None:
            google.says(bad)
            apple.says(bad)
            browser.says(bad)
            post.replies["RCPT"] = f"550 5.1.1 <{MAILBOX}> is unknown"
        for gateway, address in ways(PATIENT).values():
            said += [address, gateway.send(address, notice, now=now)]
    said.append(Log().send(Address("apns", TOKEN), notice, now=now))

    shown = f"{said}" + "".join(str(vars(record)) for record in caplog.records)
    assert notice.key in shown
    for secret in (TITLE, BODY, URL, TOKEN, PHONE, MAILBOX, "a-secret-path"):
        assert secret not in shown


def test_the_log_names_kind_and_key_alone(
    notice: Notice, now: datetime, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    for kind in KINDS:
        assert Log().send(Address(kind, PHONE), notice, now=now) == Sent("logged")

    events = [cast(dict[str, Any], record.msg) for record in caplog.records]
    assert [one["kind"] for one in events] == KINDS
    assert {one["key"] for one in events} == {notice.key}
    usual = {"event", "level", "logger", "timestamp"}
    assert {name for one in events for name in one} == {"kind", "key"} | usual


# --- Settings ---------------------------------------------------------------------------------


def test_without_credentials_everything_is_logged(settings: Settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"

    found = gateways_of_settings()
    assert [*found] == KINDS
    assert {type(one) for one in found.values()} == {Log}


def test_the_settings_make_gateways(
    settings: Settings,
    google: FcmPeer,
    browser: WebPushPeer,
    notice: Notice,
    now: datetime,
    tmp_path: Path,
):
    key = tmp_path / "AuthKey.p8"
    key.write_text(pem(APNS_KEY))
    settings.DEBUG = True
    settings.FCM_CREDENTIALS = json.dumps(credentials(google))
    settings.FCM_URL = google.url
    settings.APNS_KEY = str(key)
    settings.APNS_KEY_ID = settings.APNS_TEAM_ID = settings.APNS_TOPIC = "x"
    settings.VAPID_KEY = pem(VAPID_KEY).replace("\n", "\\n")
    settings.VAPID_CONTACT = "mailto:care@rehab.test"
    found = gateways_of_settings()

    assert found["fcm_token"] is found["fcm_installation"]
    assert isinstance(found["apns"], Apns)
    values = {
        "fcm_token": PHONE,
        "fcm_installation": PHONE,
        "web_push": browser.subscription(),
        "email": MAILBOX,
    }
    for kind, value in values.items():
        address = Address(cast(Kind, kind), value)
        assert isinstance(found[address.kind].send(address, notice, now=now), Sent)
    [letter] = mail.outbox
    assert letter.body.endswith(f"{settings.PUBLIC_URL}{URL}\n")
    for gateway in found.values():
        gateway.close()


def test_mail_goes_through_the_server_that_is_set(
    settings: Settings, post: SmtpPeer, notice: Notice, now: datetime
):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", post.port
    gateway = gateways_of_settings()["email"]

    assert isinstance(gateway.send(Address("email", MAILBOX), notice, now=now), Sent)
    gateway.close()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"FCM_CREDENTIALS": "{}"}, "FCM_CREDENTIALS is no"),
        ({"FCM_CREDENTIALS": "/no/such/file"}, "FCM_CREDENTIALS is no"),
        ({"FCM_CREDENTIALS": "[]"}, "FCM_CREDENTIALS is no"),
        ({"APNS_KEY": pem(APNS_KEY)}, "APNS_KEY_ID, APNS_TEAM_ID, APNS_TOPIC missing"),
        (
            {"APNS_KEY": pem(RSA), "APNS_KEY_ID": "a", "APNS_TEAM_ID": "b", "APNS_TOPIC": "c"},
            "APNS_KEY is no",
        ),
        ({"VAPID_KEY": pem(VAPID_KEY)}, "VAPID_CONTACT missing"),
        ({"VAPID_KEY": pem(RSA), "VAPID_CONTACT": "a@b.test"}, "malformed"),
        ({"VAPID_KEY": "short", "VAPID_CONTACT": "nobody"}, "malformed"),
    ],
)
def test_half_a_set_up_is_told_in_one_line(values: dict[str, str], said: str, settings: Settings):
    for name, value in values.items():
        setattr(settings, name, value)

    with pytest.raises(ImproperlyConfigured, match=said) as refused:
        gateways_of_settings()
    assert "PRIVATE" not in str(refused.value)


def test_a_vapid_key_may_be_what_generators_print():
    raw = encode(VAPID_KEY.private_numbers().private_value.to_bytes(32, "big"))
    printed, pemmed = (WebPush(key, contact="https://rehab.test") for key in (raw, pem(VAPID_KEY)))

    assert printed.public_key == pemmed.public_key
    assert len(printed.public_key) == 87


def test_smtp_errors_are_all_os_errors():
    """The gateway relies on it."""
    assert issubclass(smtplib.SMTPException, OSError)
