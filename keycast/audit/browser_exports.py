"""Exports from a browser: bounded, recorded before the first line leaves, and streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import islice

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone

from keycast.audit import checkpoints, exporting, signing
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.errors import ExportTooLarge
from keycast.audit.exporting import ExportRange
from keycast.audit.selectors import AuditFilters
from keycast.audit.services import record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError

_LINES_AT_ONCE = 500


def note(*, actor: Actor, chain: str, filters: AuditFilters, within: ExportRange, reason: str) -> None:
    """Record in the chain itself who takes rows of it out, and which."""
    narrowed = [name for name in ("tags", "outcomes", "actor_id", "key_id", "connection_id") if getattr(filters, name)]
    said = {"from": within.first, "to": within.last, "filters": narrowed, "reason": reason[:200]}
    record(AuditEntry(chain, AuditTag.AUDIT_EXPORTED, AuditOutcome.OK, actor, key_id=filters.key_id, data=said))


def begin(*, actor: Actor, chain: str, filters: AuditFilters, reason: str = "") -> ExportRange:
    """Look where the rows lie, and record that they are taken out. Raises ExportTooLarge.

    The chain gets a checkpoint first where this process can sign one, so that every row can be proven; where it
    cannot, or the chain is broken, rows since the last checkpoint are exported without a proof.
    """
    with suppress(KeycastError):
        checkpoints.make_all(chain, signing.current())
    within = exporting.range_of(chain, filters)
    if within.size > settings.AUDIT_EXPORT_ROWS:
        raise ExportTooLarge(
            f"There are {within.size} rows in this time range, and at most {settings.AUDIT_EXPORT_ROWS} can be taken "
            "out at once. Choose a shorter one."
        )
    with transaction.atomic():
        note(actor=actor, chain=chain, filters=filters, within=within, reason=reason)
    return within


def response(
    request: HttpRequest, name: str, chain: str, filters: AuditFilters, within: ExportRange
) -> StreamingHttpResponse:
    """The export as a download, streamed in constant memory whichever way the server calls."""
    lines = exporting.lines(chain, filters, within)
    content = _awaited(lines) if isinstance(request, ASGIRequest) else lines
    answer = StreamingHttpResponse(content, content_type="application/jsonl; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="audit-{name}-{timezone.now():%Y%m%dT%H%M%SZ}.jsonl"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


async def _awaited(lines: Iterator[str]) -> AsyncIterator[str]:
    """The lines, read from the database in threads, some at a time."""
    while part := await sync_to_async(lambda: "".join(islice(lines, _LINES_AT_ONCE)))():
        yield part
