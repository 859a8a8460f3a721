"""Signs checkpoints of the audit log with a key in Cloud KMS: ECDSA over P-256 or secp256k1, never held here."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from django.conf import settings
from google.cloud import kms_v1

from keycast.audit.statements import is_signed
from keys.hsm.calling import run_blocking
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.google import calling, clients, names, responses
from keys.hsm_errors import HsmMisconfigured


class GoogleStatementSigner:
    """A Signer (keycast.audit.signing) with one version of a KMS key. Blocks; raises keys.hsm_errors."""

    def __init__(self, version: str, breaker: Breaker | None = None) -> None:
        if not names.key_of(version):
            raise HsmMisconfigured(
                "KEYCAST_AUDIT_CHECKPOINT_KMS_KEY is not the name of a key's version: "
                "projects/…/cryptoKeys/…/cryptoKeyVersions/1."
            )
        self._version = version
        self._breaker = breaker or Breaker("Cloud KMS, audit checkpoints")

    @classmethod
    def from_settings(cls) -> GoogleStatementSigner:
        """With the version that ``KEYCAST_AUDIT_CHECKPOINT_KMS_KEY`` names."""
        return cls(settings.AUDIT_CHECKPOINT_KMS_KEY)

    @cached_property
    def public_key(self) -> bytes:
        """DER SubjectPublicKeyInfo, asked for once."""

        def checked(response: Any) -> bytes:
            responses.about(response, self._version)
            key = load_pem_public_key(responses.payload(response, "pem"))
            if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1 | SECP256K1):
                raise HsmMisconfigured("The key for checkpoints must sign with ECDSA over P-256 or secp256k1.")
            return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

        return bytes(self._run("get_public_key", kms_v1.GetPublicKeyRequest(name=self._version), checked))

    def sign(self, message: bytes) -> bytes:
        digest = hashlib.sha256(message).digest()
        public_key = self.public_key
        request = kms_v1.AsymmetricSignRequest(
            name=self._version, digest=kms_v1.Digest(sha256=digest), digest_crc32c=responses.checksum(digest)
        )

        def checked(response: Any) -> bytes:
            responses.about(response, self._version)
            responses.must(response.verified_digest_crc32c, "the digest's checksum was not verified")
            signature = responses.payload(response, "signature")
            if not is_signed(message, signature, public_key):
                raise calling.UnverifiableHsmAnswer from ValueError("signature of another key or digest")
            return signature

        return bytes(self._run("asymmetric_sign", request, checked))

    def _run(self, method: str, request: Any, check: Any) -> Any:
        call = getattr(clients.blocking_client(), method)
        tries = calling.course(self._breaker, method)
        return run_blocking(tries, lambda seconds: check(call(request=request, retry=None, timeout=seconds)))
