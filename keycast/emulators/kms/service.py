"""The calls of google.cloud.kms.v1.KeyManagementService that Keycast and its operators' tools make."""

from __future__ import annotations

import os
import re
import time
from typing import Any, Final

import google_crc32c
import grpc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from google.cloud import kms_v1
from google.protobuf.timestamp_pb2 import Timestamp

from keycast.emulators.kms import refusals
from keycast.emulators.kms.attestations import Attestations
from keycast.emulators.kms.refusals import KmsEmulatorError
from keycast.emulators.kms.store import (
    DESTROY_AFTER,
    SECP256K1,
    SYMMETRIC,
    Algorithm,
    KmsCryptoKey,
    KmsCryptoKeyVersion,
    KmsEmulatorStore,
    Purpose,
    State,
)

RING: Final = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[a-zA-Z0-9_-]{1,63}")
KEY_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,63}")
SIGNING_ALGORITHMS: Final = frozenset({SECP256K1, Algorithm.EC_SIGN_P256_SHA256})
MAX_PAYLOAD: Final = 8192
_CIPHERTEXT: Final = b"kms1"


class KmsEmulatorService:
    """One method per call, named as the protocol names it; each takes a request and gives a response or a Refusal."""

    def __init__(self, store: KmsEmulatorStore) -> None:
        self.store = store
        self.attestations = Attestations()

    def CreateKeyRing(self, request: kms_v1.CreateKeyRingRequest) -> kms_v1.KeyRing:  # noqa: N802
        name = f"{request.parent}/keyRings/{request.key_ring_id}"
        _must(RING.fullmatch(name), "key_ring_id is malformed")
        if name in self.store.key_rings:
            raise KmsEmulatorError(grpc.StatusCode.ALREADY_EXISTS, f"KeyRing {name} already exists.")
        self.store.key_rings.add(name)
        return kms_v1.KeyRing(name=name)

    def GetKeyRing(self, request: kms_v1.GetKeyRingRequest) -> kms_v1.KeyRing:  # noqa: N802
        self._ring(request.name)
        return kms_v1.KeyRing(name=request.name)

    def CreateCryptoKey(self, request: kms_v1.CreateCryptoKeyRequest) -> kms_v1.CryptoKey:  # noqa: N802
        _must(RING.fullmatch(request.parent), "parent is not a key ring")
        _must(KEY_ID.fullmatch(request.crypto_key_id), "crypto_key_id is malformed")
        self._ring(request.parent)
        wanted = request.crypto_key
        algorithm = wanted.version_template.algorithm
        if wanted.purpose == Purpose.ASYMMETRIC_SIGN:
            _must(algorithm in SIGNING_ALGORITHMS, "algorithm does not fit ASYMMETRIC_SIGN")
            is_hsm = wanted.version_template.protection_level == kms_v1.ProtectionLevel.HSM
            _must(is_hsm or algorithm != SECP256K1, "EC_SIGN_SECP256K1_SHA256 needs protection level HSM")
        else:
            _must(wanted.purpose == Purpose.ENCRYPT_DECRYPT, "purpose is not supported")
            _must(algorithm in {0, SYMMETRIC}, "algorithm does not fit ENCRYPT_DECRYPT")
        name = f"{request.parent}/cryptoKeys/{request.crypto_key_id}"
        if name in self.store.keys:
            raise KmsEmulatorError(grpc.StatusCode.ALREADY_EXISTS, f"CryptoKey {name} already exists.")
        return self._key(self.store.add_key(name, wanted))

    def GetCryptoKey(self, request: kms_v1.GetCryptoKeyRequest) -> kms_v1.CryptoKey:  # noqa: N802
        return self._key(self._find_key(request.name))

    def ListCryptoKeys(self, request: kms_v1.ListCryptoKeysRequest) -> kms_v1.ListCryptoKeysResponse:  # noqa: N802
        self._ring(request.parent)
        names = sorted(name for name in self.store.keys if name.startswith(f"{request.parent}/cryptoKeys/"))
        page, following = _page(names, request.page_size, request.page_token)
        keys = [self._key(self.store.keys[name]) for name in page]
        return kms_v1.ListCryptoKeysResponse(crypto_keys=keys, next_page_token=following, total_size=len(names))

    def CreateCryptoKeyVersion(self, request: kms_v1.CreateCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:  # noqa: N802
        return self._version(self.store.add_version(self._find_key(request.parent)))

    def GetCryptoKeyVersion(self, request: kms_v1.GetCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:  # noqa: N802
        return self._version(self._find_version(request.name))

    def ListCryptoKeyVersions(  # noqa: N802
        self, request: kms_v1.ListCryptoKeyVersionsRequest
    ) -> kms_v1.ListCryptoKeyVersionsResponse:
        key = self._find_key(request.parent)
        page, following = _page(list(key.versions), request.page_size, request.page_token)
        is_full = request.view == kms_v1.CryptoKeyVersion.CryptoKeyVersionView.FULL
        versions = [self._version(key.versions[name], is_full=is_full) for name in page]
        return kms_v1.ListCryptoKeyVersionsResponse(
            crypto_key_versions=versions, next_page_token=following, total_size=len(key.versions)
        )

    def UpdateCryptoKeyVersion(self, request: kms_v1.UpdateCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:  # noqa: N802
        version = self._find_version(request.crypto_key_version.name)
        _must(list(request.update_mask.paths) == ["state"], "only the state can be updated")
        wanted = request.crypto_key_version.state
        _must(wanted in {State.ENABLED, State.DISABLED}, "the state must be ENABLED or DISABLED")
        if version.current_state() not in {State.ENABLED, State.DISABLED}:
            raise refusals.not_enabled(version.name, State(version.current_state()).name)
        version.set_state(int(wanted))
        self.store.save()
        return self._version(version)

    def UpdateCryptoKeyPrimaryVersion(  # noqa: N802
        self, request: kms_v1.UpdateCryptoKeyPrimaryVersionRequest
    ) -> kms_v1.CryptoKey:
        key = self._find_key(request.name)
        version = self._find_version(f"{key.name}/cryptoKeyVersions/{request.crypto_key_version_id}")
        _must(key.purpose == Purpose.ENCRYPT_DECRYPT, "only a key that encrypts has a primary version")
        key.primary = version.name
        self.store.save()
        return self._key(key)

    def DestroyCryptoKeyVersion(self, request: kms_v1.DestroyCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:  # noqa: N802
        version = self._find_version(request.name)
        if version.current_state() not in {State.ENABLED, State.DISABLED}:
            raise refusals.not_enabled(version.name, State(version.current_state()).name)
        version.state, version.destroy_at = int(State.DESTROY_SCHEDULED), time.time() + DESTROY_AFTER
        self.store.save()
        return self._version(version)

    def RestoreCryptoKeyVersion(self, request: kms_v1.RestoreCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:  # noqa: N802
        version = self._find_version(request.name)
        if version.current_state() != State.DESTROY_SCHEDULED:
            raise refusals.not_enabled(version.name, State(version.current_state()).name)
        version.state, version.destroy_at = int(State.DISABLED), 0.0
        self.store.save()
        return self._version(version)

    def GetPublicKey(self, request: kms_v1.GetPublicKeyRequest) -> kms_v1.PublicKey:  # noqa: N802
        version = self._usable(request.name, State.ENABLED, State.DISABLED)
        _must(version.algorithm in SIGNING_ALGORITHMS, "this version has no public key")
        pem = version.public_pem()
        return kms_v1.PublicKey(
            name=version.name,
            pem=pem,
            pem_crc32c=google_crc32c.value(pem.encode()),
            algorithm=version.algorithm,
            protection_level=version.protection_level,
        )

    def AsymmetricSign(self, request: kms_v1.AsymmetricSignRequest) -> kms_v1.AsymmetricSignResponse:  # noqa: N802
        version = self._usable(request.name, State.ENABLED)
        _must(version.algorithm in SIGNING_ALGORITHMS, "this version does not sign")
        digest = bytes(request.digest.sha256)
        _must(len(digest) == 32, "digest.sha256 must be 32 bytes")
        is_verified = _checksum(request, "digest_crc32c", digest)
        signature = version.signing_key().sign(digest, ec.ECDSA(Prehashed(SHA256())))
        return kms_v1.AsymmetricSignResponse(
            signature=signature,
            signature_crc32c=google_crc32c.value(signature),
            verified_digest_crc32c=is_verified,
            name=version.name,
            protection_level=version.protection_level,
        )

    def Encrypt(self, request: kms_v1.EncryptRequest) -> kms_v1.EncryptResponse:  # noqa: N802
        version = self._encrypting(request.name)
        plaintext, data = bytes(request.plaintext), bytes(request.additional_authenticated_data)
        _must(len(plaintext) + len(data) <= MAX_PAYLOAD, "plaintext and associated data are too long")
        is_verified = _checksum(request, "plaintext_crc32c", plaintext)
        is_data_verified = _checksum(request, "additional_authenticated_data_crc32c", data)
        nonce, number = os.urandom(12), int(version.name.rpartition("/")[2])
        header = _CIPHERTEXT + number.to_bytes(4, "big") + nonce
        ciphertext = header + AESGCM(version.symmetric_key()).encrypt(nonce, plaintext, data)
        return kms_v1.EncryptResponse(
            name=version.name,
            ciphertext=ciphertext,
            ciphertext_crc32c=google_crc32c.value(ciphertext),
            verified_plaintext_crc32c=is_verified,
            verified_additional_authenticated_data_crc32c=is_data_verified,
            protection_level=version.protection_level,
        )

    def Decrypt(self, request: kms_v1.DecryptRequest) -> kms_v1.DecryptResponse:  # noqa: N802
        key = self._find_key(request.name)
        ciphertext, data = bytes(request.ciphertext), bytes(request.additional_authenticated_data)
        _checksum(request, "ciphertext_crc32c", ciphertext)
        _checksum(request, "additional_authenticated_data_crc32c", data)
        _must(ciphertext[:4] == _CIPHERTEXT and len(ciphertext) >= 36, _DECRYPTION_FAILED)
        number = int.from_bytes(ciphertext[4:8], "big")
        _must(f"{key.name}/cryptoKeyVersions/{number}" in key.versions, _DECRYPTION_FAILED)
        version = self._usable(f"{key.name}/cryptoKeyVersions/{number}", State.ENABLED)
        try:
            plaintext = AESGCM(version.symmetric_key()).decrypt(ciphertext[8:20], ciphertext[20:], data)
        except InvalidTag:
            raise KmsEmulatorError(grpc.StatusCode.INVALID_ARGUMENT, _DECRYPTION_FAILED) from None
        return kms_v1.DecryptResponse(
            plaintext=plaintext,
            plaintext_crc32c=google_crc32c.value(plaintext),
            used_primary=version.name == key.primary,
            protection_level=version.protection_level,
        )

    def _ring(self, name: str) -> None:
        """Raise KmsEmulatorError unless there is such a key ring."""
        if self.store.key_rings and name not in self.store.key_rings:
            raise refusals.not_found("KeyRing", name)

    def _find_key(self, name: str) -> KmsCryptoKey:
        found = self.store.keys.get(name)
        if found is None:
            raise refusals.not_found("CryptoKey", name)
        return found

    def _find_version(self, name: str) -> KmsCryptoKeyVersion:
        found = self.store.version(name)
        if found is None:
            raise refusals.not_found("CryptoKeyVersion", name)
        return found

    def _usable(self, name: str, *states: int) -> KmsCryptoKeyVersion:
        version = self._find_version(name)
        # "The key version typically remains usable for up to 1 minute after it is disabled" (Cloud KMS, consistency).
        is_still_enabled = State.ENABLED in states and version.was_disabled_within(self.store.disabling_seconds)
        if version.current_state() not in states and not is_still_enabled:
            raise refusals.not_enabled(version.name, State(version.current_state()).name)
        return version

    def _encrypting(self, name: str) -> KmsCryptoKeyVersion:
        """The version named, or the primary one of the key named."""
        if "/cryptoKeyVersions/" not in name:
            name = self._find_key(name).primary
        version = self._usable(name, State.ENABLED)
        _must(version.algorithm == SYMMETRIC, "this key does not encrypt")
        return version

    def _key(self, key: KmsCryptoKey) -> kms_v1.CryptoKey:
        primary = key.versions.get(key.primary)
        return kms_v1.CryptoKey(
            name=key.name,
            purpose=key.purpose,
            primary=self._version(primary, is_full=False) if primary else None,
            create_time=_time(key.created_at),
            version_template=kms_v1.CryptoKeyVersionTemplate(
                algorithm=key.algorithm, protection_level=key.protection_level
            ),
            labels=key.labels,
        )

    def _version(self, version: KmsCryptoKeyVersion, *, is_full: bool = True) -> kms_v1.CryptoKeyVersion:
        state = version.current_state()
        is_made = state not in {State.PENDING_GENERATION, State.GENERATION_FAILED}
        # Only HSM keys have one; and of a list only who asks for the full view gets it.
        is_attested = is_full and is_made and bool(version.secret) and self._is_attested(version)
        return kms_v1.CryptoKeyVersion(
            name=version.name,
            state=state,
            algorithm=version.algorithm,
            protection_level=version.protection_level,
            create_time=_time(version.created_at),
            generate_time=_time(version.generated_at) if is_made else None,
            destroy_time=_time(version.destroy_at) if version.destroy_at else None,
            attestation=self.attestations.of(version) if is_attested else None,
            generation_failure_reason="HSM_UNAVAILABLE" if state == State.GENERATION_FAILED else "",
        )

    def _is_attested(self, version: KmsCryptoKeyVersion) -> bool:
        is_hsm = version.protection_level == kms_v1.ProtectionLevel.HSM
        return is_hsm and version.algorithm in SIGNING_ALGORITHMS and self.store.attests


_DECRYPTION_FAILED: Final = "Decryption failed: verify that 'name' refers to the correct CryptoKey."


def _must(condition: object, text: str) -> None:
    if not condition:
        raise KmsEmulatorError(grpc.StatusCode.INVALID_ARGUMENT, text)


def _checksum(request: Any, field: str, data: bytes) -> bool:
    """Whether a checksum was sent; a wrong one is refused, as Cloud KMS does."""
    if field not in request:
        return False
    _must(getattr(request, field) == google_crc32c.value(data), f"{field} does not match.")
    return True


def _page(names: list[str], size: int, token: str) -> tuple[list[str], str]:
    start, count = int(token or "0"), size or 100
    return names[start : start + count], str(start + count) if start + count < len(names) else ""


def _time(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
