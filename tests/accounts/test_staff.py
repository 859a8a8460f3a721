"""The gate of the staff admin: a second factor in this very session, whatever else somebody has."""

from __future__ import annotations

import pytest
from allauth.core.context import request_context
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from accounts.models import Tenant, User
from accounts.services import create_user, set_staff
from accounts.sessions import SessionStore
from accounts.staff import is_admitted
from accounts.staff import staff_login as staff_login_view

from .conftest import ACTOR, PASSWORD

pytestmark = pytest.mark.django_db
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.fixture
def officer() -> User:
    return create_user(actor=ACTOR, email="officer@example.org", password=PASSWORD, is_staff=True)


def request_of(user: User | AnonymousUser, session: SessionBase | None = None) -> HttpRequest:
    request = RequestFactory().get("/admin/login/?next=/admin/keys/")
    request.user = user
    request.session = session or SessionStore()
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    return request


def staff_login(request: HttpRequest) -> HttpResponse:
    with request_context(request):
        return staff_login_view(request)


def test_strangers_are_sent_to_sign_in_and_other_people_are_refused(news: Tenant) -> None:
    assert not is_admitted(request_of(AnonymousUser()))
    assert staff_login(request_of(AnonymousUser()))["Location"].startswith("/account/login/?next=")
    person = create_user(actor=ACTOR, email="person@example.org")
    assert not is_admitted(request_of(person))
    with pytest.raises(PermissionDenied):
        staff_login(request_of(person))


def test_staff_without_a_second_factor_must_set_one_up(officer: User) -> None:
    assert not is_admitted(request_of(officer))
    assert staff_login(request_of(officer))["Location"].startswith("/account/2fa/totp/activate/")


def test_a_second_factor_that_this_session_did_not_use_is_not_enough(officer: User) -> None:
    TOTP.activate(officer, SECRET)
    assert not is_admitted(request_of(officer))
    assert "reauthenticate" in staff_login(request_of(officer))["Location"]


def test_staff_who_signed_in_with_password_and_code_are_let_in_until_either_ends(officer: User, news: Tenant) -> None:
    TOTP.activate(officer, SECRET)
    browser = Client(headers={"host": "news.example"})
    browser.post("/account/login/", {"login": officer.email, "password": PASSWORD})
    assert "_auth_user_id" not in browser.session
    code = format_hotp_value(hotp_value(SECRET, list(yield_hotp_counters_from_time())[1]))
    browser.post("/account/2fa/authenticate/", {"code": code})
    request = request_of(officer, browser.session)
    assert is_admitted(request)
    assert staff_login(request)["Location"] == "/admin/keys/"
    Authenticator.objects.all().delete()
    assert not is_admitted(request)
    TOTP.activate(officer, SECRET)
    request.user = set_staff(actor=ACTOR, user=officer, is_staff=False)
    assert not is_admitted(request)
