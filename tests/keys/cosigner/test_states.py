"""The co-signer hears of a key's life: stopping is free, serving again takes the HSM."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keys import services, signals
from keys.cosigner import rescue
from keys.errors import KeyLocked
from keys.hsm import registration
from keys.hsm_errors import HsmKeyUnusable, HsmMisconfigured
from keys.models import KeyState, PersonalKey
from keys.signing.cosigning.client import blocking
from keys.signing.cosigning.errors import CosignerRefused, CosignerUnavailable
from keys.split import maintenance
from tests.keys.conftest import make_key, make_tenant, make_user
from tests.keys.cosigner.rows import StoredHsm, again, make_row, signs
from tests.keys.cosigner.support import Process

SYSTEM = Actor.system("test")


@pytest.fixture
def process(tmp_path):
    process = Process(tmp_path)
    yield process
    process.stop()


@pytest.fixture
def hsm(tmp_path):
    return StoredHsm(tmp_path)


@pytest.fixture
def people(transactional_db):
    tenant = make_tenant()
    return make_user(tenant), tenant


class Keeper:
    """Takes HSM keys out of use and back."""

    def __init__(self):
        self.disabled = set()
        self.disable, self.enable = self.disabled.add, self.disabled.discard


@pytest.fixture
def keeper(monkeypatch):
    keeper = Keeper()
    monkeypatch.setattr(registration, "hsm_key_managers", lambda: {"google": keeper})
    return keeper


@pytest.fixture
def row(people, process, hsm, keeper, monkeypatch):
    """A split key, and jobs that talk to this test's co-signer and HSM."""
    monkeypatch.setattr(maintenance, "authoriser_of", lambda _: hsm)
    with override_settings(COSIGNER_SOCKET=str(process.socket), COSIGNER_ADDRESS="", HSM_PROVIDERS=["google"]):
        yield make_row(*people, hsm, process.client())


def state_at_b(row, process):
    return blocking(lambda b: b.state(row.tenant_id, row.id), process.client())


def test_a_locked_key_is_locked_on_both_sides(row, process, hsm):
    services.lock_key(actor=SYSTEM, key=row)
    assert maintenance.sync_state(row.id)
    assert not maintenance.sync_state(row.id), "telling it again changes nothing"
    assert state_at_b(row, process) == "locked"
    with pytest.raises(KeyLocked):  # also for whoever goes around signer A's own checks
        signs(row, hsm, process.client())


def test_enabling_a_key_at_the_co_signer_needs_an_hsm_authorisation(row, process, hsm, monkeypatch):
    services.lock_key(actor=SYSTEM, key=row)
    maintenance.sync_state(row.id)
    services.unlock_key(actor=SYSTEM, key=row)
    good, before = hsm.sign, hsm.count
    monkeypatch.setattr(hsm, "sign", lambda *_: bytes(64))
    with pytest.raises(CosignerRefused):
        maintenance.sync_state(row.id)
    assert state_at_b(row, process) == "locked"
    monkeypatch.setattr(hsm, "sign", good)
    assert maintenance.sync_state(row.id)
    assert state_at_b(row, process) == "active"
    assert hsm.count == before + 1
    assert signs(row, hsm, process.client())


def test_a_key_out_of_use_is_disabled_on_both_sides_and_in_the_hsm(row, process, hsm, keeper):
    services.disable_key(actor=SYSTEM, key=row)
    assert maintenance.resume_all() == 1
    assert state_at_b(row, process) == "disabled"
    assert keeper.disabled == {row.kms_key_version}


def test_a_key_to_be_destroyed_is_granted_its_end_before_the_hsm_key_is_disabled(row, process, hsm, keeper):
    services.schedule_destruction(actor=SYSTEM, key=row)
    assert maintenance.resume_all() == 1
    assert state_at_b(row, process) == "forgetting"
    assert keeper.disabled == {row.kms_key_version}
    services.cancel_destruction(actor=SYSTEM, key=again(row))
    assert maintenance.sync_state(row.id)
    assert state_at_b(row, process) == "disabled"
    services.enable_key(actor=SYSTEM, key=again(row))
    assert maintenance.sync_state(row.id)
    assert signs(row, hsm, process.client())


