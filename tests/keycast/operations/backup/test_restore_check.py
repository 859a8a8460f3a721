"""A backup is shown to be worth something before anybody needs it."""

from __future__ import annotations

import base64
import io
import json
import secrets
import shutil
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django_scopes import scopes_disabled

from accounts import services as people
from accounts.models import Tenant
from bunker.services import create_bunker_url, revoke_connection
from keycast.audit import journal_writer
from keycast.audit.entries import Actor
from keycast.operations.backup import dumps
from keycast.operations.management.commands import restore_check as restore_check_command
from keys import services
from keys.models import PersonalKey
from tests.keys.conftest import make_key, make_user

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor == "postgresql" and not shutil.which("pg_dump"), reason="PostgreSQL's tools are not here"
    ),
]
STAFF = Actor.command("test")


@pytest.fixture
def house():
    tenant = people.create_tenant(actor=STAFF, slug="press", name="Press", host="press.example")
    owner = make_user(tenant)
    return tenant, owner, [make_key(owner, tenant, f"Key {number}") for number in range(3)]


@pytest.fixture
def dump_file(house, tmp_path):
    folder = tmp_path / "dumps"
    folder.mkdir()
    return dumps.dump(folder)


def restore_check(*arguments, exit_code=0):
    out = io.StringIO()
    try:
        call_command("restore_check", "--json", *arguments, stdout=out, stderr=io.StringIO())
        code = 0
    except SystemExit as end:
        code = end.code
    assert code == exit_code, out.getvalue()
    return json.loads(out.getvalue())


def test_a_file_that_is_no_dump_is_said_to_be_none(house, tmp_path):
    (tmp_path / "junk").write_text("not a database, whatever it is" * 100)
    for path in (tmp_path / "junk", tmp_path / "missing"):
        with pytest.raises(CommandError) as refused:
            call_command("restore_check", "--dump", str(path))
        assert refused.value.returncode == 2


def test_a_dump_without_its_key_encryption_key_is_not_sound(dump_file, monkeypatch):
    monkeypatch.setenv("KEYCAST_KEK", "test-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    found = restore_check("--dump", str(dump_file), exit_code=1)
    assert (found["sound"], found["keys_opened"]) == (False, 0)
    assert any("does not open" in problem for problem in found["problems"])


def test_a_dump_of_another_database_is_noticed(dump_file, house):
    with scopes_disabled():
        PersonalKey.objects.filter(pk=house[2][0].pk).update(public_key="ab" * 32)
    found = restore_check("--dump", str(dump_file), exit_code=1)
    assert any("another public key" in problem for problem in found["problems"])


def test_a_fresh_dump_is_sound_and_nothing_here_changes(house):
    before = journal_writer.missing(), Path(journal_writer.restore_journal().path).read_text()
    found = restore_check()
    assert (found["sound"], found["keys"], found["keys_opened"]) == (True, 3, 3)
    assert found["audit_rows"] >= 3
    assert (journal_writer.missing(), Path(journal_writer.restore_journal().path).read_text()) == before


def test_an_old_dump_brings_nothing_back(dump_file, house):
    tenant, owner, keys = house
    services.schedule_destruction(actor=STAFF, key=keys[0])
    with scopes_disabled():
        PersonalKey.objects.filter(pk=keys[0].pk).update(destruction_due_at="2020-01-01T00:00:00Z")
    services.destroy_due_keys()
    issued = create_bunker_url(actor=Actor.user(owner), key=keys[1], policy_slug="social", name="App")
    revoke_connection(actor=Actor.user(owner), connection=issued.connection)
    lost = make_key(owner, tenant, "Later")
    people.lock_tenant(actor=STAFF, tenant=tenant)
    found = restore_check("--dump", str(dump_file))
    assert found["brought_up_to_date"]["keys destroyed again"] == 1
    assert found["brought_up_to_date"]["tenants locked"] == 1
    assert found["lost_keys"] == {lost.id.hex: lost.public_key}
    assert Tenant.objects.get().state == Tenant.State.LOCKED


def test_the_scaled_shape_rehearses_in_production_settings(dump_file, monkeypatch, tmp_path):
    for name, value in {
        "KEYCAST_ENVIRONMENT": "production",
        "DJANGO_SETTINGS_MODULE": "keycast.settings",
        "KEYCAST_EMBEDDED": "0",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "EMAIL_URL": "smtp+tls://who:word@mail.example.com:587",
        "KEYCAST_PLATFORM_HOSTS": "admin.example.com",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "KEYCAST_FIELD_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "KEYCAST_DATA_DIR": str(tmp_path),
        "KEYCAST_SIGNER_IN_PROCESS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with dumps.restored(dump_file, tmp_path) as url:
        found = restore_check_command._inspected(url, "")
    assert (found["problems"], found["opened"]) == ([], 3)


@pytest.fixture
def other_role(house):
    """(address of an empty database of a role that may read here, by default privileges too); gone afterwards."""
    import psycopg
    from psycopg import sql

    named, name = connection.settings_dict, f"keycast_{secrets.token_hex(4)}"
    way = {key: str(named[setting]) for key, setting in (("host", "HOST"), ("port", "PORT"), ("user", "USER"))}
    way |= {"password": str(named["PASSWORD"])} if named["PASSWORD"] else {}
    with psycopg.connect(**way, dbname="postgres", autocommit=True) as server:

        def do(statement: str) -> None:
            server.execute(sql.SQL(statement).format(name=sql.Identifier(name)))

        do("CREATE ROLE {name} LOGIN")
        do("CREATE DATABASE {name} OWNER {name}")
        with connection.cursor() as cursor:
            cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
            cursor.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {name}")
        yield f"postgres://{name}@{way['host']}:{way['port']}/{name}"
        with connection.cursor() as cursor:
            cursor.execute(f"DROP OWNED BY {name}")
        do("DROP DATABASE {name} WITH (FORCE)")
        do("DROP ROLE {name}")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite knows no roles")
def test_a_role_that_owns_nothing_rehearses_a_dump_with_the_owners_default_privileges(other_role, tmp_path):
    found = restore_check("--dump", str(dumps.dump(tmp_path)), "--into", other_role)
    assert (found["sound"], found["keys_opened"]) == (True, 3)


@pytest.mark.parametrize(
    ("ours", "into", "used"),
    [
        ("", "postgres://who@host/spare", "postgres://who@host/spare"),
        ("a/b", "postgres://who:own@host/spare", "postgres://who:own@host/spare"),
        ("a/b", "postgres://who@host:5433/spare", "postgres://who:a%2Fb@host:5433/spare"),
    ],
)
def test_an_address_without_a_password_gets_ours(monkeypatch, ours, into, used):
    monkeypatch.setattr(dumps, "_parameters", lambda: {"password": ours} if ours else {})
    assert dumps._with_password(into) == used
