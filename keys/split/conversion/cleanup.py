"""Ends what the HSM and the co-signer have of a conversion that was given up. Repeated until it is done."""

from __future__ import annotations

import logging

from django.db import transaction

from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keycast.base import crash
from keycast.base.errors import KeycastError
from keys.hsm import registration
from keys.hsm.protocol import HsmKeyManager
from keys.hsm.providers import split_provider
from keys.hsm_errors import HsmKeyUnusable, HsmMisconfigured
from keys.lifecycle import audit
from keys.lifecycle.rows import locked_row
from keys.models.hsm import Conversion, ConversionStep
from keys.split import halves

logger = logging.getLogger(__name__)


def clean(going: Conversion) -> bool:
    """Whether nothing is left of it now."""
    key, half_b = going.key, bytes.fromhex(going.cosigner_public_key)
    try:
        keeper = keeper_of(split_provider())
        # Named by the half: whatever the co-signer has of a later attempt is none of ours.
        halves.end_half(key, split_provider(), going.kms_key_name, half_b, half_b=half_b, may_stay=True)
        crash.point("c-withdrawn")
        # The HSM's part after the half: it may have to sign for its end.
        versions = keeper.versions(going.kms_key_name)
        for version in versions:
            keeper.destroy(version)
        crash.point("c-destroyed")
    except HsmKeyUnusable:  # still being generated: it can be destroyed once it is there
        return False
    except KeycastError as error:
        logger.warning("a conversion is not cleaned up yet", extra={"key_id": str(going.pk), "code": error.code})
        return False
    _forget(going, len(versions))
    return True


def keeper_of(provider: str) -> HsmKeyManager:
    """Who makes and ends HSM keys. Raises HsmMisconfigured where the provider's settings were taken away."""
    keeper = registration.hsm_key_managers().get(provider)
    if keeper is None:
        raise HsmMisconfigured
    return keeper


def _forget(going: Conversion, versions: int) -> None:
    """A reason stays for its owner to read; without one there is nothing to say."""
    with transaction.atomic():
        row = locked_row(going.key)
        now = Conversion.objects.select_for_update().filter(pk=going.pk, step=ConversionStep.CANCELLED).first()
        # Another process has cleaned up already.
        if now is None:
            return
        if now.problem:
            Conversion.objects.filter(pk=now.pk).update(step=ConversionStep.FAILED)
        else:
            now.delete()
        if versions:
            system = Actor.system("jobs")
            audit.write(row, AuditTag.HSM_KEY_DESTROYED, system, hsm_key=now.kms_key_name, versions=versions)
