"""manage.py tenant: what operators do on the server, with a clear refusal and JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django_scopes import scopes_disabled

from accounts import domain_proofs
from accounts.models import Tenant, TenantDomain
from accounts.services import add_domain
from keycast.audit.models import AuditRow

from .conftest import ACTOR

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _silent_dns() -> Iterator[None]:
    domain_proofs.set_texts(lambda name: [])
    yield
    domain_proofs.set_texts(None)


def run(*arguments: str) -> Any:
    out = StringIO()
    call_command("tenant", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "nobody"),
        ("resume", "news"),
        ("add-domain", "news", "club.example"),
        ("add-domain", "news", "not a name"),
        ("check-domain", "news", "soon.example"),
        ("remove-domain", "news", "news.example"),
        ("remove-domain", "news", "club.example"),
        ("set-primary", "news", "soon.example"),
        ("quotas", "news", "--set", "keys=many"),
        ("quotas", "news", "--set", "slug=5"),
        ("quotas", "news", "--set", "keys=-5"),
    ],
)
def test_the_tenant_command_refuses_invalid_changes_with_a_reason(
    arguments: tuple[str, ...], news: Tenant, club: Tenant
) -> None:
    add_domain(actor=ACTOR, tenant=news, host="soon.example")
    before = AuditRow.objects.count()
    with pytest.raises(CommandError) as refusal:
        run(*arguments)
    assert str(refusal.value)
    assert AuditRow.objects.count() == before


def test_a_tenant_is_suspended_and_resumed(news: Tenant) -> None:
    assert run("suspend", "news", "--reason", "unpaid")["state"] == "suspended"
    assert run("resume", "news")["state"] == "active"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_production_takes_no_tenant_at_its_own_loopback(news: Tenant, settings: Any, host: str) -> None:
    settings.IS_PRODUCTION = True
    with pytest.raises(CommandError):
        run("add-domain", "news", host)
    with scopes_disabled():
        assert not TenantDomain.objects.filter(host__in=["localhost", "127.0.0.1"]).exists()


def test_host_names_are_added_made_primary_and_removed(news: Tenant) -> None:
    run("add-domain", "news", "Two.Example")
    facts = run("set-primary", "news", "two.example")
    assert [(d["host"], d["primary"]) for d in facts["domains"]] == [("two.example", True), ("news.example", False)]
    assert [d["host"] for d in run("remove-domain", "news", "news.example")["domains"]] == ["two.example"]


def test_a_claim_is_checked(news: Tenant) -> None:
    domain = add_domain(actor=ACTOR, tenant=news, host="soon.example")
    domain_proofs.set_texts(lambda name: [domain_proofs.record_value(domain.token)])
    assert {d["host"]: d["verified"] for d in run("check-domain", "news", "soon.example")["domains"]} == {
        "news.example": True,
        "soon.example": True,
    }


def test_limits_are_set_and_taken_back(news: Tenant) -> None:
    usage = run("quotas", "news", "--set", "keys=5", "--set", "signatures=1000", "--reason", "contract")["usage"]
    assert (usage["keys"]["limit"], usage["signatures"]["limit"]) == (5, 1000)
    assert run("quotas", "news", "--set", "keys=default")["usage"]["keys"]["limit"] is None


def test_the_tenant_command_prints_text_without_json(news: Tenant) -> None:
    out = StringIO()
    call_command("tenant", "show", "news", stdout=out)
    assert "The News (news): active" in out.getvalue()
    assert "news.example: primary" in out.getvalue()
    assert "keys: 0 of no limit" in out.getvalue()


def test_key_modes_are_added_to_a_tenant_that_exists(news: Tenant) -> None:
    with pytest.raises(CommandError):
        run("key-modes", news.slug, "--mode", "paper")
    assert run("key-modes", news.slug, "--mode", "encrypted", "--mode", "hsm", "--mode", "hsm")["key_modes"] == [
        "encrypted",
        "hsm",
    ]
    assert AuditRow.objects.latest("id").tag == "accounts:tenant:changed"
