"""E-mail, through whatever Django is set to send it with."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Callable
from datetime import datetime
from email.utils import parseaddr
from functools import partial
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend

from backend.notifications.gateways.base import (
    Address,
    Gone,
    Later,
    Notice,
    Refused,
    Result,
    Sent,
    uuid_of,
)
from backend.notifications.gateways.calling import Deadline, Timeouts

UNKNOWN_MAILBOX = b"5.1.1"  # RFC 3463


class Mail:
    """One connection for as long as it is open; a repeat has the same Message-ID.

    `links_from` is put before the path of a notice. A mailbox is gone only where the server says
    that it does not exist (550 5.1.1); any other refusal may be about this message or about us.
    """

    def __init__(self, connection: BaseEmailBackend, *, sender: str, links_from: str) -> None:
        self._connection = connection
        self._sender = sender
        self._links_from = links_from.rstrip("/")

    def send(self, address: Address, notice: Notice, *, now: datetime) -> Result:
        if notice.expires_at <= now:
            return Refused("expired")
        domain = parseaddr(self._sender)[1].rpartition("@")[2] or "localhost"
        name = f"<{uuid_of(notice.key)}@{domain}>"
        message = EmailMessage(
            subject=notice.title,
            body=f"{notice.body}\n\n{self._links_from}{notice.url}\n",
            from_email=self._sender,
            to=[address.value],
            headers={"Message-ID": name, "Auto-Submitted": "auto-generated"},  # RFC 3834
            connection=self._connection,
        )
        if isinstance(self._connection, Smtp):
            self._connection.begin()
        try:
            self._connection.open()
            message.send()
        except OSError as failed:  # smtplib's own are among them
            self._drop()
            return _result(failed)
        except ValueError:  # a line break in the title, or an address that is none
            return Refused("bad_request")
        return Sent(name)

    def close(self) -> None:
        if isinstance(self._connection, Smtp):
            self._connection.begin()
        try:
            self._connection.close()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        if isinstance(self._connection, Smtp):
            self._connection.drop()


class Smtp(EmailBackend):
    """Django's own, with one deadline for all that is said about one message."""

    _partial_connection: smtplib.SMTP | None  # Django's: greeted, not yet signed in

    def __init__(self, *, timeouts: Timeouts | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.timeouts = timeouts or Timeouts()
        self.deadline = Deadline(self.timeouts.total)

    @property
    def connection_class(self) -> Callable[..., smtplib.SMTP]:  # type: ignore[override]
        return partial(_TimedSsl if self.use_ssl else _Timed, self)

    def begin(self) -> None:
        self.deadline = Deadline(self.timeouts.total)

    def drop(self) -> None:
        """Without a farewell, which a server that hangs would not answer."""
        for one in (self.connection, self._partial_connection):
            if one is not None:
                one.close()
        self.connection = self._partial_connection = None


class _Timed(smtplib.SMTP):
    """Each step has the time that is left."""

    def __init__(self, backend: Smtp, *args: Any, **settings: Any) -> None:
        self._backend = backend
        super().__init__(*args, **settings)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        left = self._backend.deadline.left(self._backend.timeouts.connect)
        return super()._get_socket(host, port, left)  # type: ignore[misc, no-any-return]

    def send(self, s: Any) -> None:
        self._grant()
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        self._grant()
        return super().getreply()

    def _grant(self) -> None:
        if self.sock is not None:
            try:
                self.sock.settimeout(self._backend.deadline.left())
            except TimeoutError:
                self.close()
                raise


class _TimedSsl(_Timed, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""


def _result(failed: OSError) -> Result:
    match failed:
        case smtplib.SMTPRecipientsRefused():
            code, said = next(iter(failed.recipients.values()))
            if code == 550 and said.split()[:1] == [UNKNOWN_MAILBOX]:
                return Gone()
            return Refused("recipient") if code >= 500 else Later(None, "unavailable")
        case smtplib.SMTPSenderRefused(smtp_code=552):
            return Refused("too_large")
        case smtplib.SMTPSenderRefused(smtp_code=code) if code >= 500:
            return Later(None, "setup")
        case smtplib.SMTPAuthenticationError():
            return Later(None, "auth")
        case smtplib.SMTPDataError(smtp_code=code) if code >= 500:
            return Refused("content")
        case smtplib.SMTPResponseException():
            return Later(None, "unavailable")
        case smtplib.SMTPNotSupportedError():  # no STARTTLS, where we were told to use it
            return Later(None, "setup")
        case _ if isinstance(failed, TimeoutError) or isinstance(failed.__context__, TimeoutError):
            return Later(None, "timeout")
        case smtplib.SMTPException():
            return Later(None, "connection_lost")
        case _:
            return Later(None, "unreachable")
