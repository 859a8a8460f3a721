"""Pages of the admin that belong to no model: each says whose duty it is, and is closed to everybody else.

::

    @staff_page("jobs/", "jobs", Duty.VIEW)
    def jobs(request: HttpRequest) -> HttpResponse: ...

is served at /admin/jobs/ as ``admin:jobs``, once its module has been imported (an app's ``admin.py`` is, by itself).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, path

from accounts.staff.roles import StaffPermission, may

View = TypeVar("View", bound=Callable[..., HttpResponseBase])

_PAGES: Final[dict[str, tuple[str, Callable[..., HttpResponseBase]]]] = {}


def permission_required(permission: StaffPermission) -> Callable[[View], Callable[..., HttpResponseBase]]:
    """Let only staff with this duty through; the rest get 403. The walk over all admin pages reads ``view.duty``."""

    def decorate(view: View) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not may(request.user, permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.permission = permission  # type: ignore[attr-defined]
        return guarded

    return decorate


def staff_page(route: str, name: str, permission: StaffPermission) -> Callable[[View], View]:
    """Serve the view at ``route`` below /admin/ as ``admin:{name}``, to staff with this duty."""

    def decorate(view: View) -> View:
        _PAGES[name] = (route, permission_required(permission)(view))
        return view

    return decorate


def urls(admin_view: Callable[..., Any]) -> list[URLPattern]:
    """Their addresses, each behind the site's own gate (``AdminSite.admin_view``)."""
    return [path(route, admin_view(view), name=name) for name, (route, view) in _PAGES.items()]
