"""The co-signer's way to a mail server: ``KEYCAST_COSIGNER_EMAIL_URL``, which is not the server's EMAIL_URL."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final
from urllib.parse import unquote, urlsplit

TIMEOUT: Final = 10.0
"""Seconds for each answer of the mail server."""
_PORTS: Final = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}


class AlarmMailMisconfiguredError(Exception):
    """The text says what to set; it holds no password."""


@dataclass(frozen=True, slots=True, repr=False)
class AlarmMail:
    """A mail server, and who is written to."""

    scheme: str
    host: str
    port: int
    user: str
    password: str
    sender: str
    to: tuple[str, ...]

    def __call__(self, subject: str, text: str) -> None:
        """Send one mail. Raises OSError."""
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject, self.sender, ", ".join(self.to)
        message["Date"] = formatdate(usegmt=True)
        message.set_content(text)
        context = ssl.create_default_context()
        opened = (
            smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT, context=context)
            if self.scheme == "smtp+ssl"
            else smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)
        )
        with opened as server:
            if self.scheme == "smtp+tls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, self.password)
            server.send_message(message)


def alarm_mail(url: str, to: Sequence[str], sender: str) -> AlarmMail | None:
    """None where no server is named. Raises AlarmMailMisconfiguredError."""
    if not url and not to:
        return None
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or not to:
        raise AlarmMailMisconfiguredError(
            "KEYCAST_COSIGNER_EMAIL_URL is smtp://, smtp+tls:// or smtp+ssl:// with a host, and goes together with "
            "KEYCAST_COSIGNER_ALARM_TO."
        )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return AlarmMail(
        parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], user, password, sender, tuple(to)
    )
