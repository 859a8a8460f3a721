"""The emulator refuses, and is late, as Cloud KMS does: unknown key rings, quotas, disabling that takes its time."""

from __future__ import annotations

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import kms_v1

from keycast.emulators.kms.quotas import KmsQuotas
from keys.hsm.google import clients
from keys.hsm.google.keeper import ALGORITHM, LEVEL, PURPOSE, GoogleKeyManager, State
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm_errors import HsmKeyUnusable, HsmThrottled
from tests.keys.hsm.google.conftest import RING, make_hsm_key

SIGNING = "HSM asymmetric cryptographic requests"
LONG = 3600


@pytest.fixture
def client(emulator):
    return clients.blocking_client()


def sign(client, version):
    return client.asymmetric_sign(name=version, digest=kms_v1.Digest(sha256=bytes(32)), retry=None)


def create(client, ring, name="one"):
    template = kms_v1.CryptoKeyVersionTemplate(algorithm=ALGORITHM, protection_level=LEVEL)
    wanted = kms_v1.CryptoKey(purpose=PURPOSE, version_template=template)
    return client.create_crypto_key(parent=ring, crypto_key_id=name, crypto_key=wanted, retry=None)


def test_a_key_ring_that_nobody_made_is_not_found(client):
    ring = RING + "-2"
    for call in (lambda: create(client, ring), lambda: client.list_crypto_keys(parent=ring)):
        with pytest.raises(exceptions.NotFound, match="KeyRing"):
            call()
    with pytest.raises(HsmKeyUnusable):
        GoogleKeyManager(ring).create("user-1")
    client.create_key_ring(parent=RING.partition("/keyRings/")[0], key_ring_id="keycast-2", key_ring=kms_v1.KeyRing())
    assert create(client, ring).name.startswith(ring)


def test_a_version_that_cannot_be_generated_says_why(emulator, client):
    emulator.apply({"generation_failures": 1})
    keeper = GoogleKeyManager(RING)
    name = keeper.create("user-cannot-be").name
    status = keeper.check(name)
    assert status.phase is HsmKeyPhase.FAILED
    assert "could not make" in status.reason
    version = client.get_crypto_key_version(name=f"{name}/cryptoKeyVersions/1")
    assert version.state == State.GENERATION_FAILED
    assert version.generation_failure_reason
    assert not version.attestation.content


def test_a_version_that_was_disabled_signs_on_for_a_while(emulator, client):
    """Cloud KMS, "Resource consistency": typically up to a minute, in exceptional cases several hours."""
    keeper = GoogleKeyManager(RING)
    hsm = make_hsm_key(keeper)
    emulator.apply({"disabling_seconds": LONG})
    keeper.disable(hsm.key_version)
    assert client.get_crypto_key_version(name=hsm.key_version).state == State.DISABLED
    sign(client, hsm.key_version)
    emulator.store.version(hsm.key_version).disabled_at -= LONG
    with pytest.raises(exceptions.FailedPrecondition) as refused:
        sign(client, hsm.key_version)
    (failure,) = refused.value.details
    assert [(each.type, each.subject) for each in failure.violations] == [("KEY_DISABLED", hsm.key_version)]
    keeper.enable(hsm.key_version)
    sign(client, hsm.key_version)


def test_who_loses_the_permission_cannot_sign_with_a_version_that_is_still_usable(two_identities):
    """Google: changes of IAM take seconds; docs/hsm.md tells to take the permission first."""
    keeper = GoogleKeyManager(RING)
    hsm = make_hsm_key(keeper)
    two_identities.apply({"disabling_seconds": LONG})
    keeper.disable(hsm.key_version)
    two_identities.apply({"access": {"somebody@else": {RING: []}}})
    with pytest.raises(exceptions.PermissionDenied, match="useToSign"):
        sign(clients.blocking_client(), hsm.key_version)


def test_a_quota_that_is_used_up_says_which(emulator, client):
    hsm = make_hsm_key(GoogleKeyManager(RING))
    emulator.apply({"quotas": {SIGNING: 0}})
    with pytest.raises(exceptions.ResourceExhausted, match="Quota exceeded") as refused:
        sign(client, hsm.key_version)
    info = refused.value.details[0]
    assert (info.reason, info.metadata["quota_metric"]) == ("RATE_LIMIT_EXCEEDED", SIGNING)
    with pytest.raises(HsmThrottled):
        GoogleKeyManager(RING).public_key(hsm.key_version)
    with pytest.raises(ValueError, match="metrics"):
        KmsQuotas().set({"wishes": 1})


def test_a_caller_that_does_not_say_who_it_is_gets_nothing(two_identities, settings):
    with grpc.insecure_channel(settings.KMS_ENDPOINT) as channel:
        call = channel.unary_unary(
            "/google.cloud.kms.v1.KeyManagementService/GetPublicKey",
            request_serializer=kms_v1.GetPublicKeyRequest.serialize,
        )
        with pytest.raises(grpc.RpcError) as refused:
            call(kms_v1.GetPublicKeyRequest(name=f"{RING}/cryptoKeys/a/cryptoKeyVersions/1"), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_an_hsm_key_comes_with_an_attestation_unless_it_is_told_to_have_none(emulator, client):
    hsm = make_hsm_key(GoogleKeyManager(RING))
    found = client.get_crypto_key_version(name=hsm.key_version).attestation
    assert found.format.name == "CAVIUM_V2_COMPRESSED"
    chains = found.cert_chains
    assert [len(chains.cavium_certs), len(chains.google_card_certs), len(chains.google_partition_certs)] == [2, 1, 1]
    assert client.get_crypto_key_version(name=hsm.key_version).attestation == found
    emulator.apply({"attests": False})
    assert not client.get_crypto_key_version(name=hsm.key_version).attestation.content
