"""What callers see of an error: a code and a public message, never more."""

from __future__ import annotations

import json
import sys

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from keycast.base.error_pages import ErrorMiddleware, WithoutLocals, respond, wants_json
from keycast.base.errors import KeycastError, NotFound, Unavailable

SETTINGS = ("DATABASES", "SESSION_COOKIE_AGE")


@pytest.fixture
def request_(rf: RequestFactory) -> HttpRequest:
    return rf.get("/")


def middleware() -> ErrorMiddleware:
    return ErrorMiddleware(lambda request: HttpResponse())


def test_an_unexpected_error_stays_djangos(request_: HttpRequest) -> None:
    assert middleware().process_exception(request_, ValueError("internal")) is None


@pytest.mark.parametrize(("error", "status"), [(NotFound(), 404), (Unavailable(), 503), (KeycastError("Plain."), 400)])
def test_a_refusal_is_a_page_with_its_status(request_: HttpRequest, error: KeycastError, status: int) -> None:
    response = middleware().process_exception(request_, error)
    assert response is not None
    assert response.status_code == status
    assert error.public_message in response.content.decode()


def test_a_program_gets_json(rf: RequestFactory) -> None:
    response = respond(rf.get("/", HTTP_ACCEPT="application/json"), NotFound())
    assert json.loads(response.content) == {"error": {"code": "not-found", "message": NotFound.public_message}}
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [("", False), ("*/*", False), ("text/html,application/json", False), ("application/json", True)],
)
def test_browsers_get_pages(rf: RequestFactory, accept: str, is_json: bool) -> None:
    assert wants_json(rf.get("/", HTTP_ACCEPT=accept)) is is_json


def test_a_message_is_escaped(request_: HttpRequest) -> None:
    assert "<b>" not in respond(request_, KeycastError("<b>bold</b>")).content.decode()


@pytest.mark.parametrize("kind", ["text", "html"])
def test_djangos_error_report_has_neither_locals_nor_request_nor_settings(rf: RequestFactory, kind: str) -> None:
    marker, posted = "-".join(["local", "secret", "value"]), "-".join(["posted", "secret"])

    def fail(inner: str) -> None:
        raise ValueError("boom")

    try:
        fail(marker)
    except ValueError:
        reporter = WithoutLocals(rf.post("/", {"nsec": posted}), *sys.exc_info())
    report = reporter.get_traceback_text() if kind == "text" else reporter.get_traceback_html()
    assert "boom" in report
    for hidden in (marker, posted, *SETTINGS):
        assert hidden not in report
