"""Signer A asks for the co-signer's log: of its tenant's key, in bounded pages, with the operator's stop."""

from __future__ import annotations

from uuid import uuid4

import pytest

from keycast.nostr.nip01 import id_of
from keys.cosigner import operator_commands as operator
from keys.cosigner.brake_rules import key_scope
from keys.errors import KeyUnavailable
from tests.keys.cosigner.support import note


async def sign(bench, key, content):
    await bench.signer.sign_event_id(key, note(key, content), id_of(note(key, content)))


async def test_another_tenant_and_an_unknown_key_get_nothing(bench):
    key = await bench.key()
    for tenant_id, key_id in ((uuid4(), key.key_id), (key.tenant_id, uuid4())):
        with pytest.raises(KeyUnavailable):
            await bench.client.log(tenant_id, key_id)


async def test_pages_are_of_one_key_newest_first_and_follow_each_other(bench):
    key, other = await bench.key(), await bench.key()
    for content in "abc":
        await sign(bench, key, content)
        await sign(bench, other, content)
    first = await bench.client.log(key.tenant_id, key.key_id, limit=2)
    assert [entry.request_id for entry in first.entries] == [id_of(note(key, content)).hex() for content in "cb"]
    second = await bench.client.log(key.tenant_id, key.key_id, limit=50, before=first.entries[-1].sequence)
    assert [entry.tag.split(":")[1] for entry in second.entries] == ["event", "authoriser", "half"]
    assert {entry.key for entry in [*first.entries, *second.entries]} == {key.key_id.bytes}
    assert first.today == {"signatures": 3}
    assert (first.stopped_at, first.stop_reason) == (0, "")


async def test_uses_of_all_keys_come_oldest_first_and_nothing_else(bench):
    one, other = await bench.key(), await bench.key()
    for key in (one, other, one):
        await sign(bench, key, "a")
    page = await bench.client.uses_after(0)
    assert [entry.key for entry in page.entries] == [key.key_id.bytes for key in (one, other, one)]
    assert {entry.tag for entry in page.entries} == {"cosigner:event:signed"}
    assert (await bench.client.uses_after(page.entries[0].sequence, 1)).entries == page.entries[1:2]
    assert page.head >= page.entries[-1].sequence


async def test_the_operators_stop_is_told_with_its_reason(bench):
    key = await bench.key()
    operator.stop(bench.folder / "b.sqlite3", key_scope(key.key_id), "the phone was stolen")
    page = await bench.client.log(key.tenant_id, key.key_id)
    assert page.stop_reason == "the phone was stolen"
    assert page.stopped_at > 0
    assert page.entries[0].tag == "cosigner:operator:stopped"
