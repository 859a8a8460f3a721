"""Sealing everything anew: rotate_kek, rewrap_keys, retire_kek, with a key file."""

from __future__ import annotations

import os
import stat

import pytest
from django.apps import apps
from django.db import transaction
from django_scopes import scopes_disabled

from keycast.audit.models import AuditRow
from keys import services as key_services
from keys.errors import KekUnavailable
from keys.models import PersonalKey, RotationState, TransportKey
from keys.rotation import retiring, runner, sealed_columns, services
from keys.rotation.errors import KeyRotationRunning, RotationError
from keys.rotation.retiring import KekInUse
from keys.rotation.scope import RotationScope
from keys.signing import envelope
from keys.signing.kms import file_versions, keyfile, registry
from tests.keys.conftest import make_key, make_tenant, make_user
from tests.keys.rotation.conftest import OPERATOR
from tests.keys.rotation.forking import opening_versions, sealed_under, versions

pytestmark = [pytest.mark.django_db, pytest.mark.opens_keys]


@pytest.fixture
def some_keys(kek_file, user, tenant):
    return [make_key(user, tenant, f"Key {number}") for number in range(3)]


def rotate(kind="kek", scope="all"):
    return runner.run_for(services.start(actor=OPERATOR, kind=kind, scope=scope).id)


def test_keys_from_the_environment_are_refused_with_what_to_do(key):
    with pytest.raises(RotationError) as refused:
        rotate()
    assert refused.value.code == "kek-not-writable"
    assert "generate_kek --print" in refused.value.public_message


