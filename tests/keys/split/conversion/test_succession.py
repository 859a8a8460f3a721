"""Another HSM key authorises under the same Nostr key, and a key out of use is out of use in the HSM too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.operations.health import processes
from keys import services
from keys.errors import KeyUnavailable, NoCapability
from keys.hsm import version_states
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm.registration import hsm_key_managers
from keys.lifecycle.rows import key_ref
from keys.models import HalfRefresh, PersonalKey, Rotation
from keys.models.hsm import Succession, SuccessionStep
from keys.portal.presenting import present
from keys.rotation import services as rotations
from keys.rotation.errors import KeyRotationRunning
from keys.signing import runtime
from keys.signing.cosigning.client import blocking
from keys.signing.cosigning.errors import ChangeUnderWay, HsmKeyPending, SuccessorNotAuthorised
from keys.split import maintenance, refresh, succession
from tests.keys.cosigner.rows import again
from tests.keys.cosigner.support import ROOT, note
from tests.keys.hsm.google.conftest import misbehave
from tests.keys.split.conversion.split import split_key
from tests.keys.split.conversion.support import Signing, signs

pytestmark = pytest.mark.opens_keys

SYSTEM = Actor.system("test")
LATER = timedelta(hours=1)


def keeper():
    return hsm_key_managers()["google"]


def replace(key):
    authoriser = maintenance.authoriser_of("google")
    succession.succeed(actor=SYSTEM, key=again(key), authoriser=authoriser, keeper=keeper())


def finish():
    return succession.finish_due(keeper(), timezone.now() + LATER)


def phase(name):
    return keeper().check(name).phase


def behind():
    with scopes_disabled():
        return list(version_states.out_of_sync_keys())


def tags_of(key):
    return list(AuditRow.objects.filter(key_id=key.id.hex).order_by("sequence").values_list("tag", flat=True))


def test_an_encrypted_key_has_no_hsm_key_to_replace(deployment):
    with pytest.raises(NoCapability):
        replace(deployment.key())


def test_a_disabled_key_cannot_name_its_successor_but_an_operator_can(deployment):
    key = split_key(deployment)
    keeper().disable(key.kms_key_version)
    with pytest.raises(SuccessorNotAuthorised) as refused:
        replace(key)
    order = refused.value.public_message.rpartition("manage.py ")[2].split()[:4]
    assert order[1] == "--replace-authoriser"
    deployment.process.stop()
    command = [sys.executable, str(ROOT / "manage.py"), *order, "--reason", "test"]
    subprocess.run(command, env=deployment.process.environment, check=True, capture_output=True, timeout=60)
    deployment.process.start()
    replace(key)
    assert signs(key)
    assert again(key).public_key == key.public_key


def test_not_while_halves_are_being_renewed_and_the_other_way_round(deployment):
    key = split_key(deployment)
    refresh.refresh(actor=SYSTEM, key=again(key), authoriser=maintenance.authoriser_of("google"))
    with pytest.raises(ChangeUnderWay):
        replace(key)
    refresh.finish_due(timezone.now() + LATER)
    assert not HalfRefresh.objects.exists()
    replace(key)
    with pytest.raises(ChangeUnderWay):
        refresh.refresh(actor=SYSTEM, key=again(key), authoriser=maintenance.authoriser_of("google"))


def test_another_hsm_key_authorises_and_the_old_one_is_disabled_not_destroyed(deployment):
    key = split_key(deployment)
    replace(key)
    row = again(key)
    assert row.public_key == key.public_key
    assert row.cosigner_public_key == key.cosigner_public_key
    assert {row.kms_key_name, row.authoriser_public_key}.isdisjoint({key.kms_key_name, key.authoriser_public_key})
    assert signs(row)
    assert signs_with_old(key), "a process that has not heard of it signs on"
    assert phase(key.kms_key_name) is HsmKeyPhase.READY
    assert succession.finish_due(keeper()) == 0, "not before every process has heard"
    assert finish() == 1
    assert keeper().versions(key.kms_key_name) == [key.kms_key_version]
    assert phase(key.kms_key_name) is HsmKeyPhase.FAILED
    with pytest.raises(KeyUnavailable):
        signs_with_old(key)
    assert signs(row)
    assert not Succession.objects.exists()
    assert tags_of(key)[-2:] == [AuditTag.HSM_KEY_REPLACED, AuditTag.HSM_KEY_DISABLED]


def signs_with_old(key):
    ref = key_ref(key)
    return bool(asyncio.run(runtime.signing_service().sign_event(ref, note(ref, "old"))).sig)


def test_no_signature_fails_while_an_hsm_key_is_replaced(deployment):
    key = split_key(deployment)
    with Signing(key) as signing:
        replace(key)
        signing.hear()
        assert finish() == 1
        signing.hear()
    assert {ref.hsm.key_name for ref in signing.used} == {key.kms_key_name, again(key).kms_key_name}


def test_an_hsm_that_takes_its_time_is_waited_for(deployment):
    key = split_key(deployment)
    deployment.emulator.apply({"pending_seconds": 1})
    with pytest.raises(HsmKeyPending):
        replace(key)
    assert signs(key)
    deployment.emulator.apply({"pending_seconds": 0})
    call_command("rotate_kms_key", "--key", str(key.id))
    assert again(key).kms_key_name != key.kms_key_name
    assert signs(key)


def test_a_rotation_replaces_every_hsm_key_of_a_tenant_alone(deployment, capsys):
    keys = [split_key(deployment), split_key(deployment)]
    with scopes_disabled():
        rotations.start(actor=Actor.command("test"), kind="halves", scope="all", nudge=False)
    with pytest.raises(KeyRotationRunning):
        rotations.start(actor=Actor.command("test"), kind="kms-key", scope="all", nudge=False)
    rotations.cancel(actor=Actor.command("test"), rotation=Rotation.objects.get())
    call_command("rotate_kms_key", "--tenant", deployment.tenant.slug)
    assert "2 changed, 0 failed" in capsys.readouterr().out
    for key in keys:
        assert again(key).kms_key_name != key.kms_key_name
        assert signs(key)


STEPS = ["s-named", "s-made", "s-told", "s-accepted", "s-switched"]
ENDS = ["s-settled", "s-disabled"]


@pytest.mark.parametrize("step", [pytest.param(s, marks=() if s == "s-told" else pytest.mark.slow) for s in STEPS])
def test_killed_while_it_replaces_an_hsm_key_it_leaves_the_key_usable(deployment, step):
    key = split_key(deployment)
    assert deployment.run(key, crash_at=step, verb="succeed") == -9
    assert signs(key)
    assert succession.resume(maintenance.authoriser_of, keeper()) == (0 if step == "s-switched" else 1)
    assert again(key).kms_key_name != key.kms_key_name
    assert signs(key)
    assert finish() == 1
    assert signs(key)


@pytest.mark.slow
@pytest.mark.parametrize("step", ENDS)
def test_killed_while_it_ends_the_old_hsm_key_it_ends_it_later(deployment, step):
    key = split_key(deployment)
    replace(key)
    Succession.objects.update(switched_at=timezone.now() - LATER)
    assert deployment.run(key, crash_at=step, verb="finish") == -9
    assert signs(key)
    assert Succession.objects.get().step == SuccessionStep.SWITCHED
    assert finish() == 1
    assert signs(key)
    assert phase(key.kms_key_name) is HsmKeyPhase.FAILED


@pytest.mark.slow
@pytest.mark.parametrize("step", ["b-announced", "b-succeeded", "b-settled"])
def test_the_co_signer_killed_meanwhile_leaves_the_key_usable(deployment, step):
    key = split_key(deployment)
    deployment.process.stop()
    deployment.process.start(step)
    if step != "b-settled":
        assert succession.resume(maintenance.authoriser_of, keeper()) == 0
        with pytest.raises(Exception, match="co-signer"):
            replace(key)
    else:
        replace(key)
        assert finish() == 0
    assert deployment.process.died()
    deployment.process.start()
    assert signs(key)
    replace(key)
    assert signs(key)
    assert finish() == 1
    assert signs(key)


def test_a_key_taken_out_of_use_is_disabled_in_the_hsm_and_comes_back_with_it(deployment):
    key = split_key(deployment)
    services.disable_key(actor=SYSTEM, key=key)
    assert behind() == [key]
    assert maintenance.sync_state(key.id)
    assert not maintenance.sync_state(key.id)
    assert phase(key.kms_key_name) is HsmKeyPhase.FAILED
    assert not behind()
    services.enable_key(actor=SYSTEM, key=again(key))
    assert version_states.lags(again(key))
    assert maintenance.sync_state(key.id)
    assert phase(key.kms_key_name) is HsmKeyPhase.READY
    assert deployment.state_at_b(key) == "active"
    assert signs(key)
    found = [tag for tag in tags_of(key) if tag.startswith("keys:hsm-key")]
    assert found == [AuditTag.HSM_KEY_DISABLED, AuditTag.HSM_KEY_ENABLED]


def test_what_the_hsm_has_not_heard_for_long_is_for_operators_to_see(deployment):
    key = split_key(deployment)
    assert processes.hsm_changes() is None
    services.disable_key(actor=SYSTEM, key=key)
    assert processes.hsm_changes() is None, "a job is about to do it"
    with scopes_disabled():
        PersonalKey.objects.update(state_changed_at=timezone.now() - LATER)
    assert "1 HSM keys to be disabled or enabled" in processes.hsm_changes().detail
    assert "still being disabled" in present(again(key)).notice
    maintenance.sync_state(key.id)
    assert processes.hsm_changes() is None
    assert "still" not in present(again(key)).notice


def test_a_lock_leaves_the_hsm_alone(deployment):
    key = split_key(deployment)
    services.lock_key(actor=SYSTEM, key=key)
    maintenance.sync_state(key.id)
    assert phase(key.kms_key_name) is HsmKeyPhase.READY


def test_an_hsm_that_is_away_is_told_later(deployment):
    key = split_key(deployment)
    services.disable_key(actor=SYSTEM, key=key)
    misbehave(deployment.emulator, "error", "UpdateCryptoKeyVersion", code="PERMISSION_DENIED")
    assert maintenance.resume_all() == 0
    assert deployment.state_at_b(key) == "disabled", "the co-signer was told all the same"
    assert behind() == [key]
    deployment.emulator.apply({"faults": []})
    assert maintenance.resume_all() == 1
    assert not behind()


def test_a_version_that_somebody_destroyed_counts_as_disabled(deployment):
    key = split_key(deployment)
    keeper().destroy(key.kms_key_version)
    services.disable_key(actor=SYSTEM, key=key)
    assert maintenance.sync_state(key.id)
    assert not behind()


def test_the_end_of_a_key_ends_what_its_row_does_not_name(deployment):
    key = split_key(deployment)
    replace(key)
    services.schedule_destruction(actor=SYSTEM, key=key)
    assert services.destroy_due_keys(now=timezone.now() + timedelta(days=400)) == 1
    assert finish() == 1
    assert keeper().versions(key.kms_key_name) == []
    assert blocking(lambda b: b.state(key.tenant_id, key.id)) == "active", "the job of ended keys has not run yet"
