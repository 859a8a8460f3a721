"""From the wish for a key to its signatures: emulated Cloud KMS, the co-signer as a process, all between."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from keycast.audit.entries import Actor
from keycast.crypto import schnorr
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip44
from keys import selectors, services
from keys.errors import KeyUnavailable
from keys.hsm import provisioning
from keys.hsm.google import provider
from keys.hsm.google.backend import GoogleBackend
from keys.hsm.protocol import HsmKeyPhase, HsmKeyStatus
from keys.hsm.registration import hsm_key_managers
from keys.lifecycle import modes
from keys.models import KeyState
from keys.signing import factory, runtime
from keys.signing.cosigning.client import blocking
from keys.split import maintenance, refresh
from tests.keys.conftest import make_tenant, make_user
from tests.keys.cosigner.rows import again
from tests.keys.cosigner.support import Process, note
from tests.keys.hsm.google.conftest import emulator as emulator  # noqa: PLC0414 -- a fixture
from tests.keys.hsm.google.conftest import running_emulator as running_emulator  # noqa: PLC0414 -- a fixture

SYSTEM = Actor.system("test")


@pytest.fixture
def deployment(tmp_path, settings, emulator, transactional_db, monkeypatch):
    """A server set up for split keys, with its co-signer; yields a tenant that offers them and a member."""
    process = Process(tmp_path)
    settings.COSIGNER_SOCKET, settings.COSIGNER_ADDRESS = str(process.socket), ""
    settings.HSM_PROVIDERS = ["google"]
    hsm_key_managers.cache_clear()
    monkeypatch.setattr(modes, "_backends", [GoogleBackend()])
    monkeypatch.setattr("keys.hsm.provisioning.enqueue", lambda key_id: None)
    monkeypatch.setattr(factory, "_signers", {("hsm", "google"): provider.signer})
    maintenance.authoriser_of.cache_clear()
    runtime.signing_service.cache_clear()
    tenant = make_tenant(key_modes=["hsm"], default_key_mode="hsm")
    yield tenant, make_user(tenant), process
    runtime.signing_service().forget_all()
    runtime.signing_service.cache_clear()
    hsm_key_managers.cache_clear()
    process.stop()


def made(deployment, secret=None):
    """A key that a member asked for, finished by the job."""
    tenant, user, _ = deployment
    common = {"actor": Actor.user(user), "tenant": tenant, "user": user, "name": "Split"}
    row = services.create_key(**common) if secret is None else services.import_key(**common, secret=secret)
    assert row.state == KeyState.PENDING
    assert services.finish_pending_key(row.id)
    return again(row)


def signed(row, content="hello"):
    key = selectors.key_ref(again(row))
    event = asyncio.run(runtime.signing_service().sign_event(key, note(key, content)))
    return schnorr.verify(bytes.fromhex(row.public_key), bytes.fromhex(event.id), bytes.fromhex(event.sig))


@pytest.mark.parametrize("imported", [False, True])
def test_a_key_authorised_by_cloud_kms_signs_and_converses(deployment, imported):
    whole, secret = Keypair.generate()
    row = made(deployment, secret if imported else None)
    assert row.state == KeyState.ACTIVE
    assert (row.public_key == whole.public_key_hex) is imported
    assert signed(row)
    peer, key = Keypair.generate()[0], selectors.key_ref(row)
    payload = asyncio.run(runtime.signing_service().crypt(key, "nip44_encrypt", peer.public_key_hex, "hello"))
    assert nip44.decrypt(payload, nip44.conversation_key(peer, bytes.fromhex(row.public_key))) == "hello"


def test_a_disabled_version_in_cloud_kms_ends_all_signing(deployment):
    row = made(deployment)
    hsm_key_managers()["google"].disable(row.kms_key_version)
    with pytest.raises(KeyUnavailable):
        signed(row)
    hsm_key_managers()["google"].enable(row.kms_key_version)
    assert signed(row)


def test_its_halves_are_refreshed_and_its_stops_are_heard(deployment):
    row = made(deployment)
    refresh.refresh(actor=SYSTEM, key=row, authoriser=maintenance.authoriser_of("google"))
    assert again(row).cosigner_public_key != row.cosigner_public_key
    assert signed(row)
    services.lock_key(actor=SYSTEM, key=row)
    assert maintenance.sync_state(row.id)
    services.unlock_key(actor=SYSTEM, key=again(row))
    assert maintenance.sync_state(row.id)
    assert signed(row)


def test_the_command_refreshes_every_key_it_can_and_names_the_others(deployment, capsys):
    with pytest.raises(CommandError):
        call_command("refresh_halves", "--all")
    row, other = made(deployment), made(deployment)
    hsm_key_managers()["google"].disable(other.kms_key_version)
    with pytest.raises(SystemExit) as ended:
        call_command("refresh_halves", "--tenant", deployment[0].slug)
    told = capsys.readouterr()
    assert ended.value.code == 1
    assert str(other.id) in told.err
    assert "1 changed, 1 failed" in told.out
    assert again(row).cosigner_public_key != row.cosigner_public_key
    assert again(other).cosigner_public_key == other.cosigner_public_key
    hsm_key_managers()["google"].enable(other.kms_key_version)
    call_command("refresh_halves", "--key", str(other.id))
    assert signed(row)
    assert signed(other)


def destroyed(row):
    """Destroyed before any job told the co-signer, and cleaned up."""
    services.schedule_destruction(actor=SYSTEM, key=again(row))
    assert services.destroy_due_keys(now=timezone.now() + timedelta(days=400)) == 1
    services.finish_pending_keys()
    return again(row).kms_key_name == ""


def state_at_b(row):
    return blocking(lambda b: b.state(row.tenant_id, row.id))


@pytest.mark.parametrize("is_disabled", [False, True])
def test_a_destroyed_key_is_granted_its_end_before_its_hsm_key_is_destroyed(deployment, is_disabled):
    row = made(deployment)
    if is_disabled:
        services.disable_key(actor=SYSTEM, key=row)
        assert maintenance.sync_state(row.id)
    name = row.kms_key_name
    assert destroyed(row)
    assert state_at_b(row) == "forgetting"
    assert hsm_key_managers()["google"].versions(name) == []


def test_a_destroyed_key_whose_hsm_key_is_gone_stays_disabled_at_the_co_signer(deployment):
    row = made(deployment)
    hsm_key_managers()["google"].destroy(row.kms_key_version)
    assert destroyed(row)
    assert state_at_b(row) == "disabled"


def test_a_key_that_failed_after_the_co_signer_took_it_on_leaves_nothing_in_use(deployment, monkeypatch):
    tenant, user, _ = deployment
    row = services.create_key(actor=Actor.user(user), tenant=tenant, user=user, name="Split")
    assert state_at_b(row) == "pending"
    monkeypatch.setattr(provisioning, "LIMIT", timedelta(0))
    monkeypatch.setattr(provisioning, "_advanced", lambda *_: HsmKeyStatus(HsmKeyPhase.PENDING))
    assert services.finish_pending_key(row.id)
    assert (again(row).state, state_at_b(row)) == (KeyState.FAILED, "forgotten")
