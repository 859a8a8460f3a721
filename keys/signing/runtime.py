"""The service objects of this process, made on first use; everybody shares them, so a key is open once."""

from __future__ import annotations

from functools import cache, partial
from uuid import UUID

from django.db import transaction

from keys.lifecycle.damage import report_damage
from keys.signing import factory
from keys.signing.service import SigningService
from keys.signing.transport import TransportService


@cache
def signing_service() -> SigningService:
    """The one signing service of this process."""
    return factory.make_signing_service(report_damage)


@cache
def transport_service() -> TransportService:
    """What opens transport keys in this process."""
    return factory.make_transport_service(report_damage)


def forget_after_commit(key_id: UUID) -> None:
    """Wipe what this process keeps open of a key that was stopped; other processes follow the change's revision."""
    transaction.on_commit(partial(signing_service().forget, key_id))
