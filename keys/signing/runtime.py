"""The service objects of this process, made on first use; everybody shares them, so a key is open once."""

from __future__ import annotations

from functools import cache, partial
from uuid import UUID

from django.db import transaction

from keys.errors import KeyDamaged
from keys.signing import factory
from keys.signing.protocol import DamageReport
from keys.signing.service import SigningService
from keys.signing.transport import TransportService

_reports: list[DamageReport] = []


def report_damage_to(report: DamageReport) -> None:
    """Who is told of key material that fails its check (keys.lifecycle.damage); called once, when the app is ready."""
    _reports[:] = [report]


async def _report_damage(key_id: UUID, damage: KeyDamaged) -> None:
    (report,) = _reports
    await report(key_id, damage)


@cache
def signing_service() -> SigningService:
    """The one signing service of this process."""
    return factory.make_signing_service(_report_damage)


@cache
def transport_service() -> TransportService:
    """What opens transport keys in this process."""
    return factory.make_transport_service(_report_damage)


def forget_after_commit(key_id: UUID) -> None:
    """Wipe what this process keeps open of a key that was stopped; other processes follow the change's revision."""
    transaction.on_commit(partial(signing_service().forget, key_id))
