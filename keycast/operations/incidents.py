"""Tells staff when something is not in order for a while, and when it is again: once each, whoever notices.

``update_incidents`` writes down what was found, ``tell`` mails what is due of it. It hands its mails to the server
itself, for it is what says that no jobs run; and it notes that staff were told once the server has a mail, not before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import structlog
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.mail import send_later
from accounts.mail.letters import Letter
from accounts.mail.transport import MailNotSent, send_now
from accounts.models import User
from accounts.staff.roles import PERMISSIONS, StaffPermission
from keycast.operations.health import HealthFinding
from keycast.operations.models import Incident

log = structlog.get_logger(__name__)

BEFORE_NOTIFYING: Final = timedelta(seconds=120)
"""How long something must be out of order before staff hear of it: a restart is no incident."""
LATE: Final = timedelta(days=1)
"""A message that could not be sent for so long is not sent any more."""
CLAIMED: Final = timedelta(minutes=5)
"""How long a message belongs to the process that sends it, from its last mail on; if it ends, another one sends it."""
PAUSE: Final = timedelta(seconds=30)
"""After a message that nobody could be sent."""


def update_incidents(findings: Iterable[HealthFinding]) -> None:
    """Open and close incidents by what was found. Several processes may do this at once. Blocks; sends nothing."""
    bad = _out_of_order(findings)
    open_ = {incident.name: incident for incident in Incident.objects.filter(ended_at__isnull=True)}
    for name, finding in bad.items():
        if name not in open_:
            _open(finding)
    for name, incident in open_.items():
        if name not in bad:
            _close(incident)


def tell(findings: Iterable[HealthFinding]) -> None:
    """Mail to staff what is due: beginnings that have lasted, and ends. Blocks for as long as the mail server takes."""
    bad = _out_of_order(findings)
    lasting = Incident.objects.filter(ended_at=None, told_at=None, began_at__lte=timezone.now() - BEFORE_NOTIFYING)
    for incident in lasting.filter(name__in=bad).order_by("began_at"):
        _tell_beginning(incident, bad[incident.name])
    _tell_ends()


def _out_of_order(findings: Iterable[HealthFinding]) -> dict[str, HealthFinding]:
    return {finding.name: finding for finding in findings if finding.tells and not finding.is_ok}


def _open(finding: HealthFinding) -> None:
    _, is_new = Incident.objects.get_or_create(
        name=finding.name, ended_at=None, defaults={"detail": finding.detail[:500], "began_at": timezone.now()}
    )
    if is_new:
        log.error("attention_needed", finding=finding.name, detail=finding.detail)


def _close(incident: Incident) -> None:
    if Incident.objects.filter(pk=incident.pk, ended_at=None).update(ended_at=timezone.now()):
        log.warning("attention_over", finding=incident.name)


def _tell_beginning(incident: Incident, finding: HealthFinding) -> None:
    body = f"{finding.detail}\n\nWhat to do: {finding.fix}\n\nSince {incident.began_at:%Y-%m-%d %H:%M} UTC."
    _tell_once(incident, "told_at", f"Keycast needs attention: {finding.name}", body)


def _tell_ends() -> None:
    """Tell the end of what staff were told the beginning of."""
    since = timezone.now() - LATE
    ended = Incident.objects.filter(ended_at__gte=since, told_at__isnull=False, told_end_at=None)
    for incident in ended.order_by("began_at")[:10]:
        assert incident.ended_at is not None  # noqa: S101 -- filtered
        lasted = f"From {incident.began_at:%Y-%m-%d %H:%M} to {incident.ended_at:%Y-%m-%d %H:%M} UTC."
        _tell_once(incident, "told_end_at", f"Keycast is in order again: {incident.name}", lasted)


def _tell_once(incident: Incident, mark: str, subject: str, body: str) -> None:
    """Send one message, if no other process is at it; one that nobody could be sent is tried again a little later."""
    if not _claim(incident, mark):
        return
    if _send(incident, subject, body):
        _rows(incident).update(**{mark: timezone.now(), "telling_until": None})
    else:
        _rows(incident).update(telling_until=timezone.now() + PAUSE)
        log.error("staff_not_told", finding=incident.name)


def _claim(incident: Incident, mark: str) -> bool:
    now = timezone.now()
    free = _rows(incident).filter(Q(telling_until=None) | Q(telling_until__lte=now), **{mark: None})
    return bool(free.update(telling_until=now + CLAIMED))


def _rows(incident: Incident) -> QuerySet[Incident]:
    return Incident.objects.filter(pk=incident.pk)


def _send(incident: Incident, subject: str, body: str) -> bool:
    """To each member of staff who operates, in a mail of its own; whether all is done that there is to do.

    Once the server has taken one, mails that it did not take go by way of the outbox, so that nobody is told twice.
    """
    people = User.objects.filter(is_active=True, is_staff=True, staff_role__in=PERMISSIONS[StaffPermission.OPERATE])
    addresses = list(people.order_by("email").values_list("email", flat=True)[:100])
    letters = [Letter(address, f"[Keycast] {subject}", body) for address in addresses]
    left = _hand_over(incident, letters)
    if letters and len(left) == len(letters):
        return False
    for letter in left:
        send_later(to=letter.to, subject=letter.subject, text=letter.text)
    return True


def _hand_over(incident: Incident, letters: list[Letter]) -> list[Letter]:
    """Hand them to the mail server, until it does not answer; what it did not take."""
    left: list[Letter] = []
    for place, letter in enumerate(letters):
        _rows(incident).update(telling_until=timezone.now() + CLAIMED)
        try:
            send_now(letter)
        except MailNotSent as error:
            log.warning("mail_not_sent", finding=incident.name, error=error.error)
            left.append(letter)
            if error.is_away:  # each of the others would wait as long for nothing
                return left + letters[place + 1 :]
    return left
