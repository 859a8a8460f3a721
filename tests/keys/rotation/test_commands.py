"""The commands: what they refuse, how they end, and what they print."""

from __future__ import annotations

import json
import signal
import time
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django_scopes import scopes_disabled

from keycast.nostr.nip19 import encode_npub
from keys.models import PersonalKey, Rotation, RotationState
from keys.rotation import runner, services
from keys.rotation.errors import KeyRotationRunning
from tests.keys.conftest import make_key
from tests.keys.rotation.conftest import OPERATOR
from tests.keys.rotation.forking import Zygote, sealed_under, versions

pytestmark = pytest.mark.opens_keys


def run(*command):
    """Exit code, and what was printed."""
    out, err = StringIO(), StringIO()
    try:
        call_command(*command, stdout=out, stderr=err)
    except SystemExit as ended:
        return ended.code, out.getvalue(), err.getvalue()
    except CommandError as refused:
        return refused.returncode, out.getvalue(), str(refused)
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def two_keys(kek_file, user, tenant):
    return [make_key(user, tenant, f"Key {number}") for number in range(2)]


@pytest.mark.parametrize("name", ["rotate_kek", "rewrap_keys", "refresh_halves", "rotate_transport_keys"])
def test_a_tenant_or_a_key_that_does_not_exist_is_refused(db, name):
    assert run(name, "--tenant", "nobody")[0] == 2
    assert run(name, "--key", "npub1nobody")[0] == 2
    assert run(name, "--key", "00000000-0000-0000-0000-000000000000")[0] == 2


@pytest.mark.parametrize("name", ["rotate_kek", "rewrap_keys", "refresh_halves", "rotate_transport_keys"])
def test_a_rotation_command_without_a_scope_is_refused(db, name):
    with pytest.raises(CommandError):
        call_command(name)


def test_a_second_one_is_refused_with_a_code(two_keys):
    services.start(actor=OPERATOR, kind="kek", scope="all")
    code, out, _ = run("rewrap_keys", "--all", "--json")
    assert code == 2
    assert json.loads(out)["error"] == "rotation-running" == KeyRotationRunning.code
    assert run("rewrap_keys", "--all")[0] == 2


def test_resume_without_a_failed_rotation_is_refused(two_keys):
    assert run("rotate_kek", "--all", "--resume")[0] == 2
    assert run("rotate_kek", "--all")[0] == 0
    assert run("rotate_kek", "--all", "--resume")[0] == 2


def test_split_keys_that_do_not_exist_are_not_refreshed(two_keys):
    code, out, _ = run("refresh_halves", "--all", "--json")
    assert (code, json.loads(out)["error"]) == (2, "nothing-to-rotate")


def test_a_dry_run_says_how_many(two_keys, kek_file):
    code, out, _ = run("rotate_kek", "--all", "--dry-run")
    assert (code, out) == (0, "Dry run: 4 would change. Nothing was changed.\n")
    assert versions(kek_file) == ["first"]


def test_it_reports_what_it_did(two_keys, kek_file):
    code, out, _ = run("rotate_kek", "--all", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["state"], report["done"], report["failed"], report["total"]) == ("done", 4, 0, 4)
    assert report["report"]["failures"] == []
    assert report["report"]["version"] == versions(kek_file)[-1]
    assert sealed_under() == {versions(kek_file)[-1]: 4}


def test_it_says_what_to_do_with_the_old_version(two_keys, kek_file):
    _, out, _ = run("rotate_kek", "--all")
    assert "retire_kek first" in out
    assert "Done: 4 changed, 0 failed" in out


def test_what_failed_is_named_and_makes_it_fail(two_keys):
    with scopes_disabled():
        PersonalKey.objects.filter(pk=two_keys[0].pk).update(encrypted_secret_key=b"\x01\x00\x00")
    code, out, err = run("rotate_kek", "--all")
    assert code == 1
    assert f"{two_keys[0].id}: " in err
    assert "key-damaged" in err
    assert "3 changed, 1 failed" in out


