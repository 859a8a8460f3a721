"""Inventories of HSMs in the admin, and keys there that no row names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Approval, User
from accounts.staff.approvals.errors import ApprovalRequired
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keys.hsm.inventory import health, services
from keys.models import HsmInventory, HsmOrphan
from tests.keycast.console.conftest import World, prove_again
from tests.keycast.console.test_keys import RING

# --- HSMs ---

INVENTORIES = "/admin/keys/hsminventory/"
FINDING = {"kind": "disabled", "name": "…/user-1", "key_id": "", "detail": "<b>version</b>"}


def inventory_with(world: World, **fields: Any) -> HsmInventory:
    report = {
        "counts": {"disabled": 3, "still-enabled": 1},
        "findings": [{**FINDING, "key_id": world.key.id.hex}, {**FINDING, "kind": "still-enabled"}],
        "foreign": ["projects/p/backup"],
        "foreign_count": 7,
    }
    wanted = {"provider": "google", "state": "done", "asked_by": "x", "finished_at": timezone.now(), "report": report}
    return HsmInventory.objects.create(**{**wanted, **fields})


def test_an_inventory_shows_findings_with_advice_and_what_is_not_ours(operator_client: Client, world: World) -> None:
    taken = inventory_with(world)
    page = operator_client.get(f"{INVENTORIES}{taken.pk}/change/").content.decode()
    for text in ("Disabled in the HSM, in use here: 3", "And 2 more", "Somebody disabled it outside Keycast"):
        assert text in page
    for text in ("Stopped here, still enabled in the HSM: 1", "projects/p/backup", "7"):
        assert text in page
    assert f"/admin/keys/personalkey/{world.key.pk}/change/" in page
    assert "&lt;b&gt;version" in page


def test_an_hsm_that_could_not_be_asked_says_so_beside_the_old_result(
    operator_client: Client, world: World, settings: Any
) -> None:
    settings.HSM_PROVIDERS, settings.GCP_KEY_RING = ["google"], RING
    inventory_with(world, started_at=timezone.now() - timedelta(days=3))
    HsmInventory.objects.filter(report={}).delete()
    inventory_with(world, state="failed", problem="The HSM is temporarily unavailable.", report={})
    page = operator_client.get(INVENTORIES).content.decode()
    assert "was given up. The HSM is temporarily unavailable." in page
    assert "3\xa0days old" in page
    assert "3 to be looked at" in page


def test_an_inventory_is_begun_for_a_reason_and_only_where_there_is_an_hsm(
    operator_client: Client, world: World, settings: Any
) -> None:
    address = "/admin/hsm/google/compare/"
    assert "No such HSM is set up" in operator_client.post(address, {"reason": "x"}, follow=True).content.decode()
    settings.HSM_PROVIDERS, settings.GCP_KEY_RING = ["google"], RING
    assert "Reads every key" in operator_client.get(address).content.decode()
    operator_client.post(address, {"reason": "after the drill"})
    taken = HsmInventory.objects.get(state="running")
    assert taken.report["why"] == "after the drill"
    page = operator_client.get(f"{INVENTORIES}{taken.pk}/change/").content.decode()
    assert "Still under way" in page
    assert "<progress" in page


def test_an_orphan_is_left_for_a_reason_or_given_up_by_two(
    operator_client: Client, officer_client: Client, world: World
) -> None:
    orphan = HsmOrphan.objects.get()
    place = f"/admin/keys/hsmorphan/{orphan.pk}/do/"
    operator_client.post(f"{place}ignore/", {"reason": "the staging server's"})
    orphan.refresh_from_db()
    assert (orphan.state, orphan.reason, orphan.decided_by) == (
        "ignored",
        "the staging server's",
        "operator@platform.test",
    )
    prove_again(operator_client)
    operator_client.post(f"{place}destroy/", {"reason": "staging is gone"})
    orphan.refresh_from_db()
    assert orphan.state == "ignored"
    request = Approval.objects.get(kind="destroy-hsm-orphan")
    assert "Destroy the key" in request.description
    officer_client.post(f"/admin/accounts/approval/{request.pk}/do/approve/", {"reason": "agreed"})
    orphan.refresh_from_db()
    assert orphan.state == "doomed"
    told = AuditRow.objects.get(tag=AuditTag.HSM_ORPHAN_CONDEMNED)
    assert "operator@platform.test" in told.data


def test_a_service_gives_up_no_orphan_for_one_person(operator: User, world: World) -> None:
    with pytest.raises(ApprovalRequired):
        services.condemn(actor=Actor.staff(operator), orphan=HsmOrphan.objects.get(), reason="alone")


def test_health_tells_of_findings_failures_and_old_results(world: World, settings: Any) -> None:
    assert health.inventories() is None
    settings.HSM_PROVIDERS, settings.GCP_KEY_RING = ["google"], RING
    found = health.inventories()
    assert found is not None
    assert (found.is_ok, found.detail) == (True, "HSMs and database were found to agree.")
    HsmInventory.objects.update(provider="nethsm")
    assert "Not compared yet" in health.inventories().detail  # type: ignore[union-attr]
    HsmInventory.objects.update(provider="google")
    inventory_with(world, started_at=timezone.now() + timedelta(minutes=1))
    assert "3 differences" in health.inventories().detail  # type: ignore[union-attr]
    inventory_with(world, state="failed", problem="The HSM is away.", started_at=timezone.now() + timedelta(minutes=2))
    assert "The HSM is away." in health.inventories().detail  # type: ignore[union-attr]
    HsmInventory.objects.exclude(report={}).delete()
    HsmInventory.objects.update(started_at=timezone.now() - timedelta(days=5))
    assert "was last compared" in health.inventories().detail  # type: ignore[union-attr]
