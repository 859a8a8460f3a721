"""Authorises a digest with the user's own key in Cloud KMS."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Final

from google.cloud import kms_v1

from keycast.crypto import ecdsa
from keycast.crypto.errors import CryptoError
from keys.errors import KeyDamaged
from keys.hsm.calling import TOTAL_SECONDS, run
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.google import calling, clients, names, responses
from keys.refs import HsmRef

_PUBLIC_KEY_SIZE: Final = 33
_DIGEST_SIZE: Final = 32


class GoogleAuthoriser:
    """An Authoriser (keys.hsm.protocol). One for a process; used from any event loop of it."""

    provider = "google"

    def __init__(self, breaker: Breaker | None = None) -> None:
        self.breaker = breaker or Breaker("Cloud KMS, signing")

    async def authorise(self, hsm: HsmRef, digest: bytes) -> bytes:
        """See keys.hsm.protocol.Authoriser."""
        public_key = _public_key(hsm)
        if len(digest) != _DIGEST_SIZE:
            raise ValueError("a digest is 32 bytes")
        tries = calling.course(self.breaker, "AsymmetricSign")
        lane = await clients.loop_client()
        async with lane.place(TOTAL_SECONDS) as client:
            return await run(
                tries,
                lambda client, seconds: _sign(client, hsm, digest, public_key, seconds),
                lambda seconds: nullcontext(client),
            )


async def _sign(
    client: kms_v1.KeyManagementServiceAsyncClient, hsm: HsmRef, digest: bytes, public_key: bytes, seconds: float
) -> bytes:
    request = kms_v1.AsymmetricSignRequest(
        name=hsm.key_version, digest=kms_v1.Digest(sha256=digest), digest_crc32c=responses.checksum(digest)
    )
    response = await client.asymmetric_sign(request=request, retry=None, timeout=seconds)
    responses.about(response, hsm.key_version)
    responses.must(response.verified_digest_crc32c, "the digest's checksum was not verified")
    return _verified(responses.payload(response, "signature"), digest, public_key)


def _verified(signature: bytes, digest: bytes, public_key: bytes) -> bytes:
    try:
        compact = ecdsa.normalise(ecdsa.parse_der(signature))
    except CryptoError as error:
        raise calling.UnverifiableHsmAnswer from error
    if not ecdsa.verify(public_key, digest, compact):
        raise calling.UnverifiableHsmAnswer from ValueError("signature of another key or digest")
    return compact


def _public_key(hsm: HsmRef) -> bytes:
    """The stored public key, if the reference is one of a finished key. Raises KeyDamaged."""
    try:
        public_key = bytes.fromhex(hsm.authoriser)
    except ValueError:
        raise KeyDamaged from None
    if len(public_key) != _PUBLIC_KEY_SIZE or names.key_of(hsm.key_version) != hsm.key_name:
        raise KeyDamaged
    return public_key
