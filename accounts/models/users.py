"""People, whatever tenants they belong to. Fields and constraints only."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.managers import UserManager
from accounts.models.lock_authority import LockAuthority


class StaffRole(models.TextChoices):
    """What a member of platform staff may do (accounts.staff.roles has the table)."""

    OPERATOR = "operator", "Operator"
    SECURITY_OFFICER = "security-officer", "Security officer"
    AUDITOR = "auditor", "Auditor"
    SUPPORT = "support", "Support"


class User(AbstractBaseUser, PermissionsMixin):
    """A person. What they may do in a tenant is a Membership; on the platform, ``staff_role`` says it.

    ``seal`` shows that a process of ours wrote the row (accounts.account_seals); ``means`` are the account's addresses
    and second factors in it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField("platform staff", default=False)
    staff_role = models.CharField(max_length=24, choices=StaffRole, blank=True, default="")
    locked_at = models.DateTimeField(null=True, blank=True, help_text="Set while nothing may be signed for this user.")
    locked_by = models.CharField(max_length=16, choices=LockAuthority, blank=True, default="")
    means = models.CharField(
        max_length=64, blank=True, default="", db_default="", editable=False, help_text="SHA-256 of how one signs in."
    )
    seal = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    date_joined = models.DateTimeField(default=timezone.now, editable=False)

    objects = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering = ("email",)
        constraints = (
            models.UniqueConstraint(Lower("email"), name="user_email_unique_any_case"),
            models.CheckConstraint(
                name="staff_have_a_role",
                condition=models.Q(is_staff=False, staff_role="")
                | models.Q(is_staff=True, staff_role__in=["operator", "security-officer", "auditor", "support"]),
            ),
        )

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email.partition("@")[0]
