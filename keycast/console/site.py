"""The staff admin: Django's own pages on our own site, reached only with a second factor.

On which hosts it answers is decided before (accounts.middleware, KEYCAST_PLATFORM_HOSTS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any, Final, TypeVar, cast

from allauth.account.decorators import secure_admin_login
from django.contrib.admin import AdminSite, ModelAdmin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.decorators import method_decorator

from accounts.staff import pages
from accounts.staff.approvals.selectors import waiting_for
from accounts.staff.gate import to_second_factor
from accounts.staff.roles import StaffPermission, is_staff, may, proved_second_factor
from keycast.console import overview

View = TypeVar("View", bound=Callable[..., HttpResponseBase])

OURS: Final = frozenset({"audit", "accounts", "keys", "bunker"})
"""Apps whose models are shown. Others bring admins of their own that show secrets (allauth) or run code (django-q2)."""


class KeycastAdminSite(AdminSite):
    site_header = "Keycast"
    site_title = "Keycast admin"
    index_title = "Overview"
    index_template = "admin/overview.html"
    site_url = None
    enable_nav_sidebar = True

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[ModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """Register our own models; those of other people's apps are left out without a word."""
        asked = [model_or_iterable] if isinstance(model_or_iterable, type) else list(model_or_iterable)
        ours = [model for model in asked if model._meta.app_label in OURS]
        if ours:
            super().register(ours, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        """Staff with a second factor; what they may do inside is accounts.staff.roles's business."""
        return is_staff(request.user) and proved_second_factor(request)

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Lead staff without a second factor to where they can set one up, instead of to a sign-in that loops."""
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if is_staff(request.user) and not proved_second_factor(request):
                return to_second_factor(request, request.get_full_path())
            return inner(request, *args, **kwargs)

        update_wrapper(guarded, inner)
        guarded.csrf_exempt = getattr(inner, "csrf_exempt", False)  # type: ignore[attr-defined]
        return cast("View", guarded)

    def get_urls(self) -> list[Any]:
        """Django's, and the pages that belong to no model."""
        from keycast.console import support_pages  # noqa: F401, PLC0415 -- they name this site

        return [*pages.urls(self.admin_view), *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Also how many requests wait for this person's decision, and whether they open support views."""
        is_in = self.has_permission(request)
        return {
            **super().each_context(request),
            "approvals_waiting": waiting_for(request.user) if is_in else 0,
            "may_support": is_in and may(request.user, StaffPermission.SUPPORT_VIEW),
        }

    @method_decorator(secure_admin_login)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Only those who are signed in and staff get here; the sign-in itself is allauth's."""
        if not proved_second_factor(request):
            return to_second_factor(request, reverse("admin:index"))
        return redirect("admin:index")

    def logout(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect("account_logout")

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect("account_change_password")

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # type: ignore[override]
        """The overview; support, who may see nobody without saying why, start where they say it."""
        if not may(request.user, StaffPermission.VIEW):
            return redirect("admin:support")
        return super().index(
            request, {**(extra_context or {}), "overview": overview.collect(overview.OverviewFilter.of(request.GET))}
        )
