"""The services of accounts: each atomic, with its audit row and its signal in the same transaction."""

from __future__ import annotations

from accounts.services.domains import (
    add_domain,
    check_claims,
    check_domain,
    make_domain_primary,
    remove_domain,
    renew_claim,
    verify_domain,
    vouch_for_domain,
)
from accounts.services.invitations import accept_invitation, find_invitation, invite, withdraw_invitation
from accounts.services.members import add_member, change_role, remove_member, resume_member, suspend_member
from accounts.services.staff import change_staff_role, end_staff, make_staff
from accounts.services.tenants import (
    change_tenant,
    create_tenant,
    found_tenant,
    lock_tenant,
    register_check,
    resume_tenant,
    set_quotas,
    suspend_tenant,
    unlock_tenant,
)
from accounts.services.users import (
    create_user,
    deactivate_user,
    lock_user,
    reactivate_user,
    rename_user,
    unlock_user,
)

__all__ = [
    "accept_invitation",
    "add_domain",
    "add_member",
    "change_role",
    "change_staff_role",
    "change_tenant",
    "check_claims",
    "check_domain",
    "create_tenant",
    "create_user",
    "deactivate_user",
    "end_staff",
    "find_invitation",
    "found_tenant",
    "invite",
    "lock_tenant",
    "lock_user",
    "make_domain_primary",
    "make_staff",
    "reactivate_user",
    "register_check",
    "remove_domain",
    "remove_member",
    "rename_user",
    "renew_claim",
    "resume_member",
    "resume_tenant",
    "set_quotas",
    "suspend_member",
    "suspend_tenant",
    "unlock_tenant",
    "unlock_user",
    "verify_domain",
    "vouch_for_domain",
    "withdraw_invitation",
]
