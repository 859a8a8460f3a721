"""docs/app-makers.md lists every bound between a client's socket and its answer, with the number in force."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from django.conf import settings

from bunker.relays.limits import BuiltInLimits, IntakeLimits, OutboundLimits
from bunker.services import common, pairing
from bunker.worker import commit_jobs, ledger, publisher, records
from bunker.worker.admission import AdmissionLimits
from keycast.nostr import nip01, nip04, nip44, nip46, uris
from keycast.serving.limits import ConnectionLimits
from tests.paths import ROOT

ROW = re.compile(r"^\| `([A-Za-z0-9_.]+)` \| ([0-9.]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
SINGLE: dict[Any, tuple[str, ...]] = {
    commit_jobs: ("RESEND_MS",),
    common: ("MAX_LIVE_CONNECTIONS", "MAX_RELAYS_OF_A_PERSON"),
    ledger: ("REMEMBER_MS",),
    nip01: ("MAX_EVENT_BYTES", "MAX_TEMPLATE_BYTES", "MAX_TAGS"),
    nip04: ("MAX_PLAINTEXT",),
    nip44: ("MAX_PLAINTEXT",),
    nip46: ("MAX_REQUEST_ID", "MAX_PARAMS", "MAX_METHOD", "MAX_PERMISSIONS_TEXT"),
    pairing: ("MAX_METADATA",),
    publisher: ("REPLY_LIFETIME",),
    records: ("REFUSALS_PER_SECOND", "REFUSALS_AT_ONCE", "CONNECTS_PER_SECOND", "CONNECTS_AT_ONCE"),
    uris: ("MAX_CLIENT_URI", "MAX_RELAYS", "MAX_RELAY_URL", "MAX_SECRET"),
}
SETTINGS = ("BUNKER_SECRET_LIFETIME", "BUNKER_PAIRING_FAILURES", "BUNKER_PAIRING_WINDOW")
OUTBOUND = ("event_bytes", "pending", "relays")
"""Of the bounds of outbound relays those that a client may notice; the others are between such a relay and us."""


def in_force() -> dict[str, Any]:
    found = {
        f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name)
        for module, names in SINGLE.items()
        for name in names
    }
    found |= {f"settings.{name}": getattr(settings, name) for name in SETTINGS}
    found |= {f"OutboundLimits.{name}": getattr(OutboundLimits(), name) for name in OUTBOUND}
    for limits in (ConnectionLimits(), BuiltInLimits(), IntakeLimits(), AdmissionLimits()):
        found |= {f"{type(limits).__name__}.{field.name}": getattr(limits, field.name) for field in fields(limits)}
    return found


def documented() -> dict[str, str]:
    text = (ROOT / "docs/app-makers.md").read_text(encoding="utf-8")
    return {name: number for name, number, _, _ in ROW.findall(text)}


@pytest.mark.parametrize("name", sorted(in_force()))
def test_a_bound_is_documented_with_its_number(name: str) -> None:
    assert documented().get(name) == str(in_force()[name])


def test_no_bound_is_documented_that_is_not_there() -> None:
    assert documented().keys() == in_force().keys()
