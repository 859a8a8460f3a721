"""The gate of the staff admin: a second factor in this very session, whatever else somebody has."""

from __future__ import annotations

import pytest
from allauth.core.context import request_context
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.test import Client, RequestFactory

from accounts.models import Tenant, User
from accounts.services import create_user, end_staff
from accounts.sessions import SessionStore
from accounts.staff.gate import is_admitted, to_second_factor
from tests.accounts.conftest import ACTOR, PASSWORD

pytestmark = pytest.mark.django_db
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.fixture
def officer() -> User:
    return create_user(actor=ACTOR, email="officer@example.org", password=PASSWORD, is_staff=True)


def request_of(user: User | AnonymousUser, session: SessionBase | None = None) -> HttpRequest:
    request = RequestFactory().get("/admin/keys/")
    request.user = user
    request.session = session or SessionStore()
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    return request


def next_step(request: HttpRequest) -> str:
    with request_context(request):
        return str(to_second_factor(request, "/admin/keys/")["Location"])


def totp_code(offset: int = 0) -> str:
    return format_hotp_value(hotp_value(SECRET, list(yield_hotp_counters_from_time())[1 + offset]))


def sign_in(officer: User) -> Client:
    browser = Client(headers={"host": "news.example"})
    browser.post("/account/login/", {"login": officer.email, "password": PASSWORD})
    return browser


def test_strangers_and_other_people_are_not_admitted(news: Tenant) -> None:
    assert not is_admitted(request_of(AnonymousUser()))
    assert not is_admitted(request_of(create_user(actor=ACTOR, email="person@example.org")))


def test_staff_without_a_second_factor_must_set_one_up(officer: User) -> None:
    assert not is_admitted(request_of(officer))
    assert next_step(request_of(officer)) == "/account/2fa/"


def test_a_session_opened_before_the_second_factor_was_set_up_gains_nothing_by_it(officer: User, news: Tenant) -> None:
    thief = sign_in(officer)
    TOTP.activate(officer, SECRET)
    request = request_of(officer, thief.session)
    assert not is_admitted(request)
    assert next_step(request) == "/account/2fa/reauthenticate/?next=%2Fadmin%2Fkeys%2F"
    assert "/account/2fa/reauthenticate/" in thief.get("/admin/")["Location"]


def test_staff_are_admitted_only_after_using_their_second_factor(officer: User, news: Tenant) -> None:
    browser = sign_in(officer)
    TOTP.activate(officer, SECRET)
    browser.post("/account/2fa/reauthenticate/", {"code": "000000"})
    assert not is_admitted(request_of(officer, browser.session))
    browser.post("/account/2fa/reauthenticate/", {"code": totp_code()})
    assert is_admitted(request_of(officer, browser.session))
    assert browser.get("/admin/").status_code == 200


def test_a_code_works_once(officer: User, news: Tenant) -> None:
    TOTP.activate(officer, SECRET)
    code = totp_code()  # once: the second sign-in may be in the next half minute
    for expected in (True, False):
        browser = sign_in(officer)
        browser.post("/account/2fa/authenticate/", {"code": code})
        assert ("_auth_user_id" in browser.session) is expected


def test_staff_who_signed_in_with_password_and_code_are_admitted_until_either_ends(officer: User, news: Tenant) -> None:
    TOTP.activate(officer, SECRET)
    browser = sign_in(officer)
    assert "_auth_user_id" not in browser.session
    browser.post("/account/2fa/authenticate/", {"code": totp_code()})
    request = request_of(officer, browser.session)
    assert is_admitted(request)
    Authenticator.objects.all().delete()
    assert not is_admitted(request)
    TOTP.activate(officer, SECRET)
    request.user = end_staff(actor=ACTOR, user=officer)
    assert not is_admitted(request)
