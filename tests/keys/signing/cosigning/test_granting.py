"""Authorisations that come together are one HSM operation; one that comes alone waits for nobody."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from keys.hsm_errors import HsmUnavailable
from keys.refs import HsmRef
from keys.signing.cosigning import authorisation, authorisation_tree, granting
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.granting import GrantCollector

IDS, CHALLENGE = (uuid4(), uuid4()), bytes(16)
ONE, OTHER = (HsmRef(name, f"{name}/1") for name in ("one", "other"))


class Slow:
    """An authoriser that answers when it is told to."""

    provider = "google"

    def __init__(self):
        self.asked, self.go, self.error = [], asyncio.Event(), None

    async def authorise(self, hsm, digest):
        self.asked.append((hsm.key_name, digest))
        await asyncio.sleep(0)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return digest * 2  # whoever asks can tell what it was


def ask(collector, slow, subject, hsm=ONE):
    named = (*IDS, AuthorisationPurpose.SIGN, bytes([subject]) * 32, CHALLENGE)
    return asyncio.create_task(collector.grant(slow, hsm, *named))


async def settled(times=10):
    for _ in range(times):
        await asyncio.sleep(0)


def root_of(grant, subject):
    digest = authorisation.digest(AuthorisationPurpose.SIGN, *IDS, bytes([subject]) * 32, grant.challenge, grant.salt)
    return authorisation_tree.signed_digest(digest, grant.path)


async def test_without_a_time_each_is_an_operation_of_its_own():
    slow, collector = Slow(), GrantCollector()
    slow.go.set()
    grants = await asyncio.gather(*(ask(collector, slow, n) for n in range(5)))
    assert (len(slow.asked), {grant.path for grant in grants}) == (5, {b""})
    assert (collector.granted, collector.operations) == (5, 5)


async def test_one_that_comes_alone_is_asked_for_at_once():
    slow, collector = Slow(), GrantCollector(3600)
    for subject in range(3):
        slow.go.clear()
        task = ask(collector, slow, subject)
        await settled()
        assert len(slow.asked) == subject + 1
        slow.go.set()
        assert (await task).path == b""


async def test_those_that_come_while_the_hsm_signs_share_one_signature():
    slow, collector = Slow(), GrantCollector(0.01)
    tasks = [ask(collector, slow, n) for n in range(8)]
    await settled()
    assert len(slow.asked) == 1, "the others wait"
    slow.go.set()
    grants = await asyncio.gather(*tasks)
    assert len(slow.asked) == collector.operations == 2
    for subject, grant in enumerate(grants):
        assert grant.signature == root_of(grant, subject) * 2


async def test_a_key_that_is_busy_goes_on_as_soon_as_as_many_are_there_as_the_last_time():
    slow, collector = Slow(), GrantCollector(0.01)
    slow.go.set()
    await asyncio.gather(*(ask(collector, slow, n) for n in range(8)))
    collector._seconds = 3600
    grants = await asyncio.gather(*(ask(collector, slow, n) for n in range(7)))
    assert len(slow.asked) == 3
    assert len({grant.signature for grant in grants}) == 1


async def test_a_key_that_was_busy_some_time_ago_is_not_waited_for(monkeypatch):
    slow, collector = Slow(), GrantCollector(0.01)
    slow.go.set()
    await asyncio.gather(*(ask(collector, slow, n) for n in range(8)))
    collector._seconds = 3600
    monkeypatch.setattr(granting, "_BUSY_FOR", 0.0)
    assert (await ask(collector, slow, 9)).path == b""


async def test_keys_are_collected_apart():
    slow, collector = Slow(), GrantCollector(0.01)
    tasks = [ask(collector, slow, n, hsm) for n in range(4) for hsm in (ONE, OTHER)]
    await settled()
    slow.go.set()
    await asyncio.gather(*tasks)
    assert sorted(name for name, _ in slow.asked) == ["one", "one", "other", "other"]


async def test_a_tree_has_no_more_leaves_than_the_co_signer_takes():
    slow, collector = Slow(), GrantCollector(3600)
    tasks = [ask(collector, slow, n % 250) for n in range(authorisation_tree.MAX_LEAVES + 1)]
    slow.go.set()
    grants = await asyncio.gather(*tasks)
    assert len(slow.asked) == 2
    assert max(len(grant.path) for grant in grants) <= authorisation_tree.MAX_DEPTH * authorisation_tree.STEP_SIZE


async def test_an_error_of_the_hsm_reaches_all_that_wait_and_the_next_is_asked_anew():
    slow, collector = Slow(), GrantCollector(0.01)
    slow.error = HsmUnavailable()
    slow.go.set()
    results = await asyncio.gather(*(ask(collector, slow, n) for n in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [HsmUnavailable] * 4
    slow.error = None
    assert await ask(collector, slow, 5)
    assert collector.granted == 1


async def test_one_that_is_cancelled_takes_nothing_from_the_others():
    slow, collector = Slow(), GrantCollector(0.01)
    tasks = [ask(collector, slow, n) for n in range(4)]
    await settled()
    tasks[2].cancel()
    slow.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [False, False, True, False]


def test_what_a_loop_that_has_ended_left_behind_holds_up_no_other(monkeypatch):
    collector = GrantCollector(3600)

    async def left():
        slow = Slow()
        for subject in range(2):
            ask(collector, slow, subject)
        await settled()

    monkeypatch.setattr(granting, "id", lambda loop: 1, raising=False)
    asyncio.run(left())

    async def later():
        slow = Slow()
        slow.go.set()
        return await ask(collector, slow, 3)

    assert asyncio.run(later()).path == b""


@pytest.mark.parametrize("kept", [1, 2])
async def test_idle_keys_make_room(monkeypatch, kept):
    monkeypatch.setattr(granting, "_KEYS_KEPT", kept)
    slow, collector = Slow(), GrantCollector(0.01)
    slow.go.set()
    for number in range(5):
        await ask(collector, slow, number, HsmRef(str(number), f"{number}/1"))
    assert len(collector._waiting) <= kept
