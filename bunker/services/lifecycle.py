"""What an owner, an operator or the app itself does to a connection later: rename, lock, revoke, log out."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from accounts.permissions import MemberPermission
from bunker import access
from bunker.errors import ConnectionEnded, GrantNotSealed
from bunker.models import Connection, ConnectionState, RequestRate
from bunker.services.common import clean_name, write_down
from bunker.services.grant_seals import is_granted, seal
from bunker.services.tenants import LIVE_STATES
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keycast.base.text import one_line
from keys.models import TransportKey
from keys.services import end_reading_of_app

REPLACED = "Replaced: the app connected again with a newer bunker URL."
SIGNER_REPLACED = "Its remote-signer key was replaced. Connect the app again with a new bunker URL."


@transaction.atomic
def rename_connection(*, actor: Actor, connection: Connection, name: str) -> Connection:
    """Give the app another name, for its owner's eyes."""
    current = _locked(connection)
    access.require(actor, MemberPermission.MANAGE_CONNECTION, current.key)
    current.name = clean_name(name)
    current.save(update_fields=["name"])
    write_down(current, AuditTag.CONNECTION_RENAMED, actor)
    return current


@transaction.atomic
def lift_narrowing(*, actor: Actor, connection: Connection) -> Connection:
    """Forget what the app asked for, so that it may use all that its policy allows; the policy itself stays.

    Raises ConnectionEnded. Where the app had asked for nothing, nothing changes.
    """
    current = _locked(connection)
    access.require(actor, MemberPermission.MANAGE_CONNECTION, current.key)
    if current.state not in (ConnectionState.ACTIVE, ConnectionState.LOCKED):
        raise ConnectionEnded
    if current.requested_permissions:
        _require_granted(current)
        asked, current.requested_permissions = current.requested_permissions, ""
        current.seal = seal(current, current.policy)
        current.save(update_fields=["requested_permissions", "seal"])
        write_down(current, AuditTag.CONNECTION_POLICY_CHANGED, actor, asked=one_line(asked, 200))
    return current


@transaction.atomic
def set_request_rate(*, actor: Actor, connection: Connection, rate: RequestRate) -> Connection:
    """Let the app ask as often as a person's app or a server's may. Raises ConnectionEnded."""
    current = _locked(connection)
    access.require(actor, MemberPermission.MANAGE_CONNECTION, current.key)
    if current.state not in LIVE_STATES:
        raise ConnectionEnded
    if current.request_rate != rate:
        _require_granted(current)
        current.request_rate = rate
        current.seal = seal(current, current.policy)
        current.save(update_fields=["request_rate", "seal"])
        write_down(current, AuditTag.CONNECTION_POLICY_CHANGED, actor, request_rate=rate.value)
    return current


@transaction.atomic
def lock_connection(*, actor: Actor, connection: Connection, reason: str = "") -> Connection:
    """Refuse everything the app asks until it is unlocked; works on every worker within a second.

    Raises ConnectionEnded when the app's access is over. Locking twice changes nothing, unless the second lock has
    the higher authority: then only that can unlock it.
    """
    current = _locked(connection)
    held = access.authority(actor, current.key)
    if current.state not in (ConnectionState.ACTIVE, ConnectionState.LOCKED):
        raise ConnectionEnded
    wanted = access.higher(current.locked_by, held)
    if current.state == ConnectionState.LOCKED and current.locked_by == wanted:
        return current
    return _switched(current, ConnectionState.LOCKED, wanted, AuditTag.CONNECTION_LOCKED, actor, reason)


@transaction.atomic
def unlock_connection(*, actor: Actor, connection: Connection, reason: str = "") -> Connection:
    """Let a locked app go on under its policy. Raises ConnectionEnded, and NotPermitted below the rank of the lock."""
    current = _locked(connection)
    if current.state == ConnectionState.LOCKED:
        access.require_unlocker(actor, current.key, current.locked_by)
        _require_granted(current)
        return _switched(current, ConnectionState.ACTIVE, "", AuditTag.CONNECTION_UNLOCKED, actor, reason)
    access.require(actor, MemberPermission.MANAGE_CONNECTION, current.key)
    if current.state != ConnectionState.ACTIVE:
        raise ConnectionEnded
    return current