def test_a_file_that_cannot_be_written_is_refused_with_what_to_do(some_keys, kek_file, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # these tests may run as root, who can write anything
    with pytest.raises(RotationError) as refused:
        rotate()
    assert str(kek_file) in refused.value.public_message


def test_what_an_operator_added_by_hand_is_used(some_keys, kek_file, monkeypatch):
    monkeypatch.setattr(file_versions.FileKekVersions, "problem", lambda self: "read-only")
    keyfile.add_version(kek_file, "by-hand")
    assert rotate().state == RotationState.DONE
    assert sealed_under() == {"by-hand": 6}
    assert versions(kek_file) == ["first", "by-hand"]


def test_a_dry_run_counts_and_changes_nothing(some_keys, kek_file):
    before = kek_file.read_bytes()
    rehearsed = services.start(actor=OPERATOR, kind="kek", scope="all", dry_run=True)
    assert rehearsed.total == 6
    assert kek_file.read_bytes() == before
    assert sealed_under() == {"first": 6}
    assert not AuditRow.objects.filter(tag__in=["keys:key:rewrapped", "keys:key-encryption-key:rotated"]).exists()


def test_it_makes_a_version_and_seals_every_row_under_it(some_keys, kek_file):
    rotation = rotate()
    assert rotation.state == RotationState.DONE, rotation.report
    first, second = versions(kek_file)
    assert (first, rotation.report["version"]) == ("first", second)
    assert stat.S_IMODE(kek_file.stat().st_mode) == 0o600
    assert sealed_under() == {second: 6}
    assert opening_versions(kek_file) == {1: 6}
    assert key_services.self_test(None) == []
    assert AuditRow.objects.filter(tag="keys:key:rewrapped").count() == 6
    assert AuditRow.objects.filter(tag="keys:key-encryption-key:rotated", chain="platform").count() == 1


def test_a_second_rotation_makes_a_third_version(some_keys, kek_file):
    rotate()
    rotate()
    assert len(versions(kek_file)) == 3
    assert sealed_under() == {versions(kek_file)[-1]: 6}


def test_a_tenant_alone_leaves_the_others_where_they_are(some_keys, kek_file, tenant):
    elsewhere = make_tenant()
    make_key(make_user(elsewhere), elsewhere)
    rotate(scope=RotationScope.of_tenant(tenant))
    assert sealed_under() == {"first": 2, versions(kek_file)[-1]: 6}


def test_rewrapping_makes_no_version(some_keys, kek_file):
    keyfile.add_version(kek_file, "second")
    rotation = rotate("rewrap", RotationScope.of_key(some_keys[0]))
    assert (rotation.state, rotation.done) == (RotationState.DONE, 2)
    assert sealed_under() == {"first": 4, "second": 2}
    rotate("rewrap")
    assert sealed_under() == {"second": 6}
    assert versions(kek_file) == ["first", "second"]


def test_only_one_of_the_two_runs_at_a_time(some_keys, kek_file, tenant):
    services.start(actor=OPERATOR, kind="kek", scope=RotationScope.of_key(some_keys[0]))
    with pytest.raises(KeyRotationRunning):
        services.start(actor=OPERATOR, kind="rewrap", scope=RotationScope.of_tenant(tenant))


def test_a_row_that_changed_meanwhile_is_left_alone_and_looked_at_again(some_keys, kek_file, monkeypatch):
    keyfile.add_version(kek_file, "second")
    store, raced = sealed_columns.SealedColumn.store, []

    def slower_than_somebody(self, old, new):
        if not raced:
            raced.append(old.row_id)
            again = sealed_columns.key_maker().rewrap(old.sealed, old.place)
            assert store(self, old, again)
        return store(self, old, new)

    monkeypatch.setattr(sealed_columns.SealedColumn, "store", slower_than_somebody)
    rotation = rotate("rewrap")
    assert (rotation.state, rotation.done) == (RotationState.DONE, 5)
    assert opening_versions(kek_file) == {1: 6}


def test_a_damaged_row_is_named_and_the_others_move(some_keys, kek_file):
    with scopes_disabled():
        PersonalKey.objects.filter(pk=some_keys[1].pk).update(encrypted_secret_key=b"\x01\x00\x00")
    rotation = rotate()
    assert (rotation.state, rotation.done, rotation.failed) == (RotationState.FAILED, 5, 1)
    assert rotation.report["failures"][0]["key"] == str(some_keys[1].id)
    assert rotation.report["failures"][0]["code"] == "key-damaged"


def test_material_of_another_key_is_set_aside(some_keys, kek_file):
    mine, other = some_keys[0], some_keys[1]
    with scopes_disabled():
        provider, place = registry.provider("local"), sealed_columns.sealed_columns()[0].take(mine).place
        foreign = envelope.unseal(
            sealed_columns.sealed_columns()[0].take(other).sealed,
            sealed_columns.sealed_columns()[0].take(other).place,
            provider,
        )
        forged = envelope.seal(foreign, place, provider)
        PersonalKey.objects.filter(pk=mine.pk).update(encrypted_secret_key=forged.blob)
    rotation = rotate()
    assert rotation.failed == 1
    with scopes_disabled():
        assert PersonalKey.objects.get(pk=mine.pk).state == "locked"
    assert AuditRow.objects.filter(tag="keys:key:quarantined", key_id=mine.id.hex).exists()


def test_a_key_encryption_key_that_is_away_is_waited_for(some_keys, kek_file):
    keyfile.add_version(kek_file, "second")
    started = services.start(actor=OPERATOR, kind="rewrap", scope="all")
    kept = kek_file.read_bytes()
    registry.reset()
    kek_file.write_bytes(kept.splitlines()[1] + b"\n")  # only the new one is left
    rotation = runner.run_for(started.id)
    assert (rotation.state, rotation.problem) == (RotationState.RUNNING, "kek-unavailable")
    assert sealed_under() == {"first": 6}


def test_a_version_in_use_is_not_retired(some_keys, kek_file):
    with pytest.raises(KekInUse):
        retiring.retire_kek(actor=OPERATOR, version="first")
    rotate(scope=RotationScope.of_key(some_keys[0]))
    with pytest.raises(KekInUse) as refused:
        retiring.retire_kek(actor=OPERATOR, version="first")
    assert "2 personal keys, 2 remote-signer keys" in refused.value.public_message
    rotate("rewrap")
    with pytest.raises(KekInUse):
        retiring.retire_kek(actor=OPERATOR, version=versions(kek_file)[-1])
    assert len(versions(kek_file)) == 2


def test_a_version_is_not_retired_right_after_the_switch_nor_while_rotating(some_keys, kek_file):
    rotate()
    with pytest.raises(RotationError):
        retiring.retire_kek(actor=OPERATOR, version="first")
    _age(kek_file)
    running = services.start(actor=OPERATOR, kind="rewrap", scope="all")
    with pytest.raises(KeyRotationRunning):
        retiring.retire_kek(actor=OPERATOR, version="first")
    services.cancel(actor=OPERATOR, rotation=running)
    assert "first" in versions(kek_file)


def _age(path):
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))


