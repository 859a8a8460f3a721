"""Open transport keys: synchronous, cached for the lease, never usable after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keycast.crypto import schnorr
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip44
from keys import services
from keys.errors import InvalidOperand, KeyDamaged, OpenKeyExpired
from keys.signing import factory, opened_key

CLIENT, _ = Keypair.generate()
PEER = CLIENT.public_key_hex


@pytest.fixture
def service():
    return services.transport_service()


async def test_a_personal_key_does_not_open_as_a_transport_key(service, ref, transport_ref):
    with pytest.raises(KeyDamaged):
        await service.open(replace(transport_ref, sealed=ref.sealed, public_key=ref.public_key))


async def test_a_transport_key_put_beside_another_key_does_not_open(service, transport_ref):
    import uuid

    with pytest.raises(KeyDamaged):
        await service.open(replace(transport_ref, key_id=uuid.uuid4()))


async def test_after_it_was_forgotten_it_does_nothing(service, transport_ref):
    transport = await service.open(transport_ref)
    payload = transport.encrypt(PEER, "x")
    service.forget(transport_ref.transport_id)
    for use in (
        lambda: transport.encrypt(PEER, "x"),
        lambda: transport.decrypt(PEER, payload),
        lambda: transport.sign(bytes(32)),
    ):
        with pytest.raises(OpenKeyExpired):
            use()


@pytest.mark.parametrize("peer", ["", "zz" * 32, "00" * 32, PEER.upper()])
async def test_a_peer_that_is_no_public_key_is_refused(service, transport_ref, peer):
    transport = await service.open(transport_ref)
    with pytest.raises(InvalidOperand):
        transport.encrypt(peer, "x")
    with pytest.raises(InvalidOperand):
        transport.decrypt(peer, "A" * 200)


async def test_malformed_operands_are_one_error(service, transport_ref):
    transport = await service.open(transport_ref)
    for use in (
        lambda: transport.decrypt(PEER, "not a payload"),
        lambda: transport.encrypt(PEER, ""),
        lambda: transport.encrypt(PEER, "\ud800"),
        lambda: transport.sign(bytes(31)),
    ):
        with pytest.raises(InvalidOperand):
            use()


async def test_it_speaks_nip44_and_signs(service, transport_ref):
    transport = await service.open(transport_ref)
    with nip44.conversation_key(CLIENT, bytes.fromhex(transport.public_key)) as conversation:
        assert nip44.decrypt(transport.encrypt(PEER, "reply"), conversation) == "reply"
        assert transport.decrypt(PEER, nip44.encrypt("request", conversation)) == "request"
    signature = transport.sign(bytes(32))
    assert schnorr.verify(bytes.fromhex(transport.public_key), bytes(32), signature)


async def test_it_is_opened_once_in_a_lease(service, transport_ref):
    assert await service.open(transport_ref) is await service.open(transport_ref)


async def test_without_a_lease_each_open_is_a_new_one(service, transport_ref, settings):
    settings.KEK_LEASE_SECONDS = 0
    one, two = await service.open(transport_ref), await service.open(transport_ref)
    assert one is not two
    one.encrypt(PEER, "x")
    assert not one._conversations


async def test_conversation_keys_are_bounded_and_the_least_recently_used_one_goes(service, transport_ref):
    transport = await service.open(transport_ref)
    limit = factory.CONVERSATIONS_PER_TRANSPORT
    peers = [Keypair.generate()[0].public_key_hex for _ in range(limit + 1)]
    for peer in peers[:limit]:
        transport.encrypt(peer, "x")
    transport.encrypt(peers[0], "x")
    transport.encrypt(peers[limit], "x")
    assert len(transport._conversations) == limit
    assert peers[0] in transport._conversations
    assert peers[1] not in transport._conversations


async def test_the_process_keeps_a_bounded_number_of_conversation_keys(service, transport_ref, monkeypatch):
    budget = opened_key.ConversationKeyBudget(2)
    monkeypatch.setattr(opened_key, "BUDGET", budget)
    transport = await service.open(transport_ref)
    for _ in range(4):
        assert transport.encrypt(Keypair.generate()[0].public_key_hex, "x")
    assert len(transport._conversations) == 2
    service.forget_all()
    assert budget._count == 0


async def test_forgetting_wipes_the_conversation_keys(service, transport_ref):
    transport = await service.open(transport_ref)
    transport.encrypt(PEER, "x")
    kept = transport.conversation_key(PEER)
    service.forget_all()
    assert kept.is_wiped
    assert transport.keypair.is_wiped


async def test_a_conversation_key_that_is_not_kept_is_handed_over_whole(service, transport_ref, monkeypatch):
    monkeypatch.setattr(opened_key, "BUDGET", opened_key.ConversationKeyBudget(0))
    transport = await service.open(transport_ref)
    handed_over = transport.conversation_with(PEER)
    assert handed_over == bytes((known := transport.conversation_key(PEER)).view())
    assert any(handed_over)
    assert known is not transport.conversation_key(PEER)


async def test_its_repr_is_a_name(service, transport_ref):
    transport = await service.open(transport_ref)
    assert repr(transport) == f"<OpenTransportKey {transport.public_key[:8]}>"
