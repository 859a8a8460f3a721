"""Authorises a digest with the user's own key in OpenBao."""

from __future__ import annotations

from typing import Final

from keycast.crypto import authoriser_keys
from keycast.crypto.authoriser_keys import Curve
from keycast.crypto.errors import CryptoError
from keys.errors import KeyDamaged
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.openbao import calls, names, transit
from keys.hsm.openbao.config import OpenBaoConfig
from keys.hsm_errors import HsmKeyUnusable
from keys.refs import HsmRef

_DIGEST_SIZE: Final = 32


class OpenBaoAuthoriser:
    """An Authoriser (keys.signing.protocol). One for a process; used from any event loop of it."""

    provider = "openbao"

    def __init__(self, breaker: Breaker | None = None) -> None:
        self.breaker = breaker or Breaker("OpenBao, signing")

    async def authorise(self, hsm: HsmRef, digest: bytes) -> bytes:
        """See keys.signing.protocol.Authoriser."""
        key = _public_key(hsm)
        if len(digest) != _DIGEST_SIZE:
            raise ValueError("a digest is 32 bytes")
        config = OpenBaoConfig.from_settings()

        def check(answer: calls.BaoAnswer) -> bytes | None:
            return None if answer.status == 400 else transit.verified(answer, digest, key)

        signature = await calls.call(config, self.breaker, transit.sign(config.mount, hsm.key_name, digest), check)
        if signature is None:
            raise HsmKeyUnusable
        return signature


def _public_key(hsm: HsmRef) -> bytes:
    """The stored public key, if the reference is one of a finished key. Raises KeyDamaged."""
    try:
        key = bytes.fromhex(hsm.authoriser)
        is_right = authoriser_keys.curve_of(key) is Curve.P256
    except (ValueError, CryptoError):
        raise KeyDamaged from None
    if not is_right or not names.is_ours(hsm.key_name) or hsm.key_version != hsm.key_name:
        raise KeyDamaged
    return key
