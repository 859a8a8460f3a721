"""Wires the providers that the settings name: ways to make keys, signers, keepers, key-encryption keys. No I/O here.

``register`` runs once, when the app registry is ready; everything it names is made on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings

from keycast.audit import signing
from keycast.crypto import known_answers
from keys.hsm import providers
from keys.hsm.protocol import HsmKeyManager, KeySplitter
from keys.models import PersonalKey
from keys.signing.sealed_halves import SealedHalves

if TYPE_CHECKING:
    from keys.hsm.provisioning import CosignerCallbacks
    from keys.lifecycle.modes import ImportedKey

_splitters: list[KeySplitter] = []


def register() -> None:
    """Make every provider known, and have the configured ones serve. Raises KnownAnswerFailed."""
    from accounts.models import KeyMode  # noqa: PLC0415 -- needs the app registry
    from keys.lifecycle import modes  # noqa: PLC0415
    from keys.signing import factory  # noqa: PLC0415
    from keys.signing.kms import registry, versions  # noqa: PLC0415

    if providers.splits_here():
        # Whichever process this is, it may be signer A. Before anything is registered: a wrong answer leaves nothing.
        known_answers.require()
    for name, provider in providers.known().items():
        if hsm := provider.hsm:
            factory.register_capabilities((KeyMode.HSM.value, name), hsm.capabilities)
            if name in settings.HSM_PROVIDERS:
                modes.register(hsm.backend())
                factory.register_signer((KeyMode.HSM.value, name), hsm.signer)
        if kek := provider.kek:
            versions.register(name, kek.versions, kek.owns)
            if kek.is_set_up():
                registry.register(name, kek.make)
        if (checkpoints := provider.checkpoints) and checkpoints.is_set_up():
            signing.register(name, checkpoints.signer)
    modes.show_unserved(KeyMode.HSM, providers.split_provider())


def split_with(splitter: KeySplitter) -> None:
    """Who splits keys for HSMs that authorise and do not sign; called once, when the app is ready."""
    _splitters[:] = [splitter]


def splitter() -> KeySplitter:
    """Who splits keys."""
    (found,) = _splitters
    return found


def fill_halves(splits: KeySplitter, row: PersonalKey, secret: ImportedKey | None) -> None:
    """Give the row its halves: fresh ones, those of a secret, or those that a browser made of one."""
    if secret is None:
        splits.create(row)
    elif isinstance(secret, SealedHalves):
        splits.adopt_sealed(row, secret)
    else:
        splits.adopt(row, secret)


@cache
def hsm_key_managers() -> Mapping[str, HsmKeyManager]:
    """Who makes and ends HSM keys, by provider."""
    found = {name: hsm.keeper() for name, hsm in providers.hsms()}
    return {name: keeper for name, keeper in found.items() if keeper}


def cosigner_callbacks() -> CosignerCallbacks:
    """The co-signer, as jobs ask it; a key that the HSM signs with itself has none."""
    from keys.hsm import proofs  # noqa: PLC0415
    from keys.hsm.provisioning import CosignerCallbacks  # noqa: PLC0415

    def register_authoriser(row: PersonalKey, public_key: bytes) -> None:
        if providers.splits(row.hsm_provider):
            proofs.register(row, public_key, row.kms_key_name, hsm_key_managers()[row.hsm_provider])

    def forget(row: PersonalKey) -> None:
        if providers.splits(row.hsm_provider):
            splitter().end(row)

    return CosignerCallbacks(register_authoriser, forget)
