"""Keys, for staff: what they are and where they stand in their life. Never material, sealed or not."""

from __future__ import annotations

from contextlib import suppress

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from keycast.admin_tools import ReadOnlyAdmin, ReadOnlyInline, Verb, link_to
from keycast.nostr.nip19 import Nip19Error, encode_npub, public_key_of
from keys import services
from keys.models import KeyState, PersonalKey, TransportKey

STOPPABLE = {KeyState.ACTIVE, KeyState.LOCKED}


class TransportKeyInline(ReadOnlyInline):
    model = TransportKey
    fields = readonly_fields = ("public_key", "is_current", "kek_provider", "kek_version", "shard", "created_at")
    show_change_link = False


@admin.register(PersonalKey)
class PersonalKeyAdmin(ReadOnlyAdmin[PersonalKey]):
    list_display = ("short_npub", "name", "user", "tenant", "key_mode", "provider", "state", "created_at")
    list_display_links = ("short_npub", "name")
    list_filter = ("key_mode", "provider", "state", "tenant")
    list_select_related = ("user", "tenant")
    search_fields = ("public_key",)
    search_help_text = "npub, public key in hex, key id, or the beginning of an e-mail address"
    date_hierarchy = None
    fields = (
        *("id", "npub", "public_key", "name", "user_link", "tenant_link", "key_mode", "provider", "state"),
        *("state_reason", "state_set_by", "state_changed_at", "destruction_due_at", "kek_version"),
        *("kms_key_name", "kms_key_version", "is_imported", "created_at"),
    )
    inlines = (TransportKeyInline,)
    verbs = (
        Verb(
            "lock",
            "Lock",
            "Nothing is signed with this key until it is unlocked.",
            lambda actor, key, reason: services.lock_key(actor=actor, key=key, reason=reason),
            lambda key: key.state == KeyState.ACTIVE,
            is_dangerous=True,
        ),
        Verb(
            "unlock",
            "Unlock",
            "Signing goes on under the policies that the apps had.",
            lambda actor, key, reason: services.unlock_key(actor=actor, key=key),
            lambda key: key.state == KeyState.LOCKED,
        ),
        Verb(
            "disable",
            "Disable",
            "Takes the key out of use for longer than a lock.",
            lambda actor, key, reason: services.disable_key(actor=actor, key=key, reason=reason),
            lambda key: key.state in STOPPABLE,
            is_dangerous=True,
        ),
        Verb(
            "enable",
            "Enable",
            "Puts the key back into use.",
            lambda actor, key, reason: services.enable_key(actor=actor, key=key),
            lambda key: key.state == KeyState.DISABLED,
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[PersonalKey]:
        """Without the sealed columns: they never even leave the database."""
        return super().get_queryset(request).defer("encrypted_secret_key", "encrypted_half_key", "key_tweak")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PersonalKey], search_term: str
    ) -> tuple[QuerySet[PersonalKey], bool]:
        term = search_term.strip()
        return (queryset.filter(look_up(term)) if term else queryset), False

    @admin.display(description="npub")
    def npub(self, key: PersonalKey) -> str:
        with suppress(Nip19Error):
            return encode_npub(key.public_key or "")
        return key.public_key or "-"

    @admin.display(description="npub", ordering="public_key")
    def short_npub(self, key: PersonalKey) -> str:
        full = self.npub(key)
        return f"{full[:12]}…{full[-6:]}" if len(full) > 20 else full

    @admin.display(description="user")
    def user_link(self, key: PersonalKey) -> str:
        return link_to(key.user)

    @admin.display(description="tenant")
    def tenant_link(self, key: PersonalKey) -> str:
        return link_to(key.tenant)


def look_up(term: str, prefix: str = "") -> Q:
    """An npub or 64 hex digits, a key id (with or without dashes), or the beginning of an e-mail address.

    ``prefix`` leads from another model to the key (``"key__"``).
    """
    with suppress(Nip19Error):
        return Q(**{f"{prefix}public_key": public_key_of(term)})
    digits = term.replace("-", "").lower()
    if len(digits) == 32 and set(digits) <= set("0123456789abcdef"):
        return Q(**{f"{prefix}id": digits})
    return Q(**{f"{prefix}user__email__startswith": term.lower()})
