"""Whether keys may leave: what the deployment, the tenant and the way of keeping say, and what a request rests on."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings

from accounts.account_seals import EXPORT_RULE
from accounts.models import KeyMode, Tenant, User
from accounts.panic.selectors import deployment_lock
from accounts.staff.gate import SECOND_FACTORS
from keys import access
from keys.errors import KeyUnavailable
from keys.exporting.errors import NoSecondFactor, NotInUse, NotOffered
from keys.hsm import providers
from keys.lifecycle import states
from keys.models import PersonalKey

DEFAULT_WAIT_HOURS: Final = 72
_OFF_HERE: Final = "This server does not allow keys to be exported."
_NEVER: Final = "It is made in the HSM and can never leave it."
_SPLIT: Final = "Split keys cannot be exported yet."
_USED_CODES: Final = Authenticator.Type.RECOVERY_CODES


def wait_hours(tenant: Tenant) -> int | None:
    """Hours between asking and downloading; None where keys are not exported, or the tenant's rule was altered."""
    if not settings.KEY_EXPORT or tenant.export_wait_hours is None or not EXPORT_RULE.fits(tenant):
        return None
    return int(tenant.export_wait_hours)


def why_not(tenant: Tenant, key_mode: str, provider: str) -> str:
    """Why keys of this kind do not leave in this tenant, in plain words; empty where they may."""
    if key_mode != KeyMode.ENCRYPTED:
        return _SPLIT if providers.splits(provider) else _NEVER
    if not settings.KEY_EXPORT:
        return _OFF_HERE
    return "" if wait_hours(tenant) is not None else f"{tenant.name} does not allow keys to be exported."


def in_words(tenant: Tenant, key_mode: str, provider: str) -> str:
    """For the page that makes a key: whether it can ever leave."""
    if refusal := why_not(tenant, key_mode, provider):
        return f"no. {refusal}"
    hours = wait_hours(tenant)
    return f"yes, under a password, {hours} hours after you ask" if hours else "yes, under a password, at once"


def require_exportable(key: PersonalKey) -> int:
    """The hours to wait. ``key`` comes with its tenant and user. Raises NotOffered, NotInUse."""
    if refusal := why_not(key.tenant, key.key_mode, key.hsm_provider):
        raise NotOffered(refusal)
    try:
        states.require_active(key.state)
        access.require_owned(key)
    except KeyUnavailable as refused:
        raise NotInUse(refused.public_message) from None
    is_locked_above = key.tenant.state != Tenant.State.ACTIVE or key.user.locked_at or deployment_lock().locked_at
    if is_locked_above or not key.user.is_active:
        raise NotInUse
    return wait_hours(key.tenant) or 0


def require_second_factor(user: User) -> None:
    """Raises NoSecondFactor for an account without authenticator app and passkey."""
    if not has_second_factor(user):
        raise NoSecondFactor


def has_second_factor(user: User) -> bool:
    """Whether the account has an authenticator app or a passkey."""
    return bool(is_mfa_enabled(user, SECOND_FACTORS))


def credentials_of(user: User) -> str:
    """SHA-256 (hex) of how the person signs in: password hash, addresses, second factors.

    Of recovery codes only that they are the same set: using one, to prove who one is, changes nothing here.
    """
    addresses = EmailAddress.objects.filter(user=user).order_by("id").values_list("email", "verified", "primary")
    factors = [
        (pk, kind, None if kind == _USED_CODES else data)
        for pk, kind, data in Authenticator.objects.filter(user=user).order_by("id").values_list("id", "type", "data")
    ]
    facts = [user.password, user.email, list(addresses), factors]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
