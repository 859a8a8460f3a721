"""A mail to its owner for every app that got access, with an address that ends it: no stolen session can hide one.

The address carries a signed name of the connection (django.core.signing). It ends that access and can do nothing else,
needs no sign-in, since its reader may be locked out, and works for ``LIFE``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from django.core import signing
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django_scopes import scope

from accounts.absolute_urls import origin
from accounts.mail import send_later
from accounts.models import Tenant
from bunker.models import Connection
from bunker.policy import TEMPLATES
from bunker.services.lifecycle import revoke_connection
from keycast.audit.entries import Actor
from keycast.base.errors import NotFound

LIFE: Final = timedelta(days=30)
_SALT: Final = "bunker.services.notices"
ENDED_BY_MAIL: Final = "Ended by the address in the mail that told of it."


def tell_owner(connection: Connection) -> None:
    """Write the mail with the change that it tells of; it leaves once that is committed."""
    owner, tenant = connection.key.user, connection.tenant
    template = TEMPLATES.get(connection.policy_slug)
    context = {
        "connection": connection,
        "tenant": tenant,
        "policy": template,
        "key": connection.key,
        "url": _address(tenant, connection.id),
    }
    send_later(
        to=owner.email,
        subject=f"{tenant.name}: a new app can use your key",
        text=render_to_string("apps/email/new_app.txt", context),
    )


def _address(tenant: Tenant, connection_id: UUID) -> str:
    """Where the access can be ended; empty while the tenant has no host name that the outside world knows."""
    token = signing.dumps(connection_id.hex, salt=_SALT)
    try:
        return origin(tenant) + reverse("apps:end_by_mail", args=[token])
    except NotFound:
        return ""


def named_by(tenant: Tenant, token: str) -> Connection:
    """The connection that a mail's address names, of the tenant on whose host it was opened. Raises NotFound."""
    try:
        connection_id = UUID(signing.loads(token, salt=_SALT, max_age=LIFE))
    except (signing.BadSignature, ValueError, TypeError):
        raise NotFound from None
    with scope(tenant=tenant):
        found = Connection.objects.select_related("key", "tenant").filter(tenant=tenant, pk=connection_id).first()
    if found is None:
        raise NotFound
    return found


@transaction.atomic
def end_by_mail(*, tenant: Tenant, token: str) -> Connection:
    """End the access that a mail told of; ending it twice changes nothing. Raises NotFound."""
    connection = named_by(tenant, token)
    with scope(tenant=tenant):
        return revoke_connection(actor=Actor.system("address in a mail"), connection=connection, reason=ENDED_BY_MAIL)
