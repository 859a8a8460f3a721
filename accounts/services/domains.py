"""Services for host names: claimed by a tenant, proved by its DNS, then served.

A name that a tenant has proved is its alone. One that is merely claimed blocks nobody: several tenants may claim it,
and the first whose record is found has it. ``by`` is as in services.members; None is an operator, who vouches.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from typing import Final

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from accounts import domain_proofs
from accounts.errors import Conflict, InvalidValue
from accounts.hosts import domain_name
from accounts.models import Membership, Tenant, TenantDomain
from accounts.permissions import MemberPermission, require
from accounts.services._common import write
from accounts.signals import tenant_changed
from accounts.staff.roles import StaffPermission, require_actor
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotFound, NotPermitted

MAX_DOMAINS: Final = 20
CLAIM_LIFETIME: Final = datetime.timedelta(days=7)
MOST_CHECKED: Final = 30
"""Claims that one run of the job looks at, for some seconds each at worst; the next run goes on with the others."""
CHECK_PAUSE: Final = datetime.timedelta(seconds=10)
LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Where the demo's tenant lives; production refuses to start with one there (keycast.E006)."""
TAKEN: Final = "This host name is proved and used by somebody else on this server."

log = structlog.get_logger(__name__)


@transaction.atomic
def add_domain(
    *,
    actor: Actor,
    tenant: Tenant,
    host: str,
    is_verified: bool = False,
    is_primary: bool = False,
    by: Membership | None = None,
    reason: str = "",
) -> TenantDomain:
    """Claim a host name for a tenant; with ``is_verified`` (operators only) it is served at once.

    Raises BadHost, Invalid, NotPermitted, and Conflict if the name is somebody else's or claimed here already.
    """
    domain = TenantDomain(tenant=tenant, host=domain_name(host))
    if by is not None:
        require(by, MemberPermission.CHANGE_TENANT, domain)
        # An operator's word stands in for the proof; a member's never does.
        is_verified = is_primary = False
        _check_claim(tenant, domain.host)
    if domain.host in settings.PLATFORM_HOSTS:
        raise Conflict("This host name belongs to the platform itself.")
    if settings.IS_PRODUCTION and domain.host in LOCAL_HOSTS:
        raise InvalidValue("A production server serves no tenant at its own loopback: it would refuse to start again.")
    # A host name is one tenant's in the whole deployment.
    with scopes_disabled():
        if TenantDomain.objects.filter(host=domain.host, verified_at__isnull=False).exists():
            raise Conflict(f"The host name {domain.host} is taken.")
    if is_verified:
        domain.verified_at = timezone.now()
    else:
        _begin_claim(domain)
    _save(domain, f"The host name {domain.host} is claimed here already.")
    write(AuditTag.DOMAIN_ADDED, actor, tenant_id=tenant.id, host=domain.host, verified=is_verified, **_because(reason))
    if is_primary:
        make_domain_primary(actor=actor, domain=domain)
    tenant_changed.send(sender=Tenant, object_id=tenant.id)
    return domain


@transaction.atomic
def vouch_for_domain(*, actor: Actor, tenant: Tenant, host: str, reason: str = "") -> TenantDomain:
    """Serve a host name on an operator's word, claimed before or not. Raises NotPermitted, BadHost, Conflict."""
    require_actor(actor, StaffPermission.MANAGE_TENANTS)
    if actor.type not in {ActorType.STAFF, ActorType.COMMAND}:
        raise NotPermitted
    with scope(tenant=tenant):
        claim = TenantDomain.objects.filter(tenant=tenant, host=domain_name(host)).first()
    if claim is None:
        return add_domain(actor=actor, tenant=tenant, host=host, is_verified=True, reason=reason)
    if claim.verified_at is not None:
        raise Conflict("This host name is verified already.")
    return verify_domain(actor=actor, domain=claim, reason=reason)


@transaction.atomic
def renew_claim(*, actor: Actor, domain: TenantDomain, by: Membership | None = None) -> TenantDomain:
    """Begin again with a claim that was not proved in time: a new token, another week. Raises Conflict."""
    domain = _fresh(domain, by)
    if domain.verified_at is not None:
        raise Conflict("This host name is verified already.")
    _begin_claim(domain)
    domain.save(update_fields=["token", "expires_at", "checked_at", "problem"])
    write(AuditTag.DOMAIN_CLAIM_RENEWED, actor, tenant_id=domain.tenant_id, host=domain.host)
    return domain


def check_domain(*, actor: Actor, domain: TenantDomain, by: Membership | None = None) -> TenantDomain:
    """Look for the proof now, for some seconds; what comes of it stands in ``verified_at`` and ``problem``.

    Raises NotPermitted, and Conflict for a claim that has run out, that was looked at a moment ago, or is verified.
    """
    if by is not None:
        require(by, MemberPermission.CHANGE_TENANT, domain)
    asked_at = timezone.now()
    # No transaction is open from here to the answer: a name server may take seconds.
    _begin_check(domain, asked_at)
    try:
        problem = domain_proofs.problem_with(domain.host, domain.token)
    except domain_proofs.DnsUnanswered as unanswered:
        problem = unanswered.public_message
    if not problem:
        try:
            return verify_domain(actor=actor, domain=domain, token=domain.token, by=by)
        except Conflict as conflict:
            problem = conflict.public_message
    with scope(tenant=domain.tenant_id):
        TenantDomain.objects.filter(id=domain.id, token=domain.token).update(problem=problem[:200])
    domain.problem = problem[:200]
    return domain


