"""Fills a server's database, in a process of its own (the server's settings come from the environment).

Standard input: ``{"keys": n, "urls_per_key": u, "connections": c}``. Standard output: one target for each address
issued and up to ``SAMPLE`` for connections that are paired already (tests.bench.load.Target), spread over the keys.
"""

from __future__ import annotations

import json
import secrets
import sys
from datetime import timedelta
from typing import Any

import django

SAMPLE = 200
BATCH = 2_000


def main() -> None:
    django.setup()
    from django.core.management import call_command
    from django_scopes import scopes_disabled

    wanted = json.loads(sys.stdin.readline())
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    with scopes_disabled():
        print(json.dumps(fill(**wanted)), flush=True)


def fill(*, keys: int, urls_per_key: int, connections: int) -> list[dict[str, str]]:
    """Make a tenant with one user, ``keys`` keys, addresses for the first of them, and paired connections."""
    from keycast.audit.entries import Actor
    from keys.services import WantedKey, add_keys

    actor, tenant, user = Actor.command("bench"), *_tenant()
    rows: list[Any] = []
    for start in range(0, keys, BATCH):
        names = range(start, min(start + BATCH, keys))
        rows += add_keys(actor=actor, tenant=tenant, wanted=[WantedKey(user, f"key {n}") for n in names])
    return [*_addresses(actor, rows, urls_per_key), *_connections(tenant, rows, connections)]


def _tenant() -> tuple[Any, Any]:
    from django.utils import timezone

    from accounts.models import Membership, Role, Tenant, TenantDomain, User

    tenant = Tenant.objects.create(slug="bench", name="Bench")
    TenantDomain.objects.create(tenant=tenant, host="localhost", is_primary=True, verified_at=timezone.now())
    user = User.objects.create(email="bench@example.com")
    Membership.objects.create(tenant=tenant, user=user, role=Role.OWNER)
    return tenant, user


def _addresses(actor: Any, rows: list[Any], urls_per_key: int) -> list[dict[str, str]]:
    from bunker.models import RequestRate
    from bunker.services import create_bunker_url

    lifetime = timedelta(hours=1)
    return [
        {"public_key": key.public_key, "bunker_url": issued.uri, "client_secret": secrets.token_hex(32)}
        for key in rows[: 1 if urls_per_key else 0]
        for number in range(urls_per_key)
        for issued in [
            create_bunker_url(
                actor=actor,
                key=key,
                policy_slug="full",
                name=f"app {number}",
                secret_lifetime=lifetime,
                request_rate=RequestRate.MACHINE,
            )
        ]
    ]


def _connections(tenant: Any, rows: list[Any], count: int) -> list[dict[str, str]]:
    """Paired connections, as ``connect`` leaves them; client secrets are returned for the first ``SAMPLE``."""
    from django.utils import timezone

    from bunker.models import Connection, ConnectionState
    from bunker.policy import TEMPLATES
    from bunker.services import relays_for
    from bunker.services.grant_seals import seal
    from keycast.crypto.schnorr import Keypair
    from keycast.nostr.uris import BunkerUri
    from keys.models import TransportKey

    transports = {row.key_id: row for row in TransportKey.objects.filter(is_current=True).iterator()}
    relays, template, now = relays_for(tenant), TEMPLATES["full"], timezone.now()
    made, targets = [], []
    for number in range(count):
        key = rows[number % len(rows)]
        client, secret = Keypair.generate()
        connection = Connection(
            tenant=tenant,
            key=key,
            transport=transports[key.id],
            name=f"app {number}",
            state=ConnectionState.ACTIVE,
            client_public_key=client.public_key_hex,
            bound_at=now,
            policy_slug=template.slug,
            policy=template.document,
            relays=relays,
        )
        connection.seal = seal(connection, connection.policy)
        made.append(connection)
        if number < SAMPLE:
            uri = BunkerUri(transports[key.id].public_key, tuple(relays), None).format()
            client_secret = secret.view().hex()
            targets.append({"public_key": key.public_key, "bunker_url": uri, "client_secret": client_secret})
        secret.wipe()
    Connection.objects.bulk_create(made, batch_size=BATCH)
    return targets


if __name__ == "__main__":
    main()
