"""Mails about locks. They hold no secret."""

from __future__ import annotations

from collections.abc import Iterable

from django.template.loader import render_to_string
from django.urls import reverse

from accounts.absolute_urls import origin
from accounts.mail import send_later
from accounts.models import User
from accounts.models.panic import DeploymentLock, Release
from accounts.staff.approvals.notices import deciders_of
from accounts.staff.roles import StaffPermission


def deployment_locked(row: DeploymentLock) -> None:
    """Tell those who may decide on its end."""
    people = list(deciders_of(StaffPermission.APPROVE).order_by("email").values_list("email", flat=True))
    text = render_to_string("accounts/email/deployment_locked.txt", {"lock": row})
    _send("The deployment is locked", text, people)


def release_asked(row: Release, deciders: Iterable[User]) -> None:
    """Tell those who may decide."""
    link = f"{origin(row.tenant)}{reverse('portal:emergency')}"
    text = render_to_string("accounts/email/release_asked.txt", {"release": row, "link": link})
    _send("Decide: lift a lock", text, [person.email for person in deciders])


def _send(subject: str, text: str, people: list[str]) -> None:
    for address in people:
        send_later(to=address, subject=f"[Keycast] {subject}", text=text)
