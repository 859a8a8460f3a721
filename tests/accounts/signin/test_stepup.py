"""A fresh proof is never less than what the account has: no password alone where there is a second factor."""

from __future__ import annotations

import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.test import Client, RequestFactory

from accounts.models import User
from accounts.signin import stepup
from tests.accounts.conftest import PASSWORD

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def request_of(user: User, *steps: dict[str, Any]) -> Any:
    request = RequestFactory().get("/")
    request.user = user
    request.session = {  # type: ignore[assignment]
        "account_authentication_methods": list(steps),
        "account_authentication_methods_user": str(user.pk),
    }
    return request


def step(method: str, *, ago: float = 1, again: bool = True) -> dict[str, Any]:
    return {"method": method, "at": time.time() - ago, **({"reauthenticated": True} if again else {})}


def with_factor(user: User, kind: Authenticator.Type = Authenticator.Type.TOTP) -> User:
    Authenticator.objects.create(user=user, type=kind, data={})
    return user


@pytest.mark.parametrize("steps", [[], [step("password", again=False)], [step("password", ago=3600)]])
def test_neither_nothing_nor_signing_in_nor_an_old_proof_is_fresh(steps: list[Any], alice: User) -> None:
    assert not stepup.is_fresh(request_of(alice, *steps), alice)


@pytest.mark.parametrize("kind", [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN])
def test_a_password_proves_nothing_for_an_account_with_a_second_factor(kind: Any, alice: User) -> None:
    with_factor(alice, kind)
    assert not stepup.is_fresh(request_of(alice, step("password")), alice)
    assert not stepup.is_fresh(request_of(alice, step("mfa", again=False), step("password")), alice)
    assert not stepup.is_fresh(request_of(alice, step("mfa", ago=3600), step("password")), alice)
    assert stepup.is_fresh(request_of(alice, step("mfa")), alice)
    assert stepup.is_fresh(request_of(alice, step("mfa"), step("password")), alice)


def test_without_a_second_factor_a_password_is_what_there_is(alice: User) -> None:
    assert stepup.is_fresh(request_of(alice, step("password")), alice)
    with_factor(alice, Authenticator.Type.RECOVERY_CODES)
    assert stepup.is_fresh(request_of(alice, step("password")), alice)


def test_anothers_proof_is_not_mine(alice: User, make_member: Any) -> None:
    bob = make_member("bob@example.org").user
    assert not stepup.is_fresh(request_of(bob, step("password")), alice)


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (None, "/account/reauthenticate/"),
        (Authenticator.Type.TOTP, "/account/2fa/reauthenticate/"),
        (Authenticator.Type.WEBAUTHN, "/account/2fa/webauthn/reauthenticate/"),
    ],
)
def test_the_way_to_prove_it_is_the_strongest_they_have(kind: Any, address: str, alice: User) -> None:
    if kind is not None:
        with_factor(alice, kind)
        with_factor(alice, Authenticator.Type.RECOVERY_CODES)  # they come with the first factor, and last
    assert stepup.to_proof(alice, "/keys/?a=1&b=2")["Location"] == f"{address}?next=%2Fkeys%2F%3Fa%3D1%26b%3D2"


# --- what was typed ---


def test_form_data_kept_during_step_up_is_returned_once_for_its_path_and_expires(alice: User) -> None:
    request = request_of(alice)
    stepup.keep(request, "/here/", {"reason": "lost"})
    assert stepup.take_form_data(request, "/there/") is None
    assert stepup.take_form_data(request, "/here/") == {"reason": "lost"}
    assert stepup.take_form_data(request, "/here/") is None
    stepup.keep(request, "/here/", {"reason": "lost"})
    request.session["kept-input"]["at"] -= 3600
    assert stepup.take_form_data(request, "/here/") is None


# --- allauth's own pages ---


@pytest.fixture
def browser_with_factor(alice: User, browser: Client) -> Client:
    TOTP.activate(alice, SECRET)
    browser.post("/account/login/", {"login": alice.email, "password": PASSWORD})
    browser.post("/account/2fa/authenticate/", {"code": totp()})
    assert "_auth_user_id" in browser.session
    return browser


def totp(ahead: int = 0) -> str:
    """A code; each works once, so the second one in a test is that of the next half-minute."""
    return format_hotp_value(hotp_value(SECRET, int(time.time()) // 30 + ahead))


def test_the_page_for_a_password_leads_on_to_the_factor_and_takes_none(browser_with_factor: Client) -> None:
    for answer in (
        browser_with_factor.get("/account/reauthenticate/?next=/keys/"),
        browser_with_factor.post("/account/reauthenticate/", {"password": PASSWORD, "next": "/keys/"}),
    ):
        assert answer["Location"] == "/account/2fa/reauthenticate/?next=%2Fkeys%2F"
    steps = browser_with_factor.session["account_authentication_methods"]
    assert not [one for one in steps if one.get("reauthenticated")]


@pytest.mark.parametrize(
    "page",
    [
        "/account/2fa/totp/deactivate/",
        "/account/2fa/webauthn/add/",
        "/account/2fa/recovery-codes/generate/",
        "/account/password/change/",
    ],
)
def test_changing_how_one_signs_in_takes_the_factor_not_the_password(page: str, browser_with_factor: Client) -> None:
    session = browser_with_factor.session
    session["account_authentication_methods"] += [step("password")]  # as before the factor was set up
    session.save()
    for answer in (browser_with_factor.get(page), browser_with_factor.post(page, {"oldpassword": PASSWORD})):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/account/2fa/reauthenticate/?next="), answer["Location"]
    browser_with_factor.post("/account/2fa/reauthenticate/", {"code": totp(ahead=1)})
    assert "/reauthenticate/" not in browser_with_factor.get(page).get("Location", "")


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:x()"])
def test_step_up_does_not_redirect_to_another_host(target: str, browser_with_factor: Client) -> None:
    answer = browser_with_factor.get("/account/reauthenticate/", {"next": target})
    proved = browser_with_factor.post(answer["Location"], {"code": totp(ahead=1), "next": target})
    assert proved.status_code == 302
    assert "evil" not in proved["Location"]
    assert proved["Location"].startswith("/")


def test_password_accounts_still_prove_themselves_by_password(alice: User, browser: Client) -> None:
    browser.post("/account/login/", {"login": alice.email, "password": PASSWORD})
    assert browser.get("/account/reauthenticate/?next=/keys/").status_code == 200
    answer = browser.post("/account/reauthenticate/", {"password": PASSWORD, "next": "/keys/"})
    assert answer["Location"] == "/keys/"
