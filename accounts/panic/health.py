"""What health has to say of locks."""

from __future__ import annotations

from accounts.models import Tenant
from accounts.panic.selectors import deployment_lock
from keycast.base.findings import HealthFinding, Severity


def locks() -> HealthFinding:
    """Whether the deployment is locked; tenants that are stopped are named as well, but need no attention."""
    lock = deployment_lock()
    if lock.locked_at is not None:
        detail = f"The deployment is locked since {lock.locked_at:%Y-%m-%d %H:%M} UTC: nothing is signed for anybody."
        return HealthFinding(
            "locks", False, detail, "Two persons unlock it.", Severity.WARNING, "admin:panic", tells=True
        )
    stopped = Tenant.objects.exclude(state=Tenant.State.ACTIVE).count()
    return HealthFinding(
        "locks", True, f"The deployment is not locked; {stopped} tenants are stopped.", link="admin:panic"
    )
