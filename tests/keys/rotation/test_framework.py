"""The framework of all rotations: refusals, lease and fence, passes, progress, report."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotPermitted, Unavailable
from keycast.operations.health import Severity
from keys import jobs
from keys.errors import KeyDamaged
from keys.models import PersonalKey, Rotation, RotationState
from keys.rotation import health, lease, runner, selectors, services
from keys.rotation.errors import KeyRotationRunning, NothingToRotate, RotationLeaseLost, RotationNotFound, WrongScope
from keys.rotation.scope import RotationScope
from tests.keys.conftest import make_tenant, make_user
from tests.keys.rotation.conftest import OPERATOR


def begin(scope="all", **options):
    return services.start(actor=OPERATOR, kind="renaming", scope=scope, **options)


def names():
    with scopes_disabled():
        return sorted(PersonalKey.objects.values_list("name", flat=True))


def test_a_member_may_not_rotate(renaming, keys, user):
    with pytest.raises(NotPermitted):
        services.start(actor=Actor.user(user), kind="renaming", scope="all")
    assert not Rotation.objects.exists()


@pytest.mark.parametrize("scope", ["", "tenant:", "key:zz", "tenant:00000000000000000000000000000000", "user:1"])
def test_a_scope_that_does_not_exist_is_refused(renaming, db, scope):
    with pytest.raises(WrongScope):
        begin(scope)


def test_a_second_one_is_refused_wherever_their_scopes_overlap(renaming, keys, tenant):
    key, other = RotationScope.of_key(keys[0]), RotationScope.of_key(keys[1])
    for first, second in (
        ("all", "all"),
        ("all", RotationScope.of_tenant(tenant)),
        (key, "all"),
        (RotationScope.of_tenant(tenant), key),
        (key, RotationScope.of_tenant(tenant)),
        (key, key),
    ):
        running = begin(first)
        with pytest.raises(KeyRotationRunning) as refused:
            begin(second)
        assert refused.value.http_status == 409
        services.cancel(actor=OPERATOR, rotation=running)
    begin(key)
    begin(other)
    begin(RotationScope.of_tenant(make_tenant()))


def test_a_dry_run_changes_nothing_and_is_recorded(renaming, keys):
    begin()
    rehearsed = begin(dry_run=True)
    assert (rehearsed.state, rehearsed.report) == (RotationState.DONE, {"would_change": 5})
    assert names() == [f"old {number}" for number in range(5)]
    assert AuditRow.objects.filter(tag="keys:rotation:rehearsed").count() == 1
    assert renaming.rotated == []


def test_it_changes_everything_once_and_reports(renaming, keys):
    seen = []
    rotation = runner.run_for(begin().id, observe=lambda row: seen.append(services.progress(row).done))
    assert rotation.state == RotationState.DONE
    assert (rotation.total, rotation.done, rotation.failed) == (5, 5, 0)
    assert names() == ["new"] * 5
    assert len(renaming.rotated) == 5
    assert seen == sorted(seen)
    assert rotation.report["failures"] == []
    assert rotation.report["seconds"] >= 0
    tags = list(AuditRow.objects.filter(tag__startswith="keys:rotation").values_list("tag", "outcome"))
    assert sorted(tags) == [("keys:rotation:finished", "ok"), ("keys:rotation:started", "ok")]


def test_it_stays_within_its_scope(renaming, keys):
    runner.run_for(begin(RotationScope.of_key(keys[2])).id)
    assert names() == ["new", "old 0", "old 1", "old 3", "old 4"]


def test_a_failing_item_is_reported_and_the_others_are_rotated(renaming, keys):
    renaming.failures["old 3"] = KeyDamaged()
    rotation = runner.run_for(begin().id)
    assert rotation.state == RotationState.FAILED
    assert (rotation.done, rotation.failed) == (4, 1)
    assert [(failure["key"], failure["code"]) for failure in rotation.report["failures"]] == [
        (str(keys[3].id), "key-damaged")
    ]
    renaming.failures.clear()
    again = services.resume(actor=OPERATOR, rotation=rotation)
    assert runner.run_for(again.id).state == RotationState.DONE
    assert names() == ["new"] * 5


def test_a_rotation_retries_an_unavailable_item_and_fails_in_the_end(renaming, keys):
    renaming.failures = {key.name: Unavailable() for key in keys}
    rotation = runner.run_for(begin().id)
    assert (rotation.state, rotation.problem, rotation.failed) == (RotationState.RUNNING, "temporarily-unavailable", 0)
    assert rotation.not_before > timezone.now()
    assert runner.run_for(rotation.id).waits == 1, "too early"
    while rotation.state == RotationState.RUNNING:
        Rotation.objects.filter(pk=rotation.pk).update(not_before=None)
        rotation = runner.run_for(rotation.id)
    assert (rotation.state, rotation.failed) == (RotationState.FAILED, 5)


def test_one_that_was_away_is_tried_again(renaming, keys):
    renaming.failures = {"old 1": Unavailable()}
    rotation = runner.run_for(begin().id)
    renaming.failures.clear()
    Rotation.objects.filter(pk=rotation.pk).update(not_before=None)
    assert runner.run_for(rotation.id).state == RotationState.DONE
    assert names() == ["new"] * 5


def test_a_runner_that_slept_through_its_lease_stores_nothing(renaming, keys):
    rotation = begin()
    taken = []

    def sleep_and_wake(item):
        if not taken:
            Rotation.objects.update(lease_until=0)  # so long did it sleep
            taken.append(lease.acquire(rotation.id))

    renaming.on_rotate = sleep_and_wake
    row = runner.run_for(rotation.id)
    assert row.state == RotationState.RUNNING
    assert row.done == 0
    assert names() == [f"old {number}" for number in range(5)]
    assert runner.run_for(rotation.id).done == 0, "the other one holds it"
    taken[0].release()
    assert runner.run_for(rotation.id).state == RotationState.DONE


def test_one_that_was_cancelled_under_the_runner_stops_at_once(renaming, keys):
    rotation = begin()
    renaming.on_rotate = lambda item: services.cancel(actor=OPERATOR, rotation=rotation)
    row = runner.run_for(rotation.id)
    assert row.state == RotationState.CANCELLED
    assert names() == [f"old {number}" for number in range(5)]
    with pytest.raises(RotationNotFound):
        services.cancel(actor=OPERATOR, rotation=rotation)
    renaming.on_rotate = lambda item: None
    assert runner.run_for(services.resume(actor=OPERATOR, rotation=row).id).state == RotationState.DONE


def test_a_lost_lease_holds_nothing(renaming, keys):
    rotation = begin()
    held = lease.acquire(rotation.id)
    assert lease.acquire(rotation.id) is None
    Rotation.objects.update(lease_until=0)
    assert lease.acquire(rotation.id) is not None
    with pytest.raises(RotationLeaseLost):
        held.hold()


def test_a_rotation_includes_rows_added_while_it_runs(renaming, keys, tenant):
    late = []

    def make_one(item):
        if not late:
            late.append(make_user(tenant))
            with scopes_disabled():
                PersonalKey.objects.filter(pk=min(key.id for key in keys)).update(name="old again")

    renaming.on_rotate = make_one
    rotation = runner.run_for(begin().id)
    assert rotation.state == RotationState.DONE
    assert names() == ["new"] * 5


def test_a_stalled_one_is_found(renaming, keys):
    begin()
    assert selectors.stalled() == []
    assert len(selectors.stalled(timezone.now() + timedelta(minutes=6))) == 1


def test_a_kind_can_refuse_before_anything_is_stored(renaming, keys, monkeypatch):
    def refuse(scope, options):
        raise NothingToRotate

    monkeypatch.setattr(renaming, "check", refuse)
    with pytest.raises(NothingToRotate):
        begin()
    assert not Rotation.objects.exists()


def look():
    return health.rotations()


def test_health_names_one_that_stands_still_and_what_it_waits_for(renaming, keys):
    assert look().is_ok
    renaming.failures = {key.name: Unavailable() for key in keys}
    runner.run_for(begin().id)
    assert look().is_ok, "it has only just begun to wait"
    Rotation.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=6))
    found = look()
    assert not found.is_ok
    assert found.severity < Severity.CRITICAL, "nobody is kept from signing"
    assert "temporarily-unavailable" in found.detail


def test_health_remembers_one_that_failed_until_it_is_put_right(renaming, keys):
    renaming.failures["old 3"] = KeyDamaged()
    failed = runner.run_for(begin().id)
    assert "1 failures" in look().detail
    renaming.failures.clear()
    runner.run_for(services.resume(actor=OPERATOR, rotation=failed).id)
    assert look().is_ok


def test_the_job_brings_on_what_was_asked_for(renaming, keys):
    asked = begin()
    assert jobs.nudge_rotations() == 1
    asked.refresh_from_db()
    assert asked.state == RotationState.DONE
    assert jobs.nudge_rotations() == 0


def test_a_job_works_for_a_while_and_asks_to_be_called_again(renaming, keys, monkeypatch):
    nudged = []
    monkeypatch.setattr("keys.rotation.jobs.enqueue", nudged.append)
    monkeypatch.setattr(jobs, "ROTATION_SECONDS", 0.0)
    asked = begin()
    assert not jobs.step_rotation(str(asked.id))
    assert nudged == [asked.id]
    monkeypatch.setattr(jobs, "ROTATION_SECONDS", 20.0)
    assert jobs.step_rotation(str(asked.id))
