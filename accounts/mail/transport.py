"""Hands a letter to the mail server, within EMAIL_TIMEOUT seconds for each answer. Nothing else imports Django's mail.

Never from a request: callers are jobs, and the watchdog in a thread of its own.
"""

from __future__ import annotations

from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPSenderRefused
from typing import Final

from django.conf import settings
from django.core.mail import EmailMultiAlternatives

from accounts.mail.letters import Letter
from keycast.base.errors import KeycastError

_ABOUT_THIS_LETTER: Final = (SMTPRecipientsRefused, SMTPSenderRefused, SMTPDataError, ValueError)
"""What the server, or Django's look at headers and addresses (ValueError), has against one letter."""


class MailNotSent(KeycastError):
    """The mail server did not take a letter. ``is_away``: it would take no other one either, as far as we can tell."""

    code = "mail-not-sent"
    public_message = "The mail server did not take the message."
    http_status = 503

    def __init__(self, *, is_away: bool, error: str) -> None:
        super().__init__()
        self.is_away = is_away
        self.error = error


def send_now(letter: Letter) -> None:
    """Hand it over; once this returns, the server has it. Blocks. Raises MailNotSent."""
    message = EmailMultiAlternatives(letter.subject, letter.text, settings.DEFAULT_FROM_EMAIL, [letter.to])
    if letter.html:
        message.attach_alternative(letter.html, "text/html")
    try:
        message.send()
    except (OSError, ValueError) as error:  # SMTPException is an OSError, and so is a server that does not answer
        raise MailNotSent(is_away=not isinstance(error, _ABOUT_THIS_LETTER), error=type(error).__name__) from None
