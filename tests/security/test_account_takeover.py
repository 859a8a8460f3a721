"""Somebody else's account, taken before its owner ever came, or kept after they did (threats W11, section 6)."""

from __future__ import annotations

import re

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django_scopes import scopes_disabled

from accounts.models import Invitation, Membership, Role, Tenant, User
from accounts.services import add_member, create_tenant, create_user
from keycast.audit.entries import Actor
from tests.rows import change

VICTIM = "victim@example.org"
PASSWORD = "a password the attacker chose"

pytestmark = pytest.mark.django_db


@pytest.fixture
def club() -> Tenant:
    cache.clear()
    actor = Actor.command("test")
    return create_tenant(actor=actor, slug="club", name="The Club", host="club.example", registration="open")


def browser() -> Client:
    return Client(headers={"host": "club.example"})


def last_code() -> str:
    found = re.search(r"^\s*([A-Z0-9]{3,}(?:-[A-Z0-9]{3,})*)\s*$", str(mail.outbox[-1].body), re.MULTILINE)
    assert found
    return found[1]


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def sign_up_as_the_victim() -> Client:
    attacker = browser()
    assert attacker.post("/account/signup/", {"email": VICTIM, "password1": PASSWORD}).status_code == 302
    assert not is_signed_in(attacker)
    return attacker


def the_victim_comes_by_code() -> Client:
    victim = browser()
    victim.post("/account/login/code/", {"email": VICTIM})
    victim.post("/account/login/code/confirm/", {"code": last_code()})
    assert is_signed_in(victim)
    return victim


def test_a_password_set_before_the_address_was_proved_does_not_open_the_account(club: Tenant) -> None:
    sign_up_as_the_victim()
    the_victim_comes_by_code()
    attacker = browser()
    attacker.post("/account/login/", {"login": VICTIM, "password": PASSWORD})
    assert not is_signed_in(attacker)
    assert not User.objects.get(email=VICTIM).has_usable_password()


@pytest.mark.parametrize("path", ["/account/confirm-email/", "/account/login/", "/account/signup/", "/"])
def test_a_sign_up_left_waiting_does_not_complete_when_its_owner_proves_the_address(club: Tenant, path: str) -> None:
    attacker = sign_up_as_the_victim()
    the_victim_comes_by_code()
    attacker.get(path, follow=True)
    attacker.post("/account/confirm-email/", {"code": "AAAAAA", "action": "resend"}, follow=True)
    attacker.get(path, follow=True)
    assert not is_signed_in(attacker)


def test_the_one_who_signed_up_and_proved_the_address_keeps_the_password(club: Tenant) -> None:
    newcomer = sign_up_as_the_victim()
    newcomer.post("/account/confirm-email/", {"code": last_code()})
    assert is_signed_in(newcomer)
    again = browser()
    again.post("/account/login/", {"login": VICTIM, "password": PASSWORD})
    assert is_signed_in(again)
    the_victim_comes_by_code()
    assert User.objects.get(email=VICTIM).check_password(PASSWORD)


def signed_in_member(club: Tenant, email: str) -> Client:
    actor = Actor.command("test")
    add_member(actor=actor, tenant=club, user=create_user(actor=actor, email=email, password=PASSWORD))
    client = browser()
    client.post("/account/login/", {"login": email, "password": PASSWORD})
    assert is_signed_in(client)
    return client


def test_a_change_to_anothers_address_that_was_never_proved_catches_nobody(club: Tenant) -> None:
    attacker = signed_in_member(club, "attacker@example.org")
    attacker.post("/account/email/", {"action_add": "", "email": VICTIM})
    mail.outbox.clear()
    victim = browser()
    victim.post("/account/login/code/", {"email": VICTIM})
    bodies = " ".join(str(message.body) for message in mail.outbox)
    assert not re.search(r"^\s*[A-Z0-9]{3,}(?:-[A-Z0-9]{3,})*\s*$", bodies, re.MULTILINE)
    assert User.objects.get().email == "attacker@example.org"


@pytest.mark.parametrize(
    "path",
    [
        "/account/email/",
        "/account/2fa/totp/activate/",
        "/account/2fa/webauthn/add/",
        "/account/2fa/recovery-codes/generate/",
    ],
)
def test_means_to_sign_in_change_only_after_a_fresh_proof(club: Tenant, path: str) -> None:
    client = signed_in_member(club, "member@example.org")
    session = client.session
    for step in session["account_authentication_methods"]:
        step["at"] -= 24 * 3600
    session.save()
    answer = client.post(path, {"action_add": "", "email": VICTIM, "code": "000000", "credential": "{}"})
    assert answer.status_code == 302
    assert "/reauthenticate/" in answer["Location"], answer["Location"]
    assert mail.outbox == []


def test_a_password_changes_only_with_the_old_one(club: Tenant) -> None:
    client = signed_in_member(club, "member@example.org")
    for path in ("/account/password/change/", "/account/password/set/"):
        client.post(
            path, {"oldpassword": "a guess", "password1": "new and long enough", "password2": "new and long enough"}
        )
        client.post(path, {"password1": "new and long enough", "password2": "new and long enough"})
    assert User.objects.get().check_password(PASSWORD)


def test_signing_in_gives_the_session_another_key(club: Tenant) -> None:
    signed_in_member(club, "member@example.org")
    fixed = browser()
    fixed.get("/account/login/")
    session = fixed.session
    session["planted"] = "x"
    session.save()
    before = session.session_key
    fixed.cookies["session"] = before
    fixed.post("/account/login/", {"login": "member@example.org", "password": PASSWORD})
    assert is_signed_in(fixed)
    assert fixed.session.session_key != before
    thief = browser()
    thief.cookies["session"] = before
    assert thief.get("/keys/").status_code == 302


@pytest.mark.parametrize("token", ["x", "A" * 43, "%00", "é" * 60])
def test_a_made_up_invitation_makes_no_session_row(club: Tenant, token: str) -> None:
    answer = browser().get(f"/account/invitation/{token}/", follow=True)
    assert answer.status_code == 404
    assert Session.objects.count() == 0


def test_an_invitation_is_not_mailed_again_and_again(club: Tenant) -> None:
    owner = signed_in_member(club, "owner@example.org")
    with scopes_disabled():
        change(Membership.objects.get(), role=Role.OWNER)
    for _ in range(10):
        owner.post("/people/invite/", {"email": VICTIM, "role": "member"})
    with scopes_disabled():
        assert Invitation.objects.count() == 5


def test_an_account_that_only_knows_codes_is_not_changed_by_an_old_session(club: Tenant) -> None:
    """Without a password or a second factor allauth takes every session as freshly proved."""
    actor = Actor.command("test")
    add_member(actor=actor, tenant=club, user=create_user(actor=actor, email=VICTIM))
    thief = the_victim_comes_by_code()
    session = thief.session
    for step in session["account_authentication_methods"]:
        step["at"] -= 24 * 3600
    session.save()
    mail.outbox.clear()
    for path in ("/account/email/", "/account/2fa/totp/activate/", "/account/password/set/"):
        answer = thief.post(path, {"action_add": "", "email": "thief@example.org", "password1": PASSWORD})
        assert answer.status_code == 302
        assert "/account/login/" in answer["Location"], (path, answer["Location"])
    assert mail.outbox == []
    assert not User.objects.get(email=VICTIM).has_usable_password()
