"""What the rest of the program knows of a key: names, never material. Frozen, cheap, safe to keep and to log."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class SecretPurpose(StrEnum):
    """What a sealed secret is for; bound into its ciphertext, so that one never opens in the place of another."""

    PERSONAL_KEY = "personal-key"
    TRANSPORT_KEY = "transport-key"
    SIGNER_HALF = "signer-half"
    COSIGNER_HALF = "cosigner-half"
    PARTING_HALF = "parting-half"


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret under a key-encryption key: ``provider`` and ``kek_version`` name the key, ``blob`` is opaque."""

    provider: str
    kek_version: str
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HsmRef:
    """Where an HSM keeps its part: names as the provider knows them.

    ``authoriser`` is the HSM's own public key (66 hex digits, compressed) where it authorises rather than signs;
    ``tweak`` the public tweak of an imported split key (64 hex digits or empty); ``cosigner`` names signer B.
    """

    key_name: str
    key_version: str = ""
    authoriser: str = ""
    tweak: str = ""
    cosigner: str = ""


@dataclass(frozen=True, slots=True)
class KeyRef:
    """One usable personal key. ``public_key`` is 64 lower-case hex digits (x-only, BIP-340).

    ``sealed`` is the whole secret in mode ``encrypted``, signer A's half of a split key, and None where the HSM
    holds all of it; ``hsm`` is None in mode ``encrypted``.
    """

    tenant_id: UUID
    key_id: UUID
    public_key: str
    key_mode: str
    provider: str
    sealed: SealedSecret | None = None
    hsm: HsmRef | None = None


@dataclass(frozen=True, slots=True)
class TransportRef:
    """One remote-signer key: it speaks NIP-46 for ``key_id`` and signs nothing in the user's name."""

    tenant_id: UUID
    transport_id: UUID
    key_id: UUID
    public_key: str
    sealed: SealedSecret


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
