"""Four of the staff, a tenant, and a kind of request that notes what it was asked to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from accounts.errors import Conflict
from accounts.models import StaffRole, Tenant, User
from accounts.services import create_user
from accounts.staff.approvals import kinds
from accounts.staff.approvals.kinds import ApprovalKind, ApprovalProof
from accounts.staff.approvals.services import use_proof
from accounts.staff.roles import StaffPermission
from keycast.audit.entries import Actor
from keycast.base.errors import NotFound

COMMAND = Actor.command("tests")


@dataclass
class Deed:
    """Stands for something that needs two persons: it spends its approval proof, and can be made to refuse."""

    done: list[ApprovalProof] = field(default_factory=list)
    refuses: bool = False

    def run(self, approval_proof: ApprovalProof) -> str:
        if self.refuses:
            raise Conflict("Its state has changed.")
        use_proof(
            actor=approval_proof.actor,
            kind="test-deed",
            target_id=approval_proof.target_id,
            parameters=approval_proof.parameters,
            approval_proof=approval_proof,
        )
        self.done.append(approval_proof)
        return "done"

    def describe(self, target_id: str, parameters: Any) -> str:
        if target_id == "gone":
            raise NotFound
        return f"Do it to {target_id}"


@pytest.fixture
def deed() -> Iterator[Deed]:
    made = Deed()
    kinds.register(ApprovalKind("test-deed", "Do it", made.run, made.describe, StaffPermission.LOCK))
    yield made
    del kinds._KINDS["test-deed"]


def colleague(name: str, role: StaffRole) -> User:
    return create_user(actor=COMMAND, email=f"{name}@platform.test", is_staff=True, staff_role=role)


@pytest.fixture
def operator(db: None) -> User:
    return colleague("operator", StaffRole.OPERATOR)


@pytest.fixture
def officer(db: None) -> User:
    return colleague("officer", StaffRole.SECURITY_OFFICER)


@pytest.fixture
def second(db: None) -> User:
    return colleague("second", StaffRole.SECURITY_OFFICER)


@pytest.fixture
def auditor(db: None) -> User:
    return colleague("auditor", StaffRole.AUDITOR)


@pytest.fixture
def tenant(db: None) -> Tenant:
    return Tenant.objects.create(slug="news", name="News")
