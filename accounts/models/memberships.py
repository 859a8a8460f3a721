"""Who belongs to which tenant, and who is invited to. Fields and constraints only."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone
from django_scopes import ScopedManager

from accounts.models.tenants import Tenant
from accounts.models.users import User


class Role(models.TextChoices):
    """What a member may do in a tenant (accounts.permissions)."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Administrator"
    MEMBER = "member", "Member"
    AUDITOR = "auditor", "Auditor"


class Membership(models.Model):
    """A user's place in one tenant."""

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        SUSPENDED = "suspended", "Suspended"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.MEMBER)
    state = models.CharField(max_length=16, choices=State, default=State.ACTIVE)
    seal = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ScopedManager(tenant="tenant")

    class Meta:
        ordering = ("created_at",)
        constraints = (
            models.UniqueConstraint(name="membership_once_per_tenant", fields=["tenant", "user"]),
            models.CheckConstraint(
                name="membership_role_known", condition=models.Q(role__in=["owner", "admin", "member", "auditor"])
            ),
            models.CheckConstraint(
                name="membership_state_known", condition=models.Q(state__in=["active", "suspended"])
            ),
        )

    def __str__(self) -> str:
        return f"{self.user_id} in {self.tenant_id} as {self.role}"


class Invitation(models.Model):
    """An offer of membership by e-mail; the token is stored hashed and works once."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=16, choices=Role, default=Role.MEMBER)
    token_hash = models.BinaryField(max_length=32, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    seal = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    accepted_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedManager(tenant="tenant")

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"invitation {self.id}"
