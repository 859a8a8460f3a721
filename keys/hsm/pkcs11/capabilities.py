"""What keys that a token authorises can do, in the words that people read."""

from __future__ import annotations

from typing import Final

from keys.refs import Capabilities
from keys.signing.cosigned import ASKED_SENTENCE

CAPABILITIES: Final = Capabilities(
    name="HSM-authorised, split key (PKCS#11)",
    sign=True,
    ecdh=True,
    imports=True,
    sentences=(
        "Signs valid Nostr events, and reads and writes encrypted messages (NIP-04, NIP-44).",
        "The key is split between two separate signers and is never whole anywhere.",
        "Every use has to be authorised by your own key in the operators' HSM, made there and unable to leave it; "
        "requests that come at the same moment share one authorisation.",
        "An app that opens many messages has that authorised once, for minutes; the key's page shows it, and ends it.",
        ASKED_SENTENCE,
        "An existing key (nsec) can be imported: it is split at once, by your browser where that runs scripts.",
        "Disabling the key in the HSM is a mark that whoever has this server's PIN can take back.",
        "Each signature takes a call to the HSM, usually 1 to 20 ms.",
    ),
)