@pytest.mark.parametrize("form", ["id", "npub", "hex"])
def test_a_key_is_named_as_people_name_it(two_keys, form):
    key = two_keys[0]
    name = {"id": str(key.id), "npub": encode_npub(key.public_key), "hex": key.public_key}[form]
    assert run("rotate_transport_keys", "--key", name)[0] == 0
    with scopes_disabled():
        assert key.transport_keys.count() == 2


def test_an_identity_is_replaced_by_command(two_keys):
    code, out, _ = run("rotate_identity", "--key", str(two_keys[0].id), "--json")
    assert code == 0
    with scopes_disabled():
        assert (
            PersonalKey.objects.get(pk=two_keys[0].pk).replaced_by.public_key == json.loads(out)["report"]["public_key"]
        )


def test_rotations_are_listed_and_cancelled(two_keys):
    assert run("rotations", "--cancel", "00000000-0000-0000-0000-000000000000")[0] == 2
    rotation = services.start(actor=OPERATOR, kind="kek", scope="all")
    assert "Not begun" in run("rotations")[1]
    code, out, _ = run("rotations", "--cancel", str(rotation.id), "--json")
    assert (code, json.loads(out)["state"]) == (0, "cancelled")
    assert run("rotations", "--cancel", str(rotation.id))[0] == 2
    assert run("rotate_kek", "--all", "--resume")[0] == 0


def test_old_key_encryption_keys_are_listed_and_retired(two_keys, kek_file, tmp_path):
    assert run("retire_kek")[1] == "first: 2 personal keys, 2 remote-signer keys\n"
    assert run("retire_kek", "first", "--json")[0] == 2
    run("rotate_kek", "--all")
    code, out, _ = run("retire_kek", "first", "--archive", str(tmp_path / "old"))
    assert code == 0
    assert "Backups" in out
    assert versions(kek_file) == [Rotation.objects.get().report["version"]]
    assert run("retire_kek", "first")[0] == 2


def test_a_new_version_is_added_apart_from_sealing(two_keys, kek_file, tmp_path):
    assert run("generate_kek", "--new-version", "--path", str(tmp_path / "absent"))[0] == 1
    code, out, _ = run("generate_kek", "--new-version", "--path", str(kek_file))
    assert code == 0
    assert "rewrap_keys --all" in out
    assert sealed_under() == {"first": 4}
    assert run("rewrap_keys", "--all")[0] == 0
    assert sealed_under() == {versions(kek_file)[-1]: 4}
    assert run("generate_kek", "--remove-version", "nothing", "--path", str(kek_file))[0] == 1
    assert run("generate_kek", "--remove-version", versions(kek_file)[-1], "--path", str(kek_file))[0] == 1
    assert run("generate_kek", "--remove-version", "first", "--path", str(kek_file))[0] == 0
    assert len(versions(kek_file)) == 1
    line = run("generate_kek", "--print")[1].strip()
    assert len(line.partition(":")[2]) == 44


def test_a_database_that_fails_for_a_moment_ends_nothing(two_keys, kek_file, monkeypatch):
    genuine, failures = runner.run_for, [OperationalError("the server was restarted")] * 2
    monkeypatch.setattr("keys.rotation.base_command.connection.close", lambda: None)

    def step(*args, **options):
        if failures:
            raise failures.pop()
        return genuine(*args, **options)

    monkeypatch.setattr(runner, "run_for", step)
    code, _, err = run("rotate_kek", "--all")
    assert code == 0
    assert "Trying again" in err
    assert sealed_under() == {versions(kek_file)[-1]: 4}


@pytest.mark.timeout(60)
def test_an_interrupted_one_goes_on(transactional_db, kek_file, user, tenant):
    [make_key(user, tenant, f"Key {number}") for number in range(40)]
    zygote = Zygote()
    pid = zygote.start("rotate_kek", "--all")
    deadline = time.monotonic() + 20
    while not Rotation.objects.filter(done__gt=0).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    zygote.signal(pid, signal.SIGINT)
    code = zygote.wait(pid)
    zygote.close()
    rotation = Rotation.objects.get()
    if code == 0:  # it was faster
        return
    assert code == 130
    assert rotation.state == RotationState.RUNNING
    assert runner.run_for(rotation.id).state == RotationState.DONE
    assert sealed_under() == {versions(kek_file)[-1]: 80}
