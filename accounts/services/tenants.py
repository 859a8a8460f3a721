"""Verbs on tenants and their host names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.errors import Conflict, Invalid
from accounts.hosts import domain_name
from accounts.models import KeyMode, Tenant, TenantDomain
from accounts.services._common import write
from accounts.signals import tenant_changed
from keycast.audit.entries import Actor
from keycast.audit.tags import Tag

_CHANGEABLE = frozenset({"name", "registration", "key_modes", "default_key_mode"})
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_State = Tenant.State


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

    Raises Invalid, BadHost, and Conflict if the slug or the host is taken.
    """
    modes = list(key_modes or [settings.KEY_MODE])
    tenant = Tenant(slug=slug, name=name.strip(), registration=registration, key_modes=modes)
    tenant.default_key_mode = default_key_mode or modes[0]
    _check(tenant)
    _insert(tenant, f"There is already a tenant {slug!r}.")
    write(Tag.TENANT_CREATED, actor, tenant=tenant.id.hex, slug=slug)  # the platform remembers that this chain exists
    write(Tag.TENANT_CREATED, actor, tenant_id=tenant.id, slug=slug, registration=registration, key_modes=modes)
    add_domain(actor=actor, tenant=tenant, host=host, is_verified=True, is_primary=True)
    return tenant


@transaction.atomic
def change_tenant(*, actor: Actor, tenant: Tenant, **changes: Any) -> Tenant:
    """Change name, registration, key_modes or default_key_mode. Raises Invalid; TypeError for any other field."""
    if unknown := set(changes) - _CHANGEABLE:
        raise TypeError(f"cannot change {', '.join(sorted(unknown))}")
    tenant = Tenant.objects.select_for_update().get(id=tenant.id)
    for field, value in changes.items():
        setattr(tenant, field, value)
    _check(tenant)
    tenant.save(update_fields=list(changes))
    write(Tag.TENANT_CHANGED, actor, tenant_id=tenant.id, **changes)
    tenant_changed.send(sender=Tenant, object_id=tenant.id)
    return tenant


def lock_tenant(*, actor: Actor, tenant: Tenant, reason: str = "") -> Tenant:
    """Stop all signing for the tenant's users at once; the portal stays open. Raises Conflict unless it is active."""
    return _move(actor, tenant, Tag.TENANT_LOCKED, {_State.ACTIVE}, _State.LOCKED, reason)


def unlock_tenant(*, actor: Actor, tenant: Tenant, reason: str = "") -> Tenant:
    """Undo lock_tenant. Raises Conflict unless it is locked."""
    return _move(actor, tenant, Tag.TENANT_UNLOCKED, {_State.LOCKED}, _State.ACTIVE, reason)


def suspend_tenant(*, actor: Actor, tenant: Tenant, reason: str = "") -> Tenant:
    """Close the tenant: no portal, no relay, no signing. Raises Conflict if it is suspended already."""
    return _move(actor, tenant, Tag.TENANT_SUSPENDED, {_State.ACTIVE, _State.LOCKED}, _State.SUSPENDED, reason)


def resume_tenant(*, actor: Actor, tenant: Tenant, reason: str = "") -> Tenant:
    """Undo suspend_tenant. Raises Conflict unless it is suspended."""
    return _move(actor, tenant, Tag.TENANT_RESUMED, {_State.SUSPENDED}, _State.ACTIVE, reason)


@transaction.atomic
def add_domain(
    *, actor: Actor, tenant: Tenant, host: str, is_verified: bool = False, is_primary: bool = False
) -> TenantDomain:
    """Add a host name; it is served once verified. Raises BadHost, and Conflict if anybody has it already."""
    domain = TenantDomain(tenant=tenant, host=domain_name(host))
    domain.verified_at = timezone.now() if is_verified else None
    if domain.host in settings.PLATFORM_HOSTS:
        raise Conflict("This host name belongs to the platform itself.")
    _insert(domain, f"The host name {domain.host} is taken.")
    write(Tag.DOMAIN_ADDED, actor, tenant_id=tenant.id, host=domain.host, verified=is_verified)
    if is_primary:
        make_domain_primary(actor=actor, domain=domain)
    tenant_changed.send(sender=Tenant, object_id=tenant.id)
    return domain


@transaction.atomic
def verify_domain(*, actor: Actor, domain: TenantDomain) -> TenantDomain:
    """Start serving a host name, because the actor has seen that it is the tenant's."""
    domain.verified_at = timezone.now()
    domain.save(update_fields=["verified_at"])
    write(Tag.DOMAIN_VERIFIED, actor, tenant_id=domain.tenant_id, host=domain.host)
    tenant_changed.send(sender=Tenant, object_id=domain.tenant_id)
    return domain


@transaction.atomic
def make_domain_primary(*, actor: Actor, domain: TenantDomain) -> TenantDomain:
    """Use this host name in addresses given out from now on. Raises Conflict while it is not verified."""
    if domain.verified_at is None:
        raise Conflict("Only a verified host name can be the primary one.")
    with scopes_disabled():
        TenantDomain.objects.filter(tenant_id=domain.tenant_id, is_primary=True).update(is_primary=False)
    domain.is_primary = True
    domain.save(update_fields=["is_primary"])
    write(Tag.DOMAIN_MADE_PRIMARY, actor, tenant_id=domain.tenant_id, host=domain.host)
    tenant_changed.send(sender=Tenant, object_id=domain.tenant_id)
    return domain


@transaction.atomic
def remove_domain(*, actor: Actor, domain: TenantDomain) -> None:
    """Stop serving a host name. Raises Conflict for the primary one."""
    if domain.is_primary:
        raise Conflict("Make another host name the primary one first.")
    write(Tag.DOMAIN_REMOVED, actor, tenant_id=domain.tenant_id, host=domain.host)
    tenant_changed.send(sender=Tenant, object_id=domain.tenant_id)
    domain.delete()


@transaction.atomic
def _move(actor: Actor, tenant: Tenant, tag: Tag, allowed: set[Tenant.State], to: Tenant.State, reason: str) -> Tenant:
    tenant = Tenant.objects.select_for_update().get(id=tenant.id)
    if tenant.state not in allowed:
        raise Conflict(f"This tenant is {tenant.get_state_display().lower()}.")
    tenant.state = to
    tenant.save(update_fields=["state"])
    write(tag, actor, tenant_id=tenant.id, reason=reason)
    tenant_changed.send(sender=Tenant, object_id=tenant.id)
    return tenant


def _insert(row: Tenant | TenantDomain, refusal: str) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise Conflict(refusal) from None


def _check(tenant: Tenant) -> None:
    if not _SLUG.fullmatch(tenant.slug):
        raise Invalid("A slug has lower-case letters, digits and hyphens only, at most 63.")
    if not tenant.name or len(tenant.name) > 100 or not tenant.name.isprintable():
        raise Invalid("A tenant needs a name of at most 100 characters.")
    if tenant.registration not in Tenant.Registration.values:
        raise Invalid("Registration is open, invitation or closed.")
    modes = tenant.key_modes
    if not modes or not set(modes) <= set(KeyMode.values) or tenant.default_key_mode not in modes:
        raise Invalid("A tenant offers at least one known key mode, the default among them.")
