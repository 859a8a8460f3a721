"""Keys, for staff: what they are, where they stand in their life, and the staff actions that change that."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.staff.model_admin import ReadOnlyAdmin, link_to
from keycast.nostr.nip19 import Nip19Error, encode_npub
from keys.admin import bulk, detail
from keys.admin.actions import STAFF_ACTIONS
from keys.admin.filters import TenantFilter
from keys.admin.lookup import HELP, look_up
from keys.models import KeyState, PersonalKey
from keys.portal.choices import mode_name

SEALED: Final = ("encrypted_secret_key", "encrypted_half_key", "key_tweak")
"""Columns that never even leave the database."""
_BAD: Final = {KeyState.FAILED, KeyState.DESTRUCTION_SCHEDULED}


class PersonalKeyChangeList(ChangeList):
    """Adds to each key on the page when an app last used it: one query, whatever the page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        shown: list[Any] = list(self.result_list)
        rows = PersonalKey.objects.filter(pk__in=[key.pk for key in shown]).order_by()
        used = dict(rows.annotate(used=Max("connections__last_used_at")).values_list("pk", "used"))
        for key in shown:
            key.used_at = used.get(key.pk)
        self.result_list = shown


@admin.register(PersonalKey)
class PersonalKeyAdmin(ReadOnlyAdmin[PersonalKey]):
    list_display = ("short_npub", "name", "state_word", "kept", "user", "tenant", "used", "created_at")
    list_display_links = ("short_npub", "name")
    list_filter = ("state", "key_mode", "kek_provider", "hsm_provider", TenantFilter)
    list_select_related = ("user", "tenant")
    sortable_by = ()
    ordering = ("-created_at", "-id")  # as the index has it: the newest page is read, and nothing else
    search_fields = ("public_key",)
    search_help_text = HELP
    change_form_template = "admin/keys/key.html"
    fields = (
        *("id", "npub", "public_key", "name", "user_link", "tenant_link", "kept"),
        *(
            "kek_provider",
            "hsm_provider",
            "state",
            "state_reason",
            "state_set_by",
            "state_changed_at",
            "destruction_due_at",
            "kek_version",
        ),
        *("is_imported", "created_at"),
    )
    staff_actions = STAFF_ACTIONS

    def get_queryset(self, request: HttpRequest) -> QuerySet[PersonalKey]:
        """Without anything sealed, and without people's password hashes."""
        return super().get_queryset(request).select_related("user", "tenant").defer(*SEALED, "user__password")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return bulk.actions_for(request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PersonalKeyChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PersonalKey], search_term: str
    ) -> tuple[QuerySet[PersonalKey], bool]:
        term = search_term.strip()
        return (queryset.filter(look_up(term)) if term else queryset), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        key = self.get_object(request, object_id)
        more = detail.sections(key, request) if key is not None and self.has_view_permission(request, key) else {}
        return super().change_view(request, object_id, form_url, {"title": "Key", **more, **(extra_context or {})})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Keys", **(extra_context or {})})

    @admin.display(description="npub")
    def npub(self, key: PersonalKey) -> str:
        with suppress(Nip19Error):
            return encode_npub(key.public_key or "")
        return key.public_key or "-"

    @admin.display(description="npub")
    def short_npub(self, key: PersonalKey) -> str:
        full = self.npub(key)
        return f"{full[:12]}…{full[-6:]}" if len(full) > 20 else full

    @admin.display(description="kept")
    def kept(self, key: PersonalKey) -> str:
        """The mode by the name that promises no more than it holds."""
        return mode_name(key)

    @admin.display(description="state")
    def state_word(self, key: PersonalKey) -> SafeString:
        look = "good" if key.state == KeyState.ACTIVE else "bad" if key.state in _BAD else "warn"
        return format_html('<span class="{}">{}</span>', look, KeyState(key.state).label)

    @admin.display(description="last used")
    def used(self, key: PersonalKey) -> Any:
        return getattr(key, "used_at", None)

    @admin.display(description="user")
    def user_link(self, key: PersonalKey) -> SafeString | str:
        return link_to(key.user)

    @admin.display(description="tenant")
    def tenant_link(self, key: PersonalKey) -> SafeString | str:
        return link_to(key.tenant)
