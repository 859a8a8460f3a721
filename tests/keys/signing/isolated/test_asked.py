"""An app's request reaches the signer with what it asks for, and what opens it does not stay there."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import UnsignedEvent, id_of
from keys.refs import KeyRef
from keys.signing.isolated import messages
from keys.signing.isolated.request_handler import SignerRequestHandler
from tests.keys.cosigner.asking import App


class Service:
    """Signs, and remembers by whom it was told that it was asked for."""

    def __init__(self, keypair):
        self.keypair, self.seen = keypair, []

    async def sign_event(self, key, event, asked=None):
        self.note(asked)
        return event.signed(id_of(event).hex(), self.keypair.sign(id_of(event)))

    async def crypt(self, key, method, peer, text, client="", asked=None):
        self.note(asked)
        return text

    def note(self, asked):
        self.seen.append((asked.admission.client, asked.request.conversation_key.hex()))


async def test_it_comes_with_both_kinds_of_use_and_its_key_is_wiped():
    keypair, app = Keypair.generate()[0], App()
    service = Service(keypair)
    handler = SignerRequestHandler(service, SimpleNamespace())
    key = KeyRef(uuid.uuid4(), uuid.uuid4(), keypair.public_key_hex, "hsm", "google")
    event = UnsignedEvent(key.public_key, 1, 1, [], "hello")
    asked = app.use(app.to_sign(event))
    opens = asked.request.conversation_key.hex()
    body = messages.EventBody.of(event)
    for request in (
        messages.SignEventRequest(1, key, body, id_of(event), asked),
        messages.CipherRequest(
            2, key, "nip44_encrypt", app.keypair.public_key_hex, "x", app.keypair.public_key_hex, asked
        ),
    ):
        arrived = messages.decode_request(messages.encode(request))
        await handler.answer(arrived)
        assert arrived.asked.request.conversation_key == bytes(32)
    assert service.seen == [(app.public_key, opens)] * 2
