"""Fresh halves: refusals, then SIGKILL of either side at every step of creating and refreshing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.base.errors import NotPermitted
from keycast.crypto import split
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.points import even_half, public_point
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.errors import InvalidOperand, KeyLocked
from keys.lifecycle.rows import key_ref
from keys.models import HalfRefresh, PersonalKey, RefreshStep
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.client import blocking
from keys.signing.cosigning.errors import CosignerRefused, CosignerUnavailable, StaleChallenge, StaleHalf
from keys.signing.half import seal_half
from keys.split import refresh
from tests.keys.conftest import make_key, make_tenant, make_user
from tests.keys.cosigner.rows import StoredHsm, again, make_row, signer_of, signs
from tests.keys.cosigner.support import ROOT, Process, grant, half_a, note

SYSTEM = Actor.system("test")
LATER = timedelta(hours=1)


@pytest.fixture
def process(tmp_path):
    process = Process(tmp_path)
    yield process
    process.stop()


@pytest.fixture
def people(transactional_db):
    tenant = make_tenant()
    return make_user(tenant), tenant


@pytest.fixture
def hsm(tmp_path):
    return StoredHsm(tmp_path)


def renew(row, hsm, client):
    refresh.refresh(actor=SYSTEM, key=again(row), authoriser=hsm, client=client)


def finish(client):
    return refresh.finish_due(timezone.now() + LATER, client)


def going():
    return HalfRefresh.objects.get()


def run_a(process, verb, subject, crash_at=""):
    """Another process of signer A, on the same database."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "KEYCAST_DATA_DIR": str(settings.DATA_DIR),
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        "KEYCAST_TEST_CRASH_AT": crash_at,
    }
    command = [sys.executable, "-m", "tests.keys.cosigner._signer_a", verb]
    command += [str(process.folder), str(process.socket), str(subject)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {0, -9}, done.stderr
    return done.returncode


sqlite_only = pytest.mark.skipif("sqlite" not in settings.DATABASES["default"]["ENGINE"], reason="one file for both")


async def test_without_the_hsm_no_new_half_is_prepared(bench):
    key, other = await bench.key(), await bench.key()
    new = even_half()[0].public_key
    wrong = [
        grant(bench.hsm, key, AuthorisationPurpose.REFRESH, even_half()[0].public_key),
        grant(bench.hsm, key, AuthorisationPurpose.ECDH, new),
        grant(bench.hsm, key, AuthorisationPurpose.REFRESH, new, of=other),
        grant(bench.hsm, other, AuthorisationPurpose.REFRESH, new, of=key),
        grant(bench.hsm, key, AuthorisationPurpose.REFRESH, new, challenge=bytes(16)),
    ]
    for forged in wrong:
        with pytest.raises((CosignerRefused, StaleChallenge)):
            await bench.client.prepare_refresh(key.tenant_id, key.key_id, half_a(key), new, forged)


async def test_a_difference_is_never_told_twice_for_one_new_half_under_two_names(bench):
    """Two differences of one new half B with two new halves A would tell the old half B."""
    key = await bench.key()
    told = []
    for _ in range(2):
        new = even_half()[0].public_key
        permit = grant(bench.hsm, key, AuthorisationPurpose.REFRESH, new)
        told.append(await bench.client.prepare_refresh(key.tenant_id, key.key_id, half_a(key), new, permit))
    assert told[0][0] != told[1][0]


async def test_a_prepared_half_neither_signs_nor_replaces_anything(bench):
    key, new = await bench.key(), even_half()[0].public_key
    ids = key.tenant_id, key.key_id
    permit = grant(bench.hsm, key, AuthorisationPurpose.REFRESH, new)
    await bench.client.prepare_refresh(*ids, half_a(key), new, permit)
    with pytest.raises(CosignerRefused):  # the same authorisation again
        await bench.client.prepare_refresh(*ids, half_a(key), new, permit)
    with pytest.raises(StaleHalf):
        await bench.client.finish_refresh(*ids, new)
    with pytest.raises(InvalidOperand):  # a tweak that makes another key
        await bench.client.commit_refresh(*ids, new, b"\x01" * 32)
    peer = Keypair.generate()[0].public_key
    with pytest.raises(StaleHalf):
        await bench.client.ecdh(*ids, new, peer, grant(bench.hsm, key, AuthorisationPurpose.ECDH, peer))


def test_a_stranger_refreshes_nothing(people, process, hsm):
    row = make_row(*people, hsm, process.client())
    stranger = make_user(make_tenant())
    with pytest.raises(NotPermitted):
        refresh.refresh(actor=Actor.user(stranger), key=row, authoriser=hsm, client=process.client())
    assert not HalfRefresh.objects.exists()


def test_an_encrypted_key_has_no_halves(people, process, hsm):
    with pytest.raises(refresh.NoCapability):
        renew(make_key(*people), hsm, process.client())


@pytest.mark.parametrize("imported", [False, True])
def test_a_refresh_keeps_the_key_and_ends_the_old_halves(people, process, hsm, imported):
    client = process.client()
    whole, secret = Keypair.generate()
    row = make_row(*people, hsm, client, secret if imported else None)
    assert (row.public_key == whole.public_key_hex) is imported
    before = again(row)
    for _ in range(2):
        renew(row, hsm, client)
        assert signs(row, hsm, client)
        assert signs_with(before, hsm, client), "old halves work until the refresh is finished"
        assert finish(client) == 1
        assert signs(row, hsm, client)
        with pytest.raises(StaleHalf):
            signs_with(before, hsm, client)
        before = again(row)
    assert not HalfRefresh.objects.exists()
    assert "intact" in process.verify_audit().stdout


def signs_with(old, hsm, client):
    key = key_ref(old)
    signer = signer_of(hsm, client)
    return blocking(lambda _: signer.sign_event_id(key, note(key), id_of(note(key))), client)


def test_nothing_is_finished_before_every_process_has_heard(people, process, hsm):
    client = process.client()
    row = make_row(*people, hsm, client)
    renew(row, hsm, client)
    assert refresh.finish_due(client=client) == 0
    assert going().step == RefreshStep.SWITCHED
    assert going().encrypted_half_key is None


B_STEPS = ["b-prepared", "b-committed", "b-finished"]


@pytest.mark.parametrize("step", B_STEPS)
def test_the_co_signer_killed_at_any_step_of_a_refresh_leaves_the_key_usable(people, process, hsm, step):
    client = process.client()
    row = make_row(*people, hsm, client)
    process.stop()
    process.start(step)
    if step == "b-finished":
        renew(row, hsm, client)
        assert finish(client) == 0
    else:
        with pytest.raises(CosignerUnavailable):
            renew(row, hsm, client)
    assert process.died()
    process.start()
    assert signs(row, hsm, client)
    renew(row, hsm, client)
    assert signs(row, hsm, client)
    finish(client)
    assert signs(row, hsm, client)
    assert not HalfRefresh.objects.exists()
    assert "intact" in process.verify_audit().stdout


@sqlite_only
@pytest.mark.parametrize("step", ["a-drawn", "a-prepared", "a-agreed", "a-committed", "a-switched"])
def test_signer_a_killed_at_any_step_of_a_refresh_leaves_the_key_usable(people, process, hsm, step):
    client = process.client()
    row = make_row(*people, hsm, client)
    old = again(row)
    assert run_a(process, "refresh", row.pk, step) == -9
    assert signs(row, hsm, client)
    assert refresh.resume(lambda _: hsm, client) == (0 if step == "a-switched" else 1)
    assert again(row).cosigner_public_key != old.cosigner_public_key
    assert signs(row, hsm, client)
    assert finish(client) == 1
    assert signs(row, hsm, client)


@sqlite_only
def test_signer_a_killed_while_it_finishes_a_refresh_finishes_it_later(people, process, hsm):
    client = process.client()
    row = make_row(*people, hsm, client)
    renew(row, hsm, client)
    assert run_a(process, "finish", row.pk, "a-finished") == -9
    assert signs(row, hsm, client)
    assert finish(client) == 1
    assert signs(row, hsm, client)


@sqlite_only
def test_signer_a_killed_while_it_makes_a_key_leaves_no_key_and_can_make_the_next(people, process, hsm):
    tenant = people[1]
    assert run_a(process, "create", tenant.pk, "a-created") == -9
    with scopes_disabled():
        assert not PersonalKey.objects.exists()
    assert run_a(process, "create", tenant.pk) == 0
    with scopes_disabled():
        assert signs(PersonalKey.objects.get(), hsm, process.client())


@pytest.mark.parametrize(("step", "imported"), [("b-created", False), ("b-adopted", True)])
def test_the_co_signer_killed_while_it_makes_a_half_can_be_asked_again(process, step, imported):
    """The same question gets the same half: a lost reply leaves no second one."""
    client, ids = process.client(), (uuid4(), uuid4())
    process.stop()
    process.start(step)
    whole, secret = Keypair.generate()
    a, b, tweak = split.new_halves_for(secret)
    public = Keypair.from_secret(a).public_key

    async def ask(c):
        if imported:
            return await c.adopt_half(*ids, public, b, tweak, whole.public_key)
        return await c.create(*ids, public)

    with pytest.raises(CosignerUnavailable):
        blocking(ask, client)
    assert process.died()
    process.start()
    first = blocking(ask, client)
    assert first == blocking(ask, client)
    assert first == (public_point(Keypair.from_secret(b)) if imported else first)


def test_a_locked_key_is_not_refreshed(people, process, hsm):
    row = make_row(*people, hsm, process.client())
    row.state = "locked"
    row.save(update_fields=["state"])
    with pytest.raises(KeyLocked):
        renew(row, hsm, process.client())


async def test_signatures_go_on_while_halves_are_refreshed(bench):
    used = [await bench.key()]
    done, signing_with, stop = [], dict.fromkeys(range(4)), asyncio.Event()

    async def keep_signing(number):
        while not stop.is_set():
            key, event = used[-1], note(used[-1], f"{number} {len(done)}")
            signing_with[number] = key
            done.append(await bench.signer.sign_event_id(key, event, id_of(event)))

    async def all_have_heard():
        """As the grace does in the product: no request that began with the old halves is left."""
        while not all(key is used[-1] for key in signing_with.values()):
            assert not any(task.done() for task in signing)
            await asyncio.sleep(0.01)

    signing = [asyncio.create_task(keep_signing(number)) for number in signing_with]
    for _ in range(5):
        used.append(await refreshed(bench, used[-1]))
        await all_have_heard()
        await bench.client.finish_refresh(used[-1].tenant_id, used[-1].key_id, half_a(used[-1]))
    stop.set()
    await asyncio.gather(*signing)
    assert len(done) > 5
    assert len({key.public_key for key in used}) == 1
    assert len({half_a(key) for key in used}) == 6


async def refreshed(bench, key):
    """What keys.split.refresh does, without a database: the key with its new halves, in use on both sides."""
    keypair, secret = even_half()
    ids = key.tenant_id, key.key_id
    permit = grant(bench.hsm, key, AuthorisationPurpose.REFRESH, keypair.public_key)
    half_b, difference_b = await bench.client.prepare_refresh(*ids, half_a(key), keypair.public_key, permit)
    opened = await bench.signer._open(key)
    untweaked = KeyAggregate(b"\x02" + keypair.public_key, b"\x02" + half_b)
    difference_a = split.refresh_difference(opened.keypair, opened.aggregate(key), keypair, untweaked, "A")
    tweak = split.refreshed_tweak(bytes.fromhex(key.hsm.tweak) or None, difference_a, difference_b)
    await bench.client.commit_refresh(*ids, keypair.public_key, tweak)
    half = seal_half(keypair, secret, *ids, bench.kek)
    sealed = replace(key.sealed, blob=half.pack())
    return replace(key, sealed=sealed, hsm=replace(key.hsm, tweak=tweak.hex(), cosigner_public_key=half_b.hex()))
