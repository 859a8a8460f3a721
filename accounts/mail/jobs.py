"""Jobs that send mail, by dotted path for django-q2. Their arguments stay readable in its tables: ids, and no more."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from accounts.mail import outbox

SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (
    ("send waiting mails", "accounts.mail.jobs.send_waiting_mails", 1),
)
SINGLE: Final[tuple[str, ...]] = (outbox.JOB,)
"""Jobs for one mail, by its id."""


def send_mail(mail_id: str) -> bool:
    """Send one mail soon after it was written; whether it went."""
    return outbox.send_soon(UUID(mail_id))


def send_waiting_mails() -> int:
    """Send the mails that wait, and give up those that are too old; returns how many went."""
    return outbox.send_waiting()
