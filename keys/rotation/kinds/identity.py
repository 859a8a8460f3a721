"""A new key for the same person in place of an old one. Others follow a public key, so this is the last resort.

The new key is of the same mode, made like any other, and may take its time in an HSM. Once it is ready, the old one is
marked as replaced: it stays active and readable, its apps stay on it, but it signs next to nothing any more
(bunker.policy.replaced says what). No app moves by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import KeyMode
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keys import access
from keys.errors import KeyUnavailable
from keys.lifecycle import audit, modes
from keys.lifecycle.rows import locked_row
from keys.models import KeyState, PersonalKey
from keys.rotation.errors import NothingToRotate, RotationError
from keys.rotation.protocol import Change, RetryLater, RotationItem, RotationJob, RotationKind
from keys.rotation.scope import RotationScope

_REPLACEABLE: Final = (KeyState.ACTIVE, KeyState.LOCKED, KeyState.DISABLED)
_NEVER_CAME: Final = (KeyState.FAILED, KeyState.DESTROYED)
POLL_SECONDS: Final = 3.0


class SuccessorFailed(RotationError):
    """The HSM did not make the new key; the old one goes on as it was."""

    code = "successor-failed"
    public_message = "The new key could not be made. The old one is as it was; try again."


class IdentityRotation(RotationKind):
    """One key at a time; its owner may, and the platform."""

    slug, group, title, command = "identity", "identity", "Replace a key by a new one", "rotate_identity"
    scopes = frozenset({"key"})
    batch = 1

    def authorise(self, actor: Actor, scope: RotationScope) -> None:
        access.require_manager(actor, _key(scope))

    def check(self, scope: RotationScope, options: Mapping[str, Any]) -> Mapping[str, Any]:
        key = _key(scope)
        if key.replaced_at is not None:
            raise NothingToRotate("This key has been replaced already.")
        if key.state not in _REPLACEABLE:
            raise KeyUnavailable("A key in this state cannot be replaced.")
        modes.choose(key.tenant, key.key_mode, _provider(key))
        return {}

    def count(self, job: RotationJob) -> int:
        return _left(job).count()

    def items(self, job: RotationJob, after: str, limit: int) -> Sequence[RotationItem]:
        waiting = Q(replaced_by__state=KeyState.PENDING)
        found = _left(job).exclude(waiting)
        if after:
            found = found.filter(pk__gt=after)
        return [RotationItem(key.id.hex, key.id, key) for key in found.select_related("replaced_by")[:limit]]

    def rotate(self, job: RotationJob, item: RotationItem) -> Change:
        def change() -> bool:
            old = locked_row(item.row)
            if old.replaced_at is not None or old.state not in _REPLACEABLE:
                return False
            heir = old.replaced_by
            if heir is not None and heir.state in _NEVER_CAME and heir.created_at >= job.created_at:
                raise SuccessorFailed
            if heir is None or heir.state in _NEVER_CAME:
                heir = old.replaced_by = _make(job.actor, old)
                if heir.state in _NEVER_CAME:
                    raise SuccessorFailed
                old.save(update_fields=["replaced_by"])
            return _succeed(job.actor, old, heir) if heir.state != KeyState.PENDING else False

        return change

    def finish(self, job: RotationJob) -> Mapping[str, Any] | RetryLater:
        old = PersonalKey.objects.select_related("replaced_by").get(job.scope.keys())
        heir = old.replaced_by
        is_coming = heir is not None and heir.state not in _NEVER_CAME
        if old.replaced_at is None and old.state in _REPLACEABLE and is_coming:
            return RetryLater(POLL_SECONDS)
        return {"successor": str(old.replaced_by_id or ""), "public_key": heir.public_key if heir else ""}


def _key(scope: RotationScope) -> PersonalKey:
    found: PersonalKey = PersonalKey.objects.select_related("tenant", "user", "replaced_by").get(scope.keys())
    return found


def _left(job: RotationJob) -> QuerySet[PersonalKey]:
    found: QuerySet[PersonalKey] = PersonalKey.objects.filter(job.scope.keys(), replaced_at=None)
    return found.filter(state__in=_REPLACEABLE).order_by("pk")


def _provider(key: PersonalKey) -> str | None:
    """The same HSM; an encrypted key gets whatever keeps key-encryption keys now."""
    return key.hsm_provider if key.key_mode == KeyMode.HSM else None


def _make(actor: Actor, old: PersonalKey) -> PersonalKey:
    from keys import services  # noqa: PLC0415 -- services imports what registers the kinds

    mode, provider = old.key_mode, _provider(old)
    return services.create_key(
        actor=actor, tenant=old.tenant, user=old.user, name=old.name, key_mode=mode, provider=provider
    )


def _succeed(actor: Actor, old: PersonalKey, heir: PersonalKey) -> bool:
    old.replaced_at = timezone.now()
    old.save(update_fields=["replaced_at"])
    facts: dict[str, Any] = {"old": old.public_key, "new": heir.public_key, "successor": heir.id.hex}
    audit.write(old, AuditTag.KEY_IDENTITY_ROTATED, actor, **facts)
    return True
