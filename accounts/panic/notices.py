"""Mails about locks. They hold no secret."""

from __future__ import annotations

from collections.abc import Iterable

from django.template.loader import render_to_string
from django.urls import reverse

from accounts.absolute_urls import origin
from accounts.models import User
from accounts.models.panic import DeploymentLock, Release
from accounts.staff.approvals.notices import deciders_of
from accounts.staff.roles import StaffPermission
from accounts.two_person_rule import tell


def deployment_locked(row: DeploymentLock) -> None:
    """Tell those who may decide on its end."""
    people = list(deciders_of(StaffPermission.APPROVE).order_by("email").values_list("email", flat=True))
    text = render_to_string("accounts/email/deployment_locked.txt", {"lock": row})
    tell(people, "The deployment is locked", text)


def release_asked(row: Release, deciders: Iterable[User]) -> None:
    """Tell those who may decide."""
    link = f"{origin(row.tenant)}{reverse('portal:emergency')}"
    text = render_to_string("accounts/email/release_asked.txt", {"release": row, "link": link})
    tell([person.email for person in deciders], "Decide: lift a lock", text)
