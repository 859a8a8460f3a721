"""``import_keys`` and ``create_key``: refusals by line, nothing echoed, resumable after kill -9."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_scopes import scopes_disabled

from accounts.models import User
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip19, nip49
from keys import services
from keys.importing import progress
from keys.importing.state import ImportFileMismatch, ImportState
from keys.models import PersonalKey
from keys.signing.kms import registry
from tests.keys.conftest import make_tenant, make_user
from tests.paths import ROOT
from tests.waiting import until


def secret():
    return Keypair.generate()[1]


def hexed():
    made = secret()
    return bytes(made.view()).hex()


def line(user, name="Old", **fields):
    return json.dumps(
        {
            "email": getattr(user, "email", user),
            "name": name,
            "secret": fields.pop("secret", None) or hexed(),
        }
        | fields
    )


@pytest.fixture
def run(tenant, tmp_path, capsys):
    """Runs the command over these lines; returns exit code, report, and everything that was printed."""

    def run(lines, *arguments):
        path = tmp_path / "keys.jsonl"
        path.write_bytes(b"\n".join(item.encode() if isinstance(item, str) else item for item in lines) + b"\n")
        out, code = io.StringIO(), 0
        errors = io.StringIO()
        try:
            call_command(
                "import_keys", str(path), "--tenant", tenant.slug, "--json", *arguments, stdout=out, stderr=errors
            )
        except SystemExit as exit:
            code = exit.code
        printed = capsys.readouterr()
        report = json.loads(out.getvalue()) if out.getvalue() else None
        return code, report, out.getvalue() + errors.getvalue() + printed.out + printed.err

    return run


def stored():
    with scopes_disabled():
        return PersonalKey.objects.count()


SECRET = hexed()


def raw(**fields):
    return json.dumps({"email": "MEMBER", "name": "x", "secret": SECRET} | fields)


BAD_LINES = [
    ("garbage", "invalid-line"),
    ("[]", "invalid-line"),
    ("null", "invalid-line"),
    ("{}", "invalid-line"),
    (b"\xff\xfe", "invalid-line"),
    ("[" * 10_000, "invalid-line"),
    ("[" * 8_000 + "]" * 8_000, "invalid-line"),
    (raw(email=1), "invalid-line"),
    (raw(secret=["x"]), "invalid-line"),
    (raw(admin=True), "invalid-line"),
    (raw()[:-1] + f', "secret": "{SECRET}"' + "}", "invalid-line"),
    (raw(email="nobody@example.org"), "no-such-user"),
    (raw(name=" "), "invalid-text"),
    (raw(secret=SECRET + "ff"), "secret-refused"),
    (raw(secret="ncryptsec1qqqq"), "password-refused"),
]


@pytest.mark.parametrize(("text", "code"), BAD_LINES)
def test_a_bad_line_is_refused_without_an_echo_and_the_others_go_in(run, user, text, code):
    if isinstance(text, str):
        text = text.replace("MEMBER", user.email)
    exit_code, report, printed = run([line(user), text, line(user)])
    assert exit_code == 2
    assert (report["added"], report["refused"]) == (2, 1)
    assert [(error["line"], error["code"]) for error in report["errors"]] == [(2, code)]
    assert "line 2:" in printed
    assert SECRET[:12] not in printed
    assert stored() == 2


def test_a_line_without_end_does_not_fill_the_memory(run, user):
    _, report, _ = run([line(user), "x" * 200_000, line(user)])
    assert report["added"] == 2
    assert report["refused"] >= 1


def test_who_is_no_member_is_refused_even_with_create_users(run, user):
    stranger = make_user(make_tenant())
    code, report, _ = run([line(stranger), line(user)], "--create-users")
    assert code == 2
    assert report["errors"][0]["code"] == "not-permitted"
    assert report["added"] == 1


def test_somebody_elses_key_is_refused_and_ones_own_is_present(run, user, tenant):
    mine, theirs = hexed(), hexed()
    other = make_user(tenant)
    code, report, _ = run([line(user, secret=mine), line(other, secret=theirs)])
    assert (code, report["added"]) == (0, 2)
    code, report, _ = run([line(user, secret=mine), line(user, secret=theirs), line(user, secret=mine)])
    assert code == 2
    assert (report["added"], report["present"], report["refused"]) == (0, 2, 1)
    assert report["errors"][0]["code"] == "key-exists"


def test_a_key_that_comes_twice_in_one_file_goes_in_once(run, user, tenant):
    text = hexed()
    _, report, _ = run([line(user, secret=text), line(user, secret=text), line(make_user(tenant), secret=text)])
    assert (report["added"], report["present"], report["refused"]) == (1, 1, 1)


def test_a_destroyed_key_does_not_come_back(run, user):
    from datetime import timedelta

    from django.utils import timezone

    from keycast.audit.entries import Actor

    text = hexed()
    run([line(user, secret=text)])
    with scopes_disabled():
        key = PersonalKey.objects.get()
    services.schedule_destruction(actor=Actor.user(user), key=key)
    services.destroy_due_keys(now=timezone.now() + timedelta(days=31))
    _, report, _ = run([line(user, secret=text)])
    assert report["refused"] == 1


def test_a_published_key_is_refused_in_production(run, user, settings):
    settings.ENVIRONMENT = "production"
    _, report, _ = run([line(user, secret=f"{1:064x}")])
    assert report["errors"][0]["code"] == "published-key"


@pytest.mark.opens_keys
def test_without_a_key_encryption_key_it_stops_and_says_so(run, user, monkeypatch):
    monkeypatch.setenv("KEYCAST_KEK", "nonsense")
    registry.reset()
    with pytest.raises(CommandError) as caught:
        run([line(user)])
    assert caught.value.returncode == 3
    assert stored() == 0


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--batch", "100000"]])
def test_a_senseless_batch_is_refused(run, user, arguments):
    with pytest.raises(CommandError):
        run([line(user)], *arguments)


def test_unknown_tenant_and_missing_file_are_refused(tenant):
    with pytest.raises(CommandError, match="tenant"):
        call_command("import_keys", "-", "--tenant", "nowhere")
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_keys", "/nonexistent", "--tenant", tenant.slug)


def test_every_form_of_secret_goes_in(run, user):
    sealed, plain = secret(), secret()
    lines = [
        line(user, secret=nip19.encode_nsec(plain)),
        line(user, secret=nip49.encrypt(sealed, "pass", log_n=4), password="pass"),
        "",
        line("new@example.org"),
    ]
    code, report, _ = run(lines, "--create-users")
    assert (code, report["added"], report["lines"]) == (0, 3, 4)
    assert User.objects.filter(email="new@example.org").exists()
    assert services.self_test(None) == []


class TestState:
    def test_a_second_run_passes_over_what_is_done(self, run, user, tmp_path, monkeypatch):
        lines, state = [line(user, f"k{n}") for n in range(5)], tmp_path / "state"
        assert run(lines, "--state", str(state), "--batch", "2")[1]["added"] == 5
        assert state.stat().st_mode & 0o777 == 0o600
        from keys.importing.batch import BatchImporter

        monkeypatch.setattr(BatchImporter, "run", lambda self, lines: pytest.fail("looked at a line again"))
        _, report, _ = run(lines, "--state", str(state))
        assert (report["lines"], report["added"]) == (5, 5)

    def test_it_refuses_another_file(self, run, user, tmp_path):
        state = tmp_path / "state"
        run([line(user), line(user)], "--state", str(state))
        with pytest.raises(CommandError, match="another input"):
            run([line(user), line(user), line(user)], "--state", str(state))

    def test_it_refuses_a_damaged_state(self, tmp_path):
        path = tmp_path / "state"
        for text in ("", "{}", '{"lines": "x", "sha256": "", "counts": {}}', "[]"):
            path.write_text(text)
            with pytest.raises(ImportFileMismatch):
                ImportState.load(path)

    def test_the_import_state_file_holds_no_secret(self, run, user, tmp_path):
        state = tmp_path / "state"
        run([line(user, secret=SECRET)], "--state", str(state))
        assert SECRET[:12] not in state.read_text()


@pytest.mark.django_db(transaction=True)
def test_killed_at_any_moment_it_can_be_run_again(tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("the child process is told of a SQLite file")
    tenant = make_tenant()
    user = make_user(tenant)
    total = 600
    path, state = tmp_path / "keys.jsonl", tmp_path / "state"
    path.write_text("".join(line(user, f"k{n}") + "\n" for n in range(total)))
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
    }
    command = [sys.executable, "manage.py", "import_keys", str(path), "--tenant", tenant.slug, "--batch", "20"]
    command += ["--state", str(state), "--json"]
    for seen in (20, 200, 400):
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(lambda seen=seen, process=process: stored() >= seen or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with scopes_disabled():
            assert PersonalKey.objects.filter(transport_keys=None).count() == 0
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["refused"] == 0
    assert stored() == total
    assert services.self_test(None) == []
    from keycast.audit.services import verify

    assert verify().faults == []


def test_progress_tells_rate_and_remaining_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    shown = progress.ImportProgress(stream, 1000)
    shown.passed(500)
    now[0] = 10.0
    shown.advance(50, 250)
    assert stream.getvalue() == "50 keys, 300 a minute, 75 %, 0:10 to go\n"


class TestCreateKey:
    def call(self, *arguments):
        out = io.StringIO()
        call_command("create_key", *arguments, stdout=out)
        return out.getvalue().strip()

    def test_create_key_refuses_non_members_and_unknown_tenants_users_and_modes(self, tenant, user):
        stranger = make_user(make_tenant())
        for arguments in (
            ("--tenant", "nowhere", "--user", user.email, "--name", "x"),
            ("--tenant", tenant.slug, "--user", "nobody@example.org", "--name", "x"),
            ("--tenant", tenant.slug, "--user", stranger.email, "--name", "x"),
            ("--tenant", tenant.slug, "--user", user.email, "--name", ""),
            ("--tenant", tenant.slug, "--user", user.email, "--name", "x", "--mode", "hsm"),
        ):
            with pytest.raises(CommandError):
                self.call(*arguments)
        assert stored() == 0

    def test_create_key_prints_the_npub_or_json(self, tenant, user):
        npub = self.call("--tenant", tenant.slug, "--user", user.email.upper(), "--name", "Main")
        assert nip19.decode_npub(npub)
        made = json.loads(self.call("--tenant", tenant.slug, "--user", user.email, "--name", "Two", "--json"))
        assert (made["mode"], made["provider"], made["state"]) == ("encrypted", "local", "active")
        assert nip19.decode_npub(made["npub"]) == made["public_key"]


def test_each_further_key_of_a_user_costs_no_more_queries_than_the_first_ones(run, user):
    def queries(first, count):
        with CaptureQueriesContext(connection) as captured:
            _, report, _ = run([line(user, f"k{n}") for n in range(first, first + count)])
        assert report["added"] == count
        return len(captured)

    queries(0, 1)  # reads what is kept for as long as the process lives
    assert queries(1, 40) >= queries(41, 40)
