"""The commands by which operators make tenants and accounts."""

from __future__ import annotations

import io
import json
import socket
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TestCase

from accounts.mail import jobs
from accounts.models import OutgoingMail, StaffRole, Tenant, User
from accounts.models.mail import MailProblem
from accounts.selectors import membership_of

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough passphrase"


def run(*arguments: str) -> Any:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return json.loads(out.getvalue()) if "--json" in arguments else out.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ("create_tenant", "Bad Slug", "news.example"),
        ("create_tenant", "news", "no host"),
        ("create_user", "a@example.org"),
        ("create_user", "a@example.org", "--tenant", "nobody"),
        ("create_user", "not-an-address", "--staff"),
    ],
)
def test_invalid_arguments_of_create_commands_are_refused_and_store_nothing(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run(*arguments)
    assert not Tenant.objects.exists()
    assert not User.objects.exists()


def test_a_password_cannot_be_given_as_an_argument() -> None:
    with pytest.raises(CommandError):
        run("create_user", "a@example.org", "--staff", "--password", PASSWORD)
    with pytest.raises(CommandError):
        run("create_user", "a@example.org", "--staff", f"--password={PASSWORD}")


def test_a_weak_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCAST_PASSWORD", "password")
    with pytest.raises(CommandError):
        run("create_user", "a@example.org", "--staff")


def test_a_tenant_and_its_owner_are_made(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.PUBLIC_SCHEME, settings.PUBLIC_PORT = "https", 443
    made = run("create_tenant", "news", "News.example", "--name", "The News", "--registration", "open", "--json")
    assert made["origin"] == "https://news.example"
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    account = run(
        "create_user", "Owner@example.org", "--tenant", "news", "--role", "owner", "--password-stdin", "--json"
    )
    assert account["email"] == "owner@example.org"
    user = User.objects.get()
    assert user.check_password(PASSWORD)
    membership = membership_of(user, Tenant.objects.get())
    assert membership is not None
    assert membership.role == "owner"


def test_staff_is_made_without_a_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCAST_PASSWORD", PASSWORD)
    assert run("create_user", "staff@example.org", "--staff", "--json")["staff"] is True
    assert User.objects.get().check_password(PASSWORD)


def test_create_user_with_existing_ok_updates_an_existing_user() -> None:
    run("create_tenant", "news", "news.example")
    run("create_user", "a@example.org", "--tenant", "news")
    with pytest.raises(CommandError):
        run("create_user", "a@example.org", "--tenant", "news")
    run("create_user", "a@example.org", "--tenant", "news", "--existing-ok", "--staff")
    assert User.objects.get().is_staff


def test_the_table_of_the_shared_cache_comes_with_the_migrations() -> None:
    if "DatabaseCache" not in type(caches["default"]).__name__:
        pytest.skip("The cache of this run is no table.")
    assert "django_cache" in connection.introspection.table_names()


@pytest.mark.mails_wait
def test_staff_made_while_the_mail_server_is_away_are_made_in_one_line_and_their_mail_waits(
    settings: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = closed.getsockname()
        with TestCase.captureOnCommitCallbacks(execute=True):
            officer = ("--staff", "--role", StaffRole.SECURITY_OFFICER)
            assert run("create_user", "one@example.com", *officer) == (
                "Account one@example.com (staff: security officer)\n"
            )
            assert run("create_user", "two@example.com", *officer).count("\n") == 1
        assert capfd.readouterr() == ("", "")
        row = OutgoingMail.objects.get()  # to the first, of the second
        assert not jobs.send_mail(row.id.hex)
        row.refresh_from_db()
        assert (row.problem, row.sent_at, row.given_up_at) == (MailProblem.AWAY, None, None)
        assert "Traceback" not in "".join(capfd.readouterr())
