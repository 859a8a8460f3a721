"""What health has to say of mails: none waits long, and none was given up lately."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.utils import timezone

from accounts.models.mail import OutgoingMail
from keycast.base.findings import HealthFinding, Severity

LATE: Final = timedelta(minutes=10)
LATELY: Final = timedelta(days=1)
_FIX: Final = "Check EMAIL_URL, the mail server and the job cluster; what waits is tried again by itself, for a day."


def mails() -> HealthFinding | None:
    """Nothing while all is well. Staff are not told of it by mail."""
    now = timezone.now()
    waiting = OutgoingMail.objects.filter(sent_at=None, given_up_at=None, created_at__lt=now - LATE).count()
    lost = OutgoingMail.objects.filter(given_up_at__gt=now - LATELY).count()
    if not waiting and not lost:
        return None
    detail = f"{waiting} wait for more than {LATE.seconds // 60} minutes; {lost} were given up within a day."
    return HealthFinding("mails", False, detail, _FIX, Severity.WARNING, "admin:jobs")
