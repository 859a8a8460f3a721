"""Answers for machines, before hosts and tenants are looked at: /healthz, /readyz, /metrics.

/healthz says only that the process answers. /readyz and /metrics have detail and are for who knows the probe token
(keycast.operations.probe_token). Everyone else gets a 404: what comes from the loopback interface may have come
through a proxy that says nothing of it. Outside production that interface is enough, if no header tells of a proxy.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from keycast.base import metrics
from keycast.operations import health
from keycast.operations.probe_token import probe_token

Answer = Callable[[], HttpResponse]
FORWARDING = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


def is_internal(request: HttpRequest) -> bool:
    """Tell whether the caller may see detail."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if given and (token := probe_token()) and hmac.compare_digest(given.encode(), token.encode()):
        return True
    if settings.IS_PRODUCTION or any(request.META.get(name) for name in FORWARDING):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def alive() -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


def ready() -> HttpResponse:
    report = health.report()
    return JsonResponse(report.as_dict(), status=200 if report.is_ready else 503)


def numbers() -> HttpResponse:
    return HttpResponse(metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8")


OPEN: dict[str, Answer] = {"/healthz": alive}
INTERNAL: dict[str, Answer] = {"/readyz": ready, "/metrics": numbers}
PATHS = frozenset({*OPEN, *INTERNAL})


def answer_to(request: HttpRequest) -> Answer | None:
    """Who answers this request; None when it is no probe's."""
    if request.path in OPEN:
        return OPEN[request.path]
    if request.path in INTERNAL:
        return INTERNAL[request.path] if is_internal(request) else not_found
    return None


def not_found() -> HttpResponse:
    return HttpResponse("Not found\n", status=404, content_type="text/plain")


def uncached(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log each 503 of a probe as an error
    return response


class ProbeMiddleware:
    """First of all middleware: a load balancer's probe names no tenant's host."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        answer = answer_to(request)
        if self.is_async:
            return self._answer_later(request, answer)
        if answer:
            return uncached(answer())
        response: HttpResponseBase = self.get_response(request)
        return response

    async def _answer_later(self, request: HttpRequest, answer: Answer | None) -> HttpResponseBase:
        if answer is None:
            response: HttpResponseBase = await self.get_response(request)
            return response
        if answer is ready:
            return uncached(await sync_to_async(ready)())
        return uncached(answer())
