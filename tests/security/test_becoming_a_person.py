"""Somebody who can write every table becomes no person: not signed in, not proved, no key taken; and it is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret, hotp_value
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from accounts.models import Membership, Role, Tenant, User
from accounts.services import add_member, create_tenant, create_user, deactivate_user
from bunker.services.issue import create_bunker_url
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import KeycastError, NotPermitted
from keys import services
from keys.models import PersonalKey

VICTIM, ATTACKER = "victim@example.org", "attacker@example.org"
PASSWORD = "a long enough passphrase"
ACTOR = Actor.command("test")

pytestmark = pytest.mark.django_db


@pytest.fixture
def club() -> Tenant:
    cache.clear()
    return create_tenant(actor=ACTOR, slug="club", name="The Club", host="club.example", registration="open")


def member(tenant: Tenant, email: str, password: str = PASSWORD) -> User:
    user = create_user(actor=ACTOR, email=email, password=password)
    add_member(actor=ACTOR, tenant=tenant, user=user, role=Role.MEMBER)
    return user


@pytest.fixture
def victim(club: Tenant) -> User:
    return member(club, VICTIM, "what the victim alone knows")


@pytest.fixture
def attacker(club: Tenant) -> User:
    return member(club, ATTACKER)


def browser() -> Client:
    return Client(headers={"host": "club.example"})


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def code() -> str:
    found = re.search(r"^\s*([A-Z0-9]{3,}(?:-[A-Z0-9]{3,})*)\s*$", str(mail.outbox[-1].body), re.MULTILINE)
    assert found
    return found[1]


def refusals() -> int:
    return AuditRow.objects.filter(tag=AuditTag.ACCOUNT_NOT_SEALED).count()


def by_password(email: str, password: str = PASSWORD) -> Client:
    client = browser()
    client.post("/account/login/", {"login": email, "password": password})
    return client


def by_code(email: str) -> Client:
    client = browser()
    client.post("/account/login/code/", {"email": email})
    client.post("/account/login/code/confirm/", {"code": code()})
    return client


def by_reset(email: str) -> Client:
    client = browser()
    client.post("/account/password/reset/", {"email": email})
    client.post("/account/password/reset/confirm/", {"code": code()})
    client.post("/account/password/reset/complete/", {"password1": PASSWORD, "password2": PASSWORD})
    return client


def test_the_password_hash_of_an_own_account_does_not_open_anothers(victim: User, attacker: User) -> None:
    assert is_signed_in(by_password(ATTACKER))
    User.objects.filter(pk=victim.pk).update(password=attacker.password, seal=attacker.seal, means=attacker.means)
    assert not is_signed_in(by_password(VICTIM))
    assert refusals() == 1
    answer = browser().post("/account/login/", {"login": VICTIM, "password": PASSWORD})
    assert answer.status_code == 403
    assert b"changed outside this service" in answer.content


def moves_the_address(victim: User) -> None:
    User.objects.filter(pk=victim.pk).update(email="evil@example.org")
    EmailAddress.objects.filter(user=victim).update(email="evil@example.org")


def adds_an_address(victim: User) -> None:
    EmailAddress.objects.bulk_create([EmailAddress(user=victim, email="evil@example.org", verified=True)])


@pytest.mark.parametrize("write", [moves_the_address, adds_an_address])
@pytest.mark.parametrize("way", [by_code, by_reset])
def test_a_mailed_code_to_an_address_that_sql_wrote_opens_nothing(
    victim: User, write: Callable[[User], None], way: Callable[[str], Client]
) -> None:
    assert is_signed_in(by_code(VICTIM))
    write(victim)
    assert not is_signed_in(way("evil@example.org"))
    assert [message.to for message in mail.outbox][-1] == ["evil@example.org"]
    assert refusals() >= 1
    assert User.objects.get(pk=victim.pk).check_password("what the victim alone knows")


def test_a_second_factor_of_an_own_account_proves_nothing_of_another(victim: User, attacker: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(attacker, secret)
    Authenticator.objects.filter(user=attacker).update(user=victim)
    client = by_password(VICTIM, "what the victim alone knows")
    assert not is_signed_in(client)
    assert refusals() == 1


def test_a_password_is_not_enough_where_sql_took_the_second_factor_away(victim: User) -> None:
    TOTP.activate(victim, generate_totp_secret())
    Authenticator.objects.filter(user=victim)._raw_delete("default")
    assert not is_signed_in(by_password(VICTIM, "what the victim alone knows"))


def test_a_session_proves_nothing_again_with_what_sql_wrote(attacker: User) -> None:
    """A stolen session, and a password of one's own in the account: the step-up is refused and the session ends."""
    client = by_password(ATTACKER)
    other = create_user(actor=ACTOR, email="other@example.org", password="known to the thief")
    EmailAddress.objects.filter(user=attacker).update(primary=False)
    answer = client.post("/account/reauthenticate/", {"password": PASSWORD})
    assert answer.status_code == 403
    assert not is_signed_in(client)
    assert other.pk


def test_a_session_ends_when_its_account_is_written(attacker: User, victim: User) -> None:
    client = by_password(ATTACKER)
    assert client.get("/keys/").status_code == 200
    User.objects.filter(pk=attacker.pk).update(is_staff=True, staff_role="security-officer")
    assert client.get("/keys/").status_code == 302
    assert not is_signed_in(client)
    deactivate_user(actor=ACTOR, user=victim)
    User.objects.filter(pk=victim.pk).update(is_active=True)
    assert not is_signed_in(by_password(VICTIM, "what the victim alone knows"))


def test_a_place_that_sql_gave_shows_nothing(club: Tenant, attacker: User) -> None:
    client = by_password(ATTACKER)
    with scopes_disabled():
        Membership.objects.filter(user=attacker).update(role=Role.OWNER)
    assert client.get("/people/").status_code == 403
    assert client.get("/keys/").status_code == 403


def test_a_key_that_sql_gave_away_serves_nobody(club: Tenant, victim: User, attacker: User) -> None:
    with scope(tenant=club):
        key = services.create_key(actor=Actor.user(victim), tenant=club, user=victim, name="Mine")
        PersonalKey.objects.filter(pk=key.pk).update(user=attacker)
        taken = PersonalKey.objects.select_related("tenant", "user").get(pk=key.pk)
        thief = Actor.user(attacker)
        with pytest.raises(KeycastError, match="changed outside this service"):
            create_bunker_url(actor=thief, key=taken, policy_slug="social", name="Mine")
        for act in (services.rename_key, services.schedule_destruction):
            values: dict[str, Any] = {"name": "x"} if act is services.rename_key else {}
            with pytest.raises(NotPermitted, match="changed outside this service"):
                act(actor=thief, key=taken, **values)
        services.lock_key(actor=thief, key=taken)  # stopping is for anybody who may see it
        with pytest.raises(NotPermitted, match="changed outside this service"):
            services.unlock_key(actor=thief, key=taken)
        services.seal_owner(actor=ACTOR, key=taken, reason="inherited")
        assert services.unlock_key(actor=thief, key=taken).state == "active"


def test_totp_codes_of_the_owner_still_prove_them(victim: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(victim, secret)
    client = by_password(VICTIM, "what the victim alone knows")
    assert not is_signed_in(client)
    counter = int(timezone.now().timestamp()) // 30
    client.post("/account/2fa/authenticate/", {"code": f"{hotp_value(secret, counter):06d}"})
    assert is_signed_in(client)
    assert refusals() == 0
