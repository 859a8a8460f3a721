"""What a client must check before it uses a signed event: that it is the one it asked for, and that it verifies."""

from __future__ import annotations

from typing import Any

from keycast.nostr.client.errors import BadAnswer
from keycast.nostr.nip01 import Event, EventError, parse_event, verify_event


def signed_as_asked(answer: str, template: dict[str, Any], public_key: str = "") -> Event:
    """The event in a sign_event answer, once its id, BIP-340 signature, author and content are checked.

    An empty ``public_key`` accepts any author. Raises BadAnswer. Source: NIP-46 sign_event, NIP-01 ids.
    """
    try:
        event = parse_event(answer)
    except EventError:
        raise BadAnswer("The bunker's answer is not a signed event.") from None
    if not verify_event(event):
        raise BadAnswer("The signed event's id or signature does not verify.")
    if public_key and event.pubkey != public_key:
        raise BadAnswer("The event was signed by another key than the bunker's user.")
    asked = {"kind": event.kind, "content": event.content, "tags": event.tags, "created_at": event.created_at}
    changed = [name for name, value in asked.items() if name in template and template[name] != value]
    if changed:
        raise BadAnswer(f"The bunker signed something else than what it was asked to: {', '.join(changed)} differ.")
    return event
