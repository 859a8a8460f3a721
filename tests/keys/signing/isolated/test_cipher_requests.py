"""The app that asks is named on the way to a signer outside, which may authorise many of its uses at once."""

from __future__ import annotations

import uuid

import pytest

from keys.errors import InvalidOperand
from keys.refs import KeyRef
from keys.signing.isolated import messages
from keys.signing.isolated.access import RemoteSigner
from keys.signing.isolated.request_handler import SignerRequestHandler

APP, PEER = "11" * 32, "22" * 32


class Service:
    """Notes what it is asked for."""

    def __init__(self):
        self.asked = []

    async def crypt(self, key, *asked):
        self.asked.append(asked)
        return "text"


class Socket:
    """The way to the signer, and back, by its bytes."""

    def __init__(self, handler):
        self._handler = handler

    async def ask(self, make, expected, *_):
        reply = await self._handler.answer(messages.decode_request(messages.encode(make(1))))
        assert isinstance(reply, expected)
        return reply


@pytest.fixture
def key():
    return KeyRef(uuid.uuid4(), uuid.uuid4(), "33" * 32, "encrypted", "")


async def test_an_app_with_a_longer_name_than_a_key_is_refused(key):
    service = Service()
    with pytest.raises(InvalidOperand):
        await RemoteSigner(Socket(SignerRequestHandler(service, None))).crypt(
            key, "nip44_decrypt", PEER, "x", APP + "1"
        )
    assert service.asked == []


@pytest.mark.parametrize("client", [APP, ""])
async def test_the_signer_hears_which_app_asks(key, client):
    service = Service()
    signer = RemoteSigner(Socket(SignerRequestHandler(service, None)))
    assert await signer.crypt(key, "nip44_decrypt", PEER, "x", client) == "text"
    assert service.asked == [("nip44_decrypt", PEER, "x", client, None)]
