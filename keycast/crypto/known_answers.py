"""Known-answer tests of what split keys need: MuSig2, joint Diffie-Hellman, ECDSA. For the start of either signer.

BIP-340 has its own, which runs whenever it is imported (keycast.crypto.schnorr).
"""

from __future__ import annotations

import hmac
from typing import Final

from keycast.crypto import ecdsa, musig, split
from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import KeyAggregate, MusigSession
from keycast.crypto.points import public_point
from keycast.crypto.schnorr import Keypair, verify

_HALF_A: Final = "11" * 32
_HALF_B: Final = "22" * 32
_MESSAGE: Final = bytes.fromhex("243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89")
_NONCE_A: Final = (
    "02332d7deaad442ab3cc6d26abba5c209da9165fc9d59a70cd71743dd7a36062c4"
    "0383fc435a305496442562d78b0b504ba68722c1ce8f95a37b89dfc0c9d19698b4"
)
_NONCE_B: Final = (
    "0204648c2359f4f9248fa352db1f8efdaba9d2a70c518fd16d2d21bac73828f1f3"
    "03b8a9e73555f6056dcca40c41bd3eaa88f5b4fd13a1e682744cfaf3c35287e734"
)
_SIGNATURE: Final = (
    "67555c7bf248ebafd13f36c6cbfed0dd482ef0cd2dbb2c2f1b155a299d98c2cc"
    "abd600828e66812995638562ee21a446f2e9c289765ac0e75dd5015484e89098"
)
# NIP-44's first test vector of get_conversation_key, its secret in two halves and a tweak.
_TWEAK: Final = "0c03aef79b59367fd7e4e8af94c945ac85cf406081245a85c18ad9e6382d5bb2"
_PEER: Final = "c2f9d9948dc8c7c38321e4b85c8558872eafa0641cd269db76848a6073e69133"
_CONVERSATION_KEY: Final = "3dfef0ce2a4d80a25e7a328accf73448ef67096f65f79588e358d9a0eb9013f1"
# RFC 6979 on secp256k1: the secret 1 and SHA-256 of "Satoshi Nakamoto", as libraries publish it.
_ECDSA_KEY: Final = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
_ECDSA_DIGEST: Final = "a0dc65ffca799873cbea0ac274015b9526505daaaed385155425f7337704883e"
_ECDSA_SIGNATURE: Final = (
    "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
    "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
)


class KnownAnswerFailed(Exception):
    """A primitive does not give its known answer; the process must not start. Names the primitive."""

    def __init__(self, primitive: str) -> None:
        super().__init__(f"{primitive} fails its known-answer test: refusing to start.")


def require() -> None:
    """Compute each known answer, in a few milliseconds. Raises KnownAnswerFailed."""
    for primitive, test in (("MuSig2", _musig), ("ECDH", _ecdh), ("ECDSA", _ecdsa)):
        try:
            passed = test()
        except CryptoError:
            passed = False
        if not passed:
            raise KnownAnswerFailed(primitive)


def _pair() -> tuple[Keypair, Keypair]:
    return Keypair.from_secret(bytearray.fromhex(_HALF_A)), Keypair.from_secret(bytearray.fromhex(_HALF_B))


def _musig() -> bool:
    """Two nonces of known randomness, and the signature that the parts make; an altered part is told."""
    a, b = _pair()
    with a, b:
        aggregate = KeyAggregate(public_point(a), public_point(b))
        nonce_a, public_a = musig._drawn_nonce(a, aggregate, _MESSAGE, None, bytes([1]) * 32)
        nonce_b, public_b = musig._drawn_nonce(b, aggregate, _MESSAGE, bytes([2]) * 32, bytes([3]) * 32)
        session = MusigSession(aggregate, public_a, public_b, _MESSAGE)
        part_a, part_b = musig.partial_sign(nonce_a, session), musig.partial_sign(nonce_b, session)
    signature = musig.combine_unchecked(session, part_a, part_b)
    altered = part_b[:-1] + bytes([part_b[-1] ^ 1])
    parts = musig.verify_partial(session, "A", part_a) and musig.verify_partial(session, "B", part_b)
    made = (public_a.hex(), public_b.hex(), signature.hex()) == (_NONCE_A, _NONCE_B, _SIGNATURE)
    told = parts and not musig.verify_partial(session, "B", altered)
    return made and told and verify(aggregate.public_key, _MESSAGE, signature)


def _ecdh() -> bool:
    """The conversation key that both contributions make."""
    a, b = _pair()
    peer = bytes.fromhex(_PEER)
    with a, b:
        aggregate = KeyAggregate(public_point(a), public_point(b), bytes.fromhex(_TWEAK))
        with (
            split.ecdh_contribution(a, aggregate, "A", peer) as part_a,
            split.ecdh_contribution(b, aggregate, "B", peer) as part_b,
            split.combine_ecdh(part_a, part_b, aggregate, peer) as joint,
        ):
            return hmac.digest(b"nip44-v2", joint.view(), "sha256").hex() == _CONVERSATION_KEY


def _ecdsa() -> bool:
    """A known signature verifies, and neither an altered one nor its high-S form does."""
    key, digest, signature = map(bytes.fromhex, (_ECDSA_KEY, _ECDSA_DIGEST, _ECDSA_SIGNATURE))
    high = signature[:32] + (musig.ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    altered = signature[:-1] + bytes([signature[-1] ^ 1])
    refused = not any(ecdsa.verify(key, digest, wrong) for wrong in (high, altered))
    return ecdsa.verify(key, digest, signature) and refused and ecdsa.normalise(high) == signature
