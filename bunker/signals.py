"""Carries changes of tenants, users and keys to the workers. The lower apps send, this app listens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from accounts import signals as accounts_signals
from bunker.changes import ChangeKind, publish
from keys import signals as keys_signals

EVERYTHING = UUID(int=0)


def _tenant_changed(sender: Any, *, object_id: UUID, **_: Any) -> None:
    publish(ChangeKind.TENANT, object_id)


def _user_changed(sender: Any, *, object_id: UUID, **_: Any) -> None:
    publish(ChangeKind.USER, object_id)


def _key_changed(sender: Any, *, key_id: UUID, **_: Any) -> None:
    publish(ChangeKind.KEY, key_id)


def _deployment_changed(sender: Any, **_: Any) -> None:
    publish(ChangeKind.DEPLOYMENT, EVERYTHING)


def connect() -> None:
    """Start listening; called once, when the app is ready. New keys without an app (keys_added) concern no worker."""
    accounts_signals.tenant_changed.connect(_tenant_changed, dispatch_uid="bunker.tenant")
    accounts_signals.deployment_changed.connect(_deployment_changed, dispatch_uid="bunker.deployment")
    accounts_signals.user_changed.connect(_user_changed, dispatch_uid="bunker.user")
    accounts_signals.membership_changed.connect(_user_changed, dispatch_uid="bunker.membership")
    keys_signals.key_changed.connect(_key_changed, dispatch_uid="bunker.key")
