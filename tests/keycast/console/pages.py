"""Every page that the admin has, taken from its URLs, with whose duty it is, so that a new one cannot be forgotten.

A page of a model is its admin's ``view_permission``, a staff action its own ``permission``; any other address leads to
a view that says its duty (accounts.staff.pages: ``staff_page``, ``for_duty``). What none of this covers fails the walk,
and so does a parameter for which ``arguments`` has nothing: give it one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, URLResolver, reverse
from django.utils import timezone

from accounts.models import SupportView, User
from accounts.staff.roles import StaffPermission
from tests.keycast.console.conftest import World

SITE: dict[str, StaffPermission | None] = {
    "index": None,
    "login": None,
    "logout": None,
    "password_change": None,
    "password_change_done": None,
    "jsi18n": None,
    "autocomplete": StaffPermission.VIEW,
}
"""Django's own pages beside those of models; None: for all staff, whatever their role."""

NOT_SERVED = {"app_list", "view_on_site"}
"""``app_list`` is walked by itself; ``view_on_site`` leads nowhere, for no model of ours has an address."""

MODEL_PAGES = ("changelist", "add", "change", "delete", "history", "action")


@dataclass(frozen=True)
class AdminPage:
    """One address. ``permissions``: all are needed. ``is_form``: Django's own form, which nobody may use."""

    name: str
    address: str
    permissions: frozenset[StaffPermission]
    is_form: bool = False


def patterns() -> Iterator[URLPattern]:
    yield from _flat(admin.site.urls[0])


def _flat(entries: list[Any]) -> Iterator[URLPattern]:
    for entry in entries:
        if isinstance(entry, URLResolver):
            yield from _flat(entry.url_patterns)
        elif isinstance(entry, URLPattern) and entry.name:
            yield entry


def unclassified() -> list[str]:
    """Names of addresses that say nothing of whose duty they are."""
    models = {f"{model._meta.app_label}_{model._meta.model_name}_{page}" for model in _models() for page in MODEL_PAGES}
    known = models | set(SITE) | NOT_SERVED
    return sorted(str(p.name) for p in patterns() if p.name not in known and not _permission_of(p))


def _permission_of(pattern: URLPattern) -> StaffPermission | None:
    found = getattr(pattern.callback, "permission", None)
    return found if isinstance(found, StaffPermission) else None


def _models() -> list[Any]:
    return list(admin.site._registry)


def row_of(model: Any) -> Any:
    row = model._default_manager.order_by("pk").last()
    assert row is not None, f"give the walk a row of {model._meta.label} (tests/keycast/console/conftest.py)"
    return row


def arguments(world: World, walker: User) -> dict[str, Any]:
    """A value for each parameter of a page that belongs to no model."""
    view = SupportView.objects.filter(staff=walker).first() or SupportView.objects.create(
        staff=walker, person=world.member, reason="ticket 1", closes_at=timezone.now() + timedelta(hours=1)
    )
    ids = {"view_id": view.pk, "key_id": world.key.pk, "tenant_id": world.tenant.pk}
    return {**ids, "slug": "heartbeat", "provider": "google", "kind": "rewrap", "way": "count"}


def pages(world: World, walker: User) -> list[AdminPage]:
    """Every address, with the rows of ``world`` where it wants an id."""
    assert unclassified() == []
    return [*_site_pages(), *_model_pages(), *_other_pages(arguments(world, walker))]


def addresses(world: World, walker: User) -> list[str]:
    return [page.address for page in pages(world, walker)]


def _site_pages() -> Iterator[AdminPage]:
    for name, permission in SITE.items():
        yield AdminPage(
            name, reverse(f"admin:{name}"), frozenset({permission} if permission else ()), name == "autocomplete"
        )
    for label in sorted({model._meta.app_label for model in _models()}):
        permissions = frozenset({permission for permission in [_view_permission(label)] if permission})
        yield AdminPage("app_list", reverse("admin:app_list", args=[label]), permissions)


def _view_permission(label: str) -> StaffPermission:
    return min(model_admin.view_permission for model, model_admin in _registry() if model._meta.app_label == label)


def _registry() -> list[tuple[Any, Any]]:
    return list(admin.site._registry.items())


def _model_pages() -> Iterator[AdminPage]:
    for model, model_admin in _registry():
        stem, pk = f"admin:{model._meta.app_label}_{model._meta.model_name}", row_of(model).pk
        seen = frozenset({model_admin.view_permission})
        yield AdminPage(f"{stem}_changelist", reverse(f"{stem}_changelist"), seen)
        yield AdminPage(f"{stem}_add", reverse(f"{stem}_add"), seen, is_form=True)
        yield AdminPage(f"{stem}_delete", reverse(f"{stem}_delete", args=[pk]), seen, is_form=True)
        for page in ("change", "history"):
            yield AdminPage(f"{stem}_{page}", reverse(f"{stem}_{page}", args=[pk]), seen)
        for action in model_admin.staff_actions:
            address = reverse(f"{stem}_action", args=[pk, action.slug])
            yield AdminPage(f"{stem}_action", address, seen | {action.permission})


def _other_pages(ids: dict[str, Any]) -> Iterator[AdminPage]:
    for pattern in patterns():
        permission = _permission_of(pattern)
        if permission is None:
            continue
        wanted = pattern.pattern.converters
        missing = set(wanted) - set(ids)
        assert not missing, f"{pattern.name} wants {missing}: give the walk a value for it"
        yield AdminPage(
            str(pattern.name),
            reverse(f"admin:{pattern.name}", kwargs={label: ids[label] for label in wanted}),
            frozenset({permission}),
        )
