"""How the deployment's lock stands."""

from __future__ import annotations

from accounts.models.panic import DeploymentLock


def deployment_lock() -> DeploymentLock:
    """The lock; a row that was never written means that nothing is locked."""
    return DeploymentLock.objects.filter(id=1).first() or DeploymentLock()
