"""Somebody else's account, taken before its owner ever came, or kept after they did (threats W11, section 6)."""

from __future__ import annotations

import re

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client

from accounts.models import Tenant, User
from accounts.services import create_tenant
from keycast.audit.entries import Actor

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
