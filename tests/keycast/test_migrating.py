"""Migrations stand being run twice, by two at once, and killed in between (threats R9)."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from keycast.management.commands import migrate
from tests.paths import ROOT

STARTS_AFTER = (1.5, 2.5, 3.5)
"""Seconds until each kill: some way into the migrations on any machine, or before, or after them."""


@pytest.fixture
def empty(tmp_path, django_db_setup, django_db_blocker):
    """DATABASE_URL of an empty database of the kind that the suite runs on."""
    named = settings.DATABASES["default"]
    if connection.vendor == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    name = f"keycast_migrating_{secrets.token_hex(4)}"
    known = {"host": named["HOST"], "port": named["PORT"], "user": named["USER"], "password": named["PASSWORD"]}
    wanted = {key: value for key, value in known.items() if value}
    with psycopg.connect(**wanted, dbname="postgres", autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"postgres://{named['USER']}:{named['PASSWORD']}@{named['HOST']}:{named['PORT']}/{name}"
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def manage(url, *arguments):
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process):
    said, _ = process.communicate(timeout=100)
    return process.returncode, said


def waiting(url):
    return ended(manage(url, "migrate", "--check"))[0]


@pytest.mark.slow
def test_a_killed_migration_is_finished_by_the_next_one(empty):
    for seconds in STARTS_AFTER:
        process = manage(empty, "migrate", "--verbosity", "0")
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        ended(process)
    assert ended(manage(empty, "migrate", "--verbosity", "0")) == (0, "")
    assert waiting(empty) == 0


@pytest.mark.slow
def test_two_at_once_wait_for_each_other_and_a_third_finds_nothing_to_do(empty):
    assert waiting(empty) != 0
    both = [manage(empty, "migrate", "--verbosity", "0") for _ in range(2)]
    assert [ended(process) for process in both] == [(0, ""), (0, "")]
    assert waiting(empty) == 0
    code, said = ended(manage(empty, "migrate"))
    assert code == 0
    assert "No migrations to apply" in said


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a database server keeps its files itself")
def test_the_database_file_is_its_owners_alone_whatever_the_umask(tmp_path):
    path = tmp_path / "new.sqlite3"
    before = os.umask(0o022)
    try:
        assert ended(manage(f"sqlite:///{path}", "migrate", "contenttypes", "--verbosity", "0"))[0] == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_system_checks_run_under_the_lock(monkeypatch):
    """One of them finds no JSON in SQLite while another migration holds the write lock."""
    order = []

    @contextmanager
    def lock(_):
        order.append("locked")
        yield
        order.append("unlocked")

    monkeypatch.setattr(migrate, "_alone", lock)
    monkeypatch.setattr(migrate.Migrate, "execute", lambda *_, **__: order.append("checks and migrations"))
    call_command("migrate")
    assert order == ["locked", "checks and migrations", "unlocked"]
