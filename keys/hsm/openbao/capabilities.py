"""What keys that OpenBao authorises can do, in the words that people read."""

from __future__ import annotations

from typing import Final

from keys.refs import Capabilities
from keys.signing.cosigned import ASKED_SENTENCE

CAPABILITIES: Final = Capabilities(
    name="Authorised by OpenBao, split key",
    sign=True,
    ecdh=True,
    imports=True,
    sentences=(
        "Signs valid Nostr events, and reads and writes encrypted messages (NIP-04, NIP-44).",
        "The key is split between two separate signers and is never whole anywhere.",
        "Every use has to be authorised by your own key in the operators' OpenBao, which can be disabled; OpenBao logs "
        "each authorisation, and requests that come at the same moment share one.",
        "An app that opens many messages has that authorised once, for minutes; the key's page shows it, and ends it.",
        "That key is in OpenBao's storage, encrypted: not in an HSM.",
        ASKED_SENTENCE,
        "An existing key (nsec) can be imported: it is split at once, by your browser where that runs scripts.",
        "Each signature takes a call to OpenBao, usually 2 to 10 ms.",
    ),
)
