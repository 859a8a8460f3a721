"""Who signed a statement: an HSM partition that its maker and its owner both vouch for.

The maker's chain is root, card, partition; the owner's root has signed a certificate for the same card's key and one
for the same partition's key. The partition's key has signed the statement. This is what Google's own script checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keys.cosigner.attestation.roots import AttestationRoots
from keys.cosigner.attestation.statement import Statement, UnprovenError

MAX_CERTIFICATES: Final = 12
_HASHES: Final = (SHA256, SHA384, SHA512)


def verify(statement: Statement, certificates: bytes, roots: AttestationRoots) -> None:
    """Raise UnprovenError unless the statement was signed by such a partition. ``certificates``: PEM, in any order.

    Dates are not looked at: cards keep their certificates for life, whose makers' roots end before they do.
    """
    given = _loaded(certificates)
    partition = _partition(given, roots)
    key = partition.public_key()
    if not isinstance(key, RSAPublicKey):
        raise UnprovenError("the partition's key is not RSA")
    try:
        key.verify(statement.signature, statement.signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise UnprovenError("the statement's signature is wrong") from None


def _partition(given: Sequence[x509.Certificate], roots: AttestationRoots) -> x509.Certificate:
    """The maker's certificate of a partition that the owner vouches for, too. Raises UnprovenError."""
    cards = [each for each in given if _issued_by_any(each, roots.manufacturers)]
    owned = {_key(each) for each in given if _issued_by_any(each, roots.owners)}
    for card in cards:
        for found in given:
            if _is_issued(found, card) and {_key(card), _key(found)} <= owned and _key(card) != _key(found):
                return found
    raise UnprovenError("no chain from the HSM's maker and its owner to one partition")


def _issued_by_any(certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> bool:
    # A root itself, which bundles often have, is no card of its own.
    return any(_key(certificate) != _key(issuer) and _is_issued(certificate, issuer) for issuer in issuers)


def _is_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if not isinstance(certificate.signature_hash_algorithm, _HASHES):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _loaded(certificates: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(certificates)
        for each in found:
            _key(each)
    except ValueError:
        raise UnprovenError("the certificates cannot be read") from None
    if len(found) > MAX_CERTIFICATES:
        raise UnprovenError("too many certificates")
    return found
