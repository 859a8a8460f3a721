"""Every row of nip46_hostile.json against one worker, in one run (threats.md, sections 2 and 3)."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from keycast.audit.services import verify
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.bunker.hostile.conftest import World, audit_rows


def outcome_of(replies: list[dict[str, Any]]) -> str:
    assert len(replies) <= 1, replies
    if not replies:
        return "drop"
    return "error" if "error" in replies[0] else "ok"


ALLOWED = {
    "ok": {"ok"},
    "error": {"error"},
    "drop": {"drop"},
    "error-or-drop": {"error", "drop"},
    "ok-or-error": {"ok", "error"},
    "error-or-truncate": {"error", "ok"},
    "policy": {"ok", "error"},
    "no-op-or-cached": {"drop", "ok"},
}


@pytest.mark.compliance(spec="NIP-46", section="all", requirement="hostile requests end as the corpus says")
async def test_every_hostile_request_of_the_corpus_gets_its_expected_outcome(hostile: World) -> None:
    wrong: list[str] = []
    signed_by_cases = 0
    for case in hostile.vectors["cases"]:
        await hostile.prepare(case["precondition"])
        before = hostile.worker.stats.signed
        replies = await hostile.deliver(case["event"])
        outcome = outcome_of(replies)
        signed = hostile.worker.stats.signed - before
        if outcome not in ALLOWED[case["expect"]] and not ("or drop" in case["why"] and outcome == "drop"):
            wrong.append(f"{case['name']}: {outcome} instead of {case['expect']} {replies}")
        if signed and (outcome != "ok" or case["expect"] == "no-op-or-cached"):
            wrong.append(f"{case['name']}: signed {signed} times")
        signed_by_cases += signed
    assert not wrong, "\n".join(wrong)

    await hostile.prepare("connected")
    client = hostile.clients[hostile.vectors["pubkeys"]["client"]]
    assert (await client.ask("ping"))["result"] == "pong"

    rows = await sync_to_async(audit_rows)(tag=AuditTag.SIGN_EVENT)
    intents = [row for row in rows if row.outcome == AuditOutcome.INTENT]
    done = [row for row in rows if row.outcome == AuditOutcome.OK]
    assert len(intents) == len(done) == signed_by_cases
    assert (await sync_to_async(verify)()).is_intact
