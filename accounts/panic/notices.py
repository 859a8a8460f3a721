"""Mails about locks. They hold no secret."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.absolute_urls import origin
from accounts.models import User
from accounts.models.panic import DeploymentLock, Release
from accounts.staff.approvals.notices import deciders_of
from accounts.staff.roles import Duty


def deployment_locked(row: DeploymentLock) -> None:
    """Tell those who may decide on its end."""
    people = list(deciders_of(Duty.APPROVE).order_by("email").values_list("email", flat=True))
    text = render_to_string("accounts/email/deployment_locked.txt", {"lock": row})
    _later("The deployment is locked", text, people)


def release_asked(row: Release, deciders: Iterable[User]) -> None:
    """Tell those who may decide."""
    link = f"{origin(row.tenant)}{reverse('portal:emergency')}"
    text = render_to_string("accounts/email/release_asked.txt", {"release": row, "link": link})
    _later("Decide: lift a lock", text, [person.email for person in deciders])


def _later(subject: str, text: str, people: list[str]) -> None:
    def send() -> None:
        for address in people:
            send_mail(f"[Keycast] {subject}", text, settings.DEFAULT_FROM_EMAIL, [address])

    transaction.on_commit(send, robust=True)  # a mail server that is down stops nothing; robust logs it
