"""``manage.py hsm_inventory``: what it prints, and what its exit codes say."""

from __future__ import annotations

import json
import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from keys import jobs
from keys.hsm.inventory import services
from keys.hsm.inventory.listing import hsm_key_readers
from keys.models import HsmInventory
from tests.keys.hsm.google.conftest import RING, misbehave


@pytest.fixture(autouse=True)
def ring(db, settings, emulator):
    emulator.store.keys.clear()
    settings.HSM_PROVIDERS = ["google"]
    hsm_key_readers.cache_clear()
    yield emulator
    hsm_key_readers.cache_clear()


def run(*arguments):
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("hsm_inventory", *arguments, stdout=out, stderr=StringIO())
    return ended.value.code, out.getvalue()


def test_without_an_hsm_there_is_nothing_to_tell(settings):
    settings.HSM_PROVIDERS = []
    with pytest.raises(CommandError, match="No HSM") as refused:
        call_command("hsm_inventory")
    assert refused.value.returncode == 2
    with pytest.raises(CommandError, match="No such HSM"):
        call_command("hsm_inventory", "--provider", "nethsm")


def test_a_ring_that_does_not_answer_is_exit_code_2_and_the_last_result_stays(ring):
    assert run()[0] == 0
    misbehave(ring, "error", code="UNAVAILABLE")
    code, text = run()
    assert code == 2
    assert "temporarily unavailable" in text
    ring.faults.set([])
    code, text = run("--last")
    assert code == 0
    assert "finished" in text


def test_no_last_result_is_exit_code_2():
    with pytest.raises(CommandError, match="no inventory") as refused:
        call_command("hsm_inventory", "--last")
    assert refused.value.returncode == 2


def test_a_finding_is_exit_code_1_and_in_the_json(keeper):
    name = keeper.create(f"user-{uuid.uuid4()}").name
    keeper.check(name)
    keeper.create("somebody-elses")
    code, text = run("--json")
    assert code == 1
    [told] = json.loads(text)
    assert (told["state"], told["counts"], told["foreign"]) == (
        "done",
        {"orphan": 1},
        [f"{RING}/cryptoKeys/somebody-elses"],
    )
    assert told["findings"][0]["name"] == name
    code, text = run("--last")
    assert code == 1
    assert name in text
    assert "Not Keycast's, never touched: 1" in text


def test_the_jobs_do_the_same(ring, keeper):
    keeper.check(keeper.create(f"user-{uuid.uuid4()}").name)
    assert jobs.take_inventories() == 1
    assert jobs.go_on_with_inventories() == 1
    taken = HsmInventory.objects.get()
    assert (taken.state, services.attention_count(taken)) == ("done", 1)
    assert jobs.step_inventory(str(taken.pk))
    assert jobs.go_on_with_inventories() == 0
