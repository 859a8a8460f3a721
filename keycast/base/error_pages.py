"""From an error to what the caller sees: a code and a public message, as a page or as JSON. Never internal text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.debug import ExceptionReporter

from keycast.base import metrics
from keycast.base.errors import KeycastError

log = structlog.get_logger(__name__)


class WithoutLocals(ExceptionReporter):
    """Django's error report without local variables, settings or request data: any of them may hold a secret."""

    def get_traceback_frame_variables(self, *args: Any, **kwargs: Any) -> list[Any]:
        return []

    def get_traceback_frames(self) -> list[dict[str, Any]]:
        return [{**frame, "vars": []} for frame in super().get_traceback_frames()]

    def get_traceback_data(self) -> dict[str, Any]:
        data = super().get_traceback_data()
        return {**data, "settings": {}, "request": None, "filtered_POST_items": [], "request_meta": {}}


def wants_json(request: HttpRequest) -> bool:
    """Tell whether the caller is a program: it asked for JSON and not for a page."""
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def respond(request: HttpRequest, error: KeycastError) -> HttpResponse:
    """The public side of a refusal or failure."""
    body = {"code": error.code, "message": error.public_message}
    if wants_json(request):
        return JsonResponse({"error": body}, status=error.http_status)
    return render(request, "errors/refused.html", body, status=error.http_status)


class ErrorMiddleware:
    """Turns a KeycastError that a view raised into its response; any other error stays Django's (500, logged)."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, KeycastError):
            log.info("refused", code=error.code, status=error.http_status)
            return respond(request, error)
        metrics.HTTP_ERRORS.labels(type(error).__name__).inc()
        return None
