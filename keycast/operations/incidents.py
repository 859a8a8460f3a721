"""Tells staff when something is not in order for a while, and when it is again: once each, whoever notices."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from smtplib import SMTPException
from typing import Final

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from accounts.models import User
from accounts.staff.roles import MATRIX, Duty
from keycast.operations.health import Finding
from keycast.operations.models import Incident

log = structlog.get_logger(__name__)

PATIENCE: Final = timedelta(seconds=120)
"""How long something must be out of order before staff hear of it: a restart is no incident."""
LATE: Final = timedelta(days=1)
"""A message that could not be sent for so long is not sent any more."""


def follow(findings: Iterable[Finding]) -> None:
    """Open, tell and close incidents by what was found. Several processes may do this at once. Blocks."""
    told = {finding.name: finding for finding in findings if finding.tells}
    bad = {name: finding for name, finding in told.items() if not finding.is_ok}
    open_ = {incident.name: incident for incident in Incident.objects.filter(ended_at__isnull=True)}
    for name, finding in bad.items():
        if name not in open_:
            _open(finding)
        elif open_[name].told_at is None and timezone.now() - open_[name].began_at >= PATIENCE:
            _tell_beginning(open_[name], finding)
    for name, incident in open_.items():
        if name not in bad:
            _close(incident)
    _tell_ends()


def _open(finding: Finding) -> None:
    _, is_new = Incident.objects.get_or_create(
        name=finding.name, ended_at=None, defaults={"detail": finding.detail[:500], "began_at": timezone.now()}
    )
    if is_new:
        log.error("attention_needed", finding=finding.name, detail=finding.detail)


def _close(incident: Incident) -> None:
    if Incident.objects.filter(pk=incident.pk, ended_at=None).update(ended_at=timezone.now()):
        log.warning("attention_over", finding=incident.name)


def _tell_beginning(incident: Incident, finding: Finding) -> None:
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
    """Send one message, if no other process does; one that cannot be sent is tried again with the next look."""
    rows = Incident.objects.filter(pk=incident.pk)
    if not rows.filter(**{mark: None}).update(**{mark: timezone.now()}):
        return
    try:
        _send(subject, body)
    except (OSError, SMTPException) as error:
        rows.update(**{mark: None})
        log.error("staff_not_told", finding=incident.name, error=type(error).__name__)


def _send(subject: str, body: str) -> None:
    """To each member of staff who operates: one message each, since addresses are nobody else's business."""
    people = User.objects.filter(is_active=True, is_staff=True, staff_role__in=MATRIX[Duty.OPERATE])
    for email in people.order_by("email").values_list("email", flat=True)[:100]:
        EmailMessage(f"[Keycast] {subject}", body, settings.DEFAULT_FROM_EMAIL, [email]).send()
