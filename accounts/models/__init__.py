"""Tenants, users and who belongs where: a module for each. What changes them is in the services."""

from accounts.models.approvals import Approval
from accounts.models.lock_authority import LockAuthority
from accounts.models.mail import OutgoingMail
from accounts.models.memberships import Invitation, Membership, Role
from accounts.models.panic import DeploymentLock, Release
from accounts.models.support import SupportView
from accounts.models.tenants import KeyMode, Tenant, TenantDay, TenantDomain, default_key_modes
from accounts.models.users import StaffRole, User

__all__ = [
    "Approval",
    "DeploymentLock",
    "Invitation",
    "KeyMode",
    "LockAuthority",
    "Membership",
    "OutgoingMail",
    "Release",
    "Role",
    "StaffRole",
    "SupportView",
    "Tenant",
    "TenantDay",
    "TenantDomain",
    "User",
    "default_key_modes",
]
