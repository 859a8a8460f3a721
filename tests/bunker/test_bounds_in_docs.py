"""docs/app-makers.md lists every bound between a client's socket and its answer, with the number in force."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from bunker.relays.limits import BuiltInLimits, IntakeLimits, OutboundLimits
from bunker.services import common, pairing
from bunker.worker import commit_jobs, ledger, publisher, records
from bunker.worker.admission import AdmissionLimits
from keycast.nostr import nip01, nip44, nip46, uris
from tests.paths import ROOT

ROW = re.compile(r"^\| `([A-Za-z_.]+)` \| ([0-9.]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
SINGLE = {
    "REPLY_LIFETIME": publisher,
    "MAX_PLAINTEXT": nip44,
    "MAX_TEMPLATE_BYTES": nip01,
    "MAX_TAGS": nip01,
    "MAX_REQUEST_ID": nip46,
    "MAX_PARAMS": nip46,
    "MAX_METHOD": nip46,
    "MAX_PERMISSIONS_TEXT": nip46,
    "MAX_METADATA": pairing,
    "MAX_URI": uris,
    "MAX_RELAYS": uris,
    "MAX_LIVE_CONNECTIONS": common,
    "MAX_RELAYS_OF_A_PERSON": common,
    "REFUSALS_PER_SECOND": records,
    "CONNECTS_PER_SECOND": records,
    "RESEND_MS": commit_jobs,
    "REMEMBER_MS": ledger,
}


def in_force() -> dict[str, Any]:
    found = {name: getattr(module, name) for name, module in SINGLE.items()}
    for limits in (BuiltInLimits(), IntakeLimits(), AdmissionLimits()):
        name = type(limits).__name__
        found |= {f"{name}.{field.name}": getattr(limits, field.name) for field in fields(limits)}
    return {**found, "OutboundLimits.event_bytes": OutboundLimits().event_bytes}


def documented() -> dict[str, str]:
    text = (ROOT / "docs/app-makers.md").read_text(encoding="utf-8")
    return {name: number for name, number, _, _ in ROW.findall(text)}


@pytest.mark.parametrize("name", sorted(in_force()))
def test_a_bound_is_documented_with_its_number(name: str) -> None:
    assert documented().get(name) == str(in_force()[name])


def test_no_bound_is_documented_that_is_not_there() -> None:
    assert documented().keys() == in_force().keys()
