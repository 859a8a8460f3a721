"""Refreshing halves as a rotation: every key once, waiting for one that still settles, and going on after a kill."""

from __future__ import annotations

import pytest

from keys.hsm.registration import hsm_key_managers
from keys.models import HalfRefresh, Rotation, RotationState
from keys.rotation import runner, services
from keys.rotation.errors import NothingToRotate
from keys.rotation.scope import RotationScope
from keys.split import refresh
from tests.keys.cosigner.rows import again
from tests.keys.cosigner.test_with_google import SYSTEM, made, signed
from tests.keys.cosigner.test_with_google import deployment as deployment  # noqa: PLC0414 -- a fixture
from tests.keys.cosigner.test_with_google import emulator as emulator  # noqa: PLC0414 -- a fixture
from tests.keys.cosigner.test_with_google import running_emulator as running_emulator  # noqa: PLC0414


def rotate(scope="all"):
    return runner.run_for(services.start(actor=SYSTEM, kind="halves", scope=scope).id)


def test_where_no_key_is_split_there_is_nothing_to_refresh(deployment):
    with pytest.raises(NothingToRotate):
        rotate()


def test_a_dry_run_refreshes_nothing(deployment):
    row = made(deployment)
    assert services.start(actor=SYSTEM, kind="halves", scope="all", dry_run=True).total == 1
    assert again(row).cosigner_public_key == row.cosigner_public_key


def test_each_key_gets_fresh_halves_once(deployment):
    rows = [made(deployment), made(deployment)]
    rotation = rotate()
    assert (rotation.state, rotation.done, rotation.failed) == (RotationState.DONE, 2, 0), rotation.report
    for row in rows:
        assert again(row).cosigner_public_key != row.cosigner_public_key
        assert again(row).halves_refreshed_at is not None
        assert signed(row)


def test_one_whose_old_halves_are_still_there_is_waited_for(deployment, monkeypatch):
    row = made(deployment)
    rotate(RotationScope.of_key(row))
    first = again(row).cosigner_public_key
    waiting = rotate()
    assert (waiting.state, waiting.problem) == (RotationState.RUNNING, "settling")
    monkeypatch.setattr(refresh, "GRACE", refresh.GRACE * 0)
    for _ in range(4):
        Rotation.objects.update(not_before=None)
        waiting = runner.run_for(waiting.id)
    assert waiting.state == RotationState.DONE
    assert again(row).cosigner_public_key != first
    assert signed(row)


def test_a_key_whose_hsm_refuses_is_named_and_one_that_was_broken_off_goes_on(deployment):
    row = made(deployment)
    hsm_key_managers()["google"].disable(row.kms_key_version)
    rotation = rotate()
    for _ in range(runner.MAX_WAITS + 1):
        Rotation.objects.update(not_before=None)
        rotation = runner.run_for(rotation.id)
    assert (rotation.state, rotation.failed) == (RotationState.FAILED, 1)
    assert HalfRefresh.objects.get().step == "drawn"
    hsm_key_managers()["google"].enable(row.kms_key_version)
    rotation = runner.run_for(services.resume(actor=SYSTEM, rotation=rotation).id)
    assert rotation.state == RotationState.DONE
    assert signed(row)
