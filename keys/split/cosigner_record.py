"""The co-signer's own record of a key, as its owner reads it: asked of the co-signer when it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from keys.models import PersonalKey
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.messages import LogEntry, ReadingEntry

PAGE_SIZE: Final = 25
WITHIN: Final = 3.0
"""Seconds that a page waits for the co-signer."""
_SENTENCES: Final = {
    "half:created": "Drew its half of the key",
    "half:adopted": "Took its half of the key",
    "authoriser:registered": "Was told the HSM key that authorises",
    "authoriser:approved": "Its operator approved an HSM key that has no proof of its own",
    "authoriser:announced": "Was told of another HSM key, which waits before it counts",
    "authoriser:refused": "Will not accept the other HSM key",
    "authoriser:succeeded": "Accepted another HSM key beside the present one",
    "authoriser:settled": "Accepts one HSM key alone again",
    "authoriser:replaced": "Its operator put another HSM key in the place of a lost one",
    "event:signed": "Signed its part of an event",
    "ecdh:contributed": "Did its part to open messages",
    "reading:opened": "Opened a reading grant for an app, as the HSM authorised",
    "reading:ended": "A reading grant of an app ended",
    "app:admitted": "Was told that an app may ask for this key's use, admitted by the service",
    "app:ended": "Was told that an app may ask for nothing more",
    "refresh:prepared": "Drew a fresh half",
    "refresh:committed": "Took its fresh half into use",
    "refresh:finished": "Destroyed its old half",
    "key:stopped": "Stopped the key, as Keycast asked",
    "key:enabled": "Serves the key again, as the HSM authorised",
    "key:forget-asked": "Was asked to forget the key, and refuses all use until it does",
    "key:forget-cancelled": "Keeps the key after all, disabled",
    "key:forgotten": "Destroyed its half",
    "operator:destroyed": "Its operator destroyed its half",
    "request:refused": "Refused a request",
    "operator:stopped": "Its operator stopped the key",
    "operator:resumed": "Its operator lifted the stop",
    "operator:limited": "Its operator changed what is allowed",
    "budget:reached": "As much as its operator allows in a day was done",
    "rate:unusual": "Many more uses than in the week before",
}


@dataclass(frozen=True, slots=True)
class CosignerRecordLine:
    """One row: what, details, the event id if there is one; ``mark`` is a class of the style sheet."""

    sequence: int
    at: datetime
    what: str
    detail: str
    event_id: str
    mark: str


@dataclass(frozen=True, slots=True)
class ReadingView:
    """An app that may read now: its public key (64 hex digits), until when, and how many of how many uses were made."""

    client: str
    until: datetime
    used: int
    uses: int
    peers: int


@dataclass(frozen=True, slots=True)
class CosignerRecord:
    """A page of the record, newest first; ``older`` is where the next one begins, 0 on the last."""

    lines: list[CosignerRecordLine]
    older: int
    stopped_at: datetime | None
    stop_reason: str
    signatures_today: int
    openings_today: int
    readings: list[ReadingView]


def record_of(key: PersonalKey, before: int = 0, client: CosignerClient | None = None) -> CosignerRecord:
    """What the co-signer's log has of a split key. Raises CosignerUnavailable, KeyUnavailable for a key it has not."""
    asked = client or CosignerClient(within=WITHIN)
    page = blocking(lambda b: b.log(key.tenant_id, key.id, before=before, limit=PAGE_SIZE), asked)
    return CosignerRecord(
        lines=[_line(entry) for entry in page.entries],
        older=page.entries[-1].sequence if len(page.entries) == PAGE_SIZE else 0,
        stopped_at=_time(page.stopped_at) if page.stopped_at else None,
        stop_reason=page.stop_reason,
        signatures_today=page.today.get("signatures", 0),
        openings_today=page.today.get("openings", 0),
        readings=[_reading(entry) for entry in page.readings],
    )


def _line(entry: LogEntry) -> CosignerRecordLine:
    name = entry.tag.removeprefix("cosigner:")
    # A tag of a newer co-signer is shown as it is: nothing is left out of somebody's record.
    what, data = _SENTENCES.get(name, name), _data(entry.data)
    mark = "denied" if entry.outcome == "denied" else "ok"
    return CosignerRecordLine(entry.sequence, _time(entry.at), what, _detail(data), entry.request_id, mark)


def _reading(entry: ReadingEntry) -> ReadingView:
    return ReadingView(entry.client.hex(), _time(1000 * entry.until), entry.used, entry.uses, entry.peers)


def _detail(data: dict[str, Any]) -> str:
    words = {
        "kind": "event of kind {}",
        "methods": "for {}",
        "kinds": "kinds {}",
        "without": "without an app's request",
        "peer": "with {}",
        "app": "app {}",
        "seconds": "for {} seconds",
        "uses": "at most {} uses",
        "used": "{} used",
        "peers": "with {} different keys",
        "reason": "{}",
        "request": "asked: {}",
        "budget": "{} a day",
        "count": "{} today",
    }
    return ", ".join(text.format(str(data[name])[:200]) for name, text in words.items() if name in data)


def _data(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:  # cut off because it was long
        return {}
    return found if isinstance(found, dict) else {}


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)
