"""threats.md W2 and W5: every address of the portal, tried by everybody it does not belong to.

The walk takes each pattern of the portal from the URLconf. A pattern with a parameter that the walk has no victim's id
for fails the test, so a new page is covered or noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
from django.core import serializers
from django.core.cache import cache
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import Invitation, LockAuthority, Membership, Tenant, TenantDomain
from accounts.panic.services import ask_release
from accounts.services import lock_tenant
from accounts.services.domains import add_domain
from accounts.services.invitations import invite
from bunker.models import Connection
from keycast.audit.entries import Actor
from keys.models import PersonalKey
from tests.portal.conftest import sign_in

PORTAL = ("portal", "keys", "apps")
PUBLIC = {"portal:home"}
BY_MAIL = {"apps:end_by_mail", "keys:cancel_export_by_mail"}
"""For whoever has a mail, signed in or not: tests/security/test_stolen_session.py, test_exports.py."""
CREATES_OWN = {"keys:create", "keys:import", "apps:connect", "apps:approve", "portal:invite"}


def patterns() -> Iterator[tuple[str, URLPattern]]:
    for resolver in get_resolver().url_patterns:
        if isinstance(resolver, URLResolver) and resolver.namespace in PORTAL:
            for pattern in resolver.url_patterns:
                assert isinstance(pattern, URLPattern)
                yield f"{resolver.namespace}:{pattern.name}", pattern


NAMES = [name for name, _ in patterns() if name not in BY_MAIL]
WITH_IDS = [name for name, pattern in patterns() if pattern.pattern.converters and name not in BY_MAIL]
PATTERNS = dict(patterns())


@pytest.fixture
def victim_ids(bob: Any, owner: Any) -> dict[str, Any]:
    """Bob's key and app, Bob's place, and an invitation that the owner sent."""
    key = bob.key()
    membership = Membership.objects.get(user=owner.user)
    invitation = invite(actor=Actor.user(owner.user), tenant=owner.tenant, email="dora@example.org", by=membership)
    lock_tenant(actor=Actor.command("test"), tenant=owner.tenant)
    Tenant.objects.update(state_set_by=LockAuthority.TENANT)
    release = ask_release(actor=Actor.user(owner.user), tenant=owner.tenant, reason="drill")
    return {
        "key_id": key.id,
        "connection_id": bob.app(key).id,
        "membership_id": Membership.objects.get(user=bob.user).id,
        "invitation_id": invitation.id,
        "domain_id": add_domain(actor=Actor.command("test"), tenant=owner.tenant, host="soon.example.org").id,
        "release_id": release.id,
    }


def address(name: str, ids: dict[str, Any]) -> str:
    wanted = PATTERNS[name].pattern.converters
    missing = set(wanted) - set(ids)
    assert not missing, f"{name} has the parameter {missing}: give the sweep a victim's id for it"
    return reverse(name, kwargs={label: ids[label] for label in wanted})


def everything() -> str:
    models = (PersonalKey, Connection, Membership, Invitation, Tenant, TenantDomain)
    return serializers.serialize("json", [row for model in models for row in model.objects.order_by("pk")])


def form_of(ids: dict[str, Any]) -> dict[str, str]:
    """A body that names the victim in every field anybody may think of reading."""
    named = {label: str(value) for label, value in ids.items()}
    return {
        **named,
        "key": named["key_id"],
        "name": "stolen",
        "role": "owner",
        "confirmation": "Main",
        "policy": "full",
    }


def test_the_walk_sees_the_portal() -> None:
    assert len(NAMES) > 25
    assert set(NAMES) >= PUBLIC | CREATES_OWN


@contextmanager
def nothing_stays(*browsers: Client) -> Iterator[None]:
    """Whatever one request does is undone before the next, so that each meets the same world: rows, cookies, cache."""
    cookies = [deepcopy(browser.cookies) for browser in browsers]
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    cache.clear()
    for browser, kept in zip(browsers, cookies, strict=True):
        browser.cookies = kept


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_stranger_gets_nowhere(
    method: str, visitor: Client, victim_ids: dict[str, Any], subtests: pytest.Subtests
) -> None:
    before = everything()
    for name in sorted(set(NAMES) - PUBLIC):
        with subtests.test(name), nothing_stays(visitor):
            answer: HttpResponse = getattr(visitor, method)(address(name, victim_ids), form_of(victim_ids))
            assert answer.status_code == 302
            assert answer["Location"].startswith("/account/login/")
            assert everything() == before


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("who", ["ada", "foreign_owner", "foreign_owner_at_home"])
def test_anothers_things_do_not_exist(
    method: str, who: str, request: pytest.FixtureRequest, victim_ids: dict[str, Any], subtests: pytest.Subtests
) -> None:
    person = request.getfixturevalue("ada" if who == "ada" else "foreign_owner")
    headers = {"host": "gazette.test"} if who == "foreign_owner" else {}
    before = everything()
    for name in WITH_IDS:
        with subtests.test(name), nothing_stays(person.browser):
            answer: HttpResponse = getattr(person.browser, method)(
                address(name, victim_ids), form_of(victim_ids), headers=headers
            )
            assert answer.status_code in {302, 403, 404, 405}, answer.status_code
            if answer.status_code == 302:
                assert answer["Location"].startswith("/account/login/")
            if answer.status_code in {302, 403} and who == "foreign_owner_at_home":
                pytest.fail("in one's own tenant another's id is 404")
            assert b"bob@example.org" not in answer.content
            assert everything() == before


def test_no_change_without_the_csrf_token(bob: Any, victim_ids: dict[str, Any], subtests: pytest.Subtests) -> None:
    browser = Client(enforce_csrf_checks=True, headers={"host": "gazette.test"})
    sign_in(browser, bob.user, bob.tenant)
    before = everything()
    for name in sorted(set(NAMES) - PUBLIC - CREATES_OWN):
        with subtests.test(name), nothing_stays(browser):
            answer = browser.post(address(name, victim_ids), form_of(victim_ids))
            assert answer.status_code in {403, 405}
            assert everything() == before


def test_reading_changes_nothing(bob: Any, victim_ids: dict[str, Any], subtests: pytest.Subtests) -> None:
    before = everything()
    for name in NAMES:
        with subtests.test(name), nothing_stays(bob.browser):
            answer = bob.browser.get(address(name, victim_ids), form_of(victim_ids))
            assert answer.status_code in {200, 302, 403, 404, 405}
            assert everything() == before


@pytest.mark.parametrize(
    "query", ["?key={key_id}", "?outcome=x&before=x", "?before=99999999999999999999", "?outcome=%00"]
)
def test_a_query_with_anothers_id_or_nonsense_discloses_nothing(
    query: str, ada: Any, victim_ids: dict[str, Any]
) -> None:
    mine = ada.app(ada.key())
    for path in ("/keys/", "/apps/", "/apps/connect/", f"/apps/{mine.id}/", f"/keys/{mine.key_id}/activity/"):
        answer = ada.browser.get(path + query.format(**victim_ids))
        assert answer.status_code in {200, 400}
        assert str(victim_ids["connection_id"]) not in answer.content.decode()
        assert f'value="{victim_ids["key_id"]}"' not in answer.content.decode()
