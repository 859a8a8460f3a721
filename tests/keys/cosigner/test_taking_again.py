"""A key that was given up may be brought again: imported under another id, or converted after all. None in use may."""

from __future__ import annotations

from uuid import uuid4

import pytest

from keycast.crypto import split
from keycast.crypto.points import even_half
from keycast.crypto.schnorr import Keypair
from keys.errors import KeyExists, KeyUnavailable
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from tests.keys.cosigner.support import grant_of


class Whole:
    """A key as its owner has it, and halves of it."""

    def __init__(self):
        self.keypair, self.secret = Keypair.generate()

    async def brought(self, client, ids):
        a, b, tweak = split.new_halves_for(self.secret)
        half_a = Keypair.from_secret(a).public_key
        made = await client.adopt_half(*ids, half_a, b, tweak, self.keypair.public_key)
        return half_a, made[1:]


@pytest.fixture
def ids():
    return uuid4(), uuid4()


async def test_the_co_signer_refuses_to_replace_a_half_in_use(bench, ids):
    whole, other = Whole(), Whole()
    await whole.brought(bench.client, ids)
    await bench.client.register_authoriser(*ids, bench.hsm.make("first"))
    for again in (whole, other):
        with pytest.raises(KeyExists):
            await again.brought(bench.client, ids)
    with pytest.raises(KeyExists):
        await whole.brought(bench.client, (ids[0], uuid4()))
    with pytest.raises(KeyExists):
        await bench.client.create(*ids, even_half()[0].public_key)


async def test_an_id_that_was_given_up_is_of_no_use_for_another_key(bench, ids):
    whole = Whole()
    _, half = await whole.brought(bench.client, ids)
    await bench.client.withdraw(*ids, half)
    with pytest.raises(KeyExists):
        await Whole().brought(bench.client, ids)
    with pytest.raises(KeyExists):
        await bench.client.create(*ids, even_half()[0].public_key)
    assert await bench.client.state(*ids) == "forgotten"


async def test_another_tenant_gets_nothing_by_knowing_an_id(bench, ids):
    whole = Whole()
    await whole.brought(bench.client, ids)
    with pytest.raises(KeyUnavailable):
        await whole.brought(bench.client, (uuid4(), ids[1]))


async def test_what_never_came_into_use_is_replaced(bench, ids):
    whole = Whole()
    first = await whole.brought(bench.client, ids)
    second = await whole.brought(bench.client, ids)
    assert first != second
    await bench.client.register_authoriser(*ids, bench.hsm.make("only"))
    assert await bench.client.state(*ids) == "active"


async def test_a_forgotten_key_can_be_imported_again_with_another_authoriser(bench, ids):
    whole, old, new = Whole(), bench.hsm.make("old"), bench.hsm.make("new")
    await whole.brought(bench.client, ids)
    await bench.client.register_authoriser(*ids, old)
    named = whole.keypair.public_key
    await bench.client.forget(*ids, named, grant_of(bench.hsm, ids, "old", AuthorisationPurpose.FORGET, named))
    assert await bench.client.state(*ids) == "forgetting"
    await whole.brought(bench.client, ids)
    assert await bench.client.authorisers(*ids) == (b"", b"")
    await bench.client.register_authoriser(*ids, new)
    assert await bench.client.authorisers(*ids) == (new, b"")


async def test_a_public_key_that_was_given_up_may_come_back_under_another_id(bench, ids):
    whole, another = Whole(), (ids[0], uuid4())
    _, half = await whole.brought(bench.client, ids)
    await bench.client.withdraw(*ids, half)
    await whole.brought(bench.client, another)
    assert await bench.client.state(*another) == "pending"
    with pytest.raises(KeyExists):
        await whole.brought(bench.client, ids)


async def test_withdrawing_a_half_leaves_a_later_one_alone(bench, ids):
    whole = Whole()
    _, first = await whole.brought(bench.client, ids)
    _, second = await whole.brought(bench.client, ids)
    await bench.client.withdraw(*ids, first)
    assert await bench.client.state(*ids) == "pending"
    await bench.client.withdraw(*ids, second)
    await bench.client.withdraw(*ids, second)
    assert await bench.client.state(*ids) == "forgotten"
