"""One life for both kinds of request: of platform staff, and of a tenant's own people."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.utils import timezone

from accounts import two_person_rule
from accounts.errors import AlreadyDecided, AlreadyRequested, OwnApprovalRequest
from accounts.models import Approval, Release, Tenant
from keycast.audit.entries import Actor
from keycast.base.errors import NotPermitted

from .conftest import MakeMember

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["approval", "release"])
def make(request: pytest.FixtureRequest, news: Tenant, make_member: MakeMember) -> Any:
    """A request that is not stored yet, always the same one."""
    asker = make_member("asker@example.org", "admin").user

    def build() -> Approval | Release:
        if request.param == "release":
            return Release(tenant=news, reason="Over.", asked_by=asker)
        return Approval(kind="k", fingerprint="0" * 64, description="d", reason="r", asked_by=asker)

    return build


@pytest.fixture
def decider(make_member: MakeMember) -> Any:
    return make_member("decider@example.org", "owner").user.id


def again(row: Any) -> Any:
    return type(row)._base_manager.get(pk=row.pk)


def test_the_same_is_asked_for_once(make: Any) -> None:
    two_person_rule.ask_once(make())
    with pytest.raises(AlreadyRequested):
        two_person_rule.ask_once(make())


def test_nobody_decides_on_their_own_request_and_nobody_else_withdraws_it(make: Any) -> None:
    row = make()
    asker = Actor("user", row.asked_by_id.hex, "")
    with pytest.raises(OwnApprovalRequest):
        two_person_rule.require_another_person(row, asker)
    with pytest.raises(NotPermitted):
        two_person_rule.require_who_asked(row, asker, "staff")
    two_person_rule.require_who_asked(row, asker, "user")


def test_the_first_decision_wins_whoever_read_the_row_before(make: Any, decider: Any) -> None:
    row = make()
    two_person_rule.ask_once(row)
    late = again(row)
    two_person_rule.close(row, "withdrawn", decided_by=None)
    with pytest.raises(AlreadyDecided):
        two_person_rule.close(late, "expired", decided_by=decider)
    assert (again(row).state, again(row).decided_by_id) == ("withdrawn", None)


def test_what_nobody_decided_in_time_is_closed_once_and_told_once(make: Any) -> None:
    row = make()
    two_person_rule.ask_once(row)
    rows = type(row)._base_manager.all()
    assert list(two_person_rule.overdue(rows)) == []
    rows.update(expires_at=timezone.now() - datetime.timedelta(seconds=1))
    told: list[Any] = []
    seen = list(two_person_rule.overdue(rows))
    assert two_person_rule.expire_overdue(seen, told.append) == 1
    assert two_person_rule.expire_overdue([again(row)], told.append) == 0
    assert [each.state for each in told] == ["expired"]
