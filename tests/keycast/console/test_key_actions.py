"""What staff do to keys: one or several, for a reason, and by two persons where nothing brings a key back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Approval, User
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keys.admin.actions import STAFF_ACTIONS
from keys.models import Conversion, KeyExport, KeyState, PersonalKey
from tests.keycast.console.conftest import World, prove_again, signed_in, staff
from tests.keycast.console.test_keys import page_of, split_key
from tests.keycast.console.test_pages import KEYS

# --- several keys at once ---


def ticked(*keys: PersonalKey, action: str = "lock_selected", **more: str) -> dict[str, Any]:
    return {"action": action, "_selected_action": [str(key.pk) for key in keys], **more}


def test_several_keys_are_locked_each_with_a_row_and_a_result(operator_client: Client, world: World) -> None:
    second = split_key(world, state="locked")
    asked = operator_client.post(KEYS, ticked(world.key, second, index="0")).content.decode()
    assert 'name="confirmed"' in asked
    assert not AuditRow.objects.filter(tag=AuditTag.KEY_LOCKED).exists()
    page = operator_client.post(KEYS, ticked(world.key, second, confirmed="yes", reason="a drill")).content.decode()
    assert "Locked." in page
    assert "A key that is locked does not allow this." in page
    row = AuditRow.objects.get(tag=AuditTag.KEY_LOCKED)
    assert (row.key_id, "a drill" in row.data) == (world.key.id.hex, True)


def test_several_keys_are_not_locked_without_a_reason_or_by_others(operator_client: Client, world: World) -> None:
    page = operator_client.post(KEYS, ticked(world.key, confirmed="yes", reason=" ")).content.decode()
    assert "This field is required" in page
    auditor = signed_in(staff("auditor@platform.test", role="auditor"))
    auditor.post(KEYS, ticked(world.key, confirmed="yes", reason="x"))
    assert "lock_selected" not in auditor.get(KEYS).content.decode()
    world.key.refresh_from_db()
    assert world.key.state == KeyState.ACTIVE


def test_everything_that_matches_cannot_be_selected_at_once(operator_client: Client, world: World) -> None:
    other = split_key(world)
    operator_client.post(KEYS, ticked(world.key, confirmed="yes", reason="x", select_across="1"))
    other.refresh_from_db()
    assert other.state == KeyState.ACTIVE
    assert AuditRow.objects.filter(tag=AuditTag.KEY_LOCKED).count() == 1


# --- staff actions ---


def do(client: Client, key: PersonalKey, action: str, reason: str = "a drill") -> str:
    return client.post(f"{KEYS}{key.pk}/do/{action}/", {"reason": reason}, follow=True).content.decode()


def test_destruction_is_asked_for_and_a_second_officer_decides(
    operator_client: Client, officer_client: Client, operator: User, world: World
) -> None:
    prove_again(operator_client)
    assert "Nothing happens before another person approves" in do(
        operator_client, world.key, "destroy", "gone for good"
    )
    world.key.refresh_from_db()
    assert world.key.state == KeyState.ACTIVE
    assert "by operator@platform.test: gone for good. Another person decides" in page_of(operator_client, world.key)
    request = Approval.objects.get(kind="destroy-key")
    officer_client.post(f"/admin/accounts/approval/{request.pk}/do/approve/", {"reason": "agreed"}, follow=True)
    world.key.refresh_from_db()
    assert world.key.state == KeyState.DESTRUCTION_SCHEDULED
    told = AuditRow.objects.get(tag=AuditTag.KEY_DESTRUCTION_SCHEDULED)
    assert "gone for good" in told.data
    assert operator.email in told.data
    assert "asked for by operator@platform.test" in page_of(operator_client, world.key)


def test_destruction_and_conversion_want_a_fresh_second_factor(operator_client: Client, world: World) -> None:
    for action in ("destroy", "convert"):
        operator_client.post(f"{KEYS}{world.key.pk}/do/{action}/", {"reason": "x"})
    assert not Approval.objects.filter(kind="destroy-key").exists()
    assert not AuditRow.objects.filter(tag=AuditTag.KEY_CONVERSION_BEGUN).exists()


def test_a_damaged_key_fails_its_check_and_the_page_says_so(operator_client: Client, world: World) -> None:
    assert "What is stored does not open" in do(operator_client, world.key, "check")
    row = AuditRow.objects.get(tag=AuditTag.KEY_CHECKED)
    assert row.outcome == "failed"
    world.key.refresh_from_db()
    assert world.key.state == KeyState.ACTIVE
    page = page_of(operator_client, world.key)
    assert "Last checked" in page
    assert "found: What is stored does not open" in page


def test_a_reason_is_kept_when_a_key_is_brought_back(operator_client: Client, world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr("keys.services.opens", lambda row: True)
    do(operator_client, world.key, "lock", "a drill begins")
    do(operator_client, world.key, "unlock", "a drill is over")
    assert "a drill is over" in page_of(operator_client, world.key)


def test_a_rotation_of_one_key_shows_how_far_it_is(operator_client: Client, world: World) -> None:
    page = do(operator_client, world.key, "rewrap", "a new key-encryption key")
    assert "Done: seal anew" in page
    assert "Under way" in page
    assert "Seal every secret under the current KEK" in page
    assert "a new key-encryption key" in page
    assert "already running" in do(operator_client, world.key, "rewrap")


def test_a_refusal_to_convert_is_told_in_words(operator_client: Client, world: World) -> None:
    prove_again(operator_client)
    assert "not offered here" in do(operator_client, world.key, "convert")


def test_staff_actions_that_do_not_fit_the_key_state_are_not_offered(operator_client: Client, world: World) -> None:
    page = page_of(operator_client, world.key)
    for action in ("lock", "disable", "check", "convert", "rewrap", "transport", "destroy"):
        assert f"/do/{action}/" in page, action
    for action in ("unlock", "enable", "retry", "hurry", "refresh", "replace-hsm-key", "keep", "remove", "stay"):
        assert f"/do/{action}/" not in page, action


@pytest.mark.parametrize(("step", "may_convert"), [("cancelled", False), ("failed", True)])
def test_a_conversion_that_failed_may_be_tried_again_and_one_that_ends_not_yet(
    operator_client: Client, world: World, step: str, may_convert: bool
) -> None:
    Conversion.objects.create(key=world.key, step=step, problem="The HSM is away.")
    page = page_of(operator_client, world.key)
    assert ("/do/convert/" in page) is may_convert
    assert "/do/stay/" in page
    assert "The HSM is away." in page


def test_staff_see_an_export_that_waits_and_cancel_it_and_can_do_no_more(operator_client: Client, world: World) -> None:
    now = timezone.now()
    times = {"asked_at": now, "due_at": now + timedelta(hours=72), "expires_at": now + timedelta(hours=144)}
    export = KeyExport.objects.create(
        key=world.key, user=world.key.user, session_hash="0" * 64, credentials="0" * 64, **times
    )
    page = page_of(operator_client, world.key)
    assert "Export under a password, asked for by its owner" in page
    assert "Cancel its export" in page
    assert "export" not in {action.slug for action in STAFF_ACTIONS}
    auditor = signed_in(staff("auditor@platform.test", role="auditor"))
    do(auditor, world.key, "cancel-export")
    export.refresh_from_db()
    assert export.state == "waiting"
    do(operator_client, world.key, "cancel-export", "asked on the phone")
    export.refresh_from_db()
    assert (export.state, export.reason) == ("cancelled", "asked on the phone")
    row = AuditRow.objects.get(tag=AuditTag.KEY_EXPORT_CANCELLED)
    assert row.actor_type == "staff"
    assert "Cancel its export" not in page_of(operator_client, world.key)
