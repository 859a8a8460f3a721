"""What a key and its apps did, read from the audit log and put in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bunker.models import Connection
from bunker.policy import kind_name
from keycast.audit import selectors as audit
from keycast.audit.services import chain_of
from keycast.audit.tags import AuditOutcome, AuditTag
from keys.models import PersonalKey

PAGE_SIZE = 25
FILTERS = {"": "Everything", "ok": "Done", "denied": "Refused", "failed": "Failed"}
OUTCOMES = {
    "ok": (AuditOutcome.OK,),
    "denied": (AuditOutcome.DENIED,),
    "failed": (AuditOutcome.FAILED, AuditOutcome.UNKNOWN),
}
# The log keeps codes, which stay short and mean the same for ever; these are their words.
_REASONS = {
    "policy": "Not among the things this app may do, or used more often than it may.",
    "quota-reached": "The community had signed as much as it may on that day.",
    "no-access": "The app or the key was locked, or the app's access had ended.",
    "bad-parameters": "The app sent a request that makes no sense.",
    "unknown-method": "The app asked for something that remote signing does not know.",
    "no-capability": "This kind of key cannot do that.",
    "key-locked": "The key was locked.",
    "key-unavailable": "The key was not in use.",
    "key-damaged": "The key failed its integrity check and was not used.",
    "kek-unavailable": "The place where keys are opened was out of reach.",
    "invalid-operand": "What the app sent could not be read or decrypted.",
    "interrupted": "Keycast was interrupted in the middle, so nobody can say whether it was done.",
    "commit-outcome-unknown": "Keycast was interrupted in the middle, so nobody can say whether it was done.",
    "stopped-by-cosigner": "The operator of the co-signer has stopped this key; only they can resume it.",
    "cosigner-budget": "The co-signer had done as much with this key on that day as its operator allows.",
    "cosigner-kind": "The co-signer does not sign events of this kind with this key.",
    "cosigner-unavailable": "The co-signer was out of reach.",
    "too-busy": "Too much was going on at that moment.",
}
_CODE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class ActivityLine:
    """One thing that happened. ``who`` is the actor's label: an app's own claim, or a person's e-mail address."""

    what: str
    detail: str
    reason: str
    who: str
    outcome: str
    outcome_word: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ActivityPage:
    """Newest first; ``older`` is the cursor of the next page, empty on the last one."""

    lines: tuple[ActivityLine, ...]
    older: str
    outcome: str


def activity_of_connection(connection: Connection, *, outcome: str = "", before: str = "") -> ActivityPage:
    """What one app did and what was done about it. The caller has checked that it is the reader's."""
    return _page(connection.tenant_id, connection.key_id.hex, connection.id.hex, outcome, before)


def activity_of_key(key: PersonalKey, *, outcome: str = "", before: str = "", limit: int = PAGE_SIZE) -> ActivityPage:
    """What one key did, through whatever app. The caller has checked that it is the reader's."""
    return _page(key.tenant_id, key.id.hex, "", outcome, before, limit)


def _page(
    tenant_id: Any, key_id: str, connection_id: str, outcome: str, before: str, limit: int = PAGE_SIZE
) -> ActivityPage:
    outcome = outcome if outcome in FILTERS else ""
    found = audit.page_of_key(
        chain=chain_of(tenant_id),
        key_id=key_id,
        connection_id=connection_id,
        filters=audit.AuditFilters(outcomes=OUTCOMES.get(outcome, ())),
        cursor=before,
        limit=limit,
    )
    return ActivityPage(tuple(map(in_words, found.lines)), found.next_cursor, outcome)


def in_words(row: audit.AuditLine) -> ActivityLine:
    """A row of the log as people read it."""
    return ActivityLine(
        what=_what(row),
        detail=_detail(row),
        reason=_reason(row.data),
        who=row.actor_label,
        outcome=row.outcome,
        outcome_word=row.outcome_word,
        at=row.at,
    )


def _what(row: audit.AuditLine) -> str:
    kind = row.data.get("kind")
    if row.tag == AuditTag.SIGN_EVENT and type(kind) is int:
        return f"Sign: {kind_name(kind)}"
    return row.sentence


def _detail(row: audit.AuditLine) -> str:
    kind, peer = row.data.get("kind"), row.data.get("peer")
    if row.tag == AuditTag.SIGN_EVENT and type(kind) is int:
        return f"kind {kind}"
    return f"with {peer[:8]}…" if isinstance(peer, str) and peer else ""


def _reason(data: Mapping[str, Any]) -> str:
    """A person's own words as they are, a code in words; a code from a newer version stands for itself."""
    reason = str(data.get("reason", ""))[:300]
    if reason in _REASONS:
        return _REASONS[reason]
    return f"Code: {reason}" if reason and _CODE.fullmatch(reason) and "-" in reason else reason
