"""Two identities at Google: the one that every server has signs, and can do nothing else."""

from __future__ import annotations

import ast
import asyncio
import os

import pytest
from django.conf import settings as live_settings
from google.api_core import exceptions
from google.cloud import kms_v1
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import ErrorInfo

from keycast.base import hsm_keeping
from keys.cosigner import process as cosigner
from keys.hsm.google import clients
from keys.hsm.google.authoriser import GoogleAuthoriser
from keys.hsm.google.identities import Identity
from keys.hsm.google.keeper import GoogleKeyManager, State
from keys.hsm.google.listing import GoogleKeyReader
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm_errors import HsmForbidden
from keys.signing.isolated import process as signer
from tests.keys.hsm.google.conftest import RING, make_hsm_key
from tests.paths import ROOT

KEEPERS = "KEYCAST_GCP_KEEPER_CREDENTIALS"


@pytest.fixture
def serving(monkeypatch):
    """This process serves the network, until the end of the test."""
    monkeypatch.setattr(hsm_keeping, "_given_up", [])
    monkeypatch.setattr(live_settings, "GCP_KEEPER_CREDENTIALS", live_settings.GCP_KEEPER_CREDENTIALS)
    return hsm_keeping.give_up


def update(state):
    def call(client, version):
        wanted = kms_v1.CryptoKeyVersion(name=version, state=state)
        client.update_crypto_key_version(crypto_key_version=wanted, update_mask=FieldMask(paths=["state"]))

    return call


def create(client, version):
    made = kms_v1.CryptoKey(purpose=kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT)
    client.create_crypto_key(parent=RING, crypto_key_id="mine", crypto_key=made)


ENDS = {
    "enable": update(State.ENABLED),
    "disable": update(State.DISABLED),
    "create": create,
    "another version": lambda client, version: client.create_crypto_key_version(
        parent=version.rpartition("/cryptoKeyVersions/")[0], crypto_key_version=kms_v1.CryptoKeyVersion()
    ),
    "destroy": lambda client, version: client.destroy_crypto_key_version(name=version),
    "restore": lambda client, version: client.restore_crypto_key_version(name=version),
    "list": lambda client, version: client.list_crypto_keys(parent=RING),
    "look": lambda client, version: client.get_crypto_key_version(name=version),
}


@pytest.mark.parametrize("what", ENDS)
def test_who_has_taken_over_a_server_can_sign_and_nothing_else(two_identities, what):
    """With the authoriser's credentials and Google's own client, whatever code of ours forbids."""
    hsm = make_hsm_key(GoogleKeyManager(RING))
    if what == "enable":
        GoogleKeyManager(RING).disable(hsm.key_version)
    with pytest.raises(exceptions.PermissionDenied) as refused:
        ENDS[what](clients.blocking_client(Identity.AUTHORISER), hsm.key_version)
    (info,) = refused.value.details
    assert isinstance(info, ErrorInfo)
    assert info.reason == "IAM_PERMISSION_DENIED"
    assert info.metadata["permission"].startswith("cloudkms.cryptoKey")
    if what == "enable":
        with pytest.raises(exceptions.FailedPrecondition):
            sign(clients.blocking_client(Identity.AUTHORISER), hsm.key_version)
    else:
        assert asyncio.run(GoogleAuthoriser().authorise(hsm, os.urandom(32)))


def sign(client, version):
    return client.asymmetric_sign(name=version, digest=kms_v1.Digest(sha256=bytes(32)), retry=None)


def test_the_keeper_makes_and_ends_keys_and_cannot_use_them(two_identities):
    keeper = GoogleKeyManager(RING)
    hsm = make_hsm_key(keeper)
    with pytest.raises(exceptions.PermissionDenied):
        sign(clients.blocking_client(Identity.KEEPER), hsm.key_version)
    keeper.disable(hsm.key_version)
    keeper.enable(hsm.key_version)
    assert keeper.check(hsm.key_name).phase is HsmKeyPhase.READY
    assert any(key.name == hsm.key_name for key in GoogleKeyReader(RING).page("").held)
    keeper.destroy(hsm.key_version)


def test_a_process_that_serves_the_network_never_reads_the_keepers_credentials(two_identities, serving, tmp_path):
    hsm = make_hsm_key(GoogleKeyManager(RING))
    serving()
    clients.reset()
    assert live_settings.GCP_KEEPER_CREDENTIALS == ""
    live_settings.GCP_KEEPER_CREDENTIALS = str(tmp_path / "GCP_KEEPER_CREDENTIALS.json")  # whatever puts it back
    for forbidden in (
        lambda: GoogleKeyManager(RING).enable(hsm.key_version),
        lambda: GoogleKeyManager(RING).destroy(hsm.key_version),
        lambda: GoogleKeyReader(RING).page(""),
    ):
        with pytest.raises(HsmForbidden, match="serves the network"):
            forbidden()
    assert asyncio.run(GoogleAuthoriser().authorise(hsm, os.urandom(32)))


@pytest.mark.parametrize(
    "command",
    ["keycast/management/commands/serve", "keycast/management/commands/bunker", "keys/management/commands/signer"],
)
def test_whatever_serves_the_network_gives_keeping_up_first(command):
    tree = ast.parse((ROOT / f"{command}.py").read_text())
    (handle,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "handle"]
    assert "hsm_keeping.give_up()" in [ast.unparse(node) for node in handle.body]


def test_signer_and_co_signer_do_not_inherit_the_keepers_credentials():
    given = {KEEPERS: "/etc/keycast/keeper.json", "KEYCAST_GCP_AUTHORISER_CREDENTIALS": "/etc/keycast/authoriser.json"}
    assert signer.environment(given)[KEEPERS] == ""
    assert signer.environment(given)["KEYCAST_GCP_AUTHORISER_CREDENTIALS"], "it asks the HSM to authorise"
    assert {cosigner.environment(given)[name] for name in given} == {""}


def test_credentials_come_from_the_file_of_their_identity(emulator, settings, tmp_path, monkeypatch):
    settings.KMS_EMULATOR = False
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    for identity in Identity:
        setattr(settings, f"GCP_{identity.name}_CREDENTIALS", str(tmp_path / f"{identity.value}.json"))
        with pytest.raises(HsmForbidden, match=identity.value):
            clients.blocking_client(identity)
