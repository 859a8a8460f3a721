"""What an HSM signs to authorise the co-signer, as 32-byte digests; its ECDSA signature is the authorisation.

A tagged digest (BIP-340, hash_tag) that no event id can be::

    SHA-256( T ‖ T ‖ purpose ‖ 0x00 ‖ tenant id (16) ‖ key id (16) ‖ subject (32) ‖ challenge (16) ‖ salt (16) )

with ``T = SHA-256("keycast/cosigner/authorisation/2")``. The challenge is the co-signer's (keys.cosigner.challenges):
unknown before it is issued, and refused 120 s after. So an authorisation can be neither kept nor made in advance; and
it holds once.
"""

from __future__ import annotations

import os
import time
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final
from uuid import UUID

import msgspec

from keys.signing.cosigning.authorisation_tree import MAX_DEPTH, STEP_SIZE

_TAG: Final = sha256(b"keycast/cosigner/authorisation/2").digest() * 2
_READING: Final = sha256(b"keycast/cosigner/reading/1").digest() * 2


class AuthorisationPurpose(StrEnum):
    """What is authorised; in brackets the subject that it names."""

    SIGN = "sign"  # (the event id, NIP-01, which binds the author and the whole event)
    ECDH = "ecdh"  # (the peer's x-only public key)
    REFRESH = "refresh"  # (signer A's new half, its x-only public key)
    FORGET = "forget"  # (the personal key's public key, or a half B of it)
    ENABLE = "enable"  # (the personal key's public key)
    SUCCEED = "succeed"  # (``succession`` of the present and the new authoriser)
    READ = "read"  # (``reading`` of the app, the time and the number of uses)


class UseAuthorisation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An authorisation of one use: the co-signer's challenge, a salt, and the low-S signature ``r ‖ s``.

    The signature is over the digest; or, with a ``path`` (keys.signing.cosigning.authorisation_tree), over a root that
    stands for several digests.
    """

    challenge: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    salt: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
    path: Annotated[bytes, msgspec.Meta(max_length=MAX_DEPTH * STEP_SIZE)] = b""


def now() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def new_salt() -> bytes:
    """The salt of a new authorisation, which tells two of one subject apart."""
    return os.urandom(16)


def succession(old: bytes, new: bytes) -> bytes:
    """The subject of a change of authoriser: SHA-256 of both keys, the present one first.

    No key (keycast.crypto.authoriser_keys) is the beginning of another, so two keys in a row can be read in one way.
    """
    if not {len(old), len(new)} <= {33, 34}:
        raise ValueError("not keys of authorisers")
    return sha256(old + new).digest()


def reading(client: bytes, seconds: int, uses: int) -> bytes:
    """The subject of a reading grant: the app's public key (x-only, 32 bytes), for how long, and for how many uses.

    A tagged hash (BIP-340, hash_tag), so that it is no peer and no event id that another purpose names.
    """
    if len(client) != 32:
        raise ValueError("an app is named by 32 bytes")
    return sha256(_READING + client + seconds.to_bytes(4, "big") + uses.to_bytes(4, "big")).digest()


def digest(
    purpose: AuthorisationPurpose, tenant_id: UUID, key_id: UUID, subject: bytes, challenge: bytes, salt: bytes
) -> bytes:
    """The 32 bytes that the HSM signs."""
    # Each of a fixed length, so that no two lists of fields give the same bytes.
    if len(subject) != 32 or len(challenge) != 16 or len(salt) != 16:
        raise ValueError("an authorisation has a subject of 32 bytes, and a challenge and a salt of 16")
    fields = (purpose.value.encode(), b"\x00", tenant_id.bytes, key_id.bytes, subject, challenge, salt)
    return sha256(_TAG + b"".join(fields)).digest()
