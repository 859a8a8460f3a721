"""A small world for the admin: a tenant, a member, staff with and without a second factor, a key and its app."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from django.utils import timezone
from django_scopes import scopes_disabled
from pytest_django import Settings

from accounts.models import Approval, Membership, Tenant, TenantDomain, User
from bunker.models import Connection, ShardLease, WorkerSeat
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keys.models import HsmInventory, HsmOrphan, PersonalKey, Rotation, TransportKey
from tests.keycast.audit.conftest import signer  # noqa: F401  (a fixture)

PLATFORM = "admin.test"
MARKER = b"\xc4material-that-no-page-may-show\xc4"
SEALED = MARKER + bytes(range(100))
"""Stands for sealed key material in every binary column; its hex, base64 and text must be on no page."""

PUBLIC_KEY = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
NPUB = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
CLIENT = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"
EVENT_ID = "b1" * 32


@dataclass
class World:
    """Rows that admin pages are about."""

    tenant: Tenant
    member: User
    key: PersonalKey
    connection: Connection


@pytest.fixture(autouse=True)
def platform(settings: Settings) -> None:
    settings.PLATFORM_HOSTS = [PLATFORM]


@pytest.fixture
def world(db: None) -> Iterator[World]:
    with scopes_disabled():
        yield make_world()


def make_world() -> World:
    tenant = Tenant.objects.create(slug="news", name="News")
    TenantDomain.objects.create(tenant=tenant, host="news.test", is_primary=True, verified_at=timezone.now())
    member = User.objects.create_user("member@news.test", "correct horse battery")
    Membership.objects.create(tenant=tenant, user=member)
    key = PersonalKey.objects.create(
        tenant=tenant,
        user=member,
        name="Main",
        key_mode="encrypted",
        kek_provider="local",
        state="active",
        public_key=PUBLIC_KEY,
        encrypted_secret_key=SEALED,
        kek_version="1",
    )
    transport = TransportKey.objects.create(
        tenant=tenant,
        key=key,
        public_key="c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
        encrypted_secret_key=SEALED,
        kek_provider="local",
        kek_version="1",
        shard=3,
    )
    connection = Connection.objects.create(
        tenant=tenant,
        key=key,
        transport=transport,
        name="Reader",
        state="active",
        client_public_key=CLIENT,
        client_metadata={"name": "<script>alert(1)</script>", "url": "javascript:alert(1)"},
        secret_hash=hashlib.sha256(MARKER).digest(),
        policy_slug="full",
        policy={"version": 1},
        relays=["wss://relay.test"],
        created_by=member,
        bound_at=timezone.now(),
    )
    record(
        AuditEntry(
            chain_of(tenant.id),
            AuditTag.KEY_CREATED,
            AuditOutcome.DENIED,
            Actor.user(member),
            key_id=key.id.hex,
            request_id=EVENT_ID,
            data={"reason": "because-of-a-test"},
        )
    )
    make_request(member, tenant)
    HsmInventory.objects.create(provider="google", state="done", asked_by="jobs", finished_at=timezone.now())
    HsmOrphan.objects.create(provider="google", name="projects/p/locations/l/keyRings/r/cryptoKeys/user-1")
    Rotation.objects.create(kind="rewrap", group="sealed", scope="all", state="done", started_by={"label": "jobs"})
    WorkerSeat.objects.create(id="w1", host="box", pid=7, seen_at=time.time_ns() // 1_000_000, status=STATUS)
    ShardLease.objects.create(shard=3, owner="w1", fence=1, expires_at=time.time_ns() // 1_000_000)
    return World(tenant, member, key, connection)


def make_request(asker: User, tenant: Tenant) -> Approval:
    """A request for approval as it stands in the database, so that its pages have something to show."""
    return Approval.objects.create(
        kind="lock-tenant",
        target_id=tenant.pk.hex,
        fingerprint="f" * 64,
        description="Lock the tenant News",
        reason="a drill",
        asked_by=asker,
        expires_at=timezone.now() + timedelta(hours=1),
    )


STATUS = {
    "signers": 1,
    "shards": 64,
    "signed": 12,
    "queued": 0,
    "relays": [{"url": "wss://relay.test", "status": "live", "score": 0.9, "queued": 0}],
}


def add_second_factor(user: User) -> None:
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": MARKER.hex()})


def staff(email: str, *, role: str = "operator", second_factor: bool = True) -> User:
    user = User.objects.create_user(email, "correct horse battery", is_staff=True, staff_role=role)
    if second_factor:
        add_second_factor(user)
    return user


def signed_in(user: User, client: Client | None = None) -> Client:
    client = client or Client(HTTP_HOST=PLATFORM)
    client.force_login(user, "allauth.account.auth_backends.AuthenticationBackend")
    if Authenticator.objects.filter(user=user).exists():
        prove_second_factor(client, user)
    return client


def prove_second_factor(client: Client, user: User) -> None:
    """What allauth notes in the session of somebody who entered a code."""
    session = client.session
    session["account_authentication_methods"] = [{"method": "mfa", "type": "totp", "at": time.time()}]
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()


@pytest.fixture
def operator(world: World) -> User:
    """Staff as they should be, with a second factor."""
    return staff("operator@platform.test")


@pytest.fixture
def operator_client(operator: User) -> Client:
    return signed_in(operator)


@pytest.fixture
def officer(world: World) -> User:
    """One who decides on what others ask for."""
    return staff("officer@platform.test", role="security-officer")


@pytest.fixture
def officer_client(officer: User) -> Client:
    """Signed in, and proved again a moment ago."""
    client = signed_in(officer)
    prove_again(client)
    return client


def prove_again(client: Client, method: str = "mfa") -> None:
    """What allauth notes when somebody proves again who they are."""
    session = client.session
    steps = session.get("account_authentication_methods", [])
    session["account_authentication_methods"] = [*steps, {"method": method, "at": time.time(), "reauthenticated": True}]
    session["account_authentication_methods_user"] = session["_auth_user_id"]
    session.save()
