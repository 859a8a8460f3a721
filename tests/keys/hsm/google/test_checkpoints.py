"""Checkpoints of the audit log signed by a key in Cloud KMS: verified before they are kept, never the wrong one's."""

from __future__ import annotations

import uuid

import pytest
from google.cloud import kms_v1

from keycast.audit import checkpoints, published_statements, publishing, signing
from keycast.audit.statements import Keyring, is_signed
from keycast.base.errors import KeycastError
from keycast.emulators.kms.faults import SPOILS
from keys.hsm import calling
from keys.hsm.google import clients, provider
from keys.hsm.google.checkpoints import GoogleStatementSigner
from keys.hsm_errors import HsmMisconfigured
from tests.keycast.audit.conftest import write
from tests.keys.hsm.google.conftest import RING, misbehave

Algorithm = kms_v1.CryptoKeyVersion.CryptoKeyVersionAlgorithm


def make_version(algorithm=Algorithm.EC_SIGN_P256_SHA256):
    key = kms_v1.CryptoKey(
        purpose=kms_v1.CryptoKey.CryptoKeyPurpose.ASYMMETRIC_SIGN,
        version_template=kms_v1.CryptoKeyVersionTemplate(
            algorithm=algorithm, protection_level=kms_v1.ProtectionLevel.HSM
        ),
    )
    name = f"audit-{uuid.uuid4().hex}"
    made = clients.blocking_client().create_crypto_key(parent=RING, crypto_key_id=name, crypto_key=key)
    return f"{made.name}/cryptoKeyVersions/1"


@pytest.fixture(params=[Algorithm.EC_SIGN_P256_SHA256, Algorithm.EC_SIGN_SECP256K1_SHA256])
def kms_signer(request, emulator, monkeypatch):
    monkeypatch.setattr(calling, "TRY_SECONDS", 0.5)
    return GoogleStatementSigner(make_version(request.param))


@pytest.mark.parametrize("name", ["", "x", f"{RING}/cryptoKeys/audit", "projects/p/locations/l/keyRings/r"])
def test_what_is_no_version_of_a_key_is_refused(name):
    with pytest.raises(HsmMisconfigured):
        GoogleStatementSigner(name)


@pytest.mark.parametrize("kind", sorted(SPOILS))
def test_an_answer_that_is_wrong_is_never_kept(kind, kms_signer, emulator, db):
    write(3)
    assert kms_signer.public_key  # asked for while all is well
    misbehave(emulator, kind)
    with pytest.raises(KeycastError):
        checkpoints.make("platform", kms_signer)
    assert checkpoints.last_of("platform") is None


def test_a_checkpoint_is_signed_by_cloud_kms(kms_signer, db):
    write(3)
    made = checkpoints.make("platform", kms_signer)
    assert is_signed(made.statement.message(), bytes(made.signature), kms_signer.public_key)
    found = published_statements.read([publishing.line_of(made)], Keyring([kms_signer.public_key]))
    assert (found.count, found.doubts) == (1, [])


def test_the_checkpoint_kms_key_setting_selects_the_google_signer(emulator, settings):
    settings.AUDIT_CHECKPOINT_KEY = ""
    settings.AUDIT_CHECKPOINT_KMS_KEY = make_version()
    signing.register("google", provider.checkpoints)
    assert isinstance(signing.current(), GoogleStatementSigner)
    assert list(signing.trusted()) == [signing.current().public_key]
    settings.AUDIT_CHECKPOINT_KMS_KEY = ""
    signing._others.clear()
    signing.current.cache_clear()
