"""Opens a sealed key, compares its public key, and wipes it again: a check, not a use."""

from __future__ import annotations

from keys.refs import KeyRef, TransportRef
from keys.signing import local, transport
from keys.signing.isolated import access
from keys.signing.kms import registry
from keys.signing.vault import unlock


def check_personal(key: KeyRef) -> None:
    """Raise KeyDamaged or KekUnavailable unless what this process can open opens to the key's public key.

    A key whose secret lies in an HSM or in halves has nothing that can be compared here, and passes.
    """
    if registry.is_elsewhere():
        access.check_personal(key)
    elif key.sealed is not None and key.hsm is None:
        unlock(key.sealed, local.sealing_context_of(key), registry.provider(key.sealed.provider)).wipe()


def check_transport(ref: TransportRef) -> None:
    """Like ``check_personal``, for a transport key."""
    if registry.is_elsewhere():
        access.check_transport(ref)
        return
    unlock(ref.sealed, transport.sealing_context_of(ref), registry.provider(ref.sealed.provider)).wipe()
