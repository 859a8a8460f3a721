"""A tenant with two members and one key each, made by the real services."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django_scopes import scopes_disabled

from accounts.models import Tenant, User
from accounts.services import add_member, create_tenant, create_user
from bunker.services import IssuedUrl, create_bunker_url
from keycast.audit.entries import Actor
from keycast.nostr.uris import BunkerUri
from keys.models import PersonalKey
from keys.services import create_key

COMMAND = Actor.command("test")


@dataclass(frozen=True)
class House:
    tenant: Tenant
    owner: User
    other: User
    key: PersonalKey

    @property
    def actor(self) -> Actor:
        return Actor.user(self.owner)

    def issue(self, **fields: object) -> IssuedUrl:
        given = {"actor": self.actor, "key": self.key, "policy_slug": "social", "name": "Notes"} | fields
        return create_bunker_url(**given)  # type: ignore[arg-type]


def secret_of(issued: IssuedUrl) -> str:
    secret = BunkerUri.parse(issued.uri).secret
    assert secret is not None
    return secret


@pytest.fixture
def house(db: None) -> Iterator[House]:
    with scopes_disabled():
        tenant = create_tenant(actor=COMMAND, slug="press", name="Press", host="press.example")
        owner = create_user(actor=COMMAND, email="ada@press.example")
        other = create_user(actor=COMMAND, email="bob@press.example")
        for user in (owner, other):
            add_member(actor=COMMAND, tenant=tenant, user=user)
        key = create_key(actor=Actor.user(owner), tenant=tenant, user=owner, name="Ada")
        yield House(tenant, owner, other, key)
