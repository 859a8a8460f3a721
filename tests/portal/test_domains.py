"""Host names in the portal: claimed, proved by DNS, primary, removed; none is taken from, or kept from, its owner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import domain_proofs
from accounts.models import Tenant, TenantDomain
from accounts.services import add_domain, check_claims, verify_domain
from accounts.services.domains import MAX_DOMAINS
from keycast.audit.models import AuditRow
from tests.portal.conftest import OPERATOR, Person
from tests.portal.test_keys import confirmed

Records = dict[str, list[str]]


@pytest.fixture(autouse=True)
def dns() -> Iterator[Records]:
    """The TXT records that the world has; None in place of a list is a resolver that does not answer."""
    records: Records = {}

    def texts(name: str) -> list[str]:
        found = records.get(name, [])
        if found is None:
            raise domain_proofs.DnsUnanswered
        return found

    domain_proofs.set_texts(texts)
    yield records
    domain_proofs.set_texts(None)


@pytest.fixture
def boss(owner: Person) -> Person:
    confirmed(owner)
    return owner


def claimed(person: Person, host: str = "keys.example.org") -> TenantDomain:
    answer = person.browser.post("/settings/host-names/", {"host": host})
    assert answer.status_code == 302, answer.content.decode()
    return TenantDomain.objects.get(host=host, tenant=person.tenant)


def prove(dns: Records, domain: TenantDomain) -> None:
    dns[domain_proofs.record_name(domain.host)] = ["v=spf1 -all", f" {domain_proofs.record_value(domain.token)} "]


def act(person: Person, domain: TenantDomain, verb: str) -> Any:
    TenantDomain.objects.filter(id=domain.id).update(checked_at=None)
    return person.browser.post(f"/settings/host-names/{domain.id}/{verb}/", follow=True)


def is_served(host: str) -> bool:
    return Client(headers={"host": host}).get("/").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "", " ", "localhost", "gazette", "127.0.0.1", "[::1]", "10.0.0.1", "a..example.org", "-a.example.org",
        "https://keys.example.org", "keys.example.org/path", "keys.example.org:8000", "a b.example.org",
        "keys.example.org, evil.example.org", "*.example.org", "courier.test", "admin.example.org", "gazette.test",
        "x" * 64 + ".example.org", "keys.exam\u202eple.org",
    ],
)  # fmt: skip
def test_what_is_no_name_or_anothers_is_refused(host: str, boss: Person, other_tenant: Tenant, settings: Any) -> None:
    settings.PLATFORM_HOSTS = ["admin.example.org"]
    before = TenantDomain.objects.count()
    assert boss.browser.post("/settings/host-names/", {"host": host}).status_code == 422
    assert TenantDomain.objects.count() == before


@pytest.mark.parametrize("verb", ["", "renew/", "primary/", "remove/"])
def test_nothing_about_host_names_changes_without_a_fresh_proof(verb: str, owner: Person) -> None:
    domain = add_domain(actor=OPERATOR, tenant=owner.tenant, host="two.example.org", is_verified=True)
    path = f"/settings/host-names/{domain.id}/{verb}" if verb else "/settings/host-names/"
    answer = owner.browser.post(path, {"host": "three.example.org"})
    assert answer.status_code == 302
    assert "reauthenticate" in answer["Location"]
    assert TenantDomain.objects.get(is_primary=True).host == "gazette.test"
    assert set(TenantDomain.objects.values_list("host", flat=True)) == {"gazette.test", "two.example.org"}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "There is no TXT record at"),
        (["something else"], "not the one shown here"),
        (["keycast-verification=wrong"], "has another value"),
        (["keycast-verification="], "has another value"),
        (None, "could not be asked"),
    ],
)
def test_a_proof_that_is_not_there_is_said_and_nothing_is_served(
    found: Any, said: str, boss: Person, dns: Records
) -> None:
    domain = claimed(boss, "Keys.Example.org".lower())
    dns[domain_proofs.record_name(domain.host)] = found
    page = " ".join(act(boss, domain, "check").content.decode().split())
    assert said in page
    assert not is_served(domain.host)
    domain.refresh_from_db()
    assert domain.verified_at is None
    assert said in domain.problem


def test_the_token_of_another_claim_proves_nothing(boss: Person, foreign_owner: Person, dns: Records) -> None:
    confirmed(foreign_owner)
    mine, theirs = claimed(boss), claimed(foreign_owner)
    assert mine.token != theirs.token
    prove(dns, theirs)
    act(boss, mine, "check")
    assert not is_served(mine.host)


def test_a_name_is_proved_served_made_primary_and_removed(boss: Person, dns: Records) -> None:
    domain = claimed(boss)
    page = boss.browser.get(f"/settings/host-names/{domain.id}/").content.decode()
    assert "_keycast.keys.example.org" in page
    assert f"keycast-verification={domain.token}" in page
    prove(dns, domain)
    assert "is served from now on" in act(boss, domain, "check").content.decode()
    assert is_served("keys.example.org")
    act(boss, domain, "primary")
    assert TenantDomain.objects.get(tenant=boss.tenant, is_primary=True).host == "keys.example.org"
    assert "first" in act(boss, domain, "remove").content.decode()
    first = TenantDomain.objects.get(host="gazette.test")
    act(boss, first, "primary")
    act(boss, domain, "remove")
    assert not is_served("keys.example.org")
    tags = AuditRow.objects.filter(chain=boss.tenant.id.hex, tag__startswith="accounts:domain", actor_type="user")
    assert [row.tag.rpartition(":")[2] for row in tags.order_by("id")] == [
        *("added", "verified", "made-primary", "made-primary", "removed"),
    ]


def test_the_first_who_proves_a_name_has_it_and_the_other_hears_so(
    boss: Person, foreign_owner: Person, dns: Records
) -> None:
    confirmed(foreign_owner)
    squatted, rightful = claimed(foreign_owner), claimed(boss)
    prove(dns, rightful)
    act(boss, rightful, "check")
    prove(dns, squatted)
    page = act(foreign_owner, squatted, "check").content.decode()
    assert "used by somebody else" in page
    assert Client(headers={"host": "keys.example.org"}).get("/").wsgi_request.tenant == boss.tenant
    TenantDomain.objects.filter(id=squatted.id).delete()
    answer = foreign_owner.browser.post("/settings/host-names/", {"host": "keys.example.org"})
    assert answer.status_code == 422


def test_a_claim_runs_out_and_begins_again_with_another_token(boss: Person, dns: Records) -> None:
    domain = claimed(boss)
    TenantDomain.objects.filter(id=domain.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    prove(dns, domain)
    assert "run out" in act(boss, domain, "check").content.decode()
    assert check_claims() == 0
    assert "Not proved in time" in boss.browser.get("/settings/host-names/").content.decode()
    act(boss, domain, "renew")
    again = TenantDomain.objects.get(id=domain.id)
    assert again.token != domain.token
    assert again.expires_at is not None
    assert again.expires_at > timezone.now() + timedelta(days=6)
    assert check_claims() == 0  # the old record proves the old claim only
    prove(dns, again)
    act(boss, again, "check")
    assert is_served(domain.host)


def test_the_dns_is_not_asked_again_within_seconds(boss: Person, dns: Records) -> None:
    domain = claimed(boss)
    assert boss.browser.post(f"/settings/host-names/{domain.id}/check/").status_code == 302
    prove(dns, domain)
    assert boss.browser.post(f"/settings/host-names/{domain.id}/check/").status_code == 409


def test_the_job_proves_what_waits_and_leaves_what_is_not_there(boss: Person, dns: Records) -> None:
    one, two, three = (claimed(boss, f"{name}.example.org") for name in ("one", "two", "three"))
    prove(dns, one)
    dns[domain_proofs.record_name(two.host)] = None  # type: ignore[assignment]
    prove(dns, three)
    verify_domain(actor=OPERATOR, domain=three)
    assert check_claims() == 1
    assert is_served("one.example.org")
    assert not is_served("two.example.org")
    assert "could not be asked" in TenantDomain.objects.get(id=two.id).problem


def test_a_community_claims_so_many_names_and_no_more(boss: Person) -> None:
    for number in range(MAX_DOMAINS - 1):
        add_domain(actor=OPERATOR, tenant=boss.tenant, host=f"n{number}.example.org")
    answer = boss.browser.post("/settings/host-names/", {"host": "more.example.org"})
    assert answer.status_code == 422
    assert b"Remove one first" in answer.content


def test_a_name_in_other_letters_is_stored_as_dns_has_it(boss: Person) -> None:
    assert claimed(boss, "keys.example.org")
    assert boss.browser.post("/settings/host-names/", {"host": "KEYS.Example.ORG."}).status_code == 422
    boss.browser.post("/settings/host-names/", {"host": "Schlüssel.Example.org"})
    assert TenantDomain.objects.filter(host="xn--schlssel-95a.example.org").exists()
