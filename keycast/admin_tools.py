"""What every admin page of ours is made of: read-only rows, counts that stay cheap, and verbs that ask for a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin, ShowFacets, TabularInline
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keycast.audit.entries import Actor
from keycast.errors import KeycastError
from keycast.staff import Duty, may

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
class Verb(Generic[Row]):
    """Something staff can do to one row, through a service, with a reason.

    ``fits`` says whether it makes sense in the row's present state; the service decides for good.
    """

    slug: str
    title: str
    explanation: str
    run: Callable[[Actor, Row, str], Any]
    fits: Callable[[Row], bool]
    is_dangerous: bool = False


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True, "autocomplete": "off"}),
        help_text="Written to the audit log.",
    )


class ReadOnlyAdmin(_Admin, Generic[Row]):
    """Rows can be looked at; they change only by verbs. Fields are shown only if named: no new column slips in."""

    verbs: Sequence[Verb[Row]] = ()
    actions = None
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50
    change_form_template = "admin/change_form_verbs.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Row | None = None) -> list[str]:
        return [name for name in self.get_fields(request, obj) if isinstance(name, str)]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only by what the page offers. Django lets any column be asked for, bit by bit: a password hash."""
        offered: list[Any] = list(self.get_list_filter(request))  # type: ignore[arg-type]
        names = {entry if isinstance(entry, str) else entry.parameter_name for entry in offered}
        return lookup.removesuffix("__exact").removesuffix("__isnull").removesuffix("__id") in names

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Duty.VIEW)

    def has_view_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return may(request.user, Duty.VIEW)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_verb"
        view = self.admin_site.admin_view(self.verb_view)
        return [path("<path:object_id>/do/<slug:slug>/", view, name=name), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        links = self._links(row) if row is not None and may(request.user, Duty.ACT) else []
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "verb_links": links})

    def verb_view(self, request: HttpRequest, object_id: str, slug: str) -> HttpResponse:
        """Ask for the reason (GET), then do it (POST)."""
        row = self.get_object(request, object_id)
        verb = next((verb for verb in self.verbs if verb.slug == slug), None)
        if row is None or verb is None or not may(request.user, Duty.ACT):
            raise Http404
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            return self._perform(request, verb, row, form.cleaned_data["reason"])
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.title}: {row}",
            "opts": self.opts,
            "original": row,
            "verb": verb,
            "form": form,
            "back": self._page_of(row),
        }
        return TemplateResponse(request, "admin/verb.html", context)

    def _perform(self, request: HttpRequest, verb: Verb[Row], row: Row, reason: str) -> HttpResponse:
        try:
            verb.run(Actor.staff(request.user), row, reason)  # type: ignore[arg-type]
        except KeycastError as error:
            messages.error(request, error.public_message)
        else:
            messages.success(request, f"Done: {verb.title.lower()}, {row}.")
        return redirect(self._page_of(row))

    def _page_of(self, row: Row) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])

    def _links(self, row: Row) -> list[dict[str, Any]]:
        return [
            {"title": verb.title, "url": f"{self._page_of(row).removesuffix('change/')}do/{verb.slug}/", "verb": verb}
            for verb in self.verbs
            if verb.fits(row)
        ]


class ReadOnlyInline(_Inline):
    """Rows of another model on the page of the one they belong to: shown, never changed."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Duty.VIEW)

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
