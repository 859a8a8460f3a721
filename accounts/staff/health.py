"""What health has to say of the two-person rule: with fewer than two security officers, nobody can approve."""

from __future__ import annotations

from typing import Final

from accounts.models import StaffRole, User
from accounts.staff.gate import SECOND_FACTORS
from keycast.base.findings import HealthFinding, Severity

_FIX: Final = "Run: manage.py staff make EMAIL --role security-officer (docs/operations.md, The first two officers)."


def officers() -> HealthFinding:
    """At least two active security officers, with a second factor each, so that one can decide what another asks."""
    people = User.objects.filter(is_staff=True, is_active=True, staff_role=StaffRole.SECURITY_OFFICER)
    ready = people.filter(authenticator__type__in=[str(kind) for kind in SECOND_FACTORS]).distinct().count()
    if ready >= 2:
        return HealthFinding("security officers", True, f"{ready} can decide on what another person asks for.")
    lacking = people.count() - ready
    unready = f" {lacking} more without a second factor." if lacking else ""
    detail = (
        f"{ready} can decide.{unready} Two persons are needed to destroy a key, to lock a tenant or to make staff; "
        "until there are two, none of that can be done in the admin."
    )
    return HealthFinding("security officers", False, detail, _FIX, Severity.WARNING)
