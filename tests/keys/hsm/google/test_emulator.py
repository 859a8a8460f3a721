"""The emulator answers as Cloud KMS's reference says, to the genuine client; so that what passes here passes there.

Source: cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import google_crc32c
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.core.management import CommandError, call_command
from google.api_core import exceptions
from google.cloud import kms_v1

from keycast.emulators.kms.server import KmsEmulator, control
from keys.hsm.google import clients
from tests.keys.hsm.google.conftest import RING, misbehave

Key, Version = kms_v1.CryptoKey, kms_v1.CryptoKeyVersion
Algorithm, State = Version.CryptoKeyVersionAlgorithm, Version.CryptoKeyVersionState
HSM = kms_v1.ProtectionLevel.HSM


@pytest.fixture
def client(emulator):
    return clients.blocking_client()


def wanted(purpose=Key.CryptoKeyPurpose.ASYMMETRIC_SIGN, algorithm=Algorithm.EC_SIGN_SECP256K1_SHA256, level=HSM):
    template = kms_v1.CryptoKeyVersionTemplate(algorithm=algorithm, protection_level=level)
    return Key(purpose=purpose, version_template=template)


def create(client, key_id=None, **kind):
    return client.create_crypto_key(
        parent=RING, crypto_key_id=key_id or f"k-{uuid.uuid4().hex}", crypto_key=wanted(**kind), retry=None
    )


@pytest.fixture
def signing(client):
    return f"{create(client).name}/cryptoKeyVersions/1"


@pytest.fixture
def encrypting(client):
    purpose, algorithm = Key.CryptoKeyPurpose.ENCRYPT_DECRYPT, Algorithm.GOOGLE_SYMMETRIC_ENCRYPTION
    return create(client, purpose=purpose, algorithm=algorithm).name


@pytest.mark.parametrize("key_id", ["", "with space", "a" * 64, "a/b"])
def test_a_malformed_key_id_is_refused(client, key_id):
    request = {"parent": RING, "crypto_key_id": key_id, "crypto_key": wanted()}
    with pytest.raises(exceptions.InvalidArgument):
        client.create_crypto_key(request=request, retry=None)


def test_the_curve_is_offered_by_hsms_alone(client):
    with pytest.raises(exceptions.InvalidArgument):
        create(client, level=kms_v1.ProtectionLevel.SOFTWARE)


def test_a_second_key_of_the_same_name_already_exists(client):
    name = f"k-{uuid.uuid4().hex}"
    create(client, name)
    with pytest.raises(exceptions.AlreadyExists):
        create(client, name)


def test_a_key_that_signs_has_no_primary_and_starts_in_generation(client, emulator):
    emulator.store.pending_seconds = 60
    key = create(client)
    assert not key.primary.name
    version = f"{key.name}/cryptoKeyVersions/1"
    assert client.get_crypto_key_version(name=version).state == State.PENDING_GENERATION
    with pytest.raises(exceptions.FailedPrecondition):
        client.get_public_key(name=version, retry=None)
    with pytest.raises(exceptions.FailedPrecondition):
        client.destroy_crypto_key_version(name=version, retry=None)


def test_a_signature_verifies_under_the_public_key_with_checksums_of_both(client, signing):
    public = client.get_public_key(name=signing)
    assert (public.name, public.algorithm, public.protection_level) == (
        signing,
        Algorithm.EC_SIGN_SECP256K1_SHA256,
        HSM,
    )
    assert public.pem_crc32c == google_crc32c.value(public.pem.encode())
    digest = os.urandom(32)
    response = client.asymmetric_sign(
        request={"name": signing, "digest": {"sha256": digest}, "digest_crc32c": google_crc32c.value(digest)}
    )
    assert response.verified_digest_crc32c
    assert response.signature_crc32c == google_crc32c.value(response.signature)
    key = load_pem_public_key(public.pem.encode())
    key.verify(response.signature, digest, ec.ECDSA(Prehashed(SHA256())))


def test_a_digest_without_checksum_is_signed_and_not_verified(client, signing):
    response = client.asymmetric_sign(request={"name": signing, "digest": {"sha256": bytes(32)}})
    assert not response.verified_digest_crc32c


@pytest.mark.parametrize(
    "fields",
    [
        {"digest": {"sha256": bytes(32)}, "digest_crc32c": 1},
        {"digest": {"sha256": bytes(31)}},
        {"digest": {"sha384": bytes(48)}},
        {},
    ],
)
def test_a_wrong_checksum_or_digest_is_refused(client, signing, fields):
    with pytest.raises(exceptions.InvalidArgument):
        client.asymmetric_sign(request={"name": signing, **fields}, retry=None)


def test_states_of_a_version(client, signing):
    mask = {"paths": ["state"]}
    client.update_crypto_key_version(crypto_key_version={"name": signing, "state": State.DISABLED}, update_mask=mask)
    with pytest.raises(exceptions.FailedPrecondition):
        client.asymmetric_sign(request={"name": signing, "digest": {"sha256": bytes(32)}}, retry=None)
    client.update_crypto_key_version(crypto_key_version={"name": signing, "state": State.ENABLED}, update_mask=mask)
    assert client.destroy_crypto_key_version(name=signing).state == State.DESTROY_SCHEDULED
    with pytest.raises(exceptions.FailedPrecondition):
        client.destroy_crypto_key_version(name=signing, retry=None)
    assert client.restore_crypto_key_version(name=signing).state == State.DISABLED


def test_what_is_not_there_is_not_found(client):
    for call in (client.get_crypto_key, client.get_crypto_key_version, client.get_public_key):
        with pytest.raises(exceptions.NotFound):
            call(name=f"{RING}/cryptoKeys/none/cryptoKeyVersions/1", retry=None)


def test_lists_come_in_pages(client, emulator):
    emulator.store.keys.clear()
    names = sorted(create(client).name for _ in range(5))
    pages = client.list_crypto_keys(request={"parent": RING, "page_size": 2})
    assert [key.name for key in pages] == names
    for _ in range(3):
        client.create_crypto_key_version(parent=names[0], crypto_key_version={})
    versions = client.list_crypto_key_versions(request={"parent": names[0], "page_size": 3})
    assert [version.name.rpartition("/")[2] for version in versions] == ["1", "2", "3", "4"]


def test_encryption_round_trips_and_binds_its_associated_data(client, encrypting):
    sealed = client.encrypt(request={"name": encrypting, "plaintext": b"x", "additional_authenticated_data": b"a"})
    assert sealed.name == f"{encrypting}/cryptoKeyVersions/1"
    assert not sealed.verified_plaintext_crc32c
    ask = {"name": encrypting, "ciphertext": sealed.ciphertext}
    answer = client.decrypt(request=ask | {"additional_authenticated_data": b"a"})
    assert (answer.plaintext, answer.plaintext_crc32c) == (b"x", google_crc32c.value(b"x"))
    for wrong in ({}, {"additional_authenticated_data": b"b"}, {"ciphertext_crc32c": 1}):
        with pytest.raises(exceptions.InvalidArgument):
            client.decrypt(request=ask | wrong, retry=None)


def test_keys_outlive_the_emulator_in_a_file(tmp_path, settings):
    settings.KMS_EMULATOR = True
    path = tmp_path / "kms.json"
    publics = []
    for _ in range(2):
        with KmsEmulator(path=path) as emulator:
            settings.KMS_ENDPOINT = emulator.address
            clients.reset()
            client = clients.blocking_client()
            if not publics:
                create(client, "kept")
            publics.append(client.get_public_key(name=f"{RING}/cryptoKeys/kept/cryptoKeyVersions/1").pem)
            clients.reset()
    assert publics[0] == publics[1]
    assert path.stat().st_mode & 0o077 == 0


def test_it_is_told_what_to_do_from_another_process(client, emulator, signing):
    control(emulator.address, {"faults": [{"kind": "error", "methods": ["GetPublicKey"], "code": "ABORTED"}]})
    with pytest.raises(exceptions.Aborted):
        client.get_public_key(name=signing, retry=None)
    assert control(emulator.address, {"faults": []})["calls"]["CreateCryptoKey"] >= 1
    client.get_public_key(name=signing, retry=None)


def test_a_fault_counts_down(client, emulator, signing):
    misbehave(emulator, "error", "GetPublicKey", code="ABORTED", times=1)
    with pytest.raises(exceptions.Aborted):
        client.get_public_key(name=signing, retry=None)
    client.get_public_key(name=signing, retry=None)


def test_production_refuses_it(settings):
    settings.IS_PRODUCTION = True
    with pytest.raises(CommandError, match="production"):
        call_command("kms_emulator")


@pytest.mark.parametrize("place", ["port", "socket"])
def test_the_command_serves_until_it_is_ended(settings, tmp_path, place):
    where = {"port": ["--port", "0"], "socket": ["--socket", str(tmp_path / "kms.sock")]}
    command = [sys.executable, "manage.py", "kms_emulator", *where[place]]
    environment = os.environ | {"KEYCAST_ENVIRONMENT": "development"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        line = process.stdout.readline()
        assert "protects nothing" in line
        settings.KMS_EMULATOR, settings.KMS_ENDPOINT = True, line.split()[4]
        clients.reset()
        assert create(clients.blocking_client()).name.startswith(RING)
        if place == "socket":
            assert (tmp_path / "kms.sock").stat().st_mode & 0o077 == 0
        process.terminate()
        assert process.wait(10) == 0
    clients.reset()
