"""The tenant comes from the host name, by exact match; every other way of writing one leads nowhere (threats W1)."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django_scopes import ScopeError, get_scope

from accounts.hosts import BadHost, domain_name, host_name
from accounts.middleware import TenantMiddleware
from accounts.models import Membership, Tenant, TenantDomain
from accounts.resolve import host_of_headers, tenant_for_host
from accounts.services import add_domain, create_tenant, suspend_tenant
from keycast.audit.models import AuditRow

from .conftest import ACTOR

NOT_A_NAME = [
    "",
    " ",
    "news.example, club.example",
    "news.example,club.example",
    "news.example club.example",
    " news.example",
    "user@news.example",
    "news.example/path",
    "news.example#x",
    "http://news.example",
    "news.example:",
    "news.example:port",
    "news.example:-1",
    "news.example:65536",
    "news.example:080808",
    "news.example:80:80",
    "nëws.example",
    "news.example\x00",
    "news.example\n",
    "news%2eexample",
    "[::1",
    "a" * 300 + ".example",
]
UNKNOWN = [
    "news.example.",
    "news.example.:8000",
    "evil.example",
    "www.news.example",
    "xnews.example",
    "example",
    "news.example.evil.example",
    ".news.example",
    "news..example",
    "xn--nws-jma.example",
    "127.0.0.1",
    "[::1]",
    "[::1]:8000",
]
pytestmark = pytest.mark.django_db


def answer(request: HttpRequest) -> HttpResponse:
    tenant: Tenant | None = request.tenant  # type: ignore[attr-defined]
    return HttpResponse(f"{tenant.slug if tenant else 'platform'} {request.get_host()}")


def ask(host: str, path: str = "/", **headers: str) -> HttpResponse:
    request = RequestFactory().get(path)
    request.META["HTTP_HOST"] = host
    request.META.update(headers)
    return TenantMiddleware(answer)(request)  # type: ignore[no-any-return]


@pytest.mark.parametrize("host", NOT_A_NAME)
def test_what_is_no_host_name_is_a_bad_request(news: Tenant, host: str) -> None:
    assert ask(host).status_code == 400
    assert tenant_for_host(host) is None


@pytest.mark.parametrize("host", UNKNOWN)
def test_an_unknown_host_is_not_found(news: Tenant, host: str) -> None:
    assert ask(host).status_code == 404
    assert tenant_for_host(host) is None


def test_a_missing_host_header_is_a_bad_request(news: Tenant) -> None:
    request = RequestFactory().get("/")
    request.META.pop("HTTP_HOST", None)
    assert TenantMiddleware(answer)(request).status_code == 400


@pytest.mark.parametrize("path", ["/", "/account/login/", "/account/signup/", "/admin/", "/static/x.css", "/nothing"])
def test_an_unknown_host_writes_no_row_and_gets_no_cookie(news: Tenant, path: str) -> None:
    before = AuditRow.objects.count()
    response = Client(headers={"host": "evil.example"}).post(path, {"email": "a@example.org"})
    assert response.status_code == 404
    assert not response.cookies
    assert (Tenant.objects.count(), Session.objects.count(), AuditRow.objects.count()) == (1, 0, before)


def test_a_host_that_is_not_verified_is_not_served(news: Tenant) -> None:
    add_domain(actor=ACTOR, tenant=news, host="soon.example")
    assert ask("soon.example").status_code == 404


def test_a_suspended_tenant_is_closed(news: Tenant) -> None:
    suspend_tenant(actor=ACTOR, tenant=news)
    assert ask("news.example").status_code == 403
    assert tenant_for_host("news.example") is None


def test_x_forwarded_host_is_ignored_without_a_trusted_proxy(news: Tenant, club: Tenant) -> None:
    assert ask("news.example", HTTP_X_FORWARDED_HOST="club.example").content == b"news news.example"
    assert ask("evil.example", HTTP_X_FORWARDED_HOST="club.example").status_code == 404


@override_settings(TRUSTED_PROXY_COUNT=1, PLATFORM_HOSTS=["staff.example"])
def test_behind_a_trusted_proxy_the_host_it_names_counts_but_never_a_platform_host(news: Tenant, club: Tenant) -> None:
    assert ask("news.example", HTTP_X_FORWARDED_HOST="evil.example, club.example").content.startswith(b"club")
    assert ask("news.example", HTTP_X_FORWARDED_HOST="staff.example").content.startswith(b"news")
    assert ask("news.example", HTTP_X_FORWARDED_HOST="club.example, ").status_code == 400
    assert ask("news.example", HTTP_X_FORWARDED_HOST="unknown.example").status_code == 404


@pytest.mark.parametrize("host", ["news.example", "NEWS.Example", "news.example:8000", "news.example:443"])
def test_the_verified_name_is_served_in_any_case_and_on_any_port(news: Tenant, host: str) -> None:
    response = ask(host)
    assert response.content.decode() == f"news {host.lower()}"
    assert tenant_for_host(host) == news


@override_settings(IS_PRODUCTION=True, PUBLIC_SCHEME="https", PUBLIC_PORT=443)
def test_in_production_a_port_that_was_sent_is_not_repeated_in_links(news: Tenant) -> None:
    assert ask("news.example:1234").content == b"news news.example"


@override_settings(PLATFORM_HOSTS=["staff.example"])
def test_platform_hosts_serve_staff_pages_only_and_tenants_hosts_none(news: Tenant) -> None:
    assert ask("staff.example", "/admin/").content == b"platform staff.example"
    assert ask("staff.example", "/account/login/").status_code == 200
    assert ask("staff.example", "/")["Location"] == "/admin/"
    assert ask("staff.example", "/keys/").status_code == 404
    assert ask("news.example", "/admin/").status_code == 404


def test_queries_of_a_request_see_its_tenant_alone(news: Tenant, club: Tenant, alice: object) -> None:
    def count(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(Membership.objects.count()))

    def at(host: str) -> HttpRequest:
        return RequestFactory().get("/", headers={"host": host})

    assert TenantMiddleware(count)(at("news.example")).content == b"1"
    assert TenantMiddleware(count)(at("club.example")).content == b"0"
    with pytest.raises(ScopeError):
        Membership.objects.count()


def test_the_admin_is_not_bound_to_one_tenant(news: Tenant, club: Tenant, alice: object) -> None:
    def count(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(TenantDomain.objects.count()))

    request = RequestFactory().get("/admin/", headers={"host": "news.example"})
    assert TenantMiddleware(count)(request).content == b"2"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_close_connections_of_the_async_thread")
async def test_requests_that_run_at_the_same_time_keep_their_scopes_apart() -> None:
    from asgiref.sync import sync_to_async

    tenants = {
        slug: await sync_to_async(create_tenant)(actor=ACTOR, slug=slug, name=slug, host=f"{slug}.example")
        for slug in ("one", "two", "three")
    }

    async def slow(request: HttpRequest) -> HttpResponse:
        seen = [get_scope()["tenant"].slug]
        for _ in range(5):
            await asyncio.sleep(0.001)
            seen.append(get_scope()["tenant"].slug)
        return HttpResponse(" ".join(seen))

    middleware = TenantMiddleware(slow)

    async def at(slug: str) -> str:
        request = RequestFactory().get("/", headers={"host": f"{slug}.example"})
        return (await middleware(request)).content.decode()  # type: ignore[no-any-return]

    slugs = [*tenants] * 4
    answers = await asyncio.gather(*[at(slug) for slug in slugs])
    assert answers == [" ".join([slug] * 6) for slug in slugs]
    assert get_scope() == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_close_connections_of_the_async_thread")
async def test_the_asynchronous_stack_answers_unknown_hosts_the_same() -> None:
    response = await AsyncClient(headers={"host": "evil.example"}).get("/account/login/")
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ([], ""),
        ([(b"host", b"news.example"), (b"Host", b"club.example")], ""),
        ([(b"x-forwarded-host", b"club.example")], ""),
        ([(b"host", b"news.example:8000")], "news.example:8000"),
    ],
)
def test_a_websocket_names_its_host_once(headers: list[tuple[bytes, bytes]], host: str) -> None:
    assert host_of_headers(headers) == host


@pytest.mark.parametrize(
    "entered",
    ["", ".", "a b", "a/b", "http://a.example", "a.example:80", "-a.example", "a-.example", "a..b", "a" * 64, "é" * 70,
     "[::1", "[zz]", "*.example", "a.example,b.example", "x" * 250 + ".example", "a\n"[:-1] + "\x00"],
)  # fmt: skip
def test_a_host_name_that_cannot_be_is_not_stored(entered: str) -> None:
    with pytest.raises(BadHost):
        domain_name(entered)


@pytest.mark.parametrize(
    ("entered", "stored"),
    [
        ("News.Example", "news.example"),
        (" news.example. ", "news.example"),
        ("nëws.example", "xn--nws-jma.example"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
    ],
)
def test_a_host_name_is_stored_as_it_will_be_asked_for(entered: str, stored: str) -> None:
    assert domain_name(entered) == stored
    assert host_name(stored) == stored
