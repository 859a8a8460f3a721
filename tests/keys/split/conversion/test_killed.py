"""SIGKILL at every step of a conversion, of either side: the key is usable throughout, and the next process ends it."""

from __future__ import annotations

import pytest

from keycast.audit.entries import Actor
from keys import services
from keys.hsm.registration import hsm_key_managers
from keys.models import Conversion
from keys.models.hsm import ConversionStep
from keys.split.conversion import steps as course
from tests.keys.cosigner.rows import again
from tests.keys.hsm.google.conftest import misbehave
from tests.keys.split.conversion.support import Signing, finished, signs

pytestmark = pytest.mark.opens_keys

ALWAYS = {"c-handed-over", "c-switched", "b-adopted"}


def steps(*names):
    """Every step in a full run, the hardest ones in every run."""
    return [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in names]


OF_SIGNER_A = steps("c-created", "c-made", "c-handed-over", "c-adopted", "c-registered", "c-proven", "c-switched")
OF_THE_COSIGNER = steps("b-adopted", "b-registered", "b-before-sign", "b-after-sign")
SYSTEM = Actor.system("test")


@pytest.mark.parametrize("step", OF_SIGNER_A)
def test_a_process_killed_while_it_converts_leaves_the_key_usable(deployment, step):
    key = deployment.key()
    name = deployment.converting(key).kms_key_name
    assert deployment.run(key, crash_at=step) == -9
    assert signs(key)
    assert finished(key)
    row = again(key)
    assert (row.key_mode, row.public_key, row.kms_key_name) == ("hsm", key.public_key, name)
    assert signs(key)
    assert len(hsm_key_managers()["google"].versions(name)) == 1
    assert not Conversion.objects.exists()


@pytest.mark.parametrize("step", OF_THE_COSIGNER)
def test_the_co_signer_killed_while_a_key_is_converted_leaves_it_usable(deployment, step):
    key = deployment.key()
    deployment.converting(key)
    deployment.process.stop()
    deployment.process.start(step)
    assert not finished(key)
    assert deployment.process.died()
    assert signs(key)
    deployment.process.start()
    assert finished(key)
    assert signs(key)
    assert again(key).key_mode == "hsm"
    assert "intact" in deployment.process.verify_audit().stdout


@pytest.mark.parametrize("step", steps("c-withdrawn", "c-destroyed"))
def test_a_process_killed_while_it_cleans_up_leaves_the_rest_to_the_next(deployment, step):
    key = deployment.key()
    name = deployment.converting(key).kms_key_name
    misbehave(deployment.emulator, "error", "AsymmetricSign", code="PERMISSION_DENIED")
    assert not finished(key)
    deployment.emulator.apply({"faults": []})
    services.cancel_conversion(actor=SYSTEM, key=key)
    assert deployment.run(key, crash_at=step) == -9
    assert Conversion.objects.get().step == ConversionStep.CANCELLED
    assert finished(key)
    assert hsm_key_managers()["google"].versions(name) == []
    assert deployment.state_at_b(key) == "forgetting"
    assert signs(key)


def test_another_process_waits_for_the_first_one_to_end_or_to_die(deployment):
    key = deployment.key()
    deployment.converting(key)
    assert deployment.run(key, crash_at="c-made") == -9
    assert not course.advance(key.id), "its minute is not over"
    assert Conversion.objects.get().step == ConversionStep.MADE
    assert finished(key)


def test_no_signature_fails_while_a_key_is_converted(deployment):
    """A worker signs on with the reference that it has, and takes the new one when it hears of the change."""
    key = deployment.key()
    with Signing(key) as signing:
        deployment.converting(key)
        assert finished(key)
        signing.hear()
    assert {ref.key_mode for ref in signing.used} == {"encrypted", "hsm"}
