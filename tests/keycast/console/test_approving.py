"""From asking to deciding, through the pages: step-up, what was typed, own requests, two tabs."""

from __future__ import annotations

import time

import pytest
from django.test import Client

from accounts.models import Approval, StaffRole, Tenant, User
from bunker.models import Connection
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from tests.keycast.console.conftest import World, prove_again, signed_in, staff

APPROVALS = "/admin/accounts/approval/"


@pytest.fixture(autouse=True)
def _nothing_asked_yet(world: World) -> None:
    Approval.objects.all().delete()


def asking(world: World) -> str:
    return f"/admin/accounts/tenant/{world.tenant.pk}/do/suspend/"


def asked(world: World, operator: User) -> Approval:
    client = signed_in(operator)
    prove_again(client)
    client.post(asking(world), {"reason": "breach"})
    return Approval.objects.get(state="open")


def deciding(row: Approval, action: str) -> str:
    return f"{APPROVALS}{row.pk}/do/{action}/"


# --- asking, with step-up ---


def test_without_a_fresh_proof_nothing_is_asked_and_what_was_typed_is_kept(
    operator_client: Client, world: World
) -> None:
    answer = operator_client.post(asking(world), {"reason": "breach at noon"})
    assert answer["Location"].startswith("/account/2fa/reauthenticate/?next=%2Fadmin%2Faccounts%2Ftenant%2F")
    assert not Approval.objects.exists()
    prove_again(operator_client)
    page = operator_client.get(asking(world)).content.decode()
    assert "it is you. Nothing has been done yet" in page
    assert 'value="breach at noon"' in page
    assert not Approval.objects.exists()
    operator_client.post(asking(world), {"reason": "breach at noon"})
    assert Approval.objects.get().reason == "breach at noon"


def test_a_password_is_no_proof_in_the_admin(operator_client: Client, world: World) -> None:
    prove_again(operator_client, "password")
    assert operator_client.post(asking(world), {"reason": "x"}).status_code == 302
    assert not Approval.objects.exists()


def test_a_proof_grows_old(operator_client: Client, world: World) -> None:
    prove_again(operator_client)
    session = operator_client.session
    session["account_authentication_methods"][-1]["at"] = time.time() - 3600
    session.save()
    operator_client.post(asking(world), {"reason": "x"})
    assert not Approval.objects.exists()


def test_asking_for_what_needs_two_changes_nothing_yet(operator: User, world: World) -> None:
    row = asked(world, operator)
    assert Tenant.objects.get().state == Tenant.State.ACTIVE
    assert (row.kind, row.asked_by, row.target_id) == ("suspend-tenant", operator, world.tenant.pk.hex)


def test_asking_again_is_refused_in_words(operator: User, world: World) -> None:
    asked(world, operator)
    client = signed_in(operator)
    prove_again(client)
    page = client.post(asking(world), {"reason": "again"}, follow=True).content.decode()
    assert "asked for already" in page
    assert Approval.objects.count() == 1


def test_what_stops_one_app_needs_no_proof_in_an_emergency(operator_client: Client, world: World) -> None:
    operator_client.post(f"/admin/bunker/connection/{world.connection.pk}/do/lock/", {"reason": "now"})
    assert Connection.objects.get().state == "locked"


# --- deciding ---


def test_an_operator_sees_requests_and_decides_on_none(operator: User, operator_client: Client, world: World) -> None:
    row = asked(world, staff("other@platform.test"))
    page = operator_client.get(f"{APPROVALS}{row.pk}/change/").content.decode()
    assert "breach" in page
    assert "/do/" not in page
    prove_again(operator_client)
    for action in ("approve", "deny"):
        assert operator_client.post(deciding(row, action), {"reason": "x"}).status_code == 403
    operator_client.post(deciding(row, "withdraw"), {"reason": "x"})
    row.refresh_from_db()
    assert row.state == "open"


