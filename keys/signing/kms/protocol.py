"""What a keeper of key-encryption keys is."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from uuid import UUID

from keycast.crypto.secret import SecretBytes


class WrappedDataKey(NamedTuple):
    """A data key under a key-encryption key: which version, and the opaque ciphertext."""

    kek_version: str
    blob: bytes


class KekProvider(Protocol):
    """Wraps and unwraps data keys for one tenant at a time.

    Every ciphertext is bound to the tenant, the version and ``aad``; nothing but the same three opens it.
    ``blocking`` tells whether calls wait for a network: then they are made from a thread, never from the event loop.
    Raises ``KekUnavailable`` (missing key, version unknown, service down) or ``KeyDamaged`` (does not open).
    """

    name: str
    blocking: bool

    def wrap(self, data_key: SecretBytes, *, tenant_id: UUID, aad: bytes) -> WrappedDataKey:
        """Wrap under the current version."""
        ...

    def unwrap(self, blob: bytes, *, kek_version: str, tenant_id: UUID, aad: bytes) -> SecretBytes:
        """The data key; the caller wipes it."""
        ...

    def current_version(self, tenant_id: UUID) -> str:
        """The version that ``wrap`` uses now."""
        ...
