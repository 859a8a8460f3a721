"""A rehearsal looks at the co-signer's backup too, and says whether both sides fit."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.keycast.operations.backup.test_restore_check import pytestmark as _marks
from tests.keycast.operations.backup.test_restore_check import restore_check
from tests.keys.conftest import make_tenant, make_user
from tests.keys.cosigner.rows import StoredHsm, make_row
from tests.keys.cosigner.support import Process
from tests.paths import ROOT

pytestmark = _marks


@pytest.fixture
def process(tmp_path):
    process = Process(tmp_path)
    yield process
    process.stop()


@pytest.fixture
def row(process, tmp_path):
    with override_settings(COSIGNER_SOCKET=str(process.socket), COSIGNER_ADDRESS="", HSM_PROVIDERS=["google"]):
        tenant = make_tenant()
        yield make_row(make_user(tenant), tenant, StoredHsm(tmp_path), process.client())


@pytest.fixture
def outcome(process, row, tmp_path):
    """What the co-signer's operator carries over."""
    command = [sys.executable, str(ROOT / "manage.py"), "cosigner", "rehearse", "--json"]
    done = subprocess.run(command, env=process.environment, capture_output=True, text=True, check=True)
    file = tmp_path / "outcome.json"
    file.write_text(done.stdout)
    return file


def test_a_file_that_is_no_outcome_ends_the_rehearsal(row, tmp_path):
    (tmp_path / "wrong.json").write_text("[]")
    with pytest.raises(CommandError, match="no outcome"):
        call_command("restore_check", "--cosigner", str(tmp_path / "wrong.json"))


def test_a_key_that_the_co_signers_backup_has_not_makes_it_unsound(row, outcome):
    found = json.loads(outcome.read_text())
    del found["keys"][row.id.hex]
    outcome.write_text(json.dumps(found))
    told = restore_check("--cosigner", str(outcome), exit_code=1)
    assert f"split key {row.id.hex}: the co-signer's backup has not got it" in told["problems"]


def test_both_sides_that_fit_are_sound_and_one_side_alone_is_not_claimed(row, outcome):
    told = restore_check("--cosigner", str(outcome))
    assert (told["split_keys"], told["split_keys_fitting"], told["problems"]) == (1, 1, [])
    alone = restore_check()
    assert (alone["split_keys"], alone["split_keys_fitting"]) == (1, None)
