"""Split keys against an implementation that is not ours: @noble/curves aggregates, verifies and shares as we do."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keycast.crypto import ecdsa, musig, split
from keycast.crypto.musig import ORDER, KeyAggregate, MusigSession
from keycast.crypto.points import public_point
from keycast.crypto.schnorr import Keypair
from tests.e2e.conftest import CLIENTS

ROWS = 24


def number(keypair: Keypair) -> int:
    with keypair.secret() as secret:
        return int.from_bytes(secret.view(), "big")


def signed(first: Keypair, second: Keypair, aggregate: KeyAggregate, message: bytes) -> bytes:
    nonce_a, public_a = musig.make_nonce(first, aggregate, message)
    nonce_b, public_b = musig.make_nonce(second, aggregate, message)
    session = MusigSession(aggregate, public_a, public_b, message)
    return musig.combine(session, musig.partial_sign(nonce_a, session), musig.partial_sign(nonce_b, session))


def authorised(message: bytes) -> tuple[str, str]:
    """An ECDSA signature in low-S form, and its key."""
    key = ec.generate_private_key(ec.SECP256K1())
    made = ecdsa.normalise(ecdsa.parse_der(key.sign(message, ec.ECDSA(Prehashed(SHA256())))))
    return made.hex(), key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint).hex()


def row(tweak: bytes | None) -> dict[str, Any]:
    """Everything about one split key, with the whole secret, which only a test ever puts together."""
    first, second, peer = (Keypair.generate()[0] for _ in range(3))
    aggregate, message = KeyAggregate(public_point(first), public_point(second), tweak), os.urandom(32)
    total = int.from_bytes(aggregate.coefficient("A"), "big") * number(first) + number(second)
    whole = ((-total if aggregate.is_odd else total) + int.from_bytes(tweak or b"", "big")) % ORDER
    parts = [
        split.ecdh_contribution(first, aggregate, "A", peer.public_key),
        split.ecdh_contribution(second, aggregate, "B", peer.public_key),
    ]
    joint = split.combine_ecdh(parts[0], parts[1], aggregate, peer.public_key)
    authorisation, authoriser = authorised(message)
    return {
        "half_a": aggregate.keys["A"].hex(),
        "half_b": aggregate.keys["B"].hex(),
        "tweak": (tweak or b"").hex(),
        "public_key": aggregate.public_key.hex(),
        "whole": whole.to_bytes(32, "big").hex(),
        "message": message.hex(),
        "signature": signed(first, second, aggregate, message).hex(),
        "peer": peer.public_key_hex,
        "joint": bytes(joint.view()).hex(),
        "authorisation": authorisation,
        "authoriser": authoriser,
    }


@pytest.mark.needs_node
@pytest.mark.compliance(spec="BIP-327", section="KeyAgg", requirement="another implementation agrees")
def test_another_implementation_agrees_on_every_split_key() -> None:
    rows = [row(os.urandom(32) if number % 2 else None) for number in range(ROWS)]
    done = subprocess.run(
        ["node", "split.mjs"], cwd=CLIENTS, input=json.dumps(rows), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = dict.fromkeys(("aggregate", "whole", "signature", "joint", "authorisation"), True)
    assert json.loads(done.stdout) == [expected] * ROWS
