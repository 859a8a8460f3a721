"""Mails to a key's owner about its export; the first has an address that cancels it, without signing in.

The address carries a signed name of the request (django.core.signing); it can do nothing but cancel.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from django.core import signing
from django.template.loader import render_to_string
from django.urls import reverse
from django_scopes import scope

from accounts.absolute_urls import origin
from accounts.mail import send_later
from accounts.models import Tenant
from keycast.base.errors import NotFound
from keycast.nostr.nip19 import encode_npub
from keys.models import KeyExport

LIFE: Final = timedelta(days=30)
_SALT: Final = "keys.exporting.notices"


def tell_asked(export: KeyExport) -> None:
    """That it was asked for, until when it can be cancelled, and where."""
    _send(export, "somebody asked for your key", "keys/email/export_asked.txt", url=_address(export))


def tell_cancelled(export: KeyExport) -> None:
    """That nothing was given out, and why."""
    _send(export, "the export of your key was cancelled", "keys/email/export_cancelled.txt")


def tell_taken(export: KeyExport) -> None:
    """That it was downloaded, and what to do if that was somebody else."""
    _send(export, "your key was exported", "keys/email/export_taken.txt")


def named_by(tenant: Tenant, token: str) -> KeyExport:
    """The request that a mail's address names, of the tenant on whose host it was opened. Raises NotFound."""
    try:
        export_id = UUID(signing.loads(token, salt=_SALT, max_age=LIFE))
    except (signing.BadSignature, ValueError, TypeError):
        raise NotFound from None
    with scope(tenant=tenant):
        found = KeyExport.objects.select_related("key__tenant", "user").filter(key__tenant=tenant, pk=export_id).first()
    if found is None:
        raise NotFound
    return found


def _address(export: KeyExport) -> str:
    """Empty while the tenant has no host name that the outside world knows."""
    token = signing.dumps(export.id.hex, salt=_SALT)
    try:
        return origin(export.key.tenant) + reverse("keys:cancel_export_by_mail", args=[token])
    except NotFound:
        return ""


def _send(export: KeyExport, subject: str, template: str, url: str = "") -> None:
    key = export.key
    context = {
        "export": export,
        "key": key,
        "tenant": key.tenant,
        "npub": encode_npub(key.public_key or ""),
        "url": url,
    }
    text = render_to_string(template, context)
    send_later(to=export.user.email, subject=f"{key.tenant.name}: {subject}", text=text)