def check_claims() -> int:
    """Look for the proof of every claim that has not run out (a job); how many were proved."""
    # A job looks at the claims of every tenant.
    with scopes_disabled():
        claims = TenantDomain.objects.filter(
            verified_at__isnull=True, expires_at__gt=timezone.now(), tenant__state=Tenant.State.ACTIVE
        )
        found = list(claims.select_related("tenant").order_by(F("checked_at").asc(nulls_first=True))[:MOST_CHECKED])
    proved = 0
    for domain in found:
        try:
            proved += check_domain(actor=Actor.system("domains"), domain=domain).verified_at is not None
        except (Conflict, NotFound):  # looked at, proved or removed a moment ago
            log.info("domain_not_checked", host=domain.host)
    return proved


@transaction.atomic
def verify_domain(
    *, actor: Actor, domain: TenantDomain, token: str = "", by: Membership | None = None, reason: str = ""
) -> TenantDomain:
    """Start serving a host name, because its proof (``token``) was found, or because an operator vouches for it.

    Raises Conflict if another tenant proved it first, or the claim was begun anew meanwhile.
    """
    domain = _fresh(domain, by)
    if token and domain.token != token:
        raise Conflict("This claim was begun anew. Use the record that is shown now.")
    if domain.verified_at is None:
        domain.verified_at, domain.problem, domain.token, domain.expires_at = timezone.now(), "", "", None
        _save(domain, TAKEN)
        write(
            AuditTag.DOMAIN_VERIFIED,
            actor,
            tenant_id=domain.tenant_id,
            host=domain.host,
            by_dns=bool(token),
            **_because(reason),
        )
        tenant_changed.send(sender=Tenant, object_id=domain.tenant_id)
    return domain


@transaction.atomic
def make_domain_primary(*, actor: Actor, domain: TenantDomain, by: Membership | None = None) -> TenantDomain:
    """Use this host name in addresses given out from now on. Raises Conflict while it is not verified."""
    domain = _fresh(domain, by)
    if domain.verified_at is None:
        raise Conflict("Only a verified host name can be the primary one.")
    with scope(tenant=domain.tenant_id):
        TenantDomain.objects.filter(tenant_id=domain.tenant_id, is_primary=True).update(is_primary=False)
    domain.is_primary = True
    domain.save(update_fields=["is_primary"])
    write(AuditTag.DOMAIN_MADE_PRIMARY, actor, tenant_id=domain.tenant_id, host=domain.host)
    tenant_changed.send(sender=Tenant, object_id=domain.tenant_id)
    return domain


@transaction.atomic
def remove_domain(*, actor: Actor, domain: TenantDomain, by: Membership | None = None) -> None:
    """Stop serving a host name. Raises Conflict for the primary one."""
    domain = _fresh(domain, by)
    if domain.is_primary:
        raise Conflict("Make another host name the primary one first.")
    write(AuditTag.DOMAIN_REMOVED, actor, tenant_id=domain.tenant_id, host=domain.host)
    tenant_changed.send(sender=Tenant, object_id=domain.tenant_id)
    domain.delete()


def _because(reason: str) -> dict[str, str]:
    return {"reason": reason} if reason else {}


def _check_claim(tenant: Tenant, host: str) -> None:
    """What members may claim: a name with a dot, no address, and not without end."""
    # Locked, or two claims at the same time would both find room for one more.
    Tenant.objects.select_for_update().get(id=tenant.id)
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        is_address = False
    else:
        is_address = True
    if is_address or "." not in host:
        raise InvalidValue("A host name of your own is needed, such as keys.example.org.")
    with scope(tenant=tenant):
        if TenantDomain.objects.filter(tenant=tenant).count() >= MAX_DOMAINS:
            raise Conflict(f"A community may have {MAX_DOMAINS} host names. Remove one first.")


def _begin_claim(domain: TenantDomain) -> None:
    domain.token = secrets.token_urlsafe(24)
    domain.expires_at = timezone.now() + CLAIM_LIFETIME
    domain.checked_at, domain.problem = None, ""


def _begin_check(domain: TenantDomain, now: datetime.datetime) -> None:
    """Note that somebody looks now, unless somebody does already."""
    if domain.verified_at is not None:
        raise Conflict("This host name is verified already.")
    if domain.expires_at is None or domain.expires_at <= now:
        raise Conflict("This claim has run out. Begin again.")
    with scope(tenant=domain.tenant_id):
        waiting = TenantDomain.objects.filter(id=domain.id, verified_at__isnull=True)
        # The condition is in the UPDATE: of several who press the button, one asks the name server.
        waiting = waiting.exclude(checked_at__gt=now - CHECK_PAUSE)
        if not waiting.update(checked_at=now):
            raise Conflict("It was looked at a moment ago. Please wait some seconds.")
    domain.checked_at = now


def _fresh(domain: TenantDomain, by: Membership | None) -> TenantDomain:
    """The row as it is now, locked behind its tenant's. Raises NotFound, NotPermitted."""
    Tenant.objects.select_for_update().get(id=domain.tenant_id)
    with scope(tenant=domain.tenant_id):
        rows = TenantDomain.objects.select_for_update(of=("self",)).select_related("tenant")
        found = rows.filter(id=domain.id, tenant_id=domain.tenant_id).first()
    if found is None:
        raise NotFound
    if by is not None:
        require(by, MemberPermission.CHANGE_TENANT, found)
    return found


def _save(domain: TenantDomain, refusal: str) -> None:
    try:
        with transaction.atomic(), scope(tenant=domain.tenant_id):
            domain.save()
    except IntegrityError:
        raise Conflict(refusal) from None
