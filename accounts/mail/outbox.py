"""The outbox: a row for each mail, written with the change that it tells of, sent by a job, emptied once it is sent.

A mail is sent at least once: a process that ends between the server's yes and our note of it sends it again.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.mail.letters import Letter, open_letter, seal_letter
from accounts.mail.transport import MailNotSent, send_now
from accounts.models.mail import MailProblem, OutgoingMail
from accounts.sealing import SealBroken

log = structlog.get_logger(__name__)

LIFE: Final = timedelta(days=1)
"""How long a mail is tried; then it is given up."""
CODE_LIFE: Final = timedelta(minutes=15)
"""The same for a mail with a sign-in code, which works no longer than that."""
FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=1)
CLAIMED: Final = timedelta(minutes=5)
"""How long a mail belongs to who tries it: longer than a try takes, and as long as a job may."""
AWAY: Final = timedelta(seconds=30)
"""After a server that did not answer, jobs for single mails leave theirs to the sweep for so long."""
AT_ONCE: Final = 200
KEPT: Final = timedelta(days=7)
JOB: Final = "accounts.mail.jobs.send_mail"


def send_later(*, to: str, subject: str, text: str, html: str = "", life: timedelta = LIFE) -> None:
    """Send a mail to one address once the transaction has committed, and not at all if it does not.

    Everything is sealed while it waits, for texts may hold codes; the job is handed the row's id alone.
    """
    mail_id, now = uuid.uuid4(), timezone.now()
    sealed = seal_letter(Letter(to, subject, text, html), mail_id.hex)
    OutgoingMail.objects.create(id=mail_id, sealed=sealed, created_at=now, next_try_at=now, expires_at=now + life)
    after_commit(mail_id)


def after_commit(mail_id: uuid.UUID) -> None:
    """Queue its job when the row is there for others to see; what fails here the sweep makes good (robust logs it)."""
    transaction.on_commit(lambda: _queue(mail_id), robust=True)


def _queue(mail_id: uuid.UUID) -> None:
    from django_q.tasks import async_task  # noqa: PLC0415 -- its import needs the app registry

    async_task(JOB, mail_id.hex)


def send_soon(mail_id: uuid.UUID) -> bool:
    """Try one mail; whether it was sent now. Where the server did not answer lately, the sweep tries it later."""
    lately = timezone.now() - AWAY
    if OutgoingMail.objects.filter(problem=MailProblem.AWAY, sent_at=None, tried_at__gt=lately).exists():
        return False
    return _try(mail_id) is None


def send_waiting(seconds: float = 120.0) -> int:
    """Try what is due, the oldest first, until one finds no server or so many seconds are over; returns how many went.

    Gives up what is too old, and forgets rows that ended long ago.
    """
    _give_up()
    OutgoingMail.objects.filter(created_at__lt=timezone.now() - KEPT).exclude(sent_at=None, given_up_at=None).delete()
    until, sent = timezone.now() + timedelta(seconds=seconds), 0
    for mail_id in list(_due(timezone.now()).order_by("created_at").values_list("pk", flat=True)[:AT_ONCE]):
        problem = _try(mail_id)
        sent += problem is None
        if problem == MailProblem.AWAY or timezone.now() > until:
            break
    return sent


def _due(now: datetime) -> QuerySet[OutgoingMail]:
    return OutgoingMail.objects.filter(sent_at=None, given_up_at=None, next_try_at__lte=now, expires_at__gt=now)


def _try(mail_id: uuid.UUID) -> MailProblem | None:
    """One try, unless somebody else is at it. What stands in the way, or None once it is sent. No transaction."""
    now = timezone.now()
    if not _due(now).filter(pk=mail_id).update(next_try_at=now + CLAIMED, tried_at=now):
        return MailProblem.NONE
    row = OutgoingMail.objects.get(pk=mail_id)
    try:
        send_now(open_letter(row.sealed, row.id.hex))
    except MailNotSent as error:
        return _postpone(row, MailProblem.AWAY if error.is_away else MailProblem.REFUSED, error.error)
    except SealBroken as error:
        return _postpone(row, MailProblem.UNREADABLE, type(error).__name__)
    OutgoingMail.objects.filter(pk=mail_id).update(sent_at=timezone.now(), sealed="", problem=MailProblem.NONE)
    return None


def _postpone(row: OutgoingMail, problem: MailProblem, error: str) -> MailProblem:
    attempts, now = row.attempts + 1, timezone.now()
    pause = min(FIRST_PAUSE * 2 ** min(attempts - 1, 10), LONGEST_PAUSE)
    rows = OutgoingMail.objects.filter(pk=row.pk)
    rows.update(attempts=attempts, problem=problem, tried_at=now, next_try_at=now + pause)
    log.warning("mail_not_sent", mail=row.id.hex, attempts=attempts, error=error)
    return problem


def _give_up() -> None:
    now = timezone.now()
    late = OutgoingMail.objects.filter(sent_at=None, given_up_at=None, expires_at__lte=now)
    for row in late.order_by("created_at")[: 10 * AT_ONCE]:
        if late.filter(pk=row.pk).update(given_up_at=now, sealed=""):
            log.error("mail_given_up", mail=row.id.hex, attempts=row.attempts, problem=row.problem)
