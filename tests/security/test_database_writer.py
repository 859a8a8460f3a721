"""Somebody who can write every table and no process, against a running worker: no key opens, nothing is signed.

That nothing of it runs as code, tests/security/test_hostile_rows_served.py shows with real processes.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection as database
from django.utils import timezone

from bunker.models import Connection, ConnectionState, Request
from bunker.policy import TEMPLATES
from bunker.services.issue import hash_secret
from bunker.worker.loader import NOT_GRANTED, NOT_OWNED
from keycast.audit.models import AuditRow
from keys.models import PersonalKey, TransportKey
from tests.bunker.conftest import Running, connected
from tests.bunker.support import Client, Home, make_home, unscoped

pytestmark = [pytest.mark.django_db(transaction=True)]

DELAYS = "nothing but delays, refusals, wrong figures and rows to look through"
UNDOES = "what was stopped, ended or bounded goes on, under the seals that there are; what goes on can be stopped"
MISLEADS = "a tenant's links lead to a host of theirs, which somebody may believe"
ORDERS = "work that code knows is done on keys: rotated, moved to another mode, replaced, destroyed"
FORGES = "a log that was not signed outside yet tells another story"
REFUSED = "nothing: refused, and shown to staff"
SEALED = "nothing: sealed, and bound to its row"
GAINS = {
    DELAYS: {
         "accounts_outgoingmail", "accounts_supportview", "accounts_tenantday", "auth_group",
        "auth_group_permissions", "auth_permission", "bunker_change", "bunker_pairingguard", "bunker_request",
        "bunker_shardlease", "bunker_traffichour", "bunker_trafficminute", "bunker_workerseat", "django_admin_log",
        "django_content_type", "django_migrations", "operations_incident", "operations_jobrun", "operations_sign",
        "account_emailconfirmation", "accounts_user_groups", "accounts_user_user_permissions", "django_cache",
        "keys_authoriserproof", "keys_cosignercomparison",
    },
    UNDOES: {
        "accounts_deploymentlock", "accounts_tenant", "accounts_approval", "accounts_release", "keys_personalkey",
        "keys_keyexport",
    },
    MISLEADS: {"accounts_tenantdomain"},
    ORDERS: {
        "keys_conversion", "keys_halfrefresh", "keys_hsminventory", "keys_hsmorphan", "keys_rotation", "keys_succession"
    },
    FORGES: {
        "audit_auditchain", "audit_auditcheckpoint", "audit_auditcut", "audit_auditretention", "audit_auditrow",
        "audit_auditverification",
    },
    REFUSED: {
        "accounts_invitation", "accounts_user", "account_emailaddress", "mfa_authenticator", "accounts_membership",
        "bunker_connection", "django_q_ormq", "django_q_schedule", "django_q_task",
    },
    SEALED: {"django_session", "keys_transportkey"},
}  # fmt: skip
"""What a writer of each table gains at most (docs/security-model.md). None of it is code, a key or a client let in."""

NOTE = json.dumps({"kind": 1, "content": "", "tags": [], "created_at": 1})
FULL = TEMPLATES["full"].document
Write = Callable[[Home, Client], None]


def by_sql(write: Callable[[], Any]) -> Any:
    """Past every service; the ORM's rows are as good as SQL here, for no model does anything of its own."""
    with unscoped():
        return write()


def row_of(home: Home, client: str, **changes: Any) -> dict[str, Any]:
    """A connection as its owner's page would show it."""
    return {
        "tenant_id": home.tenant.id, "key_id": home.key.id, "transport_id": home.transport.id, "name": "Mine",
        "state": ConnectionState.ACTIVE, "client_public_key": client, "bound_at": timezone.now(),
        "policy_slug": "full", "policy": FULL, "relays": [], "seal": "ab" * 32, **changes,
    }  # fmt: skip


def admits_himself(home: Home, client: Client) -> None:
    by_sql(lambda: Connection.objects.create(**row_of(home, client.public_key)))


def copies_the_seal_of_another(home: Home, client: Client) -> None:
    def write() -> None:
        other = Connection.objects.filter(key=home.key).exclude(seal="").get()
        Connection.objects.create(**row_of(home, client.public_key, seal=other.seal))

    by_sql(write)


def takes_the_row_of_another(home: Home, client: Client) -> None:
    taken = {"client_public_key": client.public_key}
    by_sql(lambda: Connection.objects.filter(key=home.key, state=ConnectionState.ACTIVE).update(**taken))


def makes_an_ended_row_live(home: Home, client: Client) -> None:
    ended = {"state": ConnectionState.ACTIVE, "ended_at": timezone.now(), "seal": ""}
    by_sql(lambda: Connection.objects.create(**row_of(home, client.public_key, **ended)))


WRITES: tuple[Write, ...] = (
    admits_himself,
    copies_the_seal_of_another,
    takes_the_row_of_another,
    makes_an_ended_row_live,
)


async def signatures() -> int:
    return await AuditRow.objects.filter(tag="bunker:sign_event:request", outcome="ok").acount()


async def is_refused(running: Running, home: Home, client: Client) -> None:
    await running[0].reconciler.reload([home.transport.id])
    answer = await client.sign()
    assert NOT_GRANTED in answer["error"], answer


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
async def test_a_client_that_sql_lets_in_gets_nothing(worker: Running, home: Home, write: Write) -> None:
    await connected(worker, home)
    stranger = Client(worker[1], home.transport.public_key)
    await sync_to_async(write)(home, stranger)
    await is_refused(worker, home, stranger)
    assert "error" in await stranger.ask("nip44_encrypt", "ab" * 32, "x")
    assert "error" in await stranger.ask("get_public_key")


