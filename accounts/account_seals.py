"""The seals of people: an account with all means to sign in to it, places in tenants, invitations to them.

And of one setting of a tenant, under which keys leave.

An account's seal covers its row, and by ``User.means``, a SHA-256, all its e-mail addresses and second factors: so none
can be changed, added or taken away past us. ``is_sealed`` looks at the row alone, with each request; ``is_whole`` reads
the means too, wherever somebody proves who they are (accounts.signin.integrity).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Final
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import models, transaction
from django.db.models.signals import post_delete, pre_delete

from accounts.models import Invitation, Membership, Tenant, User
from accounts.row_seals import RowSeal, keep_sealed

ACCOUNT: Final = RowSeal(
    "account",
    ("id", "email", "password", "is_active", "is_staff", "staff_role", "locked_at", "locked_by", "means"),
    derived=("means",),
)
MEMBERSHIP: Final = RowSeal("membership", ("tenant_id", "user_id", "role", "state"))
INVITATION: Final = RowSeal(
    "invitation", ("id", "tenant_id", "email", "role", "token_hash", "invited_by_id", "expires_at")
)
EXPORT_RULE: Final = RowSeal("tenant-export-rule", ("id", "export_wait_hours"), field="export_seal")
"""Of whether a tenant lets keys be exported, and after how long."""

_ADDRESS: Final = ("email", "verified", "primary")
_FACTOR: Final = ("id", "type", "data")
_WAS_WHOLE: Final = "_keycast_was_whole"


def is_sealed(user: User) -> bool:
    """Whether the account's row is as a process of ours left it. No query."""
    return ACCOUNT.fits(user)


def is_whole(user_id: UUID) -> bool:
    """Whether the account and all means to sign in to it are. Three queries."""
    user = User.objects.filter(pk=user_id).first()
    return user is not None and is_sealed(user) and user.means == means_of(user_id)


def means_of(user_id: UUID) -> str:
    """SHA-256 of the account's addresses and second factors as they are stored; empty where there are none."""
    return means_of_all([user_id])[user_id]


def means_of_all(user_ids: list[UUID], address: Any = EmailAddress, factor: Any = Authenticator) -> dict[UUID, str]:
    """The same of several accounts, by their ids. Two queries. Migrations pass their own classes."""
    found: dict[UUID, tuple[list[Any], list[Any]]] = {user_id: ([], []) for user_id in user_ids}
    for place, model, columns in ((0, address, _ADDRESS), (1, factor, _FACTOR)):
        rows = model._base_manager.filter(user_id__in=user_ids).order_by("id")
        for user_id, *row in rows.values_list("user_id", *columns):
            found[user_id][place].append(row)
    return {user_id: _digest(means) for user_id, means in found.items()}


def _digest(means: tuple[list[Any], list[Any]]) -> str:
    if not any(means):
        return ""
    return hashlib.sha256(json.dumps(means, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def renew_means(user_id: UUID) -> None:
    """Seal the account with the means that there are now. Who calls it vouches for them."""
    user = User.objects.select_for_update().get(pk=user_id)
    user.means = means_of(user_id)
    User.objects.filter(pk=user_id).update(means=user.means, seal=ACCOUNT.of(user))


def connect() -> None:
    """Start sealing; called once, when the app is ready."""
    keep_sealed(User, ACCOUNT)
    keep_sealed(Membership, MEMBERSHIP)
    keep_sealed(Invitation, INVITATION)
    keep_sealed(Tenant, EXPORT_RULE)
    for model, columns in ((EmailAddress, _ADDRESS), (Authenticator, _FACTOR)):
        _keep_means(model, columns)
        pre_delete.connect(_before_delete, sender=model, dispatch_uid=f"accounts.seals.before.{model.__name__}")
        post_delete.connect(_after_delete, sender=model, dispatch_uid=f"accounts.seals.after.{model.__name__}")


def _keep_means(model: type[models.Model], columns: tuple[str, ...]) -> None:
    original: Callable[..., None] = model.save

    @wraps(original)
    def save(self: Any, *args: Any, **options: Any) -> None:
        fields = options.get("update_fields")
        if fields is not None and not set(fields) & set(columns):
            return original(self, *args, **options)
        with transaction.atomic():
            was_whole = _locked_and_whole(self.user_id)
            original(self, *args, **options)
            if was_whole:
                renew_means(self.user_id)
        return None

    model.save = save  # type: ignore[method-assign]


def _locked_and_whole(user_id: UUID) -> bool:
    # The account's row first: two changes of its means at once are one after the other, and the seal is of both.
    list(User.objects.select_for_update().filter(pk=user_id).values_list("pk"))
    return is_whole(user_id)


def _before_delete(sender: Any, instance: Any, **_: Any) -> None:
    setattr(instance, _WAS_WHOLE, _locked_and_whole(instance.user_id))


def _after_delete(sender: Any, instance: Any, **_: Any) -> None:
    if getattr(instance, _WAS_WHOLE, False) and User.objects.filter(pk=instance.user_id).exists():
        renew_means(instance.user_id)
