"""Rotations in the admin: who begins, ends and resumes them, and what their pages say."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keys.models import Rotation
from keys.rotation import services
from keys.rotation.scope import RotationScope
from tests.keycast.console.conftest import World, prove_again

ROTATIONS = "/admin/keys/rotation/"
START = "/admin/rotations/transport/start/"
COUNT = "/admin/rotations/transport/count/"
COMMAND = Actor.command("test")


@pytest.fixture(autouse=True)
def none_yet(world: World) -> None:
    Rotation.objects.all().delete()


def begun(**fields: Any) -> Rotation:
    rotation = services.start(actor=COMMAND, kind="transport", scope="all")
    Rotation.objects.filter(pk=rotation.pk).update(**fields)
    return Rotation.objects.get()


@pytest.mark.parametrize(
    "address", ["/admin/rotations/identity/start/", "/admin/rotations/nothing/start/", "/admin/rotations/kek/all/"]
)
def test_an_unknown_rotation_page_is_404(operator_client: Client, address: str) -> None:
    assert operator_client.get(address).status_code == 404


def test_a_tenant_that_does_not_exist_is_not_found(operator_client: Client) -> None:
    assert operator_client.get(f"{START}?tenant=nobody").status_code == 404


def test_counting_changes_nothing_and_beginning_asks_who_it_is(operator_client: Client, world: World) -> None:
    page = operator_client.post(COUNT, {"reason": "a look"}, follow=True).content.decode()
    assert "1 would change" in page
    assert Rotation.objects.get().is_dry_run
    assert operator_client.post(START, {"reason": "a leak"})["Location"].startswith("/account/")
    assert Rotation.objects.count() == 1


def test_a_rotation_starts_with_a_reason_and_an_overlapping_one_is_refused(
    operator_client: Client, world: World
) -> None:
    prove_again(operator_client)
    operator_client.post(f"{START}?tenant={world.tenant.slug}", {"reason": "a leak"})
    rotation = Rotation.objects.get()
    assert rotation.scope == f"tenant:{world.tenant.id.hex}"
    row = AuditRow.objects.filter(tag=AuditTag.ROTATION_STARTED).get()
    assert (row.actor_type, "a leak" in row.data) == ("staff", True)
    page = operator_client.post(START, {"reason": "again"}, follow=True).content.decode()
    assert "is already running" in page
    assert Rotation.objects.count() == 1


def test_a_rotation_can_be_cancelled_and_resumed_in_the_admin(operator_client: Client) -> None:
    rotation = begun()
    operator_client.post(f"{ROTATIONS}{rotation.pk}/do/cancel/", {"reason": "not now"})
    rotation.refresh_from_db()
    assert rotation.state == "cancelled"
    operator_client.post(f"{ROTATIONS}{rotation.pk}/do/resume/", {"reason": "now"})
    rotation.refresh_from_db()
    assert rotation.state == "pending"


def test_the_rotation_page_shows_rate_remaining_time_and_failures(operator_client: Client, world: World) -> None:
    failure = {"key": str(world.key.pk), "item": "x", "code": "key-damaged", "message": "<b>damaged</b>"}
    rotation = begun(
        state="running",
        total=100,
        done=40,
        failed=1,
        rate=2.0,
        problem="kek-unavailable",
        report={"failures": [failure]},
    )
    for address in (ROTATIONS, f"{ROTATIONS}{rotation.pk}/change/"):
        page = operator_client.get(address).content.decode()
        for text in ("Replace remote-signer keys", "every key", "40 of 100, 1 failed", "2 a second, 30 s left"):
            assert text in page
        assert "waits: kek-unavailable" in page
    assert f"/admin/keys/personalkey/{world.key.pk}/change/" in page
    assert "&lt;b&gt;damaged" in page


def test_the_rotation_list_links_to_the_key_of_a_one_key_rotation(operator_client: Client, world: World) -> None:
    services.start(actor=COMMAND, kind="transport", scope=RotationScope.of_key(world.key))
    assert f"/admin/keys/personalkey/{world.key.pk.hex}/change/" in operator_client.get(ROTATIONS).content.decode()
