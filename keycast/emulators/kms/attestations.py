"""Attestations of the emulator: in Google's format (keys.cosigner.attestation.statement), by a root that anybody has.

The root's primes stand below for everybody to read, so what it attests proves nothing; the co-signer accepts it outside
production alone.
"""

from __future__ import annotations

import gzip
import struct
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha1, sha256
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from google.cloud import kms_v1

from keycast.emulators.kms.store import KmsCryptoKeyVersion

_P: Final = int(
    "d3c82b5f0d97cbcc5b21126d7101a457e41b609201b399367bf25acb91774147ec9d3670bc1943753a329f61cd83db10"
    "f35bafa3c06fc89308e42952e915b5550715749591b0ed01ecdd3f7acc5ba61a3341ba81d0bd0398a64cf48d806686e6"
    "3c510d170cc60c9c68c710b8bab6723a519589e045b68ac9518fd50e2a7ef3e9",
    16,
)
_Q: Final = int(
    "bc423bee0913f7c2923e93ff7cace42f6701734c63be7ba4844aedd578a36922a25121758fa3ebe3ba5fae4cb505e032"
    "743ade32f6e36cf9ebef5c007d3c0858186256633cfa01211a52ebd96ed4c462caac1787ea76d09abf2eb394c3acb618"
    "6a0e179c01881f3d290646853333f58339a49dd8a4a7d33c64da163f268b57d9",
    16,
)
_SECP256K1, _P256 = 714, 415
"""OpenSSL's numbers of the curves, which stand where an RSA key has its size."""


class Pair(NamedTuple):
    """What a statement says of a key pair; tests say other things than the truth."""

    point: bytes
    name: str
    is_local: bool = True
    is_extractable: bool = False
    curve: int = _SECP256K1


class Attestations:
    """One emulated card with one partition, made on first use. Not for two threads at once."""

    def __init__(self) -> None:
        self._made: dict[str, kms_v1.KeyOperationAttestation] = {}

    def of(self, version: KmsCryptoKeyVersion) -> kms_v1.KeyOperationAttestation:
        """Of a version that signs; made once, as an HSM makes it when it makes the key."""
        if version.name not in self._made:
            key = version.signing_key().public_key()
            point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            curve = _SECP256K1 if isinstance(key.curve, SECP256K1) else _P256
            self._made[version.name] = self.attestation(Pair(point, version.name, curve=curve))
        return self._made[version.name]

    def attestation(self, pair: Pair) -> kms_v1.KeyOperationAttestation:
        """As Google gives it: the statement, and its certificates in their three chains."""
        formats = kms_v1.KeyOperationAttestation.AttestationFormat
        makers, card, partition = ([each.decode() for each in chain] for chain in self.chains)
        return kms_v1.KeyOperationAttestation(
            format=formats.CAVIUM_V2_COMPRESSED,
            content=self.statement(pair),
            cert_chains=kms_v1.KeyOperationAttestation.CertificateChains(
                cavium_certs=makers, google_card_certs=card, google_partition_certs=partition
            ),
        )

    def statement(self, pair: Pair) -> bytes:
        """Signed by the partition, and compressed."""
        first, second = _object(2, pair), _object(3, pair)
        buffer = struct.pack(">HHHH", 1, 3, 8, 8 + len(first)) + first + second
        signed = struct.pack(">IIII", 0, 3, 16 + len(buffer) + 256, len(buffer)) + buffer
        return gzip.compress(signed + self._partition.sign(signed, PKCS1v15(), hashes.SHA256()), mtime=0)

    @cached_property
    def chains(self) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """The maker's (partition, card), the owner's of the card, the owner's of the partition; PEM."""
        root = _root()
        makers_card = _certificate("card", self._card.public_key(), _MAKER, root)
        makers_partition = _certificate("partition", self._partition.public_key(), makers_card.subject, self._card)
        owners = [
            _certificate(f"{name}, for its owner", key.public_key(), _OWNER, root)
            for name, key in (("card", self._card), ("partition", self._partition))
        ]
        return [_pem(makers_partition), _pem(makers_card)], [_pem(owners[0])], [_pem(owners[1])]

    @cached_property
    def _card(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    @cached_property
    def _partition(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)


def _object(kind: int, pair: Pair) -> bytes:
    digest = sha256(pair.name.encode()).hexdigest()
    ring = sha256(pair.name.partition("/cryptoKeys/")[0].encode()).hexdigest()
    is_private = kind == 3
    attributes = {
        0x0: bytes([kind]),
        0x1: b"\1",
        0x3: b"emulated\0",
        0x100: b"\3",
        0x102: f"{ring}{digest}\0".encode(),
        0x108: bytes([is_private]),
        0x120: pair.point,
        0x121: struct.pack(">I", pair.curve),
        0x162: bytes([not is_private or pair.is_extractable]),
        0x163: bytes([pair.is_local]),
        0x164: bytes([is_private and not pair.is_extractable]),
        0x173: sha1(pair.point).digest()[:3],  # noqa: S324 -- a check value, as the format has it
    }
    body = b"".join(struct.pack(">II", number, len(value)) + value for number, value in attributes.items())
    return struct.pack(">III", 0x7E0 + kind, len(attributes), len(body)) + body


def _root() -> rsa.RSAPrivateKey:
    exponent = 65537
    secret = pow(exponent, -1, (_P - 1) * (_Q - 1))
    numbers = rsa.RSAPrivateNumbers(
        _P,
        _Q,
        secret,
        rsa.rsa_crt_dmp1(secret, _P),
        rsa.rsa_crt_dmq1(secret, _Q),
        rsa.rsa_crt_iqmp(_P, _Q),
        rsa.RSAPublicNumbers(exponent, _P * _Q),
    )
    return numbers.private_key()


def _name(common: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Keycast")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


_MAKER: Final = _name("Cloud KMS emulator: no maker of any HSM")
_OWNER: Final = _name("Cloud KMS emulator: no owner of any HSM")


def _certificate(what: str, key: rsa.RSAPublicKey, issuer: x509.Name, signer: rsa.RSAPrivateKey) -> x509.Certificate:
    builder = x509.CertificateBuilder(issuer, _name(f"emulated {what}"), key, x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
    return builder.not_valid_after(datetime(2055, 1, 1, tzinfo=UTC)).sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
