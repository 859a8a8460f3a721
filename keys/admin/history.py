"""The life of a key as the audit log tells it, newest first, a page at a time."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

from keycast.audit.entries import ActorType
from keycast.audit.selectors import AuditFilters, AuditLine, AuditPage, BadCursor, history_of_key
from keycast.audit.services import chain_of
from keycast.audit.tags import AuditOutcome, AuditTag
from keys.models import PersonalKey

A_PAGE: Final = 20
_WORDS: Final = {
    "reason": "",
    "due": "due",
    "found": "found:",
    "asked_by": "asked for by",
    "rotation": "rotation",
    "mode": "mode",
    "kek_provider": "key-encryption key with",
    "hsm_provider": "HSM",
    "provider": "kept by",  # as rows of earlier versions have it, of either mode
    "from_provider": "before",
    "hsm_key": "HSM key",
    "kek_version": "key-encryption key",
    "from": "from",
    "to": "to",
}
"""What is told of a row's details, and how; everything else is in the audit log."""
_WHO: Final = {
    "user": "",
    "staff": "platform staff",
    "client": "an app",
    "system": "Keycast itself",
    "command": "on the server",
}


@dataclass(frozen=True, slots=True)
class KeyHistoryEvent:
    """One thing that happened to a key. ``is_bad`` marks what did not succeed."""

    at: datetime.datetime
    what: str
    outcome: str
    is_bad: bool
    who: str
    details: str


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """A page of it, and ``older``: the cursor of the next one, empty on the last."""

    moments: list[KeyHistoryEvent]
    older: str
    is_first: bool


def key_history(key: PersonalKey, cursor: str = "") -> KeyHistory:
    """What became of the key. An address that was never given out shows the first page."""
    try:
        found = _page(key, cursor)
    except BadCursor:
        cursor, found = "", _page(key, "")
    return KeyHistory([history_event(line) for line in found.lines], found.next_cursor, not cursor)


def last_check(key: PersonalKey) -> KeyHistoryEvent | None:
    """When the key's stored material was last checked, and what came of it."""
    wanted = AuditFilters(tags=[AuditTag.KEY_CHECKED])
    found = history_of_key(chain=chain_of(key.tenant_id), key_id=key.id.hex, filters=wanted, limit=1)
    return history_event(found.lines[0]) if found.lines else None


def history_event(line: AuditLine) -> KeyHistoryEvent:
    """A row of the log for people to read."""
    is_ok = line.outcome == AuditOutcome.OK
    return KeyHistoryEvent(
        line.at, line.sentence, "" if is_ok else line.outcome_word, not is_ok, _who(line), _details(line)
    )


def _page(key: PersonalKey, cursor: str) -> AuditPage:
    return history_of_key(chain=chain_of(key.tenant_id), key_id=key.id.hex, cursor=cursor, limit=A_PAGE)


def _who(line: AuditLine) -> str:
    kind = _WHO.get(line.actor_type, line.actor_type)
    if line.actor_type == ActorType.SYSTEM or not line.actor_label:
        return kind
    return f"{line.actor_label} ({kind})" if kind else line.actor_label


def _details(line: AuditLine) -> str:
    told = [
        f"{word} {_plain(line.data[name])}".strip()
        for name, word in _WORDS.items()
        if isinstance(line.data.get(name), str | int) and line.data[name] != ""
    ]
    return "; ".join(told)


def _plain(value: str | int) -> str:
    """As people write it: times to the minute."""
    try:
        at = datetime.datetime.fromisoformat(str(value)) if "T" in str(value) else None
    except ValueError:
        at = None
    return f"{at:%Y-%m-%d %H:%M}" if at else str(value)
