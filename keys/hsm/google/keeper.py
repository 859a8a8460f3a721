"""Makes, looks at and ends the Cloud KMS keys of users. Blocks: for jobs and commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.api_core.exceptions import GoogleAPICallError
from google.cloud import kms_v1
from google.protobuf.field_mask_pb2 import FieldMask

from keycast.crypto import ecdsa
from keycast.crypto.errors import CryptoError
from keys.hsm.calling import run_blocking
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.google import clients, names, responses
from keys.hsm.google.calling import Code, as_keycast_error, code_of, course
from keys.hsm.google.identities import Identity
from keys.hsm.protocol import HsmKeyPhase, HsmKeyStatus, PendingHsmKey
from keys.hsm_errors import HsmMisconfigured
from keys.signing.cosigning.messages import NO_PROOF, HsmProof

T = TypeVar("T")
State = kms_v1.CryptoKeyVersion.CryptoKeyVersionState

PURPOSE: Final = kms_v1.CryptoKey.CryptoKeyPurpose.ASYMMETRIC_SIGN
ALGORITHM: Final = kms_v1.CryptoKeyVersion.CryptoKeyVersionAlgorithm.EC_SIGN_SECP256K1_SHA256
LEVEL: Final = kms_v1.ProtectionLevel.HSM
FULL: Final = kms_v1.CryptoKeyVersion.CryptoKeyVersionView.FULL
ATTESTED: Final = kms_v1.KeyOperationAttestation.AttestationFormat.CAVIUM_V2_COMPRESSED
_ENDED: Final = frozenset({State.DESTROYED, State.DESTROY_SCHEDULED})


class GoogleKeyManager:
    """An HsmKeyManager (keys.hsm.protocol) for one key ring: ``projects/…/locations/…/keyRings/…``."""

    def __init__(self, ring: str, breaker: Breaker | None = None) -> None:
        self._ring = ring
        self._breaker = breaker or Breaker("Cloud KMS, administration")

    def create(self, name_id: str) -> PendingHsmKey:
        """See keys.hsm.protocol. A key of that name that is of another kind raises HsmMisconfigured."""
        wanted = kms_v1.CryptoKey(
            purpose=PURPOSE,
            version_template=kms_v1.CryptoKeyVersionTemplate(algorithm=ALGORITHM, protection_level=LEVEL),
            labels={"application": "keycast"},
        )
        request = kms_v1.CreateCryptoKeyRequest(parent=self._ring, crypto_key_id=name_id, crypto_key=wanted)
        name = f"{self._ring}/cryptoKeys/{name_id}"
        made: kms_v1.CryptoKey
        try:
            made = self._run("CreateCryptoKey", request, Code.ALREADY_EXISTS)
        except GoogleAPICallError:  # an earlier try arrived after all
            made = self._run("GetCryptoKey", kms_v1.GetCryptoKeyRequest(name=name))
        _compare(made, name)
        return PendingHsmKey(name)

    def check(self, name: str) -> HsmKeyStatus:
        """See keys.hsm.protocol; looks at the key's newest version."""
        try:
            version = self._newest(name)
        except GoogleAPICallError:
            return HsmKeyStatus(HsmKeyPhase.MISSING)
        if version is None or version.state == State.PENDING_GENERATION:
            return HsmKeyStatus(HsmKeyPhase.PENDING)
        if version.state != State.ENABLED:
            return HsmKeyStatus(HsmKeyPhase.FAILED, version.name, reason=_why(version))
        if (version.algorithm, version.protection_level) != (ALGORITHM, LEVEL):
            return HsmKeyStatus(HsmKeyPhase.FAILED, version.name, reason="The HSM made a key of another kind.")
        return HsmKeyStatus(HsmKeyPhase.READY, version.name, self.public_key(version.name))

    def public_key(self, version: str) -> bytes:
        """The compressed point (33 bytes) of a key version. Raises keys.hsm_errors."""
        request = kms_v1.GetPublicKeyRequest(name=version)

        def checked(response: Any) -> bytes:
            responses.about(response, version)
            responses.must(response.algorithm == ALGORITHM, "public key of another algorithm")
            return responses.payload(response, "pem")

        pem = self._run("GetPublicKey", request, check=checked)
        try:
            return ecdsa.public_key_from_pem(pem.decode())
        except (CryptoError, UnicodeDecodeError):
            raise HsmMisconfigured("The HSM's public key is not on secp256k1.") from None

    def disable(self, version: str) -> None:
        self._set_state(version, State.DISABLED)

    def enable(self, version: str) -> None:
        self._set_state(version, State.ENABLED)

    def destroy(self, version: str) -> None:
        """See keys.hsm.protocol. Raises HsmKeyUnusable while the version is still being generated."""
        try:
            self._run("DestroyCryptoKeyVersion", kms_v1.DestroyCryptoKeyVersionRequest(name=version), *_STATE_CODES)
        except GoogleAPICallError as error:
            if code_of(error) is Code.NOT_FOUND:
                return
            found: kms_v1.CryptoKeyVersion = self._run(
                "GetCryptoKeyVersion", kms_v1.GetCryptoKeyVersionRequest(name=version)
            )
            if found.state not in _ENDED:
                raise as_keycast_error(error) from None

    def proof(self, name: str) -> HsmProof:
        """Google's attestation of the key's newest version (keys.cosigner.attestation), if it comes with one."""
        request = kms_v1.ListCryptoKeyVersionsRequest(parent=name, page_size=100, view=FULL)
        found = self._run("ListCryptoKeyVersions", request, check=lambda pages: list(pages.crypto_key_versions))
        responses.must(all(names.key_of(version.name) == name for version in found), "versions of another key")
        newest = max(found, key=lambda version: int(version.name.rpartition("/")[2]), default=None)
        if newest is None or newest.attestation.format != ATTESTED or not newest.attestation.content:
            return NO_PROOF
        chains = newest.attestation.cert_chains
        pem = [*chains.cavium_certs, *chains.google_card_certs, *chains.google_partition_certs]
        return HsmProof(newest.name, newest.attestation.content, "\n".join(each.strip() for each in pem).encode())

    def versions(self, name: str) -> list[str]:
        """Versions of a key that are not destroyed, or on their way to it; none when there is no such key."""
        try:
            found = self._list(name)
        except GoogleAPICallError:
            return []
        return [version.name for version in found if version.state not in _ENDED]

    def _newest(self, name: str) -> kms_v1.CryptoKeyVersion | None:
        return max(self._list(name), key=lambda version: int(version.name.rpartition("/")[2]), default=None)

    def _list(self, name: str) -> list[kms_v1.CryptoKeyVersion]:
        """Raises GoogleAPICallError (NOT_FOUND) when there is no such key."""
        request = kms_v1.ListCryptoKeyVersionsRequest(parent=name, page_size=100)
        found: list[kms_v1.CryptoKeyVersion] = self._run(
            "ListCryptoKeyVersions", request, Code.NOT_FOUND, check=lambda pages: list(pages.crypto_key_versions)
        )
        responses.must(all(names.key_of(version.name) == name for version in found), "versions of another key")
        return found

    def _set_state(self, version: str, wanted: int) -> None:
        request = kms_v1.UpdateCryptoKeyVersionRequest(
            crypto_key_version=kms_v1.CryptoKeyVersion(name=version, state=wanted),
            update_mask=FieldMask(paths=["state"]),
        )
        self._run(
            "UpdateCryptoKeyVersion", request, check=lambda found: responses.must(found.state == wanted, "no change")
        )

    def _run(
        self, method: str, request: Any, *answers_too: Code, check: Callable[[Any], T] = lambda response: response
    ) -> T:
        # Looking at a public key is the authoriser's: the keeper has nothing but what its job takes.
        identity = Identity.AUTHORISER if method == "GetPublicKey" else Identity.KEEPER
        call = getattr(clients.blocking_client(identity), _snake(method))
        tries = course(self._breaker, method, frozenset(answers_too))
        return run_blocking(tries, lambda seconds: check(call(request=request, retry=None, timeout=seconds)))


_STATE_CODES: Final = (Code.FAILED_PRECONDITION, Code.NOT_FOUND)


def _compare(made: kms_v1.CryptoKey, name: str) -> None:
    """Whether a key that is there is the one that was wanted. Raises HsmMisconfigured."""
    template = made.version_template
    if (made.purpose, template.algorithm, template.protection_level) != (PURPOSE, ALGORITHM, LEVEL):
        raise HsmMisconfigured("There is a key of the same name in the HSM already, of another kind.")
    responses.about(made, name)


def _why(version: kms_v1.CryptoKeyVersion) -> str:
    if version.state == State.GENERATION_FAILED:
        return "The HSM could not make the key."
    return f"The key's version in the HSM is {State(version.state).name.lower().replace('_', ' ')}."


def _snake(method: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in method).lstrip("_")
