"""What the list of keys is narrowed by, beside plain columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import Tenant
from keys.admin.lookup import tenant_named

FEW: Final = 12
"""Up to so many tenants are offered by name; of more, one is typed in."""


class TenantFilter(admin.SimpleListFilter):
    """By slug, host or id of a tenant. Costs the same with twelve tenants and with ten thousand."""

    title = "tenant"
    parameter_name = "tenant"
    template = "admin/keys/tenant_filter.html"
    others: list[tuple[str, str]] = []

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tenants = list(Tenant.objects.order_by("name").values_list("slug", "name")[: FEW + 1])
        return tenants if len(tenants) <= FEW else []

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        tenant = tenant_named(self.value() or "")
        return queryset.filter(tenant=tenant) if tenant else queryset.none()

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """As Django has it; and what else is in the address, for the form."""
        self.others = [(key, value) for key, value in changelist.params.items() if key != self.parameter_name]
        yield from super().choices(changelist)