@pytest.mark.parametrize("column", ["policy", "requested_permissions", "expires_at", "key_id", "transport_id"])
async def test_an_app_whose_row_is_widened_or_moved_is_refused(worker: Running, home: Home, column: str) -> None:
    other = await sync_to_async(make_home)(home.tenant)
    app = await connected(worker, home, "readonly" if "readonly" in TEMPLATES else "social")
    values = {
        "policy": FULL, "requested_permissions": "sign_event", "expires_at": timezone.now() + timedelta(days=900),
        "key_id": other.key.id, "transport_id": other.transport.id,
    }  # fmt: skip
    change = {column: values[column]}
    await sync_to_async(by_sql)(lambda: Connection.objects.filter(client_public_key=app.public_key).update(**change))
    await worker[0].reconciler.reload([home.transport.id, other.transport.id])
    assert "error" in await app.sign(kind=0)
    assert await signatures() == 0
    if column == "transport_id":
        moved = Client(worker[1], other.transport.public_key, app.secret)
        await is_refused(worker, other, moved)


async def test_a_bunker_url_that_sql_issued_pairs_nobody(worker: Running, home: Home) -> None:
    soon = timezone.now() + timedelta(minutes=5)
    mine = hash_secret("mine")
    waiting = {"state": ConnectionState.PENDING, "bound_at": None, "secret_hash": mine, "secret_expires_at": soon}
    await sync_to_async(by_sql)(lambda: Connection.objects.create(**row_of(home, "", **waiting)))
    await connected(worker, home)
    await worker[0].reconciler.reload([home.transport.id])
    stranger = Client(worker[1], home.transport.public_key)
    worker[1].send(stranger.compose("connect", [home.transport.public_key, "mine"])[1])
    worker[1].send(stranger.compose("sign_event", [NOTE])[1])
    app = await connected(worker, home)
    assert "error" not in await app.sign()
    assert await signatures() == 1, "the app's own"
    row = await sync_to_async(by_sql)(lambda: Connection.objects.get(secret_hash=mine))
    assert row.state == ConnectionState.PENDING


async def test_sealed_columns_of_another_key_or_tenant_do_not_open(worker: Running, home: Home) -> None:
    victim = await sync_to_async(make_home)()
    app = await connected(worker, home)
    columns = ("public_key", "encrypted_secret_key", "kek_version", "kek_provider")

    def swap() -> None:
        stolen = PersonalKey.objects.filter(pk=victim.key.pk).values(*columns).get()
        PersonalKey.objects.filter(pk=victim.key.pk).update(public_key="00" * 32)
        PersonalKey.objects.filter(pk=home.key.pk).update(**stolen)

    await sync_to_async(by_sql)(swap)
    await worker[0].reconciler.reload([home.transport.id])
    assert "error" in await app.sign()
    assert await signatures() == 0


@pytest.mark.parametrize("column", ["user_id", "owner_seal"])
async def test_a_key_whose_owner_sql_changed_signs_for_nobody(worker: Running, home: Home, column: str) -> None:
    other = await sync_to_async(make_home)(home.tenant)
    app = await connected(worker, home)
    values = {"user_id": other.key.user_id, "owner_seal": other.key.owner_seal}
    change = {column: values[column]}
    await sync_to_async(by_sql)(lambda: PersonalKey.objects.filter(pk=home.key.pk).update(**change))
    await worker[0].reconciler.reload([home.transport.id])
    assert NOT_OWNED in (await app.sign())["error"]
    assert await signatures() == 0


async def test_a_signer_that_is_hung_on_another_key_reads_no_request(worker: Running, home: Home) -> None:
    victim = await sync_to_async(make_home)(home.tenant)
    app = await connected(worker, home)

    def move() -> None:
        TransportKey.objects.filter(pk=victim.transport.pk).delete()
        TransportKey.objects.filter(pk=home.transport.pk).update(key_id=victim.key.pk)

    await sync_to_async(by_sql)(move)
    await worker[0].reconciler.reload([home.transport.id])
    worker[1].send(app.compose("sign_event", [NOTE])[1])
    other = await sync_to_async(make_home)()
    assert "error" not in await (await connected(worker, other)).sign()
    assert await signatures() == 1, "the other tenant's own"


async def test_a_request_that_sql_claimed_for_a_stranger_is_not_carried_out(worker: Running, home: Home) -> None:
    await connected(worker, home)
    stranger = Client(worker[1], home.transport.public_key)
    template = {"kind": 1, "content": "x", "tags": [], "created_at": int(time.time())}
    event_id, raw = stranger.compose("sign_event", [json.dumps(template)])
    now = time.time_ns() // 1_000_000

    def claim() -> None:
        known = Connection.objects.get(key=home.key)
        Request.objects.create(
            event_id=event_id, tenant_id=home.tenant.id, transport_id=home.transport.id, connection_id=known.id,
            client_public_key=stranger.public_key, request_id=uuid.uuid4().hex, body_hash=bytes(32),
            method="sign_event", shard=home.transport.shard, fence=0, state="claimed", event=raw.decode(),
            claimed_at=now, expires_at=now + 600_000,
        )  # fmt: skip

    await sync_to_async(by_sql)(claim)
    await worker[0]._recovery.recover(worker[0].holding.shards())
    assert not await Request.objects.filter(event_id=event_id, state="claimed").aexists()
    assert await signatures() == 0


def test_each_table_is_judged() -> None:
    judged = [table for tables in GAINS.values() for table in tables]
    with database.cursor() as cursor:
        there = set(database.introspection.table_names(cursor)) - {"sqlite_sequence"}
    assert sorted(judged) == sorted(set(judged))
    assert there - set(judged) == set(), "say what somebody gains who can write it"
    assert set(judged) - there <= {"django_cache"}
