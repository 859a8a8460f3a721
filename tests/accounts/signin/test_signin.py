"""Signing in: what gives nothing away, what is limited, what belongs to one host only (threats W7, W11)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client, override_settings
from django_scopes import scopes_disabled

from accounts.models import Membership, Tenant, User
from accounts.selectors import membership_of
from accounts.services import change_tenant, create_user, deactivate_user, invite, suspend_member
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from tests.accounts.conftest import ACTOR, PASSWORD, MakeMember

pytestmark = pytest.mark.django_db
LOGIN, SIGNUP, CODE = "/account/login/", "/account/signup/", "/account/login/code/"
WRONG = "something else entirely"


def log_in(browser: Client, email: str, password: str = PASSWORD, **extra: Any) -> Any:
    return browser.post(LOGIN, {"login": email, "password": password, **extra.pop("data", {})}, **extra)


def is_signed_in(browser: Client) -> bool:
    return "_auth_user_id" in browser.session


def code_in(message: str) -> str:
    """The code in an e-mail: a line of its own, letters and digits, perhaps with a hyphen."""
    found = re.search(r"^\s*([A-Z0-9]{3,}(?:-[A-Z0-9]{3,})*)\s*$", message, re.MULTILINE)
    assert found, message
    return found[1]


def errors_of(response: Any) -> list[str]:
    return [error for messages in response.context["form"].errors.values() for error in messages]


# Nothing tells whether an address has an account


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(browser: Client, alice: User) -> None:
    wrong, unknown = log_in(browser, alice.email, WRONG), log_in(browser, "nobody@example.org", WRONG)
    assert not is_signed_in(browser)
    assert (wrong.status_code, errors_of(wrong)) == (unknown.status_code, errors_of(unknown))


def test_an_unknown_address_costs_a_password_hash_too(
    browser: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.contrib.auth.hashers import MD5PasswordHasher

    hashed: list[str] = []
    encode = MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda self, *args: hashed.append("x") or encode(self, *args))
    log_in(browser, alice.email, WRONG)
    known = len(hashed)
    log_in(browser, "nobody@example.org", WRONG)
    assert known == len(hashed) - known >= 1


@pytest.mark.parametrize("path", [CODE, "/account/password/reset/"])
def test_asking_for_a_code_answers_the_same_for_any_address(browser: Client, alice: User, path: str) -> None:
    known = browser.post(path, {"email": alice.email})
    unknown = Client(headers={"host": "news.example"}).post(path, {"email": "nobody@example.org"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert [message.to for message in mail.outbox] == [[alice.email], ["nobody@example.org"]]


def test_signing_up_with_a_known_address_answers_as_with_a_new_one(club: Tenant, alice: User) -> None:
    answers = [
        Client(headers={"host": "club.example"}).post(SIGNUP, {"email": email, "password1": PASSWORD})
        for email in (alice.email, "new@example.org")
    ]
    assert answers[0].status_code == answers[1].status_code == 302
    assert answers[0]["Location"] == answers[1]["Location"]
    assert User.objects.filter(email=alice.email).count() == 1
    assert "already exists" in mail.outbox[0].body
    assert not alice.check_password("x")
    assert alice.check_password(PASSWORD)


# Limits


def exhaust(browser: Client, email: str, **extra: Any) -> None:
    for _ in range(5):
        assert "too many" not in " ".join(errors_of(log_in(browser, email, WRONG, **extra))).lower()


@pytest.mark.parametrize("written", ["ALICE@EXAMPLE.ORG", "Alice@example.org", " alice@example.org "])
def test_limits_hold_however_the_address_is_written(browser: Client, alice: User, written: str) -> None:
    exhaust(browser, "alice@example.org")
    assert "too many" in " ".join(errors_of(log_in(browser, written))).lower()
    assert not is_signed_in(browser)


@pytest.mark.parametrize("host", ["NEWS.example", "news.example:1234", "club.example"])
def test_limits_hold_on_every_host_and_however_it_is_written(alice: User, club: Tenant, host: str) -> None:
    exhaust(Client(headers={"host": "news.example"}), alice.email)
    other = Client(headers={"host": host})
    assert "too many" in " ".join(errors_of(log_in(other, alice.email))).lower()


def test_a_forged_forwarded_address_does_not_reset_limits(browser: Client, alice: User) -> None:
    for number in range(10):
        log_in(browser, f"guess{number}@example.org", WRONG, headers={"x-forwarded-for": f"198.51.100.{number}"})
    answer = log_in(browser, alice.email, headers={"x-forwarded-for": "203.0.113.9"})
    assert answer.status_code == 429 or "too many" in " ".join(errors_of(answer)).lower()
    assert not is_signed_in(browser)


def test_a_success_does_not_clear_another_accounts_counter(
    browser: Client, alice: User, make_member: MakeMember
) -> None:
    make_member("mallory@example.org")
    for _ in range(4):
        log_in(browser, alice.email, WRONG)
    log_in(Client(headers={"host": "news.example"}), "mallory@example.org")
    log_in(browser, alice.email, WRONG)
    assert "too many" in " ".join(errors_of(log_in(browser, alice.email))).lower()


def test_login_codes_are_limited_per_address_in_any_case(browser: Client, alice: User) -> None:
    for email in ("alice@example.org", "Alice@example.org", "ALICE@example.org", "aLiCe@example.org"):
        answer = Client(headers={"host": "news.example"}).post(CODE, {"email": email})
    assert answer.status_code == 200
    assert "too many" in " ".join(errors_of(answer)).lower()
    assert len(mail.outbox) == 3


def test_a_login_code_can_be_guessed_three_times_only(browser: Client, alice: User) -> None:
    browser.post(CODE, {"email": alice.email})
    code = code_in(mail.outbox[0].body)
    for _ in range(3):
        browser.post("/account/login/code/confirm/", {"code": "WRONG-CODE"})
    browser.post("/account/login/code/confirm/", {"code": code})
    assert not is_signed_in(browser)


def test_limits_live_in_the_shared_cache_of_the_settings(settings: Any) -> None:
    assert "locmem" not in settings.CACHES["default"]["BACKEND"].lower()
    cache.set("shared", 1)
    assert cache.get("shared") == 1


# Where one is led afterwards


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example", "https://evil.example/",
        "http://news.example.evil.example/", "///evil.example", "\t//evil.example", "/\t/evil.example",
        "javascript:alert(1)", "https://news.example@evil.example/", "http://club.example/", " //evil.example",
        "/\n/evil.example", "%2f%2fevil.example", "http://news.example/",
    ],
)  # fmt: skip
def test_nobody_is_led_to_another_host(browser: Client, alice: User, target: str) -> None:
    answer = log_in(browser, alice.email, data={"next": target})
    assert is_signed_in(browser)
    assert answer["Location"] == "/"


def test_one_is_led_to_a_path_of_the_same_host(browser: Client, alice: User) -> None:
    assert log_in(browser, alice.email, data={"next": "/keys/?page=2"})["Location"] == "/keys/?page=2"


# Who may be in


def test_a_deactivated_user_cannot_sign_in_and_is_signed_out(browser: Client, alice: User) -> None:
    log_in(browser, alice.email)
    deactivate_user(actor=ACTOR, user=alice)
    assert browser.get("/keys/").status_code == 302
    fresh = Client(headers={"host": "news.example"})
    assert log_in(fresh, alice.email).get("Location", "") != "/"
    assert not is_signed_in(fresh)


def test_a_session_carried_to_another_tenants_host_signs_nobody_in(browser: Client, alice: User, club: Tenant) -> None:
    log_in(browser, alice.email)
    answer = browser.get("/keys/", headers={"host": "club.example"})
    assert answer.status_code == 302
    assert answer["Location"].startswith(LOGIN)
    assert browser.get("/keys/").status_code == 302  # and the session is over


@pytest.mark.parametrize("registration", ["invitation", "closed"])
def test_someone_of_another_tenant_may_sign_in_but_sees_only_that_they_are_no_member(
    alice: User, club: Tenant, registration: str
) -> None:
    change_tenant(actor=ACTOR, tenant=club, registration=registration)
    browser = Client(headers={"host": "club.example"})
    log_in(browser, alice.email)
    answer = browser.get("/keys/")
    assert answer.status_code == 403
    assert "not a member" in answer.content.decode()
    assert membership_of(alice, club) is None


def test_a_suspended_member_is_not_let_in_again_by_signing_in(make_member: MakeMember, club: Tenant) -> None:
    member = make_member("bob@example.org", tenant=club)
    suspend_member(actor=ACTOR, membership=member, by=None)
    browser = Client(headers={"host": "club.example"})
    log_in(browser, "bob@example.org")
    assert browser.get("/keys/").status_code == 403


def test_signing_in_where_anyone_may_join_makes_one_a_member(alice: User, club: Tenant) -> None:
    browser = Client(headers={"host": "club.example"})
    log_in(browser, alice.email)
    assert membership_of(alice, club) is not None


def test_a_member_signs_in_with_a_password(browser: Client, alice: User) -> None:
    assert log_in(browser, alice.email)["Location"] == "/"
    assert browser.get("/keys/").status_code == 200


def test_a_member_signs_in_with_an_e_mailed_code(browser: Client, alice: User) -> None:
    browser.post(CODE, {"email": alice.email})
    browser.post("/account/login/code/confirm/", {"code": code_in(mail.outbox[0].body)})
    assert is_signed_in(browser)


# Registration


def sign_up(browser: Client, email: str) -> Any:
    return browser.post(SIGNUP, {"email": email, "password1": PASSWORD})


def test_a_closed_tenant_takes_nobody_not_even_with_an_invitation(news: Tenant, browser: Client) -> None:
    change_tenant(actor=ACTOR, tenant=news, registration="closed")
    browser.get(invitation_path(news, "new@example.org"))
    sign_up(browser, "new@example.org")
    assert not User.objects.exists()


def test_by_invitation_nobody_signs_up_without_one(news: Tenant, browser: Client) -> None:
    assert sign_up(browser, "new@example.org").status_code == 200
    assert not User.objects.exists()


@override_settings(PLATFORM_HOSTS=["staff.example"])
def test_nobody_signs_up_on_a_platform_host(club: Tenant) -> None:
    sign_up(Client(headers={"host": "staff.example"}), "new@example.org")
    assert not User.objects.exists()


def test_an_invitation_is_for_the_invited_address_only(news: Tenant, browser: Client) -> None:
    browser.get(invitation_path(news, "new@example.org"))
    assert "was invited" in " ".join(errors_of(sign_up(browser, "other@example.org")))
    assert not User.objects.exists()


def test_an_invitation_counts_at_its_own_tenant_only(news: Tenant, club: Tenant) -> None:
    change_tenant(actor=ACTOR, tenant=club, registration="invitation")
    browser = Client(headers={"host": "club.example"})
    browser.get(invitation_path(news, "new@example.org"))
    assert browser.get("/account/invitation/").status_code == 404
    sign_up(browser, "new@example.org")
    assert not User.objects.exists()


def invitation_path(tenant: Tenant, email: str, role: str = "member") -> str:
    from django.test import TestCase

    with TestCase.captureOnCommitCallbacks(execute=True):
        invite(actor=ACTOR, tenant=tenant, email=email, by=None, role=role)
    found = re.search(r"https?://[^/]+(/account/invitation/\S+)", mail.outbox[-1].body)
    assert found
    mail.outbox.clear()
    return found[1]


def test_an_unverified_address_makes_no_member(club: Tenant) -> None:
    browser = Client(headers={"host": "club.example"})
    sign_up(browser, "new@example.org")
    assert not is_signed_in(browser)
    with scopes_disabled():
        assert not Membership.objects.exists()


def test_signing_up_at_an_open_tenant_ends_as_a_member(club: Tenant) -> None:
    browser = Client(headers={"host": "club.example"})
    assert sign_up(browser, "New@Example.org")["Location"] == "/account/confirm-email/"
    browser.post("/account/confirm-email/", {"code": code_in(mail.outbox[0].body)})
    assert is_signed_in(browser)
    user = User.objects.get(email="new@example.org")
    membership = membership_of(user, club)
    assert membership is not None
    assert membership.role == "member"
    assert browser.get("/keys/").status_code == 200


def test_an_invited_person_signs_up_and_has_the_role_offered(news: Tenant, browser: Client) -> None:
    path = invitation_path(news, "new@example.org", role="admin")
    assert browser.get(path)["Location"] == "/account/invitation/"
    assert "new@example.org" in browser.get("/account/invitation/").content.decode()
    sign_up(browser, "new@example.org")
    browser.post("/account/confirm-email/", {"code": code_in(mail.outbox[0].body)})
    membership = membership_of(User.objects.get(), news)
    assert membership is not None
    assert membership.role == "admin"
    other = Client(headers={"host": "news.example"})
    other.get(path)
    assert other.get("/account/invitation/").status_code == 404  # it worked once


def test_an_invited_person_with_an_account_accepts_after_signing_in(news: Tenant, club: Tenant) -> None:
    user = create_user(actor=ACTOR, email="bob@example.org", password=PASSWORD)
    browser = Client(headers={"host": "news.example"})
    browser.get(invitation_path(news, "bob@example.org"))
    log_in(browser, "bob@example.org")
    assert membership_of(user, news) is not None


def test_somebody_else_cannot_accept_an_invitation(news: Tenant, club: Tenant, make_member: MakeMember) -> None:
    mallory = make_member("mallory@example.org", tenant=club).user
    browser = Client(headers={"host": "news.example"})
    browser.get(invitation_path(news, "new@example.org"))
    log_in(browser, "mallory@example.org")
    browser.post("/account/invitation/")
    assert membership_of(mallory, news) is None


# What is remembered


def test_sign_ins_are_written_to_the_tenants_chain_without_what_was_typed(
    browser: Client, alice: User, news: Tenant
) -> None:
    log_in(browser, "typed-my-pässword-here", WRONG)
    log_in(browser, alice.email, WRONG)
    log_in(browser, alice.email)
    browser.post("/account/logout/")
    rows = AuditRow.objects.filter(chain=news.id.hex, tag__startswith="accounts:session").order_by("id")
    assert [(row.tag, row.outcome) for row in rows][-3:] == [
        (AuditTag.SIGN_IN_FAILED, "denied"),
        (AuditTag.SIGNED_IN, "ok"),
        (AuditTag.SIGNED_OUT, "ok"),
    ]
    assert rows.last().actor_id == alice.id.hex  # type: ignore[union-attr]
    everything = " ".join(f"{row.data} {row.actor_label}" for row in rows)
    assert WRONG not in everything
    assert "typed" not in everything


def test_a_sign_in_that_cannot_be_recorded_does_not_happen(
    browser: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import DatabaseError

    from keycast.audit import writer

    def fail(*_: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(writer, "_insert", fail)
    assert log_in(browser, alice.email).status_code == 503
    assert not is_signed_in(browser)
