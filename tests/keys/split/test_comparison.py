"""The co-signer's record and our log are compared: what one alone has is told once, and what is explained is not."""

from __future__ import annotations

import os
from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit import writer
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.models import CosignerComparison, KeyState, PersonalKey
from keys.signing.cosigning.errors import CosignerUnavailable
from keys.signing.cosigning.messages import KeyLogReply, LogEntry
from keys.signing.cosigning.trial_event import trial_event
from keys.split import comparison
from tests.keys.conftest import make_key, make_tenant, make_user

pytestmark = pytest.mark.django_db
APP = Actor.client("aa" * 32, "App")


class Cosigner:
    """Answers for the co-signer's log, in memory."""

    def __init__(self):
        self.entries, self.is_away, self.forgotten = [], False, 0

    def signed(self, key, event, tag="cosigner:event:signed"):
        at = now_in_microseconds()
        self.entries.append(LogEntry(len(self.entries) + 1, at, tag, "ok", key.id.bytes, event, "{}"))

    async def uses_after(self, sequence, limit=200):
        if self.is_away:
            raise CosignerUnavailable
        rows = [entry for entry in self.entries if entry.sequence > sequence][:limit]
        return KeyLogReply(0, rows, len(self.entries) - self.forgotten, 0, "", {})

    async def close(self):
        pass


class Moment:
    """Moves the clock of the comparison on."""

    def __init__(self, monkeypatch):
        self.start, self.passed = timezone.now(), timedelta()
        monkeypatch.setattr(comparison.timezone, "now", lambda: self.start + self.passed)
        monkeypatch.setattr(writer, "time", SimpleNamespace(time_ns=lambda: now_in_microseconds() * 1000))


def now_in_microseconds():
    return int(comparison.timezone.now().timestamp() * 1_000_000)


@pytest.fixture
def moment(monkeypatch, settings):
    settings.HSM_PROVIDERS = ["google"]
    return Moment(monkeypatch)


@pytest.fixture
def key(db):
    tenant = make_tenant()
    row = PersonalKey(tenant=tenant, user=make_user(tenant), name="Split", key_mode="hsm", hsm_provider="google")
    row.public_key, row.encrypted_half_key, row.kek_version = (
        Keypair.generate()[0].public_key_hex,
        os.urandom(100),
        "test-1",
    )
    row.kms_key_name, row.kms_key_version, row.state = f"user-{row.id}", "1", KeyState.ACTIVE
    row.authoriser_public_key, row.cosigner_public_key = "02" + os.urandom(32).hex(), os.urandom(32).hex()
    with scopes_disabled():
        row.save()
    return row


@pytest.fixture
def cosigner(moment, key):
    """One that had signed before the first comparison, which judges nothing."""
    made = Cosigner()
    made.signed(key, "00" * 32)
    assert comparison.compare(made) == 0
    return made


def ours(key, event, outcome=AuditOutcome.OK, request=None):
    """A row of our log, at the comparison's time."""
    data = {"event": event} if event else {"reason": "cosigner-unavailable"}
    entry = AuditEntry(
        chain_of(key.tenant_id),
        AuditTag.SIGN_EVENT,
        outcome,
        APP,
        key.id.hex,
        "bb" * 16,
        request or uuid4().hex * 2,
        data,
    )
    with transaction.atomic():
        record(entry)


def later(moment, cosigner, minutes=11):
    moment.passed += timedelta(minutes=minutes)
    return comparison.compare(cosigner)


def told():
    with scopes_disabled():
        return list(AuditRow.objects.filter(tag=AuditTag.COSIGNER_LOG_DIFFERS).values_list("key_id", "data"))


def event():
    return os.urandom(32).hex()


def test_a_signature_that_we_do_not_know_is_told_once_to_owner_and_staff(key, cosigner, moment):
    stolen = event()
    cosigner.signed(key, stolen)
    assert comparison.compare(cosigner) == 0, "not before it is old enough"
    assert later(moment, cosigner) == 1
    assert later(moment, cosigner) == 0
    ((told_key, data),) = told()
    assert told_key == key.id.hex
    assert stolen in data
    assert '"side":"co-signer"' in data
    (line,) = comparison.differences_of(key)
    assert line.data["event"] == stolen
    found = comparison.health()
    assert not found.is_ok
    assert "1 signatures" in found.detail


def test_a_signature_that_the_co_signer_does_not_know_is_told(key, cosigner, moment):
    lost = event()
    ours(key, lost)
    assert later(moment, cosigner) == 1
    ((_, data),) = told()
    assert lost in data
    assert '"side":"keycast"' in data


def test_what_both_have_is_no_difference_over_many_comparisons(key, cosigner, moment):
    for _ in range(6):
        for _ in range(3):
            both = event()
            cosigner.signed(key, both)
            ours(key, both)
        assert later(moment, cosigner, 4) == 0
    assert later(moment, cosigner) == 0
    assert comparison.health().is_ok


@pytest.mark.parametrize("outcome", [AuditOutcome.FAILED, AuditOutcome.UNKNOWN, AuditOutcome.INTENT])
def test_a_request_without_a_known_end_explains_its_tries_and_no_more(key, cosigner, moment, outcome):
    ours(key, "", outcome)
    for _ in range(comparison.ANSWERS):
        cosigner.signed(key, event())
    assert later(moment, cosigner) == 0
    ours(key, "", outcome)
    for _ in range(comparison.ANSWERS + 1):
        cosigner.signed(key, event())
    assert later(moment, cosigner) == 1


def test_a_conversions_proof_and_keys_that_are_not_split_are_no_difference(key, cosigner, moment):
    cosigner.signed(key, id_of(trial_event(key.public_key)).hex())
    whole = make_key(key.user, key.tenant)
    ours(whole, event())
    assert later(moment, cosigner) == 0


def test_openings_are_not_compared(key, cosigner, moment):
    cosigner.signed(key, "", tag="cosigner:ecdh:contributed")
    assert later(moment, cosigner) == 0


def test_a_log_that_became_shorter_is_told(key, cosigner, moment):
    cosigner.signed(key, event())
    later(moment, cosigner)
    cosigner.entries = []
    assert later(moment, cosigner) == 1
    assert later(moment, cosigner) == 0


def test_a_co_signer_that_is_away_is_told_by_health_after_hours(key, cosigner, moment):
    cosigner.is_away = True
    assert later(moment, cosigner) == 0
    assert comparison.health().is_ok
    later(moment, cosigner, 3 * 60)
    found = comparison.health()
    assert not found.is_ok
    assert CosignerUnavailable.public_message in found.detail
    assert CosignerComparison.objects.get().differences == 0


def test_without_split_keys_there_is_nothing_to_compare(settings, db):
    settings.HSM_PROVIDERS = []
    assert comparison.compare(Cosigner()) == 0
    assert comparison.health() is None
