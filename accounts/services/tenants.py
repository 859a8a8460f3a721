"""Services that change tenants. Those on their host names are in services.domains."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.colours import is_colour, is_readable
from accounts.errors import Conflict, InvalidValue
from accounts.models import KeyMode, Membership, Role, Tenant
from accounts.models.lock_authority import RANK
from accounts.panic.authority import over_tenant
from accounts.permissions import MemberPermission, require
from accounts.quotas import Quota
from accounts.services._common import write
from accounts.services.domains import add_domain
from accounts.services.invitations import invite
from accounts.signals import tenant_changed
from accounts.staff.approvals.kinds import ApprovalProof
from accounts.staff.approvals.services import use_proof
from accounts.staff.roles import StaffPermission, require_actor
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted

SettingsCheck = Callable[[Tenant, Collection[str], Membership | None], None]
"""(tenant as it is to be, changed fields, the member who asks or None for an operator). Raises Invalid."""

MAX_QUOTA = 2_000_000_000
MAX_EXPORT_WAIT_HOURS = 240
"""Shorter than a session lives by default: what was asked for is fetched in the same one."""
_CHANGEABLE = frozenset(
    {
        *("name", "registration", "key_modes", "default_key_mode"),
        *("accent", "policies", "default_policy", "relays"),
        "export_wait_hours",
    }
)
_checks: list[SettingsCheck] = []
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_State = Tenant.State
LOCK, UNLOCK, SUSPEND, RESUME = "lock-tenant", "unlock-tenant", "suspend-tenant", "resume-tenant"
"""Kinds of requests (accounts.staff.approvals) for the services of the same names."""
_MOVES = {
    LOCK: (AuditTag.TENANT_LOCKED, {_State.ACTIVE}, _State.LOCKED),
    UNLOCK: (AuditTag.TENANT_UNLOCKED, {_State.LOCKED}, _State.ACTIVE),
    SUSPEND: (AuditTag.TENANT_SUSPENDED, {_State.ACTIVE, _State.LOCKED}, _State.SUSPENDED),
    RESUME: (AuditTag.TENANT_RESUMED, {_State.SUSPENDED}, _State.ACTIVE),
}


@transaction.atomic
def create_tenant(
    *,
    actor: Actor,
    slug: str,
    name: str,
    host: str,
    registration: str = Tenant.Registration.INVITATION,
    key_modes: Sequence[str] | None = None,
    default_key_mode: str = "",
) -> Tenant:
    """Make a tenant that is served at ``host``, whose ownership the actor vouches for.

    Raises NotPermitted, Invalid, BadHost, and Conflict if the slug or the host is taken.
    """
    _for_operators(actor)
    modes = list(key_modes or [settings.KEY_MODE])
    tenant = Tenant(slug=slug, name=name.strip(), registration=registration, key_modes=modes)
    tenant.default_key_mode = default_key_mode or modes[0]
    _check(tenant)
    _insert(tenant)
    write(
        AuditTag.TENANT_CREATED, actor, tenant=tenant.id.hex, slug=slug
    )  # the platform remembers that this chain exists
    write(AuditTag.TENANT_CREATED, actor, tenant_id=tenant.id, slug=slug, registration=registration, key_modes=modes)
    add_domain(actor=actor, tenant=tenant, host=host, is_verified=True, is_primary=True)
    return tenant


@transaction.atomic
def found_tenant(*, actor: Actor, owner: str, **settled: Any) -> Tenant:
    """Make a tenant (as ``create_tenant``) and invite its owner by e-mail. Raises as both do."""
    tenant = create_tenant(actor=actor, **settled)
    invite(actor=actor, tenant=tenant, email=owner, role=Role.OWNER, by=None)
    return tenant


@transaction.atomic
def change_tenant(*, actor: Actor, tenant: Tenant, by: Membership | None = None, **changes: Any) -> Tenant:
    """Change what a tenant settles for itself; its state, host names and quotas have services of their own.

    ``by`` as in services.members: what a member chooses must be within what the deployment has (``register_check``).
    Raises NotPermitted, Invalid; TypeError for any other field.
    """
    if unknown := set(changes) - _CHANGEABLE:
        raise TypeError(f"cannot change {', '.join(sorted(unknown))}")
    tenant = Tenant.objects.select_for_update().get(id=tenant.id)
    if by is not None:
        require(by, MemberPermission.CHANGE_TENANT, tenant)
    before = {field: getattr(tenant, field) for field in changes}
    changes = {field: value for field, value in changes.items() if before[field] != value}
    if not changes:
        return tenant
    for field, value in changes.items():
        setattr(tenant, field, value)
    _check(tenant)
    for check in _checks:
        check(tenant, changes.keys(), by)
    tenant.save(update_fields=list(changes))
    write(
        AuditTag.TENANT_CHANGED, actor, tenant_id=tenant.id, before={name: before[name] for name in changes}, **changes
    )
    tenant_changed.send(sender=Tenant, object_id=tenant.id)
    return tenant


def register_check(check: SettingsCheck) -> None:
    """Have an app above judge changes of settings that it knows more about; called once, when that app is ready."""
    if check not in _checks:
        _checks.append(check)


def lock_tenant(
    *, actor: Actor, tenant: Tenant, reason: str = "", approval_proof: ApprovalProof | None = None
) -> Tenant:
    """Stop all signing for the tenant's users at once; the portal stays open.

    By two persons of staff, by one owner or administrator, or on the server. Raises Conflict unless it is active, or
    locked with less authority; ApprovalRequired, NotPermitted.
    """
    return _move(actor, tenant, LOCK, reason, approval_proof)


def unlock_tenant(
    *, actor: Actor, tenant: Tenant, reason: str = "", approval_proof: ApprovalProof | None = None
) -> Tenant:
    """Undo lock_tenant; its own people ask for a release (accounts.panic). Raises Conflict unless it is locked."""
    return _move(actor, tenant, UNLOCK, reason, approval_proof)


def suspend_tenant(
    *, actor: Actor, tenant: Tenant, reason: str = "", approval_proof: ApprovalProof | None = None
) -> Tenant:
    """Close the tenant: no portal, no relay, no signing. Raises Conflict if it is suspended already."""
    return _move(actor, tenant, SUSPEND, reason, approval_proof)


def resume_tenant(
    *, actor: Actor, tenant: Tenant, reason: str = "", approval_proof: ApprovalProof | None = None
) -> Tenant:
    """Undo suspend_tenant. Raises Conflict unless it is suspended."""
    return _move(actor, tenant, RESUME, reason, approval_proof)


@transaction.atomic
def set_quotas(*, actor: Actor, tenant: Tenant, reason: str = "", **limits: int | None) -> Tenant:
    """Bound a tenant by names of accounts.quotas.Quota; None goes back to the deployment's own bound. For operators.

    What is there already stays, also where it is more than fits now. Raises NotPermitted, Invalid; TypeError for an
    unknown name.
    """
    _for_operators(actor)
    if unknown := set(limits) - {quota.value for quota in Quota}:
        raise TypeError(f"no such quota: {', '.join(sorted(unknown))}")
    tenant = Tenant.objects.select_for_update().get(id=tenant.id)
    for name, limit in limits.items():
        if limit is not None and not 0 <= limit <= MAX_QUOTA:
            raise InvalidValue(f"A quota is a number from 0 to {MAX_QUOTA}, or nothing.")
        setattr(tenant, f"max_{name}", limit)
    tenant.save(update_fields=[f"max_{name}" for name in limits])
    write(AuditTag.TENANT_QUOTAS_CHANGED, actor, tenant_id=tenant.id, reason=reason, **limits)
    tenant_changed.send(sender=Tenant, object_id=tenant.id)
    return tenant


@transaction.atomic
def lift_lock(*, actor: Actor, tenant: Tenant, reason: str, proof: dict[str, str]) -> Tenant:
    """For the two-person rules alone, which have decided and give their ``proof``. Raises Conflict unless locked."""
    return _change_state(actor, Tenant.objects.select_for_update().get(id=tenant.id), UNLOCK, "", reason, proof)


@transaction.atomic
def _move(actor: Actor, tenant: Tenant, kind: str, reason: str, approval_proof: ApprovalProof | None) -> Tenant:
    """Staff need a second person for it: ``kind`` is the request (accounts.staff.approvals) that ``approval proof``
    comes from."""
    proof = use_proof(actor=actor, kind=kind, target_id=tenant.id.hex, approval_proof=approval_proof)
    held = over_tenant(actor, tenant)
    if actor.type == ActorType.USER and kind != LOCK:
        raise NotPermitted("Ask for it to be unlocked; another person decides.")
    return _change_state(actor, Tenant.objects.select_for_update().get(id=tenant.id), kind, held, reason, proof)


def _change_state(actor: Actor, tenant: Tenant, kind: str, held: str, reason: str, proof: dict[str, str]) -> Tenant:
    tag, allowed, to = _MOVES[kind]
    # A higher authority takes the lock over, so that whoever set it first cannot lift it any more.
    takes_over = kind == LOCK and tenant.state == _State.LOCKED and RANK[held] > RANK[tenant.state_set_by]
    if tenant.state not in allowed and not takes_over:
        raise Conflict(f"This tenant is {tenant.get_state_display().lower()}.")
    tenant.state, tenant.state_set_by = to, "" if to == _State.ACTIVE else held
    tenant.save(update_fields=["state", "state_set_by"])
    write(tag, actor, tenant_id=tenant.id, reason=reason, **proof)
    tenant_changed.send(sender=Tenant, object_id=tenant.id)
    return tenant


def _for_operators(actor: Actor) -> None:
    """Members settle their tenant's own affairs; how many tenants there are, and how big, is not theirs."""
    require_actor(actor, StaffPermission.MANAGE_TENANTS)
    if actor.type not in {ActorType.STAFF, ActorType.COMMAND, ActorType.SYSTEM}:
        raise NotPermitted


