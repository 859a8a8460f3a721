"""The page's script, run by Node.js: what it makes of a key opens at both signers and is that key."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from keycast.crypto.musig import ORDER
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import bech32
from keycast.nostr.nip19 import encode_npub, encode_nsec
from keys.signing import sealed_halves
from keys.signing.sealed_halves import HalfRole, SplitStatement, open_half

pytestmark = pytest.mark.needs_node
SCRIPT = Path(__file__).with_name("split_key.mjs")
A, B = sealed_halves.fresh_key(), sealed_halves.fresh_key()
PAGE = {
    "tenant": uuid4().hex,
    "key": uuid4().hex,
    "token": os.urandom(32).hex(),
    "signer_key": sealed_halves.public_of(A).hex(),
    "cosigner_key": sealed_halves.public_of(B).hex(),
}


def split(*typed: str) -> list[dict[str, str]]:
    lines = "".join(json.dumps({"secret": text, "page": PAGE}) + "\n" for text in typed)
    done = subprocess.run(["node", str(SCRIPT)], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def nsec(number: int) -> str:
    return encode_nsec(SecretBytes(number.to_bytes(32, "big")))


GOOD = nsec(12345)
REFUSED = [
    "",
    "0" * 64,
    f"{ORDER:064x}",
    "f" * 64,
    "g" * 64,
    "1" * 63,
    "1" * 65,
    GOOD[:-1] + ("q" if GOOD[-1] != "q" else "p"),
    GOOD[:20] + GOOD[20:].upper(),
    GOOD[:-1],
    encode_npub(Keypair.generate()[0].public_key_hex),
    bech32.encode("nsec", bytes(range(31))),
    bech32.encode("nsec", bytes(range(33))),
    "ncryptsec1qqq",
]


def test_what_is_no_secret_key_is_refused() -> None:
    assert split(*REFUSED) == [{"error": "NotASecretKey"}] * len(REFUSED)


def test_what_the_script_makes_of_a_key_is_that_key() -> None:
    numbers = [1, 2, 3, ORDER - 1, ORDER // 2, *(int.from_bytes(os.urandom(32), "big") % ORDER for _ in range(20))]
    typed = [f"{number:064x}" if at % 2 else f" {nsec(number)}\n" for at, number in enumerate(numbers)]
    typed[-1] = typed[-1].upper()
    seen = set()
    for number, made in zip(numbers, split(*typed), strict=True):
        parts = {name: bytes.fromhex(value) for name, value in made.items()}
        sealed = {HalfRole.SIGNER: (parts.pop("sealed_a"), A), HalfRole.COSIGNER: (parts.pop("sealed_b"), B)}
        ids = UUID(hex=PAGE["tenant"]), UUID(hex=PAGE["key"])
        said = SplitStatement(*ids, bytes.fromhex(PAGE["token"]), **parts)
        for role, (half, private) in sealed.items():
            keypair, secret = open_half(half, private, said, role)
            seen.add(bytes(secret.view()))
            keypair.wipe()
        with Keypair.from_secret(SecretBytes(number.to_bytes(32, "big"))) as whole:
            assert said.public_key == whole.public_key
    assert len(seen) == 2 * len(numbers)
