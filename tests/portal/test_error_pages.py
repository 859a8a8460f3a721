"""Error pages: plain words, a way on, and nothing from inside."""

from __future__ import annotations

from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client

from tests.portal.conftest import sign_in


def test_a_form_without_its_token_says_what_to_do(ada: Any) -> None:
    browser = Client(enforce_csrf_checks=True, headers={"host": "gazette.test"})
    sign_in(browser, ada.user, ada.tenant)
    answer = browser.post("/keys/new/", {"name": "Main"})
    assert answer.status_code == 403
    assert b"This form is no longer valid" in answer.content
    assert b"REASON" not in answer.content.upper().replace(b"REASONS", b"")


def test_an_address_that_leads_nowhere(ada: Any) -> None:
    answer = ada.browser.get("/no-such-page/")
    assert answer.status_code == 404
    assert b"There is nothing here" in answer.content


def test_a_key_that_is_not_there_and_one_that_is_anothers_look_the_same(ada: Any, bob: Any) -> None:
    theirs = ada.browser.get(f"/keys/{bob.key().id}/")
    missing = ada.browser.get("/keys/00000000-0000-4000-8000-000000000000/")
    assert theirs.status_code == missing.status_code == 404
    assert b"There is nothing here" in theirs.content


@pytest.mark.parametrize("name", ["400.html", "500.html"])
def test_the_pages_that_know_no_request_need_none(name: str) -> None:
    page = render_to_string(name)
    assert "Back to the start" in page


@pytest.mark.parametrize("name", ["400.html", "403.html", "403_csrf.html", "404.html", "429.html", "500.html"])
def test_each_error_page_has_one_heading_and_a_way_on(name: str) -> None:
    page = render_to_string(name)
    assert page.count("<h1>") == 1
    assert 'href="/"' in page


def test_trying_passwords_ends_in_a_plain_answer(visitor: Client, ada: Any) -> None:
    login = "/account/login/"
    answers = [visitor.post(login, {"login": ada.user.email, "password": f"wrong {number}"}) for number in range(12)]
    last = answers[-1]
    assert last.status_code in {200, 429}
    assert b"too many" in last.content.lower() or b"too often" in last.content.lower()


def test_a_fault_of_ours_tells_nothing_of_it(ada: Any, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.DEBUG = False

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the innermost secret")

    monkeypatch.setattr("keys.portal.views.keys_of", fail)
    ada.browser.raise_request_exception = False
    answer = ada.browser.get("/keys/")
    assert answer.status_code == 500
    assert b"innermost" not in answer.content
    assert b"Something went wrong" in answer.content