def test_ones_own_request_offers_withdrawing_alone_and_approving_is_refused(
    officer: User, officer_client: Client, world: World
) -> None:
    row = asked(world, officer)
    page = officer_client.get(f"{APPROVALS}{row.pk}/change/").content.decode()
    assert "/do/withdraw/" in page
    assert "/do/approve/" not in page
    answer = officer_client.post(deciding(row, "approve"), {"reason": "me"}, follow=True).content.decode()
    assert "Another person has to decide" in answer
    assert Tenant.objects.get().state == Tenant.State.ACTIVE
    officer_client.post(deciding(row, "withdraw"), {"reason": "mistake"})
    row.refresh_from_db()
    assert row.state == "withdrawn"


@pytest.mark.parametrize("action", ["approve", "deny"])
def test_deciding_needs_a_fresh_proof_and_a_reason(action: str, operator: User, officer: User, world: World) -> None:
    row = asked(world, operator)
    client = signed_in(officer)
    assert client.post(deciding(row, action), {"reason": "ok"})["Location"].startswith("/account/2fa/reauthenticate/")
    prove_again(client)
    assert "This field is required" in client.post(deciding(row, action), {"reason": " "}).content.decode()
    row.refresh_from_db()
    assert row.state == "open"


def test_another_officer_approves_and_it_happens_in_both_names(
    operator: User, officer: User, officer_client: Client, world: World
) -> None:
    row = asked(world, operator)
    page = officer_client.get(f"{APPROVALS}{row.pk}/change/").content.decode()
    for text in ("Suspend the tenant News", operator.email, "breach", "Look at it first", "/do/approve/", "/do/deny/"):
        assert text in page
    answer = officer_client.post(deciding(row, "approve"), {"reason": "seen"}, follow=True).content.decode()
    assert "Done: approve" in answer
    assert Tenant.objects.get().state == Tenant.State.SUSPENDED
    written = AuditRow.objects.get(tag=AuditTag.TENANT_SUSPENDED)
    assert (written.actor_type, written.actor_id) == ("staff", officer.pk.hex)
    assert operator.email in written.data


@pytest.mark.parametrize("action", ["approve", "deny", "withdraw"])
def test_the_second_tab_is_told_who_decided(
    action: str, operator: User, officer: User, officer_client: Client, world: World
) -> None:
    row = asked(world, operator)
    other = signed_in(staff("second@platform.test", role=StaffRole.SECURITY_OFFICER))
    prove_again(other)
    other.post(deciding(row, "deny"), {"reason": "no"})
    client = officer_client if action != "withdraw" else signed_in(operator)
    answer = client.post(deciding(row, action), {"reason": "late"}, follow=True).content.decode()
    assert "closed: denied by second@platform.test" in answer
    assert Tenant.objects.get().state == Tenant.State.ACTIVE


def test_an_approval_that_fails_shows_why_and_stays_open(operator: User, officer_client: Client, world: World) -> None:
    row = asked(world, operator)
    Tenant.objects.update(state=Tenant.State.SUSPENDED)
    answer = officer_client.post(deciding(row, "approve"), {"reason": "seen"}, follow=True).content.decode()
    assert "This tenant is suspended." in answer
    row.refresh_from_db()
    assert row.state == "open"


def test_the_list_is_the_history_and_says_so_when_it_is_empty(operator_client: Client, world: World) -> None:
    assert "There is nothing of this kind." in operator_client.get(APPROVALS).content.decode()
    asked(world, staff("other@platform.test"))
    page = operator_client.get(APPROVALS).content.decode()
    assert "Suspend the tenant News" in page
    assert "h left" in page
    assert "There is nothing" not in page


def test_a_request_about_something_that_is_gone_is_still_shown(operator_client: Client, world: World) -> None:
    row = asked(world, staff("other@platform.test"))
    for change in ({"target_id": "ab" * 16}, {"kind": "of-another-version"}):
        Approval.objects.update(**change)
        assert operator_client.get(f"{APPROVALS}{row.pk}/change/").status_code == 200
