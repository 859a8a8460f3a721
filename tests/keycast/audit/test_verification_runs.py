"""Verifications in the background: what is gone without a trace is missed by what an earlier one had reached."""

from __future__ import annotations

import pytest

from keycast.audit import verification_runs
from keycast.audit.entries import Actor
from keycast.audit.models import AuditVerification
from tests.keycast.audit.conftest import tamper, write

State = AuditVerification.State
TENANT = "e" * 32

pytestmark = pytest.mark.django_db


def run() -> AuditVerification:
    asked = verification_runs.start(actor=Actor.system("test"))
    assert verification_runs.carry_on(asked.id)
    asked.refresh_from_db()
    return asked


def vanish(chain: str) -> None:
    tamper(
        f"DELETE FROM audit_auditrow WHERE chain = '{chain}'", f"DELETE FROM audit_auditchain WHERE name = '{chain}'"
    )


def test_a_chain_that_vanished_whole_is_missed_as_long_as_it_is_gone() -> None:
    write(3)
    write(3, TENANT)
    assert run().state == State.INTACT
    vanish(TENANT)
    for _ in range(2):
        broken = run()
        assert broken.state == State.BROKEN
        (fault,) = verification_runs.faults_of(broken)
        assert (fault.chain, fault.problem) == (TENANT, "chain-missing")


def test_the_platforms_own_chain_is_missed_like_any_other() -> None:
    write(3)
    assert run().state == State.INTACT
    vanish("platform")
    (fault,) = verification_runs.faults_of(run())
    assert (fault.chain, fault.problem) == ("platform", "chain-missing")


def test_before_the_first_row_there_is_nothing_to_miss() -> None:
    assert [run().state, run().state] == [State.INTACT, State.INTACT]
