"""The tenant of a request, and the scope in which its queries run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin
from django_scopes import scope, scopes_disabled

from accounts.hosts import BadHost, host_name
from accounts.models import Tenant
from accounts.resolve import asked_host, is_platform_host, tenant_of_domain
from accounts.signin.integrity import end_unsealed_session

SESSION_TENANT = "tenant"
_PLATFORM_PATHS = ("/admin/", "/account/", "/static/")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@sync_and_async_middleware
def TenantMiddleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:  # noqa: N802
    """Set ``request.tenant`` by the exact, verified host name, and scope every query to it.

    A header that is no host name is 400, an unknown host 404, a suspended tenant 403; none of them reaches a session
    or writes a row. On KEYCAST_PLATFORM_HOSTS the tenant is None and only staff pages are served, to which ``/`` leads;
    where such hosts are configured, tenants' hosts serve no admin. The admin sees all tenants, so no scope holds there.
    """
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            refusal = await sync_to_async(_resolve)(request)
            if refusal is not None:
                return refusal
            with _scope(request):
                awaitable: Awaitable[HttpResponseBase] = get_response(request)
                return await awaitable

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        refusal = _resolve(request)
        if refusal is not None:
            return refusal
        with _scope(request):
            response: HttpResponseBase = get_response(request)
            return response

    return answer


class SessionTenantMiddleware(MiddlewareMixin):
    """A session belongs to the host it began on: carried to another tenant's host, it signs nobody in.

    Nor does any session while the account's row does not fit its seal.
    """

    def process_request(self, request: HttpRequest) -> None:
        if not request.user.is_authenticated or end_unsealed_session(request):
            return
        here = _name_of(request)
        if request.session.setdefault(SESSION_TENANT, here) != here:
            logout(request)


def bind_session(request: HttpRequest) -> None:
    """Note in the session where it began; called when somebody signs in."""
    request.session[SESSION_TENANT] = _name_of(request)


def _name_of(request: HttpRequest) -> str:
    tenant: Tenant | None = getattr(request, "tenant", None)
    return tenant.id.hex if tenant else "platform"


def _resolve(request: HttpRequest) -> HttpResponse | None:
    """Set ``request.tenant`` and the canonical Host header, or say why not."""
    try:
        header = asked_host(request.META.get("HTTP_HOST", ""), request.META.get("HTTP_X_FORWARDED_HOST", ""))
        name = host_name(header)
    except BadHost:
        return _text("Bad Request: not a host name.", 400)
    _canonicalise(request, header, name)
    if is_platform_host(name):
        request.tenant = None  # type: ignore[attr-defined]
        if request.path == "/":  # what staff type, and where a sign-in ends that was not asked for by a page
            return HttpResponseRedirect("/admin/")
        return None if request.path.startswith(_PLATFORM_PATHS) else _text("Not Found", 404)
    tenant = tenant_of_domain(name)
    if tenant is None or (settings.PLATFORM_HOSTS and request.path.startswith("/admin/")):
        return _text("Not Found", 404)
    if tenant.state == Tenant.State.SUSPENDED and not request.path.startswith("/admin/"):
        return _text("This service is suspended.", 403)
    request.tenant = tenant  # type: ignore[attr-defined]
    return None


def _canonicalise(request: HttpRequest, header: str, name: str) -> None:
    """What Django, allauth and links see as the host: lower case, and in production the port that is ours."""
    if settings.IS_PRODUCTION:
        is_default = _DEFAULT_PORTS[settings.PUBLIC_SCHEME] == settings.PUBLIC_PORT
        request.META["HTTP_HOST"] = name if is_default else f"{name}:{settings.PUBLIC_PORT}"
    else:
        request.META["HTTP_HOST"] = header.lower()


def _scope(request: HttpRequest) -> AbstractContextManager[Any]:
    if request.path.startswith("/admin/"):
        # The staff admin shows every tenant.
        disabled: AbstractContextManager[Any] = scopes_disabled()
        return disabled
    tenant: Tenant | None = getattr(request, "tenant", None)
    return scope(tenant=tenant) if tenant else nullcontext()


def _text(message: str, status: int) -> HttpResponse:
    return HttpResponse(f"{message}\n", status=status, content_type="text/plain; charset=utf-8")
