"""A tenant, its people, and keys of theirs."""

from __future__ import annotations

import itertools

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django_scopes import scopes_disabled

from accounts.models import Membership, Role, Tenant, User
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keys import selectors, services
from keys.models import PersonalKey
from keys.signing import runtime
from keys.signing.kms import registry

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def nothing_open():
    """Every test starts and ends with no key open and the providers as configured.

    Services are dropped, not only emptied: one that a test made keeps whatever it had put in a provider's place.
    Nothing is made here either, for this may run before such a stand-in is taken away.
    """
    yield
    for service in (runtime.signing_service, runtime.transport_service):
        if service.cache_info().currsize:
            service().forget_all()
        service.cache_clear()
    registry.reset()


@pytest.fixture
async def close_connections():
    """Whatever an async test did through its thread leaves no connection that keeps a database from being dropped."""
    yield
    await sync_to_async(connections.close_all)()


def make_tenant(**fields):
    number = next(_numbers)
    return Tenant.objects.create(slug=f"tenant-{number}", name=f"Tenant {number}", **fields)


def make_user(tenant, role=Role.MEMBER, **fields):
    user = User.objects.create(email=f"user-{next(_numbers)}@example.org", **fields)
    with scopes_disabled():
        Membership.objects.create(tenant=tenant, user=user, role=role)
    return user


def make_key(user, tenant, name="Main"):
    return services.create_key(actor=Actor.user(user), tenant=tenant, user=user, name=name)


@pytest.fixture
def tenant(db):
    return make_tenant()


@pytest.fixture
def user(tenant):
    return make_user(tenant)


@pytest.fixture
def admin(tenant):
    return make_user(tenant, Role.ADMIN)


@pytest.fixture
def key(user, tenant):
    return make_key(user, tenant)


@pytest.fixture
def ref(key):
    return selectors.key_ref(key)


@pytest.fixture
def transport_ref(key):
    return selectors.transport_ref(selectors.transport_of(key))


def tags_of(key):
    return list(AuditRow.objects.filter(key_id=key.id.hex).order_by("sequence").values_list("tag", flat=True))


def fresh(key):
    with scopes_disabled():
        return PersonalKey.objects.get(pk=key.pk)
