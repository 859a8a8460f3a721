"""What staff type into a search box, made into a condition that an index answers, however many keys there are."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q

from accounts.models import Tenant, TenantDomain, User
from keycast.nostr.nip19 import Nip19Error, public_key_of
from keys.models import PersonalKey, TransportKey

HELP: Final = "npub, public key, key id, e-mail address, tenant (slug or host), HSM key name, id of the co-signer"
PEOPLE: Final = 200
THEIR_KEYS: Final = 1000
"""So many people whose address begins with what was typed are looked at, and so many keys of theirs."""
_HSM_KEY: Final = re.compile(
    r"t[0-9a-f]{32}~k[0-9a-f]{32}|kc-[0-9a-f]{12}-[0-9a-f]{24}|.*/cryptoKeys/.+|user-[0-9a-f-]{36}"
)


def look_up(term: str, prefix: str = "") -> Q:
    """The keys that a term names exactly, or those of a tenant, or of people by the beginning of their address.

    ``prefix`` leads from another model to the key (``"key__"``). Costs a few queries by index, whatever the term.
    """
    term = term.strip()
    with suppress(Nip19Error):
        return _ids(prefix, _by_public_key(public_key_of(term)))
    if (key_id := _uuid(term)) is not None:
        return _ids(prefix, [key_id])
    if _HSM_KEY.fullmatch(term):
        return _ids(prefix, _by_hsm_key(term))
    if "@" not in term and (tenant := tenant_named(term)) is not None:
        return Q(**{f"{prefix}tenant_id": tenant.pk})
    return _ids(prefix, _of_people(term.lower()))


def tenant_named(text: str) -> Tenant | None:
    """The tenant with this slug, host or id."""
    text = text.strip().lower()
    if "\0" in text:  # PostgreSQL takes none
        return None
    if (tenant_id := _uuid(text)) is not None:
        return Tenant.objects.filter(pk=tenant_id).first()
    if found := Tenant.objects.filter(slug=text).first():
        return found
    domain = TenantDomain.objects.filter(host=text).select_related("tenant").first()
    return domain.tenant if domain else None


def _ids(prefix: str, ids: list[UUID]) -> Q:
    return Q(**{f"{prefix}pk__in": ids})


def _by_public_key(digits: str) -> list[UUID]:
    """By the key's own public key, that of a remote-signer key, or the co-signer's public half."""
    own = PersonalKey.objects.filter(public_key=digits).values_list("pk", flat=True)
    remote = TransportKey.objects.filter(public_key=digits).values_list("key_id", flat=True)
    # Said twice, so that SQLite sees that the partial index has them all.
    cosigned = (
        PersonalKey.objects.filter(cosigner_public_key=digits)
        .exclude(cosigner_public_key="")
        .values_list("pk", flat=True)
    )
    return [*own, *remote, *cosigned.order_by()[:PEOPLE]]


def _by_hsm_key(name: str) -> list[UUID]:
    """By the name of a key in an HSM, or of a version of it; Cloud KMS's short ids are taken to be in our ring."""
    if name.startswith("user-"):
        name = f"{settings.GCP_KEY_RING}/cryptoKeys/{name}"
    key_name, _, version = name.partition("/cryptoKeyVersions/")
    found = PersonalKey.objects.filter(kms_key_name=key_name).exclude(kms_key_name="")
    if version:
        found = found.filter(kms_key_version=name)
    return list(found.order_by().values_list("pk", flat=True)[:PEOPLE])


def _of_people(start: str) -> list[UUID]:
    """Keys by their owners' addresses, found first: a planner that sees people and order at once may read every key."""
    if connection.vendor == "sqlite":  # its LIKE uses no index here; its order is that of bytes, so a range does
        condition: dict[str, Any] = {"email__gte": start, "email__lt": start + "\U0010ffff"}
    else:
        condition = {"email__startswith": start}
    people = list(User.objects.filter(**condition).order_by().values_list("pk", flat=True)[:PEOPLE])
    return list(PersonalKey.objects.filter(user_id__in=people).order_by().values_list("pk", flat=True)[:THEIR_KEYS])


def _uuid(text: str) -> UUID | None:
    """An id with or without dashes; UUID() alone would take braces and more."""
    digits = text.replace("-", "").lower()
    return UUID(digits) if re.fullmatch(r"[0-9a-f]{32}", digits) else None
