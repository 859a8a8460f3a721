"""What staff find: searches, the overview, the audit log, and staff actions that ask for a reason."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from accounts.staff.model_admin import BoundedPaginator
from bunker.models import Connection, WorkerSeat
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.operations import jobs
from keys.models import PersonalKey
from tests.keycast.console.conftest import CLIENT, EVENT_ID, NPUB, PUBLIC_KEY, World, prove_again, staff

KEYS = "/admin/keys/personalkey/"
CONNECTIONS = "/admin/bunker/connection/"
AUDIT = "/admin/audit/auditrow/"


def found(client: Client, address: str, query: str) -> int:
    return int(client.get(address, {"q": query}).context["cl"].result_count)


def audit_rows(client: Client, **query: str) -> int:
    return len(client.get(AUDIT, query).context["rows"])


@pytest.mark.parametrize("query", ["nobody@", "npub1nonsense", "f" * 64, "zz", "%", "' OR 1=1 --", "0" * 32])
def test_a_search_for_what_is_not_there_finds_nothing(operator_client: Client, query: str) -> None:
    for address in (KEYS, CONNECTIONS):
        assert found(operator_client, address, query) == 0


@pytest.mark.parametrize("query", [NPUB, PUBLIC_KEY, "member@", "MEMBER@news.test", f"  {NPUB} "])
def test_a_key_and_its_apps_are_found_by_npub_hex_and_email(operator_client: Client, query: str) -> None:
    assert found(operator_client, KEYS, query) == 1
    assert found(operator_client, CONNECTIONS, query) == 1


def test_a_key_is_found_by_its_id_and_an_app_by_its_public_key(operator_client: Client, world: World) -> None:
    assert found(operator_client, KEYS, str(world.key.id)) == 1
    assert found(operator_client, CONNECTIONS, CLIENT) == 1


def test_the_log_is_searched_by_event_id_npub_key_id_and_person(operator_client: Client, world: World) -> None:
    deed = AuditEntry(chain_of(world.tenant.id), AuditTag.KEY_RENAMED, AuditOutcome.OK, Actor.user(world.member))
    with transaction.atomic():
        record(deed)
    for query in (EVENT_ID, NPUB, world.key.id.hex, str(world.key.id), world.member.id.hex, "MEMBER@news.test"):
        assert audit_rows(operator_client, q=query) == 1, query
    for query in ("ab" * 32, "ab" * 16, CLIENT, world.connection.id.hex):
        assert audit_rows(operator_client, q=query) == 0, query


@pytest.mark.parametrize("query", ["nobody@news.test", "npub1nonsense", "zz", "%", "' OR 1=1 --", "\u0661" * 32, "abc"])
def test_a_search_term_of_no_known_form_is_reported(operator_client: Client, query: str) -> None:
    page = operator_client.get(AUDIT, {"q": query})
    assert page.context["rows"] == []
    assert "There is no person, key or app" in page.content.decode()


@pytest.mark.parametrize(
    "query", [{"before": "x"}, {"after": "-1"}, {"chain": "ab"}, {"tag": "x"}, {"outcome": "%"}, {"since": "x"}]
)
def test_an_address_that_makes_no_sense_shows_nothing(operator_client: Client, query: dict[str, str]) -> None:
    answer = operator_client.get(AUDIT, query)
    assert (answer.status_code, answer.context["rows"]) == (200, [])


def test_the_log_is_narrowed_by_chain_tag_outcome_and_actor(operator_client: Client, world: World) -> None:
    def count(**query: str) -> int:
        return audit_rows(operator_client, **query)

    assert count(chain=world.tenant.id.hex, tag=AuditTag.KEY_CREATED, outcome="denied", actor="user") == 1
    assert count(chain="ab" * 16) == count(outcome="failed") == 0
    assert count(actor="client") == count(tag=AuditTag.KEY_EXPORTED) == 0


def test_lists_cost_the_same_number_of_queries_however_long_they_are(
    operator_client: Client, world: World, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        PersonalKey.objects.create(
            tenant=world.tenant,
            user=world.member,
            name=f"Key {number}",
            key_mode="encrypted",
            kek_provider="local",
            state="active",
            public_key=f"{number:064x}",
            encrypted_secret_key=b"x",
            kek_version="1",
        )
    with django_assert_max_num_queries(12):
        assert operator_client.get(KEYS).status_code == 200


def test_rows_are_counted_up_to_a_limit_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.staff.model_admin.COUNT_AT_MOST", 1)
    WorkerSeat.objects.create(id="w2", host="box", pid=8, seen_at=0)
    assert BoundedPaginator(WorkerSeat.objects.order_by("id"), 10).count == 1


def test_the_overview_shows_keys_workers_relays_and_refusals(operator_client: Client) -> None:
    jobs.heartbeat()
    for email in ("one@platform.test", "two@platform.test"):
        staff(email, role="security-officer")
    page = operator_client.get("/admin/").content.decode()
    for text in ("Encrypted", "box:7", "wss://relay.test", "because-of-a-test", "Nothing. Database"):
        assert text in page


def test_the_overview_says_what_needs_attention(operator_client: Client) -> None:
    WorkerSeat.objects.update(seen_at=0)
    page = operator_client.get("/admin/").content.decode()
    assert "0 alive of 1 known" in page
    assert "silent" in page


# --- staff actions ---


@pytest.fixture
def revoke(world: World) -> str:
    return f"{CONNECTIONS}{world.connection.pk}/do/revoke/"


def test_a_staff_action_without_a_reason_changes_nothing(operator_client: Client, revoke: str) -> None:
    for reason in ("", "   "):
        response = operator_client.post(revoke, {"reason": reason})
        assert response.status_code == 200
        assert "This field is required" in response.content.decode()
    assert Connection.objects.get().state == "active"


def test_a_get_of_a_staff_action_changes_nothing(operator_client: Client, revoke: str) -> None:
    assert "Ends the app" in operator_client.get(revoke).content.decode()
    assert Connection.objects.get().state == "active"


def test_an_unknown_staff_action_or_row_is_404(operator_client: Client, world: World, revoke: str) -> None:
    assert operator_client.post(revoke.replace("revoke", "sign"), {"reason": "x"}).status_code == 404
    assert operator_client.post(f"{CONNECTIONS}{world.tenant.pk}/do/revoke/", {"reason": "x"}).status_code == 404


def test_a_staff_action_without_the_csrf_token_is_403(operator: Any, revoke: str) -> None:
    client = Client(enforce_csrf_checks=True, HTTP_HOST="admin.test")
    client.force_login(operator, "allauth.account.auth_backends.AuthenticationBackend")
    assert client.post(revoke, {"reason": "x"}).status_code == 403
    assert Connection.objects.get().state == "active"


def test_revoking_ends_the_connection_and_writes_who_and_why(
    operator_client: Client, revoke: str, operator: Any
) -> None:
    operator_client.post(revoke, {"reason": "lost phone"})
    connection = Connection.objects.get()
    assert connection.state == "revoked"
    row = AuditRow.objects.get(tag=AuditTag.CONNECTION_REVOKED)
    assert (row.actor_type, row.actor_id) == ("staff", operator.id.hex)
    assert "lost phone" in row.data


def test_only_staff_actions_available_in_the_row_state_are_offered(operator_client: Client, world: World) -> None:
    page = operator_client.get(f"{KEYS}{world.key.pk}/change/").content.decode()
    assert "/do/lock/" in page
    assert "/do/unlock/" not in page


def test_a_refusal_of_the_service_is_shown(operator_client: Client, world: World) -> None:
    address = f"/admin/keys/personalkey/{world.key.pk}/do/enable/"
    page = operator_client.post(address, {"reason": "x"}, follow=True).content.decode()
    assert "A key that is active does not allow this." in page


@pytest.mark.parametrize(
    ("address", "tag"),
    [
        ("/admin/accounts/user/{member}/do/lock/", AuditTag.USER_LOCKED),
        ("/admin/accounts/user/{member}/do/deactivate/", AuditTag.USER_DEACTIVATED),
        ("/admin/keys/personalkey/{key}/do/lock/", AuditTag.KEY_LOCKED),
        ("/admin/keys/personalkey/{key}/do/disable/", AuditTag.KEY_DISABLED),
        ("/admin/bunker/connection/{connection}/do/lock/", AuditTag.CONNECTION_LOCKED),
    ],
)
def test_every_staff_action_writes_an_audit_row_with_its_reason(
    operator_client: Client, world: World, address: str, tag: AuditTag
) -> None:
    ids = {name: getattr(world, name).pk for name in ("tenant", "member", "key", "connection")}
    prove_again(operator_client)
    response = operator_client.post(address.format(**ids), {"reason": "drill"}, follow=True)
    assert "Done: " in response.content.decode()
    assert "drill" in AuditRow.objects.get(tag=tag).data