def _insert(tenant: Tenant) -> None:
    try:
        with transaction.atomic():
            tenant.save(force_insert=True)
    except IntegrityError:
        raise Conflict(f"There is already a tenant {tenant.slug!r}.") from None


def _check(tenant: Tenant) -> None:
    if not _SLUG.fullmatch(tenant.slug):
        raise InvalidValue("A slug has lower-case letters, digits and hyphens only, at most 63.")
    if not tenant.name or len(tenant.name) > 100 or not tenant.name.isprintable():
        raise InvalidValue("A tenant needs a name of at most 100 characters.")
    if tenant.registration not in Tenant.Registration.values:
        raise InvalidValue("Registration is open, invitation or closed.")
    modes = tenant.key_modes
    if not modes or not set(modes) <= set(KeyMode.values) or tenant.default_key_mode not in modes:
        raise InvalidValue("A tenant offers at least one known key mode, the default among them.")
    wait = tenant.export_wait_hours
    if wait is not None and not 0 <= wait <= MAX_EXPORT_WAIT_HOURS:
        raise InvalidValue(f"The waiting time before an export is 0 to {MAX_EXPORT_WAIT_HOURS} hours.")
    if tenant.accent and not is_colour(tenant.accent):
        raise InvalidValue("A colour is written as # and six digits or letters a to f.")
    if tenant.accent and not is_readable(tenant.accent):
        raise InvalidValue("White letters on this colour could not be read. Choose a darker one.")
