"""Whether an ECDSA key is in an HSM of Google's, in the key ring that the co-signer's operator named. No network."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from keycast.crypto import authoriser_keys
from keycast.crypto.errors import CryptoError
from keys.cosigner.attestation import chains, statement
from keys.cosigner.attestation.roots import AttestationRoots
from keys.cosigner.attestation.statement import UnprovenError
from keys.signing.cosigning.messages import HsmProof

_VERSION: Final = re.compile(
    r"(projects/[^/]+/locations/[^/]+/keyRings/[a-zA-Z0-9_-]{1,63})/cryptoKeys/[a-zA-Z0-9_-]{1,63}"
    r"/cryptoKeyVersions/[0-9]{1,9}"
)


def require_attested(authoriser: bytes, proof: HsmProof, key_ring: str, roots: AttestationRoots) -> None:
    """Raise UnprovenError unless an HSM made this key, never gives it out, and it is in that key ring.

    ``authoriser``: as keycast.crypto.authoriser_keys has it.

    The key ring matters as much as the HSM: whoever has taken over signer A can have an HSM key made for them too, in a
    project of their own.
    """
    found = statement.parsed(proof.statement)
    chains.verify(found, proof.certificates, roots)
    _require_pair(found, authoriser)
    named = _VERSION.fullmatch(proof.key_version)
    if not key_ring:
        raise UnprovenError("the co-signer was not told the key ring (KEYCAST_GCP_KEY_RING)")
    if named is None or named[1] != key_ring:
        raise UnprovenError("the key is in another key ring")
    # Google sets the pair's identifier: two SHA-256 in hex, one of them of the version's resource name.
    digest, identifier = sha256(proof.key_version.encode()).hexdigest(), found.private.identifier
    if digest not in {identifier[:64], identifier[64:128]}:
        raise UnprovenError("the statement is about another key version")


def _require_pair(found: statement.Statement, authoriser: bytes) -> None:
    public, private = found.public, found.private
    if {public.number(statement.KEY_TYPE), private.number(statement.KEY_TYPE)} != {statement.EC_TYPE}:
        raise UnprovenError("the key is not of an elliptic curve")
    if not public.identifier or public.identifier != private.identifier:
        raise UnprovenError("public and private key do not belong together")
    point = public.attributes.get(statement.PUBLIC_POINT, b"")
    if private.attributes.get(statement.PUBLIC_POINT, point) != point or _key(point, authoriser) != authoriser:
        raise UnprovenError("the statement is about another key")
    # Made in the HSM, not brought there; and never to be had from it.
    flags = [private.number(each) for each in (statement.LOCAL, statement.NEVER_EXTRACTABLE, statement.EXTRACTABLE)]
    if not flags[0] or not flags[1] or flags[2]:
        raise UnprovenError("the key was not made in the HSM, or can leave it")


def _key(point: bytes, authoriser: bytes) -> bytes:
    """The key with this point (65 bytes), on the curve of the authoriser. Raises UnprovenError."""
    try:
        return authoriser_keys.tagged(authoriser_keys.curve_of(authoriser), point)
    except CryptoError:
        raise UnprovenError("the point is not on the authoriser's curve") from None
