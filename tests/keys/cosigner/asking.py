"""Apps that ask for a key's use over NIP-46, as the co-signer gets to see it."""

from __future__ import annotations

import json

from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip44, nip46
from keycast.nostr.nip01 import id_bytes
from keycast.nostr.nip46 import Nip46Request
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.messages import AppAdmission, AppRequest, AskedUse


class App:
    """An app, and the remote signer that it is connected to."""

    def __init__(self, methods=("sign_event", "nip44_decrypt"), kinds=((1, 1), (7, 7)), signer=None):
        self.keypair, self.signer = Keypair.generate()[0], signer or Keypair.generate()[0]
        self.methods, self.kinds, self.expires_at = list(methods), list(kinds), 0

    @property
    def public_key(self):
        return self.keypair.public_key

    def admission(self, **changes):
        given = {"methods": self.methods, "kinds": self.kinds, "expires_at": self.expires_at} | changes
        return AppAdmission(self.public_key, self.signer.public_key, **given)

    def request(self, method, params, *, at=None, to=None, key=None, by=None, tags=None):
        """The app's event with what opens it; ``by`` signs it, ``key`` is the conversation key that is told."""
        at = authorisation.now() // 1000 if at is None else at
        with nip44.conversation_key(self.keypair, self.signer.public_key) as own:
            content = nip44.encrypt(Nip46Request("r1", method, params).to_text(), own)
            told = bytes(own.view()) if key is None else key
        tags = [["p", (to or self.signer).public_key_hex]] if tags is None else tags
        identifier = id_bytes(self.keypair.public_key_hex, at, nip46.KIND, tags, content)
        return AppRequest(self.public_key, at, tags, content, (by or self.keypair).sign(identifier), told)

    def to_sign(self, event, **how):
        """Asks for this event to be signed; what differs is named."""
        asked = {"kind": event.kind, "content": event.content, "tags": event.tags, "created_at": event.created_at}
        return self.request("sign_event", [json.dumps(asked | how.pop("changes", {}))], **how)

    def use(self, request):
        """What the bunker hands to its signers."""
        return AskedUse(request, self.admission())


async def admitted(bench, key, **how):
    """An app that the co-signer was told of."""
    app = App(**how)
    await bench.client.admit_app(key.tenant_id, key.key_id, app.admission())
    return app
