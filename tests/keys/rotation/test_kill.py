"""kill -9 at every step of a rotation (threats K6), and two at once (K7): each row always opens with one version."""

from __future__ import annotations

import threading

import pytest
from django.db import connections
from django_scopes import scopes_disabled

from keycast.audit.services import verify
from keys import services as key_services
from keys.models import Rotation, RotationState
from keys.rotation import services
from keys.rotation.errors import KeyRotationRunning
from tests.keys.conftest import make_key, make_tenant, make_user
from tests.keys.rotation.conftest import OPERATOR
from tests.keys.rotation.forking import Zygote, opening_versions, sealed_under, versions

pytestmark = pytest.mark.opens_keys

KILLED = -9
ROWS = 6


@pytest.fixture
def zygote(transactional_db, kek_file):
    process = Zygote()
    yield process
    process.close()


@pytest.fixture
def three_keys(transactional_db, kek_file):
    tenant = make_tenant()
    user = make_user(tenant)
    return [make_key(user, tenant, f"Key {number}") for number in range(ROWS // 2)]


def steps():
    """Every step but the ends, in the order in which they are reached when each kill is followed by another run."""
    yield from ("switched:1", "prepared:1", "tried:1")
    for _ in range(ROWS):
        yield from ("stored:1", "committed:1")


@pytest.mark.timeout(120)
def test_it_may_be_killed_after_each_row_and_between_the_switch_and_its_commit(zygote, three_keys, kek_file):
    moved = 0
    for number, step in enumerate(steps()):
        again = ["--resume"] if number else []
        assert zygote.run("rotate_kek", "--all", *again, step=step) == KILLED, step
        moved += step.startswith("committed")
        assert len(versions(kek_file)) == 2, "one new version, however often it was killed"
        assert sealed_under().get(versions(kek_file)[-1], 0) == moved
        assert opening_versions(kek_file) == {1: ROWS}
    assert zygote.run("rotate_kek", "--all", "--resume") == 0
    rotation = Rotation.objects.get()
    assert (rotation.state, rotation.done, rotation.failed) == (RotationState.DONE, ROWS, 0)
    with scopes_disabled():
        assert key_services.self_test(None) == []
    assert verify().is_intact


@pytest.mark.timeout(60)
def test_one_that_was_killed_is_brought_on_by_another_process(zygote, three_keys, kek_file):
    assert zygote.run("rotate_kek", "--all", step="committed:2") == KILLED
    assert zygote.run("rotate_kek", "--all") == 2, "a second one is refused while the first is unfinished"
    assert zygote.run("rewrap_keys", "--all") == 2
    assert zygote.run("rotate_kek", "--all", "--resume") == 0
    assert sealed_under() == {versions(kek_file)[-1]: ROWS}


@pytest.mark.timeout(60)
def test_of_concurrent_starts_of_one_rotation_only_one_succeeds(three_keys, kek_file):
    begun, refused = [], []

    def start():
        try:
            begun.append(services.start(actor=OPERATOR, kind="kek", scope="all", nudge=False))
        except KeyRotationRunning:
            refused.append(1)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(begun), len(refused)) == (1, 5)
