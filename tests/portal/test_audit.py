"""A tenant's audit log in the portal: whose it is to read, and that it is no other tenant's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from accounts.models import Role
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow
from keycast.audit.offline import check
from keycast.audit.services import chain_of, record
from keycast.audit.signing import LocalStatementSigner
from keycast.audit.statements import Keyring
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.keycast.audit.conftest import KEY, signer  # noqa: F401  (a fixture)

LOG, EXPORT = "/audit/", "/audit/export/"


@transaction.atomic
def note(
    person: Any, tag: AuditTag = AuditTag.KEY_RENAMED, outcome: AuditOutcome = AuditOutcome.OK, **fields: Any
) -> None:
    record(AuditEntry(chain_of(person.tenant.id), tag, outcome, person.actor, **fields))


def page(reader: Any, /, **query: str) -> str:
    answer = reader.browser.get(LOG, query)
    assert answer.status_code == 200, query
    text: str = answer.content.decode()
    return text


def test_members_do_not_read_what_others_did(ada: Any) -> None:
    assert ada.browser.get(LOG).status_code == 403
    assert ada.browser.post(EXPORT).status_code == 403
    assert b'href="/audit/"' not in ada.browser.get("/keys/").content


def test_who_does_not_belong_here_reads_nothing(outsider: Any, suspended: Any, foreign_owner: Any) -> None:
    for person in (outsider, suspended):
        assert person.browser.get(LOG).status_code == 403
        assert person.browser.post(EXPORT).status_code == 403
    elsewhere = foreign_owner.browser.get(LOG, headers={"host": "gazette.test"})
    assert elsewhere.status_code in {302, 403}


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.AUDITOR])
def test_leaders_and_auditors_read_it(role: Role, tenant: Any, make_person: Any) -> None:
    reader = make_person(tenant, "reader@example.org", role)
    assert "Member added" in page(reader)
    assert b'href="/audit/"' in reader.browser.get("/security/").content


def test_another_tenants_rows_cursors_and_ids_lead_nowhere(owner: Any, foreign_owner: Any) -> None:
    secret_key = foreign_owner.key("Eve's hidden key")
    for number in range(60):
        note(foreign_owner, AuditTag.KEY_DISABLED, data={"reason": f"Hidden {number}."}, key_id=secret_key.id.hex)
    cursors = AuditRow.objects.filter(chain=chain_of(foreign_owner.tenant.id)).values_list("id", "sequence")
    for query in [
        *({"before": str(place)} for row in cursors[::20] for place in row),
        *({"after": str(place)} for row in cursors[::20] for place in row),
        {"key": secret_key.id.hex},
        {"person": foreign_owner.user.id.hex},
        {"key": secret_key.id.hex, "chain": chain_of(foreign_owner.tenant.id), "tenant": "courier"},
    ]:
        text = page(owner, **query)
        assert "Hidden" not in text
        assert "hidden key" not in text
        assert "eve@example.org" not in text
    taken = b"".join(owner.browser.post(EXPORT, {"chain": chain_of(foreign_owner.tenant.id)}))
    assert b"Hidden" not in taken
    refused = owner.browser.post(EXPORT, {"key": secret_key.id.hex}, follow=True)
    assert b"not valid" in refused.content


@pytest.mark.parametrize(
    "query", [{"what": "%"}, {"outcome": "x"}, {"person": "' OR 1=1"}, {"key": "x"}, {"since": "x"}, {"until": "\x00"}]
)
def test_nonsense_shows_nothing_and_breaks_nothing(query: dict[str, str], owner: Any) -> None:
    assert "Member added" not in page(owner, **query)


@pytest.mark.parametrize("query", [{"before": "x"}, {"after": "-1"}])
def test_a_page_address_that_was_never_given_out_is_refused_in_words(query: dict[str, str], owner: Any) -> None:
    answer = owner.browser.get(LOG, query)
    assert answer.status_code == 400
    assert b"Start again" in answer.content


def test_the_filters_narrow(owner: Any, ada: Any) -> None:
    key = ada.key("Ada's key")
    note(ada, AuditTag.KEY_LOCKED, key_id=key.id.hex, data={"reason": "Lost my phone."})
    note(owner, AuditTag.SIGN_IN_FAILED, AuditOutcome.DENIED)
    assert "Lost my phone." in page(owner)
    for query in ({"key": key.id.hex}, {"person": ada.user.id.hex}, {"what": "keys"}, {"since": "2020-01-01"}):
        assert "Lost my phone." in page(owner, **query), query
    for query in ({"person": owner.user.id.hex}, {"what": "people"}, {"outcome": "denied"}, {"until": "2020-01-01"}):
        assert "Lost my phone." not in page(owner, **query), query


def test_pages_follow_each_other(owner: Any) -> None:
    for number in range(70):
        note(owner, data={"reason": f"Number {number}."})
    first = page(owner, what="keys")
    assert "Number 69." in first
    assert "Number 39." not in first
    older = first.split('rel="next" href="?')[1].split("#")[0].replace("&amp;", "&")
    second = owner.browser.get(f"{LOG}?{older}").content.decode()
    assert "Number 39." in second
    assert "Number 69." not in second
    newer = second.split('rel="prev" href="?')[1].split("#")[0].replace("&amp;", "&")
    assert "Number 69." in owner.browser.get(f"{LOG}?{newer}").content.decode()


def test_what_apps_say_of_themselves_is_escaped(owner: Any) -> None:
    entry = AuditEntry(chain_of(owner.tenant.id), AuditTag.PING, AuditOutcome.OK, Actor.client("ab" * 32, "<b>App"))
    with transaction.atomic():
        record(entry)
    assert "&lt;b&gt;App" in page(owner)


def test_a_page_costs_the_same_number_of_queries(owner: Any, django_assert_max_num_queries: Any) -> None:
    for _ in range(50):
        note(owner)
    for query in ({}, {"what": "uses"}, {"person": owner.user.id.hex}, {"since": "2020-01-01", "until": "2030-01-01"}):
        with django_assert_max_num_queries(16):
            page(owner, **query)


def test_too_much_at_once_is_refused_in_words(owner: Any, settings: Settings) -> None:
    settings.AUDIT_EXPORT_ROWS = 1
    note(owner)
    assert b"Choose a shorter one" in owner.browser.post(EXPORT, follow=True).content


@pytest.mark.usefixtures("signer")
def test_what_is_taken_out_is_the_own_chain_with_proofs_and_is_recorded(owner: Any, foreign_owner: Any) -> None:
    note(owner)
    note(foreign_owner)
    rows = AuditRow.objects.filter(chain=chain_of(owner.tenant.id)).count()
    lines = b"".join(owner.browser.post(EXPORT)).splitlines(keepends=True)
    found = check(lines, Keyring([LocalStatementSigner.from_text(KEY).public_key]))
    assert (found.chain, found.rows, found.unsigned, found.is_complete) == (owner.tenant.id.hex, rows, 0, True)
    taken = AuditRow.objects.get(tag=AuditTag.AUDIT_EXPORTED)
    assert (taken.actor_id, json.loads(taken.data)["to"]) == (owner.user.id.hex, rows)
