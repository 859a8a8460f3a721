"""Every page that the admin has, taken from its URLs, so that a new one cannot be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, URLResolver, reverse

from tests.admin.conftest import World

WITHOUT_MODEL = (
    *("admin:index", "admin:login", "admin:logout", "admin:password_change", "admin:password_change_done"),
    *("admin:autocomplete", "admin:jsi18n"),
)


def named(patterns: list[Any], prefix: str = "admin:") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from named(pattern.url_patterns, prefix)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield prefix + pattern.name


def all_names() -> list[str]:
    return sorted(set(named(admin.site.urls[0])))


def row_of(model: Any, world: World) -> Any:
    return model._default_manager.order_by("pk").last()


def addresses(world: World) -> list[str]:
    """Every admin address, with the rows of ``world`` where it wants an id."""
    found = [reverse(name) for name in WITHOUT_MODEL]
    found += [
        reverse("admin:app_list", args=[label]) for label in sorted({m._meta.app_label for m in admin.site._registry})
    ]
    for model, model_admin in admin.site._registry.items():
        stem = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pk = row_of(model, world).pk
        found += [reverse(f"{stem}_changelist"), reverse(f"{stem}_add")]
        found += [reverse(f"{stem}_{page}", args=[pk]) for page in ("change", "delete", "history")]
        found += [reverse(f"{stem}_verb", args=[pk, verb.slug]) for verb in model_admin.verbs]
    return found
