"""Mails about a change of a split key's HSM key, while it can be refused: to its owner and to who operates Keycast."""

from __future__ import annotations

from datetime import datetime

from django.template.loader import render_to_string
from django.urls import reverse

from accounts.absolute_urls import origin
from accounts.mail import send_later
from accounts.models import User
from accounts.staff.roles import PERMISSIONS, StaffPermission
from keycast.base.errors import NotFound
from keys.models import PersonalKey


def tell_of_successor(key: PersonalKey, until: datetime) -> None:
    """Write the mails with the change that they tell of; they leave once that is committed."""
    context = {"key": key, "tenant": key.tenant, "until": until, "url": _address(key)}
    text = render_to_string("keys/email/successor.txt", context)
    send_later(to=key.user.email, subject=f"{key.tenant.name}: another HSM key for your key {key.name}", text=text)
    context["is_staff"] = True
    text = render_to_string("keys/email/successor.txt", context)
    people = User.objects.filter(is_active=True, is_staff=True, staff_role__in=PERMISSIONS[StaffPermission.OPERATE])
    for address in people.exclude(pk=key.user_id).order_by("email").values_list("email", flat=True)[:100]:
        send_later(to=address, subject=f"[Keycast] Another HSM key for {key.name} of {key.tenant.slug}", text=text)


def _address(key: PersonalKey) -> str:
    """The key's page; empty while the tenant has no host name that the outside world knows."""
    try:
        return origin(key.tenant) + reverse("keys:detail", args=[key.id])
    except NotFound:
        return ""
