"""threats W8: whatever else is posted to a form goes nowhere, for every form that makes or changes something."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import Invitation, Membership, Tenant, User
from bunker.models import Connection
from keys.models import PersonalKey
from tests.portal.conftest import PASSWORD, Person


@pytest.fixture
def poison(ada: Person, bob: Person, other_tenant: Tenant) -> dict[str, str]:
    """Columns of every model, and their values in somebody else's favour."""
    return {
        "tenant": str(other_tenant.id), "tenant_id": str(other_tenant.id), "owner": str(bob.user.id),
        "user": str(bob.user.id), "user_id": str(bob.user.id), "invited_by": str(bob.user.id),
        "created_by": str(bob.user.id), "is_staff": "on", "is_superuser": "on", "is_active": "",
        "staff_role": "auditor",
        "state": "locked", "status": "active", "is_imported": "on", "public_key": "ab" * 32, "kek_provider": "google",
        "hsm_provider": "google",
        "key_mode": "hsm", "kms_key_name": "x", "policy_slug": "full", "requested_permissions": "sign_event",
        "use_count": "-1000", "used_at": "2001-01-01", "bound_at": "2001-01-01", "accepted_at": "2001-01-01",
        "expires_at": "2101-01-01", "secret_expires_at": "2101-01-01", "locked_by": "", "locked_at": "",
        "client_public_key": "cd" * 32, "relays": "wss://evil.example.org", "token_hash": "x", "id": "1", "pk": "1",
    }  # fmt: skip


def test_a_new_key_is_the_persons_own_and_as_asked(ada: Person, poison: dict[str, str]) -> None:
    ada.browser.post("/keys/new/", {**poison, "name": "Mine", "choice": "encrypted:local"})
    key = PersonalKey.objects.get()
    assert (key.user, key.tenant, key.state, key.key_mode, key.kek_provider, key.hsm_provider) == (
        *(ada.user, ada.tenant, "active", "encrypted", "local", ""),
    )
    assert (key.is_imported, key.kms_key_name) == (False, "")
    assert key.public_key != poison["public_key"]


def test_a_new_name_changes_nothing_else(ada: Person, poison: dict[str, str]) -> None:
    key = ada.key()
    app = ada.app(key)
    rows = lambda model, pk: {k: v for k, v in model.objects.values().get(pk=pk).items() if k != "name"}  # noqa: E731
    before = rows(PersonalKey, key.id), rows(Connection, app.id)
    ada.browser.post(f"/keys/{key.id}/rename/", {**poison, "name": "Other"})
    ada.browser.post(f"/apps/{app.id}/rename/", {**poison, "name": "Other"})
    assert (rows(PersonalKey, key.id), rows(Connection, app.id)) == before
    assert PersonalKey.objects.get().name == Connection.objects.get().name == "Other"


def test_an_app_gets_the_policy_and_the_key_that_were_chosen(ada: Person, poison: dict[str, str]) -> None:
    key = ada.key()
    body = {**poison, "key": str(key.id), "name": "App", "policy": "read-only", "lifetime": "1", "once": "a" * 32}
    assert ada.browser.post("/apps/connect/", body).status_code == 200
    app = Connection.objects.get()
    assert (app.tenant, app.key, app.created_by, app.policy_slug) == (ada.tenant, key, ada.user, "read-only")
    assert (app.state, app.client_public_key, app.use_count, app.bound_at) == ("pending", "", 0, None)
    assert app.requested_permissions == ""
    assert "wss://evil.example.org" not in app.relays
    assert app.expires_at is not None
    assert app.expires_at.year < 2101


def test_an_invitation_is_to_this_tenant_by_whoever_sent_it(owner: Person, poison: dict[str, str]) -> None:
    owner.browser.post("/people/invite/", {**poison, "email": "new@example.org", "role": "member"})
    invitation = Invitation.objects.get()
    assert (invitation.tenant, invitation.invited_by, invitation.role) == (owner.tenant, owner.user, "member")
    assert invitation.accepted_at is None
    assert invitation.expires_at.year < 2101


def test_a_role_is_all_that_changes_of_a_place(owner: Person, bob: Person, poison: dict[str, str]) -> None:
    place = Membership.objects.get(user=bob.user)
    owner.browser.post(f"/people/{place.id}/role/", {**poison, "role": "auditor"})
    after = Membership.objects.get(user=bob.user)
    assert (after.role, after.tenant, after.state, after.created_at) == (
        *("auditor", place.tenant, place.state, place.created_at),
    )
    assert not User.objects.filter(is_staff=True).exists()


def test_signing_up_makes_a_plain_account(tenant: Tenant, visitor: Client, poison: dict[str, str]) -> None:
    body = {**poison, "email": "fresh@example.org", "password1": PASSWORD + " and more", "role": "owner"}
    visitor.post("/account/signup/", body)
    made = User.objects.get(email="fresh@example.org")
    assert (made.is_staff, made.is_superuser, made.staff_role, made.is_active) == (False, False, "", True)
    assert not Membership.objects.filter(user=made, role="owner").exists()
