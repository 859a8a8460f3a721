"""What the rest of the program knows of a key: names, never material. Frozen, cheap, safe to keep and to log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID


class SecretPurpose(StrEnum):
    """What a sealed secret is for; bound into its ciphertext, so that one never opens in the place of another."""

    PERSONAL_KEY = "personal-key"
    TRANSPORT_KEY = "transport-key"
    SIGNER_HALF = "signer-half"
    COSIGNER_HALF = "cosigner-half"
    PARTING_HALF = "parting-half"
    PAGE_KEY = "page-key"


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret under a key-encryption key: ``provider`` and ``kek_version`` name the key, ``blob`` is opaque.

    A packed half (keys.signing.half) names its provider in the blob; ``provider`` is empty then.
    """

    provider: str
    kek_version: str
    blob: bytes = field(repr=False)

    @classmethod
    def stored(cls, provider: str, kek_version: str, blob: bytes | memoryview | None) -> SealedSecret:
        """As a row keeps it: drivers give a BinaryField as bytes or as a memoryview."""
        return cls(provider, kek_version, bytes(blob or b""))


@dataclass(frozen=True, slots=True)
class HsmRef:
    """Where an HSM keeps its part: names as the provider knows them.

    ``authoriser`` is the HSM's own public key (keycast.crypto.authoriser_keys, in hex) where it authorises rather than
    signs; ``tweak`` the public tweak of an imported split key (64 hex digits or empty); ``cosigner`` names signer B.
    """

    key_name: str
    key_version: str = ""
    authoriser: str = ""
    tweak: str = ""
    cosigner_public_key: str = ""


@dataclass(frozen=True, slots=True)
class KeyRef:
    """One usable personal key. ``public_key`` is 64 lower-case hex digits (x-only, BIP-340).

    ``sealed`` is the whole secret in mode ``encrypted``, signer A's half of a split key, and None where the HSM
    holds all of it. ``hsm_provider`` is empty, and ``hsm`` None, in mode ``encrypted``, where ``sealed`` says which
    key-encryption key it is under.
    """

    tenant_id: UUID
    key_id: UUID
    public_key: str
    key_mode: str
    hsm_provider: str
    sealed: SealedSecret | None = None
    hsm: HsmRef | None = None

    @property
    def is_split(self) -> bool:
        """Whether the co-signer has the other half, and wants to see what an app asked for."""
        return self.sealed is not None and self.hsm is not None


@dataclass(frozen=True, slots=True)
class TransportRef:
    """One remote-signer key: it speaks NIP-46 for ``key_id`` and signs nothing in the user's name."""

    tenant_id: UUID
    transport_id: UUID
    key_id: UUID
    public_key: str
    sealed: SealedSecret


HSM_REF_COLUMNS: Final = (
    "kms_key_name",
    "kms_key_version",
    "authoriser_public_key",
    "key_tweak",
    "cosigner_public_key",
)
"""A row's columns for the fields of ``HsmRef``, in their order."""

KEY_REF_COLUMNS: Final = (
    *("public_key", "key_mode", "hsm_provider", "kek_provider"),
    *("encrypted_secret_key", "encrypted_half_key", "kek_version"),
    *HSM_REF_COLUMNS,
)
"""What ``key_ref_of`` needs of a personal key's row, in its order."""

TRANSPORT_REF_COLUMNS: Final = (
    *("tenant_id", "id", "key_id", "public_key"),
    *("kek_provider", "kek_version", "encrypted_secret_key"),
)
"""What ``transport_ref_of`` needs of a transport key's row, in its order."""


def key_ref_of(tenant_id: UUID, key_id: UUID, columns: Sequence[Any]) -> KeyRef:
    """The reference to a personal key, from the values of ``KEY_REF_COLUMNS``, wherever they were read."""
    public_key, mode, hsm_provider, kek_provider, secret, half, kek_version, *hsm = columns
    sealed = secret or half
    return KeyRef(
        tenant_id,
        key_id,
        public_key or "",
        mode,
        hsm_provider,
        SealedSecret.stored(kek_provider, kek_version, sealed) if sealed else None,
        HsmRef(*hsm) if hsm[0] else None,
    )


def transport_ref_of(columns: Sequence[Any]) -> TransportRef:
    """The reference to a transport key, from the values of ``TRANSPORT_REF_COLUMNS``, wherever they were read."""
    tenant_id, transport_id, key_id, public_key, kek_provider, kek_version, secret = columns
    sealed = SealedSecret.stored(kek_provider, kek_version, secret)
    return TransportRef(tenant_id, transport_id, key_id, public_key, sealed)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What keys of one mode and provider can do, and what may honestly be said of it (docs/security-model.md).

    ``name`` is the mode's name in the portal, ``sentences`` the plain words shown wherever a user chooses.
    """

    name: str
    sign: bool
    ecdh: bool
    imports: bool
    sentences: tuple[str, ...] = ()
