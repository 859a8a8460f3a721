"""The import page's part, played in Python: halves drawn, and each sealed to its signer."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from keycast.crypto import split
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.signing.sealed_halves import SUITE, HalfRole, SplitStatement


def drawn(secret: SecretBytes, **named: object) -> tuple[SplitStatement, SecretBytes, SecretBytes]:
    """What a page says of the halves of this secret, and the halves A and B."""
    a, b, tweak = split.new_halves_for(secret)
    with Keypair.from_secret(a) as first, Keypair.from_secret(b) as second, Keypair.from_secret(secret) as whole:
        keys = {"public_key": whole.public_key, "half_a": first.public_key, "half_b": second.public_key}
    ids = {"tenant_id": uuid.uuid4(), "key_id": uuid.uuid4(), "token": os.urandom(32)}
    said = SplitStatement(**{**ids, **keys, "tweak": tweak, **named})  # type: ignore[arg-type]
    return said, a, b


def seal(half: SecretBytes, to: bytes, said: SplitStatement, role: HalfRole, **told: object) -> bytes:
    """A half sealed to the encryption key ``to`` (65 bytes), under what is ``told`` differently."""
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), to)
    return SUITE.encrypt(bytes(half.view()), public, info=replace(said, **told).info(role))  # type: ignore[arg-type]
