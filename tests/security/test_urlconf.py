"""threats.md W2: every address of the program is under one of the sweeps; one that is under none fails here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core import serializers
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import Membership, Role, User
from keys.models import PersonalKey
from tests.portal.conftest import _everything, ada, bob, make_person, tenant, visitor
from tests.portal.test_sweep import NAMES, PATTERNS

__all__ = ["_everything", "ada", "bob", "make_person", "tenant", "visitor"]

SWEPT = {"admin/": "tests/keycast/console", "account/": "this file"}
"""Prefixes, and where their walk is; the portal's namespaces are walked in tests/portal/test_sweep.py."""

PORTAL = {"portal", "keys", "apps"}
WITHOUT_SECRETS = {"relay", "relay_with_slash", "tenant_stylesheet"}
"""What the relay tells of itself (NIP-11), and a tenant's colours: for anybody who knows the host name."""

OF_ANOTHER = {"mfa_remove_webauthn": "pk", "mfa_edit_webauthn": "pk"}
BY_TOKEN = {"accounts_invitation"}
"""Addresses under /account/ with a parameter: an id, tried here with another's; or an unguessable token."""


def account_pages() -> dict[str, bool]:
    """Names under /account/, and whether the address has a parameter."""
    (entry,) = [each for each in get_resolver().url_patterns if str(each.pattern) == "account/"]
    return dict(_below(entry, has_parameter=False))


def _below(entry: URLPattern | URLResolver, *, has_parameter: bool) -> Iterator[tuple[str, bool]]:
    has_parameter = has_parameter or bool(entry.pattern.converters)
    if isinstance(entry, URLPattern):
        yield str(entry.name), has_parameter
        return
    for each in entry.url_patterns:
        yield from _below(each, has_parameter=has_parameter)


def test_no_address_is_outside_the_sweeps() -> None:
    unknown = []
    for entry in get_resolver().url_patterns:
        if isinstance(entry, URLResolver):
            known = str(entry.pattern) in SWEPT or entry.namespace in PORTAL
        else:
            known = entry.name in WITHOUT_SECRETS
        if not known:
            unknown.append(str(entry.pattern))
    assert unknown == []


def test_no_parameter_of_an_account_page_is_untried() -> None:
    with_parameters = {name for name, has_parameter in account_pages().items() if has_parameter}
    assert with_parameters == set(OF_ANOTHER) | BY_TOKEN


def passkey_of(user: User) -> Authenticator:
    return Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data={"name": "bobs-own-key"})


def proved_by_second_factor(person: Any) -> Client:
    """One's own browser, with everything that allauth could still ask for."""
    Authenticator.objects.create(user=person.user, type=Authenticator.Type.RECOVERY_CODES, data={})
    session = person.browser.session
    step = {"method": "mfa", "at": time.time(), "reauthenticated": True}
    session["account_authentication_methods"] = [step]
    session["account_authentication_methods_user"] = str(person.user.pk)
    session.save()
    browser: Client = person.browser
    return browser


@pytest.mark.parametrize("name", sorted(OF_ANOTHER))
@pytest.mark.parametrize("method", ["get", "post"])
def test_anothers_passkey_does_not_exist(name: str, method: str, ada: Any, bob: Any) -> None:
    passkey, browser = passkey_of(bob.user), proved_by_second_factor(ada)
    answer = getattr(browser, method)(reverse(name, args=[passkey.pk]), {"name": "stolen"})
    assert answer.status_code == 404
    assert b"bobs-own-key" not in answer.content
    assert Authenticator.objects.get(pk=passkey.pk).data == {"name": "bobs-own-key"}


def test_no_account_page_fails_or_tells_a_stranger_of_anybody(visitor: Client, bob: Any) -> None:
    for name, has_parameter in account_pages().items():
        if has_parameter:
            continue
        address = reverse(name)
        for answer in (visitor.get(address), visitor.post(address, {"email": "nobody@example.org"})):
            assert answer.status_code in {200, 302, 400, 401, 403, 404, 405, 409, 429}, (address, answer.status_code)
            assert b"bob@example.org" not in answer.content, address


GREEDY = {
    "is_staff": "1",
    "staff_role": "security-officer",
    "is_superuser": "1",
    "is_active": "1",
    "user": "{other}",
    "owner": "{other}",
    "tenant": "00000000-0000-0000-0000-000000000000",
    "tenant_id": "00000000-0000-0000-0000-000000000000",
    "role": "owner",
    "state": "active",
    "status": "active",
    "used_at": "2020-01-01",
    "policy": '{"version": 1, "allow": "all"}',
    "key_mode": "encrypted",
    "created_by": "{other}",
}
"""threats.md W8: what nobody may set by naming it in a form."""


def test_naming_a_field_in_a_form_sets_nothing(ada: Any, bob: Any) -> None:
    mine = ada.key("Mine")
    app = ada.app(mine)
    own = {"key_id": mine.id, "connection_id": app.id, "membership_id": Membership.objects.get(user=ada.user).id}
    form = {name: value.format(other=bob.user.pk) if "{other}" in value else value for name, value in GREEDY.items()}
    before = (people(), places())
    for name in sorted(NAMES):
        wanted = PATTERNS[name].pattern.converters
        if set(wanted) <= set(own):
            ada.browser.post(reverse(name, kwargs={label: own[label] for label in wanted}), {**form, "name": "Renamed"})
    assert (people(), places()) == before
    assert set(PersonalKey.objects.values_list("user", "tenant")) == {(ada.user.pk, ada.tenant.pk)}
    assert Membership.objects.get(user=ada.user).role == Role.MEMBER


def people() -> str:
    fields = ("email", "is_staff", "staff_role", "is_superuser", "is_active")
    return serializers.serialize("json", User.objects.order_by("pk"), fields=fields)


def places() -> str:
    return serializers.serialize("json", Membership.objects.order_by("pk"))
