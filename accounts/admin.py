"""Tenants and people, for staff: shown, and changed only by accounts.services."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from accounts import services
from accounts.models import Membership, StaffRole, Tenant, TenantDomain, User
from accounts.panic import pages  # noqa: F401 -- serves its pages
from accounts.quotas import usage_of
from accounts.services.staff import SET_STAFF_ROLE
from accounts.staff.approvals.admin import ApprovalAdmin
from accounts.staff.model_admin import ReadOnlyAdmin, ReadOnlyInline, StaffAction
from accounts.staff.roles import StaffPermission, may

__all__ = ["ApprovalAdmin", "TenantAdmin", "UserAdmin"]


class DomainInline(ReadOnlyInline):
    model = TenantDomain
    fields = readonly_fields = ("host", "is_primary", "verified_at", "expires_at", "problem", "created_at")
    show_change_link = False


def _counted(relation: str) -> Coalesce:
    """How many rows of a relation a tenant has, by one subquery: joins would multiply each other."""
    rows = _rows_of(relation)
    return Coalesce(Subquery(rows.annotate(found=Count("pk")).values("found"), output_field=IntegerField()), 0)


def _summed(relation: str, column: str, **where: Any) -> Coalesce:
    rows = _rows_of(relation).filter(**where)
    return Coalesce(Subquery(rows.annotate(found=Sum(column)).values("found"), output_field=IntegerField()), 0)


def _rows_of(relation: str) -> QuerySet[Any]:
    """Keys are of an app above this one: it is asked for by the name that it gave the way back."""
    model: Any = Tenant._meta.get_field(relation).related_model
    found: QuerySet[Any] = model._base_manager.filter(tenant=OuterRef("pk")).order_by().values("tenant")
    return found


class MembershipInline(ReadOnlyInline):
    model = Membership
    fields = readonly_fields = ("tenant", "user", "role", "state", "created_at")
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("tenant", "user")


@admin.register(Tenant)
class TenantAdmin(ReadOnlyAdmin[Tenant]):
    list_display = ("name", "slug", "state", "registration", "people", "keys", "signatures_today", "created_at")
    list_filter = ("state", "registration", "default_key_mode")
    search_fields = ("slug__startswith", "name__istartswith", "domains__host__exact")
    fields = (
        *("id", "name", "slug", "state", "registration", "key_modes", "default_key_mode", "accent"),
        *("policies", "default_policy", "relays", "usage", "created_at"),
    )
    inlines = (DomainInline,)
    change_form_template = "admin/accounts/tenant/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        today = {"day": timezone.now().date()}
        found: QuerySet[Tenant] = super().get_queryset(request)
        return found.annotate(
            people_count=_counted("memberships"),
            key_count=_counted("personal_keys"),
            signature_count=_summed("days", "signatures", **today),
        )

    @admin.display(description="people", ordering="people_count")
    def people(self, tenant: Any) -> int:
        return tenant.people_count or 0

    @admin.display(description="keys", ordering="key_count")
    def keys(self, tenant: Any) -> int:
        """All that were ever made here, also destroyed ones; the page of a tenant tells those that count."""
        return tenant.key_count or 0

    @admin.display(description="signatures today", ordering="signature_count")
    def signatures_today(self, tenant: Any) -> int:
        return tenant.signature_count or 0

    @admin.display(description="used of its limits")
    def usage(self, tenant: Tenant) -> SafeString:
        rows = ((each.label, each.used, "no limit" if each.limit is None else each.limit) for each in usage_of(tenant))
        return format_html_join(mark_safe("<br>"), "{}: {} of {}", rows)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_found = may(request.user, StaffPermission.MANAGE_TENANTS)
        return super().changelist_view(request, {**(extra_context or {}), "may_found": may_found})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {**(extra_context or {}), "may_found": may(request.user, StaffPermission.MANAGE_TENANTS)}
        return super().change_view(request, object_id, form_url, context)

    staff_actions = (
        StaffAction(
            "lock",
            "Lock",
            "Nothing is signed for this tenant's people until it is unlocked. The portal stays open.",
            None,
            lambda tenant: tenant.state == Tenant.State.ACTIVE,
            is_dangerous=True,
            permission=StaffPermission.MANAGE_TENANTS,
            step_up=True,
            approval="lock-tenant",
        ),
        StaffAction(
            "unlock",
            "Unlock",
            "Signing goes on where it stopped.",
            None,
            lambda tenant: tenant.state == Tenant.State.LOCKED,
            permission=StaffPermission.MANAGE_TENANTS,
            step_up=True,
            approval="unlock-tenant",
        ),
        StaffAction(
            "suspend",
            "Suspend",
            "Closes the tenant: no portal, no relay, no signing.",
            None,
            lambda tenant: tenant.state != Tenant.State.SUSPENDED,
            is_dangerous=True,
            permission=StaffPermission.MANAGE_TENANTS,
            step_up=True,
            approval="suspend-tenant",
        ),
        StaffAction(
            "resume",
            "Resume",
            "Opens the tenant again.",
            None,
            lambda tenant: tenant.state == Tenant.State.SUSPENDED,
            permission=StaffPermission.MANAGE_TENANTS,
            step_up=True,
            approval="resume-tenant",
        ),
    )


def _role_action(role: StaffRole) -> StaffAction[User]:
    return StaffAction(
        f"make-{role.value}",
        f"Make {role.label.lower()}",
        f"Platform staff in the role of {role.label.lower()}; what that may do is in the security model.",
        None,
        lambda user: user.is_active and user.staff_role != role.value,
        permission=StaffPermission.MANAGE_STAFF,
        step_up=True,
        approval=SET_STAFF_ROLE,
        parameters={"role": role.value},
    )


@admin.register(User)
class UserAdmin(ReadOnlyAdmin[User]):
    list_display = ("email", "name", "is_active", "staff_role", "locked_at", "date_joined")
    list_filter = ("is_active", "is_staff", "staff_role")
    search_fields = ("email__istartswith", "name__istartswith")
    fields = (
        *("id", "email", "name", "is_active", "is_staff", "staff_role", "locked_at"),
        *("second_factors", "date_joined", "last_login"),
    )
    inlines = (MembershipInline,)
    staff_actions = (
        StaffAction(
            "lock",
            "Lock",
            "Nothing is signed for this person, in any tenant, until they are unlocked.",
            lambda actor, user, reason: services.lock_user(actor=actor, user=user, reason=reason),
            lambda user: user.locked_at is None,
            is_dangerous=True,
        ),
        StaffAction(
            "unlock",
            "Unlock",
            "Signing goes on for this person.",
            None,
            lambda user: user.locked_at is not None,
            step_up=True,
            approval="unlock-user",
        ),
        StaffAction(
            "deactivate",
            "Deactivate",
            "No sign-in and no signing; open sessions end with their next request.",
            lambda actor, user, reason: services.deactivate_user(actor=actor, user=user, reason=reason),
            lambda user: user.is_active,
            is_dangerous=True,
            permission=StaffPermission.MANAGE_PEOPLE,
            step_up=True,
        ),
        StaffAction(
            "reactivate",
            "Reactivate",
            "Sign-in and signing work again.",
            lambda actor, user, reason: services.reactivate_user(actor=actor, user=user, reason=reason),
            lambda user: not user.is_active,
            permission=StaffPermission.MANAGE_PEOPLE,
            step_up=True,
        ),
        *(_role_action(role) for role in StaffRole),
        StaffAction(
            "end-staff",
            "End staff",
            "Takes the person off the staff at once. One security officer is enough for that.",
            lambda actor, user, reason: services.end_staff(actor=actor, user=user, reason=reason),
            lambda user: user.is_staff,
            is_dangerous=True,
            permission=StaffPermission.MANAGE_STAFF,
            step_up=True,
        ),
    )

    @admin.display(description="second factors")
    def second_factors(self, user: User) -> str:
        """Their kinds; their secrets are nobody's to see."""
        kinds: Any = Authenticator.objects.filter(user=user).values_list("type", flat=True)
        return ", ".join(sorted(str(Authenticator.Type(kind).label) for kind in kinds)) or "none"
