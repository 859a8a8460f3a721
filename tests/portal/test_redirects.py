"""threats.md W7: ``next`` leads to a page of this host or nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.portal.conftest import PASSWORD

ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example",
    "\\\\evil.example",
    "https:evil.example",
    "%2f%2fevil.example",
    "\t//evil.example",
    "///evil.example",
    "javascript:alert(1)",
    "http://gazette.test@evil.example/",
    "https://courier.test/",
]


@pytest.mark.parametrize("target", ELSEWHERE)
def test_signing_in_leads_nowhere_else(ada: Any, visitor: Client, target: str) -> None:
    answer = visitor.post(
        "/account/login/",
        {"login": ada.user.email, "password": PASSWORD, "next": target},
        query_params={"next": target},
    )
    assert answer.status_code == 302
    location = answer["Location"]
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    assert "evil" not in location.split("?")[0] or location.startswith("/%2f")


def test_signing_in_leads_back_to_the_page_that_was_asked_for(ada: Any, visitor: Client) -> None:
    answer = visitor.post("/account/login/", {"login": ada.user.email, "password": PASSWORD, "next": "/apps/connect/"})
    assert answer["Location"] == "/apps/connect/"
