"""The deployment's own lock, and requests to lift a lock that a second person decides on."""

from __future__ import annotations

from django.db import models
from django_scopes import ScopedManager

from accounts.models.two_person_request import TwoPersonRequest


class DeploymentLock(models.Model):
    """The one row that stops all signing on this deployment while ``locked_at`` is set."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    locked_at = models.DateTimeField(null=True, blank=True)
    locked_by = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = (models.CheckConstraint(name="deployment_lock_is_one", condition=models.Q(id=1)),)

    def __str__(self) -> str:
        return "locked" if self.locked_at else "not locked"


class Release(TwoPersonRequest):
    """A request of a tenant's own people to lift a lock: the tenant's (``user`` is None), or one person's.

    Another owner or administrator of the tenant decides; the platform's staff have accounts.staff.approvals.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        GRANTED = "granted", "Granted"
        REFUSED = "refused", "Refused"
        WITHDRAWN = "withdrawn", "Withdrawn"
        EXPIRED = "expired", "Expired"

    tenant = models.ForeignKey("accounts.Tenant", on_delete=models.CASCADE, related_name="releases")
    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, null=True, blank=True, related_name="releases")
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)

    objects = ScopedManager(tenant="tenant")

    class Meta:
        ordering = ("-asked_at",)
        constraints = (
            models.UniqueConstraint(
                name="release_of_a_person_open_once",
                fields=["user"],
                condition=models.Q(state="open", user__isnull=False),
            ),
            models.UniqueConstraint(
                name="release_of_a_tenant_open_once",
                fields=["tenant"],
                condition=models.Q(state="open", user__isnull=True),
            ),
            models.CheckConstraint(
                name="release_state_known",
                condition=models.Q(state__in=["open", "granted", "refused", "withdrawn", "expired"]),
            ),
            models.CheckConstraint(
                name="release_by_another_person",
                condition=~models.Q(state__in=["granted", "refused"])
                | models.Q(decided_by__isnull=False) & ~models.Q(decided_by=models.F("asked_by")),
            ),
        )

    def __str__(self) -> str:
        return f"release {self.id}"
