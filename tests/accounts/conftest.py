"""Two tenants side by side, and people in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.db import connections
from django.test import Client

from accounts.models import Membership, Tenant, User
from accounts.services import add_member, create_tenant, create_user
from keycast.audit.entries import Actor

ACTOR = Actor.command("test")
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _no_limits_left_over(db: None) -> None:
    cache.clear()


@pytest.fixture
def news(db: None) -> Tenant:
    return create_tenant(actor=ACTOR, slug="news", name="The News", host="news.example", registration="invitation")


@pytest.fixture
def club(db: None) -> Tenant:
    return create_tenant(actor=ACTOR, slug="club", name="The Club", host="club.example", registration="open")


MakeMember = Callable[..., Membership]


@pytest.fixture
def make_member(news: Tenant) -> MakeMember:
    def make(email: str, role: str = "member", tenant: Tenant = news) -> Membership:
        user = create_user(actor=ACTOR, email=email, password=PASSWORD)
        return add_member(actor=ACTOR, tenant=tenant, user=user, role=role)

    return make


@pytest.fixture
def alice(make_member: MakeMember) -> User:
    return make_member("alice@example.org").user


@pytest.fixture
def browser() -> Client:
    return Client(headers={"host": "news.example"})


@pytest.fixture
async def _close_connections_of_the_async_thread() -> AsyncIterator[None]:
    """Queries of an asynchronous test run in a thread whose connection nobody else would close."""
    yield
    await sync_to_async(connections.close_all)()
