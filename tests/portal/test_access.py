"""Who gets in, and what everybody else is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

MEMBERS_ONLY = ("/keys/", "/keys/new/", "/keys/import/", "/apps/", "/apps/connect/", "/apps/approve/", "/security/")


@pytest.mark.parametrize("path", MEMBERS_ONLY)
def test_a_stranger_is_sent_to_sign_in_and_back(visitor: Client, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 302
    assert answer["Location"] == f"/account/login/?next={path}"


@pytest.mark.parametrize("path", MEMBERS_ONLY)
def test_somebody_who_is_not_a_member_is_told_so(outsider: Any, path: str) -> None:
    answer = outsider.browser.get(path)
    assert answer.status_code == 403
    assert b"You are not a member here" in answer.content


def test_a_session_of_another_tenant_is_nobodys_here(foreign_owner: Any, tenant: Any) -> None:
    answer = foreign_owner.browser.get("/keys/", headers={"host": "gazette.test"})
    assert answer["Location"].startswith("/account/login/")


def test_a_suspended_member_is_told_so(suspended: Any) -> None:
    assert b"You are not a member here" in suspended.browser.get("/keys/").content


def test_an_unknown_host_leads_nowhere(tenant: Any) -> None:
    assert Client(headers={"host": "elsewhere.test"}).get("/").status_code in {400, 404}


def test_a_fragment_sends_the_whole_page_to_sign_in(visitor: Client) -> None:
    answer = visitor.get("/apps/00000000-0000-0000-0000-000000000000/status/", headers={"HX-Request": "true"})
    assert answer.status_code == 204
    assert answer["HX-Redirect"] == "/account/login/"


@pytest.mark.parametrize("path", ["/people/", "/people/invite/"])
def test_a_plain_member_does_not_manage_people(ada: Any, path: str) -> None:
    assert ada.browser.post(path).status_code in {403, 405}
    assert ada.browser.get(path).status_code in {403, 405}


def test_a_visitor_sees_what_this_place_is(visitor: Client) -> None:
    page = visitor.get("/").content.decode()
    assert "The Gazette" in page
    assert "Create an account" in page


def test_no_account_is_offered_where_registration_is_closed(visitor: Client, tenant: Any) -> None:
    tenant.registration = "closed"
    tenant.save()
    page = visitor.get("/").content.decode()
    assert "Create an account" not in page
    assert "not being made here" in page


def test_a_member_lands_on_their_keys(ada: Any) -> None:
    assert ada.browser.get("/")["Location"] == "/keys/"


@pytest.mark.parametrize("path", ["/", "/account/login/", "/keys/", "/no-such-page/"])
def test_no_page_is_kept_by_a_cache_or_shown_in_a_frame(ada: Any, path: str) -> None:
    answer = ada.browser.get(path)
    assert "no-store" in answer["Cache-Control"]
    policy = answer["Content-Security-Policy"]
    for directive in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
        assert directive in policy
    assert "unsafe" not in policy