def test_a_disabled_hsm_key_is_enabled_to_grant_the_end_and_disabled_again(row, process, hsm, keeper):
    services.disable_key(actor=SYSTEM, key=row)
    maintenance.sync_state(row.id)
    hsm.refused = keeper.disabled
    services.schedule_destruction(actor=SYSTEM, key=again(row))
    assert maintenance.sync_state(row.id)
    assert state_at_b(row, process) == "forgetting"
    assert keeper.disabled == {row.kms_key_version}
    assert again(row).hsm_is_disabled


def test_a_key_whose_hsm_key_is_gone_stays_disabled_at_the_co_signer(row, process, hsm, keeper, monkeypatch):
    """Nobody can grant its end: the co-signer's operator ends it there."""
    hsm.refused = {row.kms_key_version}

    def gone(version):
        raise HsmKeyUnusable

    monkeypatch.setattr(keeper, "enable", gone)
    services.schedule_destruction(actor=SYSTEM, key=row)
    maintenance.sync_state(row.id)
    assert state_at_b(row, process) == "disabled"
    process.stop()
    rescue.destroy_halves(process.folder / "p.sqlite3", row.id, "its HSM key is gone")
    process.start()
    assert state_at_b(row, process) == "forgotten"


def test_without_a_key_ring_the_co_signer_hears_of_it_all_the_same(row, process, monkeypatch):
    monkeypatch.setattr(registration, "hsm_key_managers", dict)
    services.disable_key(actor=SYSTEM, key=row)
    with pytest.raises(HsmMisconfigured):
        maintenance.sync_state(row.id)
    assert state_at_b(row, process) == "disabled"


def test_what_the_co_signer_did_not_hear_is_repeated(row, process):
    services.lock_key(actor=SYSTEM, key=row)
    process.stop()
    with pytest.raises(CosignerUnavailable):
        maintenance.sync_state(row.id)
    assert maintenance.resume_all() == 0
    process.start()
    assert maintenance.resume_all() == 1
    assert state_at_b(row, process) == "locked"


def unheard():
    with scopes_disabled():
        return list(maintenance.unheard(PersonalKey.objects.all()))


def test_states_that_many_newer_changes_hide_are_told_all_the_same(row, process, monkeypatch):
    monkeypatch.setattr(maintenance, "MAX_PER_RUN", 1)
    services.lock_key(actor=SYSTEM, key=row)
    # Of which the co-signer heard, newer than the one that it did not hear of.
    newer = timezone.now() + timedelta(seconds=1)
    with scopes_disabled():
        PersonalKey.objects.exclude(pk=row.pk).update(state_changed_at=newer, cosigner_heard_of=newer)
        PersonalKey.objects.filter(pk=row.pk).update(state_changed_at=timezone.now() - timedelta(days=3))
    assert maintenance.resume_all() == 1
    assert state_at_b(row, process) == "locked"
    assert unheard() == []


def test_a_state_that_came_while_another_was_told_is_still_to_be_told(row, process, monkeypatch):
    services.lock_key(actor=SYSTEM, key=row)
    tell = maintenance.halves.sync_state

    def change_meanwhile(*given):
        services.unlock_key(actor=SYSTEM, key=row)
        return tell(*given)

    monkeypatch.setattr(maintenance.halves, "sync_state", change_meanwhile)
    maintenance.sync_state(row.id)
    assert unheard() == [row]


def test_a_change_of_a_split_key_alone_makes_a_job(row, people, monkeypatch):
    asked = []
    monkeypatch.setattr("django_q.tasks.async_task", lambda *arguments: asked.append(arguments))
    maintenance.connect()
    try:
        services.lock_key(actor=SYSTEM, key=make_key(*people))
        assert asked == []
        with transaction.atomic():
            services.lock_key(actor=SYSTEM, key=row)
            assert asked == []
        assert asked == [("keys.jobs.tell_cosigner", str(row.id))]
    finally:
        signals.key_changed.disconnect(dispatch_uid="keys.cosigner")
    assert again(row).state == KeyState.LOCKED
