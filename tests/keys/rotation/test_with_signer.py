"""Rotation where the key-encryption keys are with a signer in a process of its own, and none is here."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from keys import services as key_services
from keys.models import Rotation, RotationState
from keys.rotation import retiring, runner, services
from keys.rotation.errors import RotationError
from tests.keys.conftest import make_key
from tests.keys.rotation.conftest import OPERATOR
from tests.keys.rotation.forking import sealed_under, versions
from tests.keys.signing.isolated.support import SignerProcess, asking

pytestmark = [pytest.mark.django_db, pytest.mark.opens_keys]


@pytest.fixture
def signer(kek_file, tmp_path):
    process = SignerProcess(tmp_path / "signer", KEYCAST_KEK="", KEYCAST_KEK_FILE=str(kek_file))
    with process, asking(process.socket):
        yield process


@pytest.fixture
def some_keys(signer, user, tenant):
    return [make_key(user, tenant, f"Key {number}") for number in range(10)]


def rotate(kind="kek"):
    return runner.run_for(services.start(actor=OPERATOR, kind=kind, scope="all").id)


def test_no_version_is_made_from_here(some_keys, kek_file):
    with pytest.raises(RotationError) as refused:
        rotate()
    assert "On its machine run: manage.py generate_kek --new-version" in refused.value.public_message
    assert versions(kek_file) == ["first"]


def test_what_was_made_on_its_machine_is_used_without_a_restart(some_keys, kek_file):
    call_command("generate_kek", "--new-version", "--path", str(kek_file))
    assert sealed_under() == {"first": 20}
    rotation = rotate()
    assert (rotation.state, rotation.done) == (RotationState.DONE, 20), rotation.report
    assert sealed_under() == {versions(kek_file)[-1]: 20}
    assert key_services.self_test(None) == []
    with pytest.raises(RotationError) as refused:
        retiring.retire_kek(actor=OPERATOR, version="first")
    assert "generate_kek --remove-version first" in refused.value.public_message
    call_command("generate_kek", "--remove-version", "first", "--path", str(kek_file))
    assert key_services.self_test(None) == []


def test_a_signer_that_is_away_is_waited_for(some_keys, kek_file, signer):
    call_command("generate_kek", "--new-version", "--path", str(kek_file))
    started = services.start(actor=OPERATOR, kind="rewrap", scope="all")
    signer.kill()
    rotation = runner.run_for(started.id)
    assert (rotation.state, rotation.failed) == (RotationState.RUNNING, 0)
    assert rotation.problem
    signer.start()
    for _ in range(runner.MAX_WAITS):
        Rotation.objects.update(not_before=None)
        rotation = runner.run_for(rotation.id)
    assert rotation.state == RotationState.DONE, rotation.report
    assert sealed_under() == {versions(kek_file)[-1]: 20}


def test_fresh_remote_signer_keys_and_successors_are_made_by_it(some_keys):
    assert rotate("transport").done == 10
    started = services.start(actor=OPERATOR, kind="identity", scope=f"key:{some_keys[0].id.hex}")
    assert runner.run_for(started.id).state == RotationState.DONE
