"""Compares the co-signer's record with our audit log: each signature in one must be in the other.

A signature that the co-signer recorded and we did not was asked for by somebody with signer A's access who is not
Keycast. One that we recorded and it did not means that its log, or ours, is not what it was. Both are judged only when
they are GRACE old, and looked for GRACE before and after, because the two do not write at the same moment.

This is made by signer A's side: who has taken that over wholly can falsify it. The co-signer's operator reads the same
log by ``manage.py cosigner log``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import KeyMode
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow
from keycast.audit.selectors import AuditFilters, AuditLine, history_of_key
from keycast.audit.services import PLATFORM, chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError
from keycast.base.findings import HealthFinding, Severity
from keycast.nostr.nip01 import id_of
from keys.hsm import providers
from keys.models import CosignerComparison, PersonalKey
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.messages import LogEntry
from keys.signing.cosigning.trial_event import trial_event

GRACE: Final = 10 * 60 * 1_000_000
"""Microseconds."""
MAX_PAGES: Final = 250
MAX_ROWS: Final = 100_000
MAX_TOLD: Final = 100
ANSWERS: Final = 3
"""Signatures that one request of ours without a known end explains: each of its attempts may have been signed."""
SHOWN: Final = 5
SHOWN_FOR: Final = timedelta(days=14)
LATE: Final = timedelta(hours=2)
SIGNED: Final = "cosigner:event:signed"
ACTOR: Final = Actor.system("jobs")


@dataclass(frozen=True, slots=True)
class LogDifference:
    """A signature that one side alone knows; ``key`` is 32 hex digits, ``event`` its id."""

    key: str
    event: str
    at: int
    at_side: str


@dataclass(slots=True)
class _OurSide:
    """Our rows by key: events signed with their time, and times of requests whose end is not a signature."""

    signed: dict[str, dict[str, tuple[int, int]]] = field(default_factory=lambda: defaultdict(dict))
    unanswered: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    converted: set[str] = field(default_factory=set)
    last_id: int = 0
    last_at: int | None = None
    """The time of the last row, if there are more."""


def compare(client: CosignerClient | None = None) -> int:
    """Judge what has become old enough; how many differences there are that were not known."""
    if not providers.splits_here():
        return 0
    state, _ = CosignerComparison.objects.get_or_create(pk=1)
    asked = client or CosignerClient()
    try:
        if state.begun_at is None:
            _begin(state, blocking(lambda b: b.uses_after(0, 1), asked).head)
            return 0
        uses, head, is_all = _uses(state, asked)
    except KeycastError as error:
        state.problem = error.public_message[:200]
        state.save(update_fields=["problem"])
        return 0
    # A comparison reads the logs of every tenant.
    with scopes_disabled():
        return _judge(state, uses, head, is_all=is_all)


def differences_of(key: PersonalKey) -> list[AuditLine]:
    """The latest differences that concern a key, newest first."""
    filters = AuditFilters(tags=(AuditTag.COSIGNER_LOG_DIFFERS,))
    return history_of_key(chain=chain_of(key.tenant_id), key_id=key.id.hex, filters=filters, limit=SHOWN).lines


def health() -> HealthFinding | None:
    """Differences of the last days, or a comparison that does not come on."""
    state = CosignerComparison.objects.filter(pk=1).first() if providers.splits_here() else None
    if state is None or state.begun_at is None:
        return None
    name, now = "co-signer's record", timezone.now()
    if state.differed_at and now - state.differed_at < SHOWN_FOR:
        last = f"{state.differed_at:%Y-%m-%d %H:%M} UTC"
        detail = f"{state.differences} signatures are in one log alone, the last found {last}."
        fix = "See the audit log (keys:cosigner-log:differs) and, on the co-signer's machine: manage.py cosigner log."
        return HealthFinding(name, False, detail, fix, Severity.WARNING, tells=True)
    if now - (state.compared_at or state.begun_at) > LATE:
        detail = f"Not compared for hours. {state.problem}".strip()
        return HealthFinding(name, False, detail, "See that the co-signer answers: manage.py doctor.", Severity.WARNING)
    return HealthFinding(name, True, "Both logs have the same signatures.")


def _begin(state: CosignerComparison, head: int) -> None:
    """From here on; what was before is read for what of ours is still to be answered, and not judged."""
    last = AuditRow.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    state.sequence, state.row_id, state.row_from = head, last, max(0, last - 1000)
    state.sequence_from, state.begun_at, state.problem = max(0, head - 1000), timezone.now(), ""
    state.save()


def _uses(state: CosignerComparison, client: CosignerClient) -> tuple[list[LogEntry], int, bool]:
    """The co-signer's rows of uses from where this begins, the number of its last row, and whether these are all."""

    async def read(b: CosignerClient) -> tuple[list[LogEntry], int, bool]:
        found: list[LogEntry] = []
        after, head = state.sequence_from, 0
        for _ in range(MAX_PAGES):
            page = await b.uses_after(after)
            found += page.entries
            head = page.head
            if len(page.entries) < 200:
                return found, head, True
            after = page.entries[-1].sequence
        return found, head, False

    return blocking(read, client)


