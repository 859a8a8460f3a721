"""From the wish for a key to its signatures: SoftHSM2 authorises, the co-signer as a process, all between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from keycast.audit.entries import Actor
from keycast.crypto import schnorr
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip44
from keys import selectors, services
from keys.cosigner import operator_commands
from keys.errors import KeyModeUnavailable, KeyUnavailable
from keys.hsm.pkcs11 import provider
from keys.hsm.pkcs11.backend import Pkcs11Backend
from keys.hsm.registration import hsm_key_managers
from keys.lifecycle import modes
from keys.models import KeyState
from keys.models.hsm import Succession
from keys.signing import factory, runtime
from keys.signing.cosigning.errors import AuthoriserUnproven
from keys.split import maintenance, succession
from tests.keys.conftest import make_tenant, make_user
from tests.keys.cosigner.rows import again
from tests.keys.cosigner.support import Process, note

pytestmark = pytest.mark.needs_softhsm
SYSTEM = Actor.system("test")


@pytest.fixture
def deployment(tmp_path, settings, token, transactional_db, monkeypatch):
    """A server set up for split keys, with its co-signer; yields a tenant that offers them and a member."""
    process = Process(tmp_path)
    settings.COSIGNER_SOCKET, settings.COSIGNER_ADDRESS = str(process.socket), ""
    settings.COSIGNER_DB = process.environment["KEYCAST_COSIGNER_DB"]
    settings.HSM_PROVIDERS = ["pkcs11"]
    hsm_key_managers.cache_clear()
    monkeypatch.setattr(modes, "_backends", [Pkcs11Backend()])
    monkeypatch.setattr("keys.hsm.provisioning.enqueue", lambda key_id: None)
    monkeypatch.setattr(factory, "_signers", {("hsm", "pkcs11"): provider.signer})
    maintenance.authoriser_of.cache_clear()
    runtime.signing_service.cache_clear()
    tenant = make_tenant(key_modes=["hsm"], default_key_mode="hsm")
    yield tenant, make_user(tenant)
    runtime.signing_service().forget_all()
    runtime.signing_service.cache_clear()
    hsm_key_managers.cache_clear()
    process.stop()


def asked_for(deployment, secret=None):
    tenant, user = deployment
    common = {"actor": Actor.user(user), "tenant": tenant, "user": user, "name": "Split"}
    return services.create_key(**common) if secret is None else services.import_key(**common, secret=secret)


def made(deployment, secret=None):
    """A key that a member asked for, finished by the job."""
    row = asked_for(deployment, secret)
    assert row.state == KeyState.PENDING
    assert services.finish_pending_key(row.id)
    return again(row)


def signed(row, content="hello"):
    key = selectors.key_ref(again(row))
    event = asyncio.run(runtime.signing_service().sign_event(key, note(key, content)))
    return schnorr.verify(bytes.fromhex(row.public_key), bytes.fromhex(event.id), bytes.fromhex(event.sig))


def test_where_the_library_is_missing_the_mode_says_so_and_no_key_is_made(deployment, monkeypatch):
    monkeypatch.setattr("keys.hsm.pkcs11.config.is_installed", lambda: False)
    (offer,) = modes.offers(deployment[0])
    assert "requirements/pkcs11.txt" in offer.problem
    with pytest.raises(KeyModeUnavailable, match="not installed"):
        asked_for(deployment)


@pytest.mark.parametrize(("imported", "curve"), [(False, "secp256k1"), (True, "secp256k1"), (False, "p256")])
def test_a_key_that_a_token_authorises_signs_and_converses(deployment, settings, imported, curve):
    settings.PKCS11_CURVE = curve
    whole, secret = Keypair.generate()
    row = made(deployment, secret if imported else None)
    assert (row.state, row.hsm_provider, row.kms_key_version) == (KeyState.ACTIVE, "pkcs11", row.kms_key_name)
    assert row.kms_key_name.startswith(f"kc-{row.tenant_id.hex[:12]}-")
    assert (row.public_key == whole.public_key_hex) is imported
    assert len(row.authoriser_public_key) == {"secp256k1": 66, "p256": 68}[curve]
    assert signed(row)
    peer, key = Keypair.generate()[0], selectors.key_ref(row)
    payload = asyncio.run(runtime.signing_service().crypt(key, "nip44_encrypt", peer.public_key_hex, "hello"))
    assert nip44.decrypt(payload, nip44.conversation_key(peer, bytes.fromhex(row.public_key))) == "hello"


def test_disabling_the_key_here_disables_it_in_the_token(deployment):
    row = made(deployment)
    keeper = hsm_key_managers()["pkcs11"]
    services.disable_key(actor=SYSTEM, key=row)
    assert maintenance.sync_state(row.id)
    assert again(row).hsm_is_disabled
    assert "disabled" in keeper.check(row.kms_key_name).reason
    services.enable_key(actor=SYSTEM, key=again(row))
    assert maintenance.sync_state(row.id)
    assert signed(row)


def test_where_the_token_cannot_disable_a_key_nothing_waits_for_that(deployment, settings):
    settings.PKCS11_CAN_DISABLE = False
    row = made(deployment)
    services.disable_key(actor=SYSTEM, key=row)
    assert maintenance.sync_state(row.id)
    assert not again(row).hsm_is_disabled
    assert maintenance.resume_all() >= 0
    with pytest.raises(KeyUnavailable):
        signed(row)


def test_a_key_disabled_in_the_token_signs_nothing(deployment):
    row = made(deployment)
    hsm_key_managers()["pkcs11"].disable(row.kms_key_version)
    with pytest.raises(KeyUnavailable):
        signed(row)
    hsm_key_managers()["pkcs11"].enable(row.kms_key_version)
    assert signed(row)


def test_another_key_in_the_token_takes_its_place(deployment, settings):
    row = made(deployment)
    authoriser, keeper = maintenance.authoriser_of("pkcs11"), hsm_key_managers()["pkcs11"]
    with pytest.raises(AuthoriserUnproven, match="cosigner approve"):
        succession.succeed(actor=SYSTEM, key=row, authoriser=authoriser, keeper=keeper)
    # A token attests nothing: the co-signer's operator says yes, as the message tells.
    wanted = bytes.fromhex(Succession.objects.get(key=row).authoriser_public_key)
    operator_commands.approve_authoriser(Path(settings.COSIGNER_DB), row.id, wanted, "seen in the token")
    succession.succeed(actor=SYSTEM, key=row, authoriser=authoriser, keeper=keeper)
    after = again(row)
    assert after.kms_key_name != row.kms_key_name
    assert after.kms_key_name.startswith(f"kc-{row.tenant_id.hex[:12]}-")
    assert Succession.objects.filter(key=row).exists()
    assert signed(after)
