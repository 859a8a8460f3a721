"""A tenant's settings: who may change what, what is refused, and what then holds for everybody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.errors import InvalidValue
from accounts.models import KeyMode, Role, Tenant
from accounts.services import change_tenant, set_quotas
from keycast.audit.models import AuditRow
from tests.portal.conftest import OPERATOR, Person
from tests.portal.test_keys import confirmed

PAGES = ("", "look/", "registration/", "host-names/", "keys/", "policies/", "relays/")


def proved_just_now(person: Person) -> Person:
    confirmed(person)
    return person


@pytest.fixture
def boss(owner: Person) -> Person:
    return proved_just_now(owner)


def now(tenant: Tenant) -> Tenant:
    return Tenant.objects.get(id=tenant.id)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("role", [Role.MEMBER, Role.AUDITOR])
def test_members_and_auditors_neither_see_nor_change_settings(
    page: str, role: str, tenant: Tenant, make_person: Any
) -> None:
    person = proved_just_now(make_person(tenant, "x@example.org", role))
    assert person.browser.get(f"/settings/{page}").status_code == 403
    assert person.browser.post(f"/settings/{page}", {"name": "Mine"}).status_code in {403, 405}
    assert b"/settings/" not in person.browser.get("/keys/").content


@pytest.mark.parametrize("page", PAGES)
def test_owners_and_administrators_see_every_page(page: str, boss: Person, tenant: Tenant, make_person: Any) -> None:
    admin = proved_just_now(make_person(tenant, "admin@example.org", Role.ADMIN))
    for person in (boss, admin):
        answer = person.browser.get(f"/settings/{page}")
        assert answer.status_code == 200
        assert b'href="/settings/"' in answer.content


@pytest.mark.parametrize("page", ["registration/", "keys/"])
def test_what_lets_people_in_or_changes_custody_takes_a_fresh_proof(page: str, owner: Person, tenant: Tenant) -> None:
    for method in ("get", "post"):
        answer = getattr(owner.browser, method)(
            f"/settings/{page}", {"registration": "closed", "key_modes": "encrypted"}
        )
        assert answer.status_code == 302
        assert "reauthenticate" in answer["Location"]
    assert now(tenant).registration == "open"


@pytest.mark.parametrize(
    ("page", "body"),
    [
        ("look/", {"name": ""}),
        ("look/", {"name": "x" * 101}),
        ("look/", {"name": "two\nlines"}),
        ("look/", {"name": "Fine", "has_colour": "on", "accent": "#ffff00"}),
        ("look/", {"name": "Fine", "has_colour": "on", "accent": "red;}body{display:none"}),
        ("registration/", {"registration": "everybody"}),
        ("keys/", {"key_modes": [], "default_key_mode": "encrypted"}),
        ("keys/", {"key_modes": ["paper"], "default_key_mode": "paper"}),
        ("keys/", {"key_modes": ["hsm"], "default_key_mode": "hsm"}),
        ("keys/", {"key_modes": ["encrypted"], "default_key_mode": "hsm"}),
        ("policies/", {"policies": [], "default_policy": "social"}),
        ("policies/", {"policies": ["root"], "default_policy": "root"}),
        ("policies/", {"policies": ["social"], "default_policy": "full"}),
        ("relays/", {"relays": "wss://127.0.0.1"}),
        ("relays/", {"relays": "ws://relay.example.org"}),
        ("relays/", {"relays": "wss://relay.example.org:22"}),
        ("relays/", {"relays": "wss://localhost"}),
        ("relays/", {"relays": "wss://metadata.internal"}),
        ("relays/", {"relays": "https://relay.example.org"}),
        ("relays/", {"relays": "\n".join(f"wss://r{number}.example.org" for number in range(9))}),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(
    page: str, body: dict[str, Any], boss: Person, tenant: Tenant
) -> None:
    before = Tenant.objects.values().get(id=tenant.id)
    answer = boss.browser.post(f"/settings/{page}", body)
    assert answer.status_code == 422
    assert Tenant.objects.values().get(id=tenant.id) == before


@pytest.mark.parametrize("page", ["look/", "registration/", "keys/", "policies/", "relays/"])
def test_fields_that_are_not_on_the_form_go_nowhere(
    page: str, boss: Person, tenant: Tenant, other_tenant: Tenant
) -> None:
    """threats W8."""
    body = {
        "name": "The Gazette", "registration": "open", "key_modes": "encrypted", "default_key_mode": "encrypted",
        "policies": ["social", "full"], "default_policy": "social", "relays": "",
        "slug": "stolen", "state": "suspended", "id": str(other_tenant.id), "tenant": str(other_tenant.id),
        "max_keys": "1000000", "max_signatures": "1000000", "max_members": "1000000", "is_primary": "on",
        "verified_at": "2026-01-01", "created_at": "2001-01-01", "tenant_id": str(other_tenant.id),
    }  # fmt: skip
    other_before = Tenant.objects.values().get(id=other_tenant.id)
    assert boss.browser.post(f"/settings/{page}", body).status_code == 302
    changed = now(tenant)
    assert (changed.slug, changed.state, changed.max_keys, changed.max_signatures) == ("gazette", "active", None, None)
    assert changed.created_at == tenant.created_at
    assert Tenant.objects.values().get(id=other_tenant.id) == other_before


def test_name_and_colour_are_changed_shown_and_written_down(boss: Person, tenant: Tenant) -> None:
    assert boss.browser.get("/tenant.css").status_code == 404
    answer = boss.browser.post(
        "/settings/look/", {"name": "The Daily", "has_colour": "on", "accent": "#6A1B9A"}, follow=True
    )
    page = answer.content.decode()
    assert "The Daily" in page
    assert "/tenant.css" in page
    sheet = boss.browser.get("/tenant.css")
    assert sheet["Content-Type"] == "text/css; charset=utf-8"
    assert sheet["X-Content-Type-Options"] == "nosniff"
    assert "--accent: #6a1b9a;" in sheet.content.decode()
    row = AuditRow.objects.filter(chain=tenant.id.hex, tag="accounts:tenant:changed").latest("id")
    assert row.actor_label == "owner@example.org"
    data = row.data if isinstance(row.data, dict) else json.loads(row.data)
    assert data["before"] == {"name": "The Gazette", "accent": ""}
    assert "Tenant settings changed" in boss.browser.get("/settings/").content.decode()
    boss.browser.post("/settings/look/", {"name": "The Daily", "accent": "#6a1b9a"})
    assert now(tenant).accent == ""


def test_the_style_sheet_of_one_tenant_is_not_anothers(
    boss: Person, tenant: Tenant, other_tenant: Tenant, visitor: Any
) -> None:
    change_tenant(actor=OPERATOR, tenant=tenant, accent="#6a1b9a")
    assert visitor.get("/tenant.css").status_code == 200
    assert visitor.get("/tenant.css", headers={"host": "courier.test"}).status_code == 404


def test_a_mode_that_operators_prepared_may_stay_but_not_be_taken_up_again(boss: Person, tenant: Tenant) -> None:
    change_tenant(actor=OPERATOR, tenant=tenant, key_modes=["encrypted", "hsm"])
    body = {"key_modes": [KeyMode.ENCRYPTED, KeyMode.HSM], "default_key_mode": "encrypted"}
    assert boss.browser.post("/settings/keys/", body).status_code == 302
    assert boss.browser.post("/settings/keys/", {**body, "key_modes": ["encrypted"]}).status_code == 302
    assert boss.browser.post("/settings/keys/", body).status_code == 422


def test_policies_that_are_not_offered_cannot_be_granted(boss: Person, ada: Person, tenant: Tenant) -> None:
    boss.browser.post("/settings/policies/", {"policies": ["read-only", "social"], "default_policy": "read-only"})
    assert (now(tenant).policies, now(tenant).default_policy) == (["read-only", "social"], "read-only")
    key = ada.key()
    page = ada.browser.get("/apps/connect/").content.decode()
    assert 'value="full"' not in page
    assert 'value="read-only"' in page
    form = {"key": str(key.id), "name": "App", "policy": "full", "once": "a" * 32}
    assert ada.browser.post("/apps/connect/", form).status_code == 422
    assert ada.browser.post("/apps/connect/", {**form, "policy": "social"}).status_code == 200
    boss.browser.post(
        "/settings/policies/",
        {"policies": ["read-only", "social", "messaging", "messaging-own", "full"], "default_policy": "social"},
    )
    assert now(tenant).policies == []


def test_relays_of_the_tenant_are_in_new_bunker_urls(boss: Person, ada: Person, tenant: Tenant) -> None:
    body = {"relays": "WSS://Relay.Example.ORG/\n\nwss://relay.example.org\nwss://two.example.org/path"}
    assert boss.browser.post("/settings/relays/", body).status_code == 302
    assert now(tenant).relays == ["wss://relay.example.org", "wss://two.example.org/path"]
    ada.tenant.refresh_from_db()
    assert ada.app().relays[1:3] == now(tenant).relays


def test_a_limit_on_relays_holds_for_settings_too(boss: Person, tenant: Tenant) -> None:
    set_quotas(actor=OPERATOR, tenant=tenant, relays=1)
    answer = boss.browser.post("/settings/relays/", {"relays": "wss://one.example.org\nwss://two.example.org"})
    assert answer.status_code == 422
    assert b"ask the operator" in answer.content
    assert boss.browser.post("/settings/relays/", {"relays": "wss://one.example.org"}).status_code == 302


def test_usage_is_shown_with_and_without_a_limit(boss: Person, tenant: Tenant, ada: Person) -> None:
    set_quotas(actor=OPERATOR, tenant=tenant, members=2, keys=10)
    ada.key()
    page = " ".join(boss.browser.get("/settings/").content.decode().split())
    assert "2 of 2: full" in page
    assert "1 of 10" in page
    assert page.count("<meter") == 3  # members, keys, and relays by the deployment's own bound


def test_exports_are_off_until_the_tenant_says_after_how_long(boss: Person, tenant: Tenant) -> None:
    body: dict[str, Any] = {"key_modes": ["encrypted"], "default_key_mode": "encrypted"}
    page = boss.browser.get("/settings/keys/").content.decode()
    assert 'value="72"' in page
    assert "does not allow keys to be exported" in page
    boss.browser.post("/settings/keys/", {**body, "export_wait_hours": "5"})
    assert now(tenant).export_wait_hours is None
    for wrong in ("-1", "241", "soon"):
        answer = boss.browser.post("/settings/keys/", {**body, "exports": "on", "export_wait_hours": wrong})
        assert answer.status_code == 422
    for given, kept in (("", 72), ("0", 0), ("240", 240)):
        boss.browser.post("/settings/keys/", {**body, "exports": "on", "export_wait_hours": given})
        assert now(tenant).export_wait_hours == kept
    with pytest.raises(InvalidValue):
        change_tenant(actor=OPERATOR, tenant=tenant, export_wait_hours=241)
    boss.browser.post("/settings/keys/", body)
    assert now(tenant).export_wait_hours is None
