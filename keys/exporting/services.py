"""An owner's key given out once, under a password: asked for, waited for, taken by the asking session, or cancelled.

Whoever has an account for an hour must not have its key for ever. So asking takes the second factor (the portal asks),
the owner is told at once, and everything that could mean that the account is in other hands ends the request.
"""

from __future__ import annotations

import hmac
import logging
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from accounts.models import KeyMode, Tenant
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError, NotPermitted
from keys import access, signals
from keys.errors import ExportRefused
from keys.exporting import notices, rules, seals
from keys.exporting.errors import Altered, AskedAlready, NothingAsked, OtherSession, TooEarly
from keys.lifecycle import audit
from keys.lifecycle.rows import key_ref, locked_row
from keys.lifecycle.text import clean_reason
from keys.models import ExportState, KeyExport, KeyState, PersonalKey
from keys.models.exports import OPEN
from keys.signing import exporting

logger = logging.getLogger(__name__)
OPEN_FOR: Final = timedelta(days=3)
"""How long it can be taken once the waiting time is over."""
TAKING_FOR: Final = timedelta(minutes=5)
"""After so long the process that was giving it out is gone."""
BY_MAIL: Final = "Cancelled by the address in the mail that told of it."
RULES_CHANGED: Final = "The key, its owner or this place no longer allows an export."
CREDENTIALS_CHANGED: Final = "The password, an e-mail address or a second factor changed while it waited."
EXPIRED: Final = "It was not downloaded in time."
BROKEN_OFF: Final = "It was broken off while the key was being sealed; nothing was given out."
ALTERED: Final = "The stored request was changed outside this service."
STOPPED: Final = "The key was taken out of use."
_SYSTEM: Final = Actor.system("exports")


def ask(*, actor: Actor, key: PersonalKey, session_hash: str) -> KeyExport:
    """Ask for a key's export, as its owner, and tell them by mail. Callers ask for the second factor afresh first.

    ``session_hash``: SHA-256 (hex) of what only the asking browser session has. Raises NotPermitted, ExportRefused.
    """
    try:
        with transaction.atomic():
            return _asked(actor, key, session_hash)
    except ExportRefused as refused:
        _note_refusal(actor, key, refused)
        raise


def _asked(actor: Actor, key: PersonalKey, session_hash: str) -> KeyExport:
    row = locked_row(key)
    _require_owner(actor, row)
    hours = rules.require_exportable(row)
    rules.require_second_factor(row.user)
    if KeyExport.objects.filter(key=row, state__in=OPEN).exists():
        raise AskedAlready
    now = timezone.now()
    due = now + timedelta(hours=hours)
    export = KeyExport.objects.create(
        key=row,
        user=row.user,
        session_hash=session_hash,
        credentials=rules.credentials_of(row.user),
        asked_at=now,
        due_at=due,
        expires_at=due + OPEN_FOR,
    )
    audit.write(row, AuditTag.KEY_EXPORT_ASKED, actor, due=due.isoformat(), hours=hours)
    notices.tell_asked(export)
    return export


@transaction.atomic
def cancel(*, actor: Actor, key: PersonalKey, reason: str = "") -> None:
    """End what waits: by the owner, by whoever may lock the key, by staff. Raises NotPermitted, NothingAsked."""
    row = locked_row(key)
    access.authority(actor, row)
    export = _open_of(row)
    _end(export, actor, clean_reason(reason))


@transaction.atomic
def cancel_by_mail(*, tenant: Tenant, token: str) -> None:
    """End what a mail told of; what has ended already stays as it is. Raises NotFound."""
    export = notices.named_by(tenant, token)
    with scope(tenant=tenant):
        row = locked_row(export.key)
        if KeyExport.objects.filter(pk=export.pk, state__in=OPEN).exists():
            _end(_open_of(row), Actor.system("address in a mail"), BY_MAIL)


def take(*, actor: Actor, key: PersonalKey, session_hash: str, password: str) -> str:
    """``ncryptsec1...`` (NIP-49), once. Callers ask for the second factor afresh first. Blocks for a moment.

    Raises NotPermitted, ExportRefused, and as keys.signing.exporting.export; after the latter it can be tried again.
    """
    settle(key.id)
    try:
        with transaction.atomic():
            export = _claimed(actor, key, session_hash)
    except ExportRefused as refused:
        _note_refusal(actor, key, refused)
        raise
    # Outside of any transaction, and only after the claim is on disk: two requests at once get one key.
    try:
        text = exporting.export(key_ref(export.key), password)
    except KeycastError as failed:
        _give_back(actor, export, failed)
        raise
    _finish(actor, export)
    return text


def _claimed(actor: Actor, key: PersonalKey, session_hash: str) -> KeyExport:
    row = locked_row(key)
    _require_owner(actor, row)
    export = _open_of(row)
    if not seals.is_ours(export):
        raise Altered
    if export.state != ExportState.WAITING or export.user_id != row.user_id:
        raise NothingAsked
    if not hmac.compare_digest(export.session_hash, session_hash):
        raise OtherSession
    rules.require_exportable(row)
    rules.require_second_factor(row.user)
    if timezone.now() < export.due_at:
        raise TooEarly(f"The waiting time is not over yet: {export.due_at:%Y-%m-%d %H:%M} UTC.")
    _move(export, ExportState.TAKING)
    audit.write(row, AuditTag.KEY_EXPORTED, actor, AuditOutcome.INTENT)
    return export


