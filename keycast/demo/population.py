"""Who and what the demo shows: a tenant, two security officers, a user with a key of each mode, fresh bunker URLs."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Final

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.db import transaction

from accounts.models import KeyMode, Role, StaffRole, Tenant, User
from accounts.services import add_member, change_staff_role, create_tenant, create_user
from accounts.services.tenants import change_tenant
from bunker.models import Connection, ConnectionState, RequestRate
from bunker.services import create_bunker_url, revoke_connection
from keycast.audit.entries import Actor
from keycast.demo.environment import PORTAL_HOST
from keycast.nostr import nip19
from keys.models import KeyState, PersonalKey
from keys.services import create_key, finish_pending_key

TENANT: Final = "demo"
OPERATOR: Final = "operator@example.com"
OFFICER: Final = "officer@example.com"
"""The second person: what the operator asks for, this one decides on."""
USER: Final = "alice@example.com"
HOURS: Final = 24
"""How long an address in var/demo.json waits to be used; outside the demo it is ten minutes."""
SPARES: Final = ("Demo client 1", "Demo client 2", "Demo client 3")
OWN: Final = "make demo"
ACTOR: Final = Actor.command("demo")
_MAKER: Final = Actor.system("demo")
"""Makes the officers: a command would tell the one of the other by mail, which the demo prints."""


@transaction.atomic
def ensure_population() -> dict[str, Any]:
    """Make what is missing, keep what is there, and issue new addresses. For var/demo.json and for the screen."""
    tenant = Tenant.objects.filter(slug=TENANT).first() or _tenant()
    operator = _officer(OPERATOR, "Operator", "OPERATOR")
    officer = _officer(OFFICER, "Second officer", "OFFICER")
    user = User.objects.filter(email=USER).first() or _user(tenant)
    key = _key(tenant, user, KeyMode.ENCRYPTED) or create_key(actor=ACTOR, tenant=tenant, user=user, name="Alice")
    return {
        "users": [
            {"email": user.email, "password": _secret("USER_PASSWORD"), "role": "owner of the tenant"},
            _signing_in(operator, "OPERATOR"),
            _signing_in(officer, "OFFICER"),
        ],
        "keys": [_shown(key)],
        "hours": HOURS,
        "own_bunker_url": _address(key, OWN),
    }


def ensure_hsm_key() -> dict[str, Any]:
    """The user's key that an (emulated) HSM authorises, as one of ``keys``, with ``own_bunker_url``.

    The emulator and the co-signer must be running. Raises keys.errors; KeyError while the key is not there yet.
    """
    tenant, user = Tenant.objects.get(slug=TENANT), User.objects.get(email=USER)
    if KeyMode.HSM not in tenant.key_modes:
        tenant = change_tenant(actor=ACTOR, tenant=tenant, key_modes=[KeyMode.ENCRYPTED.value, KeyMode.HSM.value])
    key = _key(tenant, user, KeyMode.HSM) or create_key(
        actor=ACTOR, tenant=tenant, user=user, name="Alice, HSM-authorised (emulated)", key_mode=KeyMode.HSM
    )
    if key.state == KeyState.PENDING:
        finish_pending_key(key.id)
        key = PersonalKey.objects.get(pk=key.pk)
    if key.state != KeyState.ACTIVE:
        raise KeyError(key.state_reason or "the HSM is still making the key")
    return {**_shown(key), "own_bunker_url": _address(key, OWN)}


def _key(tenant: Tenant, user: User, mode: KeyMode) -> PersonalKey | None:
    ended = (KeyState.FAILED, KeyState.DESTROYED)
    found: PersonalKey | None = (
        PersonalKey.objects.filter(tenant=tenant, user=user, key_mode=mode).exclude(state__in=ended).first()
    )
    return found


def _shown(key: PersonalKey) -> dict[str, Any]:
    _withdraw_unused(key)
    return {
        "npub": nip19.encode_npub(key.public_key or ""),
        "mode": key.key_mode,
        "provider": key.provider_of_mode,
        "bunker_urls": [_address(key, name) for name in SPARES],
    }


def _tenant() -> Tenant:
    return create_tenant(actor=ACTOR, slug=TENANT, name="Demo", host=PORTAL_HOST, registration=Tenant.Registration.OPEN)


def _officer(email: str, name: str, secrets: str) -> User:
    """A security officer with a second factor; made one where an earlier version of the demo made something less."""
    role = StaffRole.SECURITY_OFFICER
    user = User.objects.filter(email=email).first()
    if user is None:
        password = _secret(f"{secrets}_PASSWORD")
        user = create_user(actor=_MAKER, email=email, name=name, password=password, is_staff=True, staff_role=role)
    elif user.staff_role != role:
        user = change_staff_role(actor=_MAKER, user=user, role=role)
    if not Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists():
        TOTP.activate(user, _secret(f"{secrets}_TOTP"))
    return user


def _user(tenant: Tenant) -> User:
    user = create_user(actor=ACTOR, email=USER, name="Alice", password=_secret("USER_PASSWORD"))
    add_member(actor=ACTOR, tenant=tenant, user=user, role=Role.OWNER)
    return user


def _signing_in(user: User, secrets: str) -> dict[str, str]:
    secret = _secret(f"{secrets}_TOTP")
    return {
        "email": user.email,
        "password": _secret(f"{secrets}_PASSWORD"),
        "role": "platform staff, security officer",
        "totp_secret": secret,
        "otpauth_url": f"otpauth://totp/Keycast:{user.email}?secret={secret}&issuer=Keycast",
    }


def _withdraw_unused(key: PersonalKey) -> None:
    """Addresses of an earlier start that nobody used are gone for good: their secrets were replaced on disk."""
    unused = Connection.objects.filter(key=key, state=ConnectionState.PENDING, name__in=[OWN, *SPARES])
    for connection in unused:
        revoke_connection(actor=ACTOR, connection=connection)


def _address(key: PersonalKey, name: str) -> str:
    lifetime = timedelta(hours=HOURS)
    issued = create_bunker_url(
        actor=ACTOR, key=key, policy_slug="full", name=name, secret_lifetime=lifetime, request_rate=RequestRate.MACHINE
    )
    return issued.uri


def _secret(name: str) -> str:
    return os.environ[f"KEYCAST_DEMO_{name}"]