def _judge(state: CosignerComparison, uses: list[LogEntry], head: int, *, is_all: bool) -> int:
    ours = _our_side(state)
    now = int(timezone.now().timestamp() * 1_000_000)
    ends = [now, *([] if is_all or not uses else [uses[-1].at]), *([] if ours.last_at is None else [ours.last_at])]
    horizon = min(ends) - GRACE
    theirs = [use for use in uses if use.tag == SIGNED]
    found = _only_theirs(theirs, ours, state.sequence, horizon) + _only_ours(theirs, ours, state.row_id, horizon)
    shrunk = head < state.sequence
    with transaction.atomic():
        for difference in found[:MAX_TOLD]:
            _tell(difference)
        if shrunk:
            data = {"side": "co-signer", "rows": head, "before": state.sequence}
            record(AuditEntry(PLATFORM, AuditTag.COSIGNER_LOG_DIFFERS, AuditOutcome.FAILED, ACTOR, data=data))
        _move(state, uses, ours, head, horizon)
        if found or shrunk:
            state.differences += len(found) + shrunk
            state.differed_at = timezone.now()
        state.compared_at, state.problem = timezone.now(), ""
        state.save()
    return len(found) + shrunk


def _move(state: CosignerComparison, uses: list[LogEntry], ours: _OurSide, head: int, horizon: int) -> None:
    if head < state.sequence:
        state.sequence = state.sequence_from = head
    state.sequence = max([state.sequence, *(use.sequence for use in uses if use.at <= horizon)])
    state.sequence_from = max([state.sequence_from, *(use.sequence for use in uses if use.at < horizon - 2 * GRACE)])
    rows = [place for events in ours.signed.values() for place in events.values()]
    state.row_id = max([state.row_id, *(row for row, at in rows if at <= horizon)])
    state.row_from = max([state.row_from, *(row for row, at in rows if at < horizon - 2 * GRACE)])


def _our_side(state: CosignerComparison) -> _OurSide:
    tags = (AuditTag.SIGN_EVENT, AuditTag.KEY_CONVERTED)
    rows = AuditRow.objects.filter(pk__gt=state.row_from, tag__in=tags).order_by("pk")
    columns = ("pk", "at", "tag", "outcome", "key_id", "request_id", "data")
    read = list(rows.values_list(*columns)[:MAX_ROWS])
    ours = _OurSide(last_at=read[-1][1] if len(read) == MAX_ROWS else None)
    waiting: dict[str, tuple[str, int]] = {}
    for pk, at, tag, outcome, key, request, data in read:
        if tag == AuditTag.KEY_CONVERTED:
            ours.converted.add(key)
        elif outcome == AuditOutcome.INTENT:
            waiting[request] = key, at
        else:
            waiting.pop(request, None)
            event = json.loads(data).get("event")
            if event and outcome in {AuditOutcome.OK, AuditOutcome.FAILED}:
                ours.signed[key][event] = pk, at
            else:
                ours.unanswered[key].append(at)
    for key, at in waiting.values():  # a worker was killed, and nobody has taken it over yet
        ours.unanswered[key].append(at)
    return ours


def _only_theirs(theirs: list[LogEntry], ours: _OurSide, judged: int, horizon: int) -> list[LogDifference]:
    fresh = [use for use in theirs if use.sequence > judged and use.at <= horizon]
    unknown = [use for use in fresh if use.request_id not in ours.signed.get(use.key.hex(), {})]
    explained: Counter[tuple[str, int]] = Counter()
    return [
        LogDifference(use.key.hex(), use.request_id, use.at, "co-signer")
        for use in unknown
        if not _is_answer(use, ours, explained) and not _is_proof(use)
    ]


def _is_answer(use: LogEntry, ours: _OurSide, explained: Counter[tuple[str, int]]) -> bool:
    """Whether a request of ours asked for it, whose reply was lost or came too late."""
    key = use.key.hex()
    for at in ours.unanswered.get(key, ()):
        if abs(at - use.at) <= GRACE and explained[key, at] < ANSWERS:
            explained[key, at] += 1
            return True
    return False


def _is_proof(use: LogEntry) -> bool:
    """The signature by which a conversion tries the new way out; nobody is given it."""
    public_key = PersonalKey.objects.filter(pk=UUID(bytes=use.key)).values_list("public_key", flat=True).first()
    return bool(public_key) and id_of(trial_event(str(public_key))).hex() == use.request_id


def _only_ours(theirs: list[LogEntry], ours: _OurSide, judged: int, horizon: int) -> list[LogDifference]:
    known = {(use.key.hex(), use.request_id) for use in theirs}
    missing = [
        LogDifference(key, event, at, "keycast")
        for key, events in ours.signed.items()
        for event, (row, at) in events.items()
        if row > judged and at <= horizon and (key, event) not in known and key not in ours.converted
    ]
    split = _split_among({difference.key for difference in missing})
    return [difference for difference in missing if difference.key in split]


def _split_among(keys: Iterable[str]) -> set[str]:
    ids, found = sorted(keys), set()
    for start in range(0, len(ids), 500):
        some = [UUID(hex=key) for key in ids[start : start + 500]]
        rows = PersonalKey.objects.filter(pk__in=some, key_mode=KeyMode.HSM, hsm_provider__in=providers.splitting())
        found |= {key.hex for key in rows.values_list("pk", flat=True)}
    return found


def _tell(difference: LogDifference) -> None:
    tenant = PersonalKey.objects.filter(pk=UUID(hex=difference.key)).values_list("tenant_id", flat=True).first()
    at = datetime.fromtimestamp(difference.at / 1_000_000, UTC).isoformat(timespec="seconds")
    data: dict[str, Any] = {"event": difference.event, "side": difference.at_side, "at": at}
    key = difference.key if tenant else ""
    data |= {} if tenant else {"key": difference.key}
    entry = AuditEntry(chain_of(tenant), AuditTag.COSIGNER_LOG_DIFFERS, AuditOutcome.FAILED, ACTOR, key, data=data)
    record(entry)