@transaction.atomic
def revoke_connection(*, actor: Actor, connection: Connection, reason: str = "") -> Connection:
    """End the app's access for good, or withdraw an unused bunker URL. Revoking twice changes nothing."""
    current = _locked(connection)
    access.require(actor, MemberPermission.REVOKE_CONNECTION, current.key)
    if current.state not in LIVE_STATES:
        return current
    return _end(current, ConnectionState.REVOKED, one_line(reason, 200), AuditTag.CONNECTION_REVOKED, actor)


@transaction.atomic
def logout_connection(*, connection_id: UUID, client_public_key: str) -> Connection | None:
    """End a connection because its own client said ``logout`` (NIP-46). None when that client holds no such one."""
    # The worker knows a connection by its id alone, whatever its tenant.
    with scopes_disabled():
        current = (
            Connection.objects.select_for_update()
            .filter(id=connection_id, client_public_key=client_public_key, state=ConnectionState.ACTIVE)
            .first()
        )
    if current is None:
        return None
    actor = Actor.client(client_public_key, current.name)
    return _end(current, ConnectionState.LOGGED_OUT, "", AuditTag.CONNECTION_LOGGED_OUT, actor)


def supersede(transport: TransportKey, client_public_key: str, actor: Actor) -> None:
    """End whatever live connection this client already holds on this signer: one client, one grant.

    Also on an earlier remote-signer key of the same key: that is how an app moves to a new one.
    """
    with scope(tenant=transport.tenant_id):
        older = Connection.objects.select_for_update().filter(
            key_id=transport.key_id, client_public_key=client_public_key, state__in=("active", "locked")
        )
        for connection in older:
            _end(connection, ConnectionState.REVOKED, REPLACED, AuditTag.CONNECTION_REVOKED, actor)


def end_with_its_signer(connection: Connection, actor: Actor) -> None:
    """Revoke a live connection because its replaced remote-signer key's time is over; inside a transaction."""
    current = _locked(connection)
    if current.state in LIVE_STATES:
        _end(current, ConnectionState.REVOKED, SIGNER_REPLACED, AuditTag.CONNECTION_REVOKED, actor)


def _require_granted(connection: Connection) -> None:
    """Nobody makes good by hand what nobody granted: it can be ended alone."""
    if not is_granted(connection):
        raise GrantNotSealed


def _locked(connection: Connection) -> Connection:
    with scope(tenant=connection.tenant_id):
        return Connection.objects.select_for_update(of=("self",)).select_related("key").get(id=connection.id)


def _switched(
    connection: Connection, state: ConnectionState, locked_by: str, tag: AuditTag, actor: Actor, reason: str
) -> Connection:
    granted = is_granted(connection)
    connection.state = state
    connection.locked_by = locked_by
    connection.seal = seal(connection, connection.policy) if granted else ""
    connection.save(update_fields=["state", "locked_by", "seal"])
    if state == ConnectionState.LOCKED:
        end_reading_of_app(key_id=connection.key_id, client=connection.client_public_key)
    write_down(connection, tag, actor, reason=one_line(reason, 200))
    return connection


def _end(connection: Connection, state: ConnectionState, reason: str, tag: AuditTag, actor: Actor) -> Connection:
    connection.state = state
    connection.ended_at = timezone.now()
    connection.end_reason = reason
    connection.secret_expires_at = None if connection.bound_at is None else connection.secret_expires_at
    connection.seal = ""
    connection.save(update_fields=["state", "ended_at", "end_reason", "secret_expires_at", "seal"])
    end_reading_of_app(key_id=connection.key_id, client=connection.client_public_key)
    write_down(connection, tag, actor, reason=reason)
    return connection
