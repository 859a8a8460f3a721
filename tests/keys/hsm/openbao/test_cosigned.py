"""From the wish for a key to its signatures: OpenBao authorises, the co-signer as a process, all between."""

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
from keys.hsm.openbao import provider
from keys.hsm.openbao.backend import OpenBaoBackend
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

SYSTEM = Actor.system("test")


@pytest.fixture
def deployment(tmp_path, settings, emulator, transactional_db, monkeypatch):
    """A server set up for split keys, with its co-signer; yields a tenant that offers them and a member."""
    process = Process(tmp_path)
    settings.COSIGNER_SOCKET, settings.COSIGNER_ADDRESS = str(process.socket), ""
    settings.COSIGNER_DB = process.environment["KEYCAST_COSIGNER_DB"]
    settings.HSM_PROVIDERS = ["openbao"]
    hsm_key_managers.cache_clear()
    monkeypatch.setattr(modes, "_backends", [OpenBaoBackend()])
    monkeypatch.setattr("keys.hsm.provisioning.enqueue", lambda key_id: None)
    monkeypatch.setattr(factory, "_signers", {("hsm", "openbao"): provider.signer})
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


def test_where_nothing_is_set_up_the_mode_says_so_and_no_key_is_made(deployment, settings):
    settings.OPENBAO_URL = ""
    (offer,) = modes.offers(deployment[0])
    assert "OpenBao" in offer.problem
    with pytest.raises(KeyModeUnavailable):
        asked_for(deployment)


@pytest.mark.parametrize("imported", [False, True])
def test_a_key_that_openbao_authorises_signs_and_converses(deployment, imported):
    whole, secret = Keypair.generate()
    row = made(deployment, secret if imported else None)
    assert (row.state, row.hsm_provider, row.kms_key_version) == (KeyState.ACTIVE, "openbao", row.kms_key_name)
    assert row.authoriser_public_key.startswith("01")
    assert (row.public_key == whole.public_key_hex) is imported
    assert signed(row)
    peer, key = Keypair.generate()[0], selectors.key_ref(row)
    payload = asyncio.run(runtime.signing_service().crypt(key, "nip44_encrypt", peer.public_key_hex, "hello"))
    assert nip44.decrypt(payload, nip44.conversation_key(peer, bytes.fromhex(row.public_key))) == "hello"


def test_a_key_disabled_there_signs_nothing_and_one_disabled_here_is_disabled_there(deployment):
    row = made(deployment)
    keeper = hsm_key_managers()["openbao"]
    keeper.disable(row.kms_key_version)
    with pytest.raises(KeyUnavailable):
        signed(row)
    keeper.enable(row.kms_key_version)
    assert signed(row)
    services.disable_key(actor=SYSTEM, key=row)
    assert maintenance.sync_state(row.id)
    assert "disabled" in keeper.check(row.kms_key_name).reason


def test_another_key_there_takes_its_place(deployment, settings):
    row = made(deployment)
    authoriser, keeper = maintenance.authoriser_of("openbao"), hsm_key_managers()["openbao"]
    with pytest.raises(AuthoriserUnproven, match="cosigner approve"):
        succession.succeed(actor=SYSTEM, key=row, authoriser=authoriser, keeper=keeper)
    # OpenBao attests nothing: the co-signer's operator says yes, as the message tells.
    wanted = bytes.fromhex(Succession.objects.get(key=row).authoriser_public_key)
    operator_commands.approve_authoriser(Path(settings.COSIGNER_DB), row.id, wanted, "seen in OpenBao")
    succession.succeed(actor=SYSTEM, key=row, authoriser=authoriser, keeper=keeper)
    assert again(row).kms_key_name != row.kms_key_name
    assert Succession.objects.filter(key=row).exists()
    assert signed(again(row))
