"""Ending reading grants at the co-signer, before their time: by the owner, or because the app's access has ended."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction
from django_scopes import scopes_disabled

from accounts.models import KeyMode
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keycast.base.errors import KeycastError
from keys import access
from keys.errors import NoCapability
from keys.hsm import providers
from keys.lifecycle import audit
from keys.lifecycle.rows import locked_row
from keys.models import PersonalKey
from keys.signing.cosigning.client import CosignerClient, blocking

logger = logging.getLogger(__name__)
WITHIN: Final = 3.0
"""Seconds that a page waits for the co-signer."""


@transaction.atomic
def end(*, actor: Actor, key: PersonalKey, client: str) -> None:
    """End this app's (64 hex digits); the co-signer is asked when the transaction is over, and by a job if it is away.

    Raises NotPermitted, NoCapability for a key that is not split.
    """
    row = locked_row(key)
    access.require_manager(actor, row)
    if not _is_split(row):
        raise NoCapability
    audit.write(row, AuditTag.READING_ENDED, actor, client=client)
    transaction.on_commit(partial(_now_or_later, row.id, client))


def end_of_app(key_id: UUID, client: str) -> None:
    """The same because its access ends: by a job, which is asked for when the transaction is over."""
    if client and providers.splits_here():
        transaction.on_commit(partial(_enqueue, key_id, client))


def tell(key_id: UUID, client: str, cosigner: CosignerClient | None = None) -> bool:
    """Have the co-signer end it; whether the key is split. Raises CosignerUnavailable."""
    # A job names a key by its id alone.
    with scopes_disabled():
        key = PersonalKey.objects.filter(pk=key_id).first()
    if key is None or not _is_split(key):
        return False
    named = key.tenant_id, key.id, bytes.fromhex(client)
    blocking(lambda b: b.end_reading(*named), cosigner or CosignerClient(within=WITHIN))
    return True


def _now_or_later(key_id: UUID, client: str) -> None:
    try:
        tell(key_id, client)
    except KeycastError as error:
        logger.warning("a reading grant is ended later", extra={"key_id": str(key_id), "code": error.code})
        _enqueue(key_id, client)


def _enqueue(key_id: UUID, client: str) -> None:
    from django_q.tasks import async_task  # noqa: PLC0415 -- its import needs the app registry

    async_task("keys.jobs.end_reading", str(key_id), client)


def _is_split(key: PersonalKey) -> bool:
    return key.key_mode == KeyMode.HSM and providers.splits(key.hsm_provider)
