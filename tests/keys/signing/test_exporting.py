"""A key out of the signer under a password: what is refused, and that only ciphertext comes, in both shapes."""

from __future__ import annotations

import subprocess
import uuid
from dataclasses import replace

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip49
from keys.errors import ExportsAreOff, KeyDamaged, NoCapability, TooManyExports
from keys.refs import HsmRef, KeyRef, SecretPurpose
from keys.signing import exporting, factory, scrypt_child
from tests.keys.signing.isolated.support import SignerProcess, asking

PASSWORD = "nine lorries in a tunnel"


def made_key():
    tenant_id, row_id = uuid.uuid4(), uuid.uuid4()
    purpose = SecretPurpose.PERSONAL_KEY
    made = factory.key_maker().generate(tenant_id=tenant_id, row_id=row_id, parent_id=None, purpose=purpose)
    return KeyRef(tenant_id, row_id, made.public_key, "encrypted", "", made.sealed)


@pytest.fixture
def allowed(settings):
    settings.KEY_EXPORT = True


def test_nothing_leaves_where_the_deployment_does_not_say_so():
    with pytest.raises(ExportsAreOff):
        exporting.export(made_key(), PASSWORD)


def test_a_signer_of_its_own_asks_its_own_environment(tmp_path, allowed):
    with SignerProcess(tmp_path / "s") as process, asking(process.socket), pytest.raises(ExportsAreOff):
        exporting.export(made_key(), PASSWORD)


@pytest.mark.usefixtures("allowed")
def test_keys_of_an_hsm_and_halves_do_not_leave():
    key = made_key()
    for other in (
        replace(key, key_mode="hsm", hsm_provider="google", hsm=HsmRef("projects/x")),
        replace(key, hsm=HsmRef("projects/x")),
        replace(key, sealed=None),
    ):
        with pytest.raises(NoCapability):
            exporting.export(other, PASSWORD)


@pytest.mark.usefixtures("allowed")
def test_what_is_stored_elsewhere_does_not_open():
    key = made_key()
    for other in (replace(key, key_id=uuid.uuid4()), replace(key, public_key=made_key().public_key)):
        with pytest.raises(KeyDamaged):
            exporting.export(other, PASSWORD)


@pytest.mark.usefixtures("allowed")
def test_so_many_leave_a_process_within_an_hour(settings, monkeypatch):
    settings.KEY_EXPORTS_PER_HOUR = 1
    key = made_key()
    assert exporting.export(key, PASSWORD)
    with pytest.raises(TooManyExports):
        exporting.export(key, PASSWORD)
    monkeypatch.setattr(exporting, "HOUR", -1.0)
    assert exporting.export(key, PASSWORD)


@pytest.mark.usefixtures("allowed")
def test_the_child_gets_the_password_and_not_the_key(monkeypatch):
    given = {}

    def run(command, **kwargs):
        given.update(kwargs, command=command)
        return real(command, **kwargs)

    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", run)
    with nip49.decrypt(exporting.export(made_key(), PASSWORD), PASSWORD) as secret:
        assert secret.view().hex() not in given["input"].decode()
    assert PASSWORD in given["input"].decode()
    assert PASSWORD not in " ".join(given["command"])
    assert given["env"] == {}


def test_a_child_that_would_take_more_than_its_limit_ends_without_a_key(monkeypatch):
    monkeypatch.setattr(scrypt_child, "memory_for", lambda log_n: 4 << 20)
    with pytest.raises(nip49.Nip49Error, match="too-costly"):
        scrypt_child.derive_apart(PASSWORD, bytes(16), 16)


def opens_to(key, text):
    with nip49.decrypt(text, PASSWORD) as secret, Keypair.from_secret(secret) as pair:
        return pair.public_key_hex == key.public_key


@pytest.mark.usefixtures("allowed")
def test_it_opens_to_the_key_with_the_password_that_was_chosen():
    key = made_key()
    assert opens_to(key, exporting.export(key, PASSWORD))


def test_the_same_out_of_a_signer_of_its_own(tmp_path, allowed):
    with SignerProcess(tmp_path / "s", KEYCAST_KEY_EXPORT="1") as process, asking(process.socket):
        key = made_key()
        text = exporting.export(key, PASSWORD)
        assert opens_to(key, text)
    assert PASSWORD not in process.errors
    assert text not in process.errors
    assert str(key.key_id) in process.errors
