"""A checkpoint key, a file for checkpoints, rows, and somebody who may do anything to the database."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from keycast.audit import signing, triggers
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditCheckpoint
from keycast.audit.services import append
from keycast.audit.tags import AuditOutcome, AuditTag

KEY = "ed25519:" + base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = "ed25519:" + base64.b64encode(bytes(range(1, 33))).decode()


@pytest.fixture
def signer(settings: Settings, tmp_path: Path) -> Iterator[signing.StatementSigner]:
    """This process signs checkpoints, and carries them to ``outside.jsonl``."""
    settings.AUDIT_CHECKPOINT_KEY = KEY
    settings.AUDIT_CHECKPOINT_FILE = str(tmp_path / "outside.jsonl")
    settings.AUDIT_CHECKPOINT_ROWS = 5
    settings.AUDIT_CHECKPOINT_SECONDS = 0
    signing.current.cache_clear()
    yield signing.LocalStatementSigner.from_text(KEY)
    signing.current.cache_clear()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside.jsonl"


def write(count: int, chain: str = "platform", **fields: object) -> None:
    """Append rows as the server does."""
    made = [
        AuditEntry(chain, AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test"), data={"n": number}, **fields)  # type: ignore[arg-type]
        for number in range(count)
    ]
    with connection.cursor() as cursor:
        append(cursor, made)


def tamper(*statements: str | Callable[[], object]) -> None:
    """Change the log as somebody would who may change the schema too, and put the triggers back."""
    with connection.cursor() as cursor:
        triggers.remove(cursor, connection.vendor)
        for statement in statements:
            if callable(statement):
                statement()
            else:
                cursor.execute(statement)
        triggers.install(cursor, connection.vendor)


def sizes(chain: str = "platform") -> list[int]:
    return list(AuditCheckpoint.objects.filter(chain=chain).order_by("number").values_list("size", flat=True))