@transaction.atomic
def _give_back(actor: Actor, export: KeyExport, failed: KeycastError) -> None:
    row = locked_row(export.key)
    audit.write(row, AuditTag.KEY_EXPORTED, actor, AuditOutcome.FAILED, error=failed.code)
    present = KeyExport.objects.select_for_update().get(pk=export.pk)
    if present.state == ExportState.TAKING:
        _move(present, ExportState.WAITING)


@transaction.atomic
def _finish(actor: Actor, export: KeyExport) -> None:
    """Raises NothingAsked if it was cancelled while the signer worked: its text is then thrown away."""
    row = locked_row(export.key)
    present = KeyExport.objects.select_for_update(of=("self",)).select_related("key__tenant", "user").get(pk=export.pk)
    if present.state != ExportState.TAKING:
        raise NothingAsked
    _move(present, ExportState.TAKEN)
    audit.write(row, AuditTag.KEY_EXPORTED, actor, format="ncryptsec")
    notices.tell_taken(present)


def settle(key_id: UUID) -> bool:
    """End a key's request if what it rests on is gone; whether it was ended. Safe to repeat."""
    # A key is named by its id alone, by jobs too.
    with scopes_disabled(), transaction.atomic():
        found = KeyExport.objects.filter(key_id=key_id, state__in=OPEN).select_related("key").first()
        if found is None:
            return False
        row = locked_row(found.key)
        export = KeyExport.objects.select_for_update().filter(pk=found.pk, state__in=OPEN).first()
        reason = _problem(row, export) if export else ""
        if export is None or not reason:
            return False
        export.key, export.user = row, row.user
        _end(export, _SYSTEM, reason)
        return True


def settle_all() -> int:
    """The same of every key that has a request; returns how many were ended. For a job."""
    waiting = list(KeyExport.objects.filter(state__in=OPEN).values_list("key_id", flat=True))
    return sum(settle(key_id) for key_id in waiting)


def cancel_restored(*, actor: Actor, export: KeyExport) -> None:
    """End what a restored backup brought back: the session that asked is gone. For ``manage.py after_restore``."""
    if actor.type != ActorType.COMMAND:
        raise NotPermitted
    cancel(actor=actor, key=export.key, reason="It was asked for before this backup was restored.")


def connect() -> None:
    """Start sealing and listening; called once, when the app is ready."""
    seals.connect()
    signals.key_changed.connect(_key_changed, dispatch_uid="keys.exporting")


def _key_changed(sender: Any, *, key_id: UUID, **_: Any) -> None:
    """Whoever stops a key ends its export, in the same transaction: a later start brings no old request back."""
    # The signal names a key by its id alone.
    with scopes_disabled():
        found = KeyExport.objects.filter(key_id=key_id, state__in=OPEN).select_related("key__tenant", "user").first()
        if found is not None and (found.key.state != KeyState.ACTIVE or found.key.key_mode != KeyMode.ENCRYPTED):
            _end(found, _SYSTEM, STOPPED)


def _problem(row: PersonalKey, export: KeyExport) -> str:
    """Why a request must end, in plain words; empty while all that it rests on is there."""
    if not seals.is_ours(export):
        return ALTERED
    now = timezone.now()
    if export.state == ExportState.TAKING:
        return BROKEN_OFF if _stuck(export, now) else ""
    if now >= export.expires_at:
        return EXPIRED
    try:
        _require_owner(Actor.user(row.user), row)
        rules.require_exportable(row)
    except KeycastError:
        return RULES_CHANGED
    is_same = export.user_id == row.user_id and hmac.compare_digest(export.credentials, rules.credentials_of(row.user))
    return "" if is_same else CREDENTIALS_CHANGED


def _stuck(export: KeyExport, now: datetime) -> bool:
    return export.ended_at is not None and now - export.ended_at > TAKING_FOR


def _require_owner(actor: Actor, row: PersonalKey) -> None:
    """The owner, in person: no staff, no command, no other member, whatever else they may."""
    if actor.type != ActorType.USER or actor.id != row.user_id.hex:
        raise NotPermitted
    access.require_manager(actor, row)


def _open_of(row: PersonalKey) -> KeyExport:
    export = KeyExport.objects.select_for_update().filter(key=row, state__in=OPEN).first()
    if export is None:
        raise NothingAsked
    export.key, export.user = row, row.user
    return export


def _end(export: KeyExport, actor: Actor, reason: str) -> None:
    export.reason = reason[:200]
    _move(export, ExportState.CANCELLED)
    audit.write(export.key, AuditTag.KEY_EXPORT_CANCELLED, actor, reason=export.reason)
    notices.tell_cancelled(export)


def _move(export: KeyExport, state: ExportState) -> None:
    export.state = state
    export.ended_at = None if state == ExportState.WAITING else timezone.now()
    export.save(update_fields=["state", "ended_at", "reason"])


def _note_refusal(actor: Actor, key: PersonalKey, refused: ExportRefused) -> None:
    with transaction.atomic():
        audit.write(key, AuditTag.KEY_EXPORT_REFUSED, actor, AuditOutcome.DENIED, error=refused.code)
