"""Has mails leave at once in tests, where no job cluster runs: into django.core.mail.outbox.

A mail waits for the transaction that it tells of; the one that pytest-django puts around a test does not count.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from django.db import connection, transaction


@pytest.fixture(autouse=True)
def mails_leave_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Not for tests marked ``mails_wait``."""
    if request.node.get_closest_marker("mails_wait"):
        yield
        return
    from accounts.mail import outbox  # needs the settings

    def after_commit(mail_id: uuid.UUID) -> None:
        if all(block._from_testcase for block in connection.atomic_blocks):
            outbox.send_soon(mail_id)
        else:
            transaction.on_commit(lambda: outbox.send_soon(mail_id), robust=True)

    monkeypatch.setattr(outbox, "after_commit", after_commit)
    yield