def test_a_version_that_nothing_needs_is_retired_and_archived(some_keys, kek_file, tmp_path):
    kept = kek_file.read_bytes()
    rotate()
    _age(kek_file)
    archive = tmp_path / "old-kek"
    rehearsed = retiring.retire_kek(actor=OPERATOR, version="first", dry_run=True)
    assert rehearsed.is_dry_run
    assert "first" in versions(kek_file)
    done = retiring.retire_kek(actor=OPERATOR, version="first", archive=archive)
    assert "Backups" in done.warning
    assert archive.read_bytes() == kept
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert len(versions(kek_file)) == 1
    assert key_services.self_test(None) == []
    outcomes = AuditRow.objects.filter(tag="keys:key-encryption-key:retired").values_list("outcome", flat=True)
    assert list(outcomes) == ["intent", "ok"]
    with pytest.raises(RotationError):
        retiring.retire_kek(actor=OPERATOR, version="first")


def test_old_secrets_do_not_open_once_their_version_is_gone(some_keys, kek_file):
    with scopes_disabled():
        old = TransportKey.objects.order_by("pk").first()
    rotate()
    _age(kek_file)
    retiring.retire_kek(actor=OPERATOR, version="first")
    registry.reset()
    before = sealed_columns.sealed_columns()[2].take(old)
    with pytest.raises(KekUnavailable):
        envelope.unseal(before.sealed, before.place, registry.provider("local"))


def test_no_data_key_ever_seals_two_secrets(some_keys, kek_file):
    """Threats K12: one data key a row, so random nonces cannot collide; a KEK seals far fewer than 2^32 data keys."""
    rotate()
    with scopes_disabled():
        rows = [shelf.take(row) for shelf in sealed_columns.sealed_columns() for row in shelf.rows()]
    provider, seen = registry.provider("local"), set()
    for row in rows:
        wrapped, _ = envelope._unpack(row.blob)
        key = provider.unwrap(
            wrapped, kek_version=row.sealed.kek_version, tenant_id=row.tenant_id, aad=row.place.binding()
        )
        seen.add(bytes(key.view()))
    assert len(seen) == len(rows) == 6
    assert sum(sealed_under().values()) < 2**32


def test_every_model_with_a_kek_version_has_a_registered_sealed_column():
    on_shelves = {(shelf.model, shelf.version) for shelf in sealed_columns.sealed_columns()}
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if field.name.endswith("kek_version"):
                assert (model, field.name) in on_shelves
    assert len({(shelf.model, shelf.column) for shelf in sealed_columns.sealed_columns()}) == len(
        sealed_columns.sealed_columns()
    )


def test_a_rotation_within_somebody_elses_transaction_is_undone_with_it(some_keys, kek_file):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        services.start(actor=OPERATOR, kind="rewrap", scope="all")
        raise ZeroDivisionError
    assert not AuditRow.objects.filter(tag__startswith="keys:rotation").exists()
