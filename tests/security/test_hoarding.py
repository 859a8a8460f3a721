"""An app gathers signatures that it could use after it was let go: dated ahead, of every kind that it may sign."""

from __future__ import annotations

import json
import time

import pytest
from asgiref.sync import sync_to_async

from bunker.policy import TEMPLATES
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.bunker.conftest import Running, connected
from tests.bunker.support import Home

SIGNING = [slug for slug, template in TEMPLATES.items() if template.document["rules"]]
KINDS = (0, 1, 3, 4, 7, 13, 10002, 10050, 22242, 30023, 30078)


@pytest.mark.parametrize("policy", SIGNING)
async def test_nothing_is_signed_for_the_time_after_a_revocation(worker: Running, home: Home, policy: str) -> None:
    client = await connected(worker, home, policy)
    before = await signatures()
    for kind in KINDS:
        for ahead in (1_000, 86_400, 10 * 365 * 86_400):
            answer = await client.sign("later", kind=kind, created_at=int(time.time()) + ahead)
            assert answer["error"]
            assert "sig" not in answer.get("result", "")
    assert await signatures() == before


async def test_the_refusal_names_the_date(worker: Running, home: Home) -> None:
    client = await connected(worker, home, "social")
    answer = await client.sign("article", kind=30023, created_at=int(time.time()) + 10 * 365 * 86_400)
    assert "dated 3650 days after the present" in answer["error"] or "dated 3649 days" in answer["error"]


async def test_a_note_of_a_phone_whose_clock_is_ahead_is_signed(worker: Running, home: Home) -> None:
    client = await connected(worker, home, "social")
    for kind, ahead in ((1, 600), (30023, 5)):
        at = int(time.time()) + ahead
        signed = json.loads((await client.sign("hello", kind=kind, created_at=at))["result"])
        assert signed["created_at"] == at


async def signatures() -> int:
    found = AuditRow.objects.filter(outcome__in=[AuditOutcome.INTENT, AuditOutcome.OK], tag=AuditTag.SIGN_EVENT)
    return await sync_to_async(found.count)()
