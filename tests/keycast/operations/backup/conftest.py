"""A database that can be put back to what it was, while the restore journal stays."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from django.db import transaction
from django.test import TestCase
from django_scopes import scopes_disabled

from keycast.audit import journal_writer


@pytest.fixture(autouse=True)
def endings_path(tmp_path, settings):
    """The restore journal, kept for this test."""
    settings.RESTORE_JOURNAL = str(tmp_path / "endings.jsonl")
    journal_writer.reset_check()
    with scopes_disabled():
        yield tmp_path / "endings.jsonl"
    journal_writer.reset_check()


@pytest.fixture
def going_back(db):
    """What is done inside is committed as far as anybody can tell; afterwards an older database is in its place."""

    @contextmanager
    def going_back():
        point = transaction.savepoint()
        with TestCase.captureOnCommitCallbacks(execute=True):
            yield
        transaction.savepoint_rollback(point)
        journal_writer.reset_check()

    return going_back
