"""What every admin page of ours is made of: read-only rows, cheap counts, and staff actions that ask for a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from django.contrib.admin import ModelAdmin, ShowFacets, TabularInline
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.staff.approvals.services import request_approval
from accounts.staff.confirmation import ConfirmationStep, confirmed
from accounts.staff.roles import StaffPermission, may
from keycast.audit.entries import Actor
from keycast.base.errors import NotPermitted

if TYPE_CHECKING:
    _Admin = ModelAdmin[Any]
    _Inline = TabularInline[Any, Any]
    _Paginator = Paginator[Any]
else:  # Django's classes take type parameters in their stubs only
    _Admin, _Inline, _Paginator = ModelAdmin, TabularInline, Paginator

Row = TypeVar("Row", bound=Model)

COUNT_AT_MOST = 10_000
"""Rows counted for the page numbers; a list that is longer says so, instead of counting a million rows."""


class BoundedPaginator(_Paginator):
    """Counts no further than COUNT_AT_MOST; what lies beyond is found by filter and search."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_AT_MOST].count())


@dataclass(frozen=True, slots=True)
class StaffAction(Generic[Row]):
    """Something staff can do to one row, through a service, with a reason.

    ``fits`` says whether it makes sense in the row's present state; the service decides for good. ``permission`` says
    whose business it is (accounts.staff.roles), and the service asks again. ``step_up``: the second factor is proved
    afresh first; what was typed is kept meanwhile. ``approval`` names a kind of request (accounts.staff.approvals):
    nothing is run, the same thing is asked for with the row's id in hex and ``parameters``, and a second person
    decides.
    """

    slug: str
    title: str
    explanation: str
    run: Callable[[Actor, Row, str], Any] | None
    fits: Callable[[Row], bool]
    is_dangerous: bool = False
    permission: StaffPermission = StaffPermission.LOCK
    step_up: bool = False
    approval: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


class ReadOnlyAdmin(_Admin, Generic[Row]):
    """Rows change only by staff actions. Fields are shown only if named: no new column slips in."""

    staff_actions: Sequence[StaffAction[Row]] = ()
    view_permission = StaffPermission.VIEW
    actions = None
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50
    change_form_template = "admin/change_form_actions.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Row | None = None) -> list[str]:
        return [name for name in self.get_fields(request, obj) if isinstance(name, str)]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only by what the page offers. Django lets any column be asked for, bit by bit: a password hash."""
        offered: list[Any] = list(self.get_list_filter(request))  # type: ignore[arg-type]
        names = {entry if isinstance(entry, str) else entry.parameter_name for entry in offered}
        return lookup.removesuffix("__exact").removesuffix("__isnull").removesuffix("__id") in names

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may(request.user, self.view_permission)

    def has_view_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return may(request.user, self.view_permission)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_action"
        view = self.admin_site.admin_view(self.staff_action_view)
        return [path("<path:object_id>/do/<slug:slug>/", view, name=name), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        links = self.staff_action_links(request, row) if row is not None else []
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "staff_action_links": links})

    def staff_actions_for(self, request: HttpRequest, row: Row) -> list[StaffAction[Row]]:
        """What this person may do to ``row`` in its present state."""
        return [action for action in self.staff_actions if may(request.user, action.permission) and action.fits(row)]

    def staff_action_links(self, request: HttpRequest, row: Row) -> list[dict[str, Any]]:
        return [
            {
                "title": action.title,
                "url": f"{self.page_of(row).removesuffix('change/')}do/{action.slug}/",
                "action": action,
            }
            for action in self.staff_actions_for(request, row)
        ]

    def staff_action_view(self, request: HttpRequest, object_id: str, slug: str) -> HttpResponse:
        """Ask for the reason (GET), then do it, or ask a second person for it (POST)."""
        action = next((action for action in self.staff_actions if action.slug == slug), None)
        if action is None:
            raise Http404
        if not (may(request.user, self.view_permission) and may(request.user, action.permission)):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return confirmed(
            request,
            title=f"{action.title}: {row}",
            step=ConfirmationStep(
                action.title, action.explanation, action.is_dangerous, action.step_up, bool(action.approval)
            ),
            do=lambda reason: self._perform(request, action, row, reason),
            back=self.page_of(row),
            context={**self.admin_site.each_context(request), "opts": self.opts, "original": row, "action": action},
        )

    def _perform(self, request: HttpRequest, action: StaffAction[Row], row: Row, reason: str) -> str:
        actor = Actor.staff(request.user)  # type: ignore[arg-type]
        if action.approval:
            request_approval(
                actor=actor, kind=action.approval, target_id=_id_of(row), parameters=action.parameters, reason=reason
            )
            return f"Asked for approval: {action.title.lower()}, {row}. Nothing happens before another person approves."
        if action.run is None:
            raise NotPermitted
        action.run(actor, row, reason)
        return f"Done: {action.title.lower()}, {row}."

    def page_of(self, row: Row) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])


def _id_of(row: Model) -> str:
    return row.pk.hex if isinstance(row.pk, UUID) else str(row.pk)


class ReadOnlyInline(_Inline):
    """Rows of another model on the page of the one they belong to: shown, never changed."""

    view_permission = StaffPermission.VIEW
    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, self.view_permission)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def as_code(value: Any) -> SafeString:
    """A JSON value, laid out and escaped."""
    return format_html('<pre class="code">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False, default=str))


def link_to(row: Model | None, text: str = "") -> SafeString | str:
    """A link to a row's own admin page."""
    if row is None:
        return "-"
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}">{}</a>', url, text or str(row))
