"""Connected apps and what workers share, for staff."""

from __future__ import annotations

import datetime

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.staff.model_admin import ReadOnlyAdmin, StaffAction, as_code, link_to
from bunker import services
from bunker.models import Connection, ConnectionState, ShardLease, WorkerSeat
from keys.admin import TenantFilter, look_up

LIVE = {ConnectionState.PENDING, ConnectionState.ACTIVE, ConnectionState.LOCKED}


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin[Connection]):
    list_display = ("name", "key_name", "tenant", "state", "policy_slug", "use_count", "last_used_at", "created_at")
    list_filter = ("state", "policy_slug", TenantFilter)
    list_select_related = ("key", "tenant")
    search_fields = ("client_public_key",)
    search_help_text = "the key's npub, its owner's e-mail address, or the app's client public key"
    fields = (
        *("id", "name", "key_link", "tenant_link", "state", "client_public_key", "claims", "requested_permissions"),
        *("policy_slug", "policy_document", "relay_list", "secret_expires_at", "created_by", "created_at", "bound_at"),
        *("expires_at", "last_used_at", "use_count", "ended_at", "end_reason"),
    )
    staff_actions = (
        StaffAction(
            "revoke",
            "Revoke",
            "Ends the app's access for good, on every worker within a second.",
            lambda actor, row, reason: services.revoke_connection(actor=actor, connection=row, reason=reason),
            lambda row: row.state in LIVE,
            is_dangerous=True,
        ),
        StaffAction(
            "lock",
            "Lock",
            "Refuses everything the app asks until it is unlocked.",
            lambda actor, row, reason: services.lock_connection(actor=actor, connection=row, reason=reason),
            lambda row: row.state == ConnectionState.ACTIVE,
            is_dangerous=True,
        ),
        StaffAction(
            "unlock",
            "Unlock",
            "The app goes on under the policy it had.",
            lambda actor, row, reason: services.unlock_connection(actor=actor, connection=row, reason=reason),
            lambda row: row.state == ConnectionState.LOCKED,
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Connection]:
        """Without the secret's hash and without the key's sealed columns."""
        sealed = ("key__encrypted_secret_key", "key__encrypted_half_key", "key__key_tweak")
        return super().get_queryset(request).select_related("key", "tenant").defer("secret_hash", *sealed)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Connection], search_term: str
    ) -> tuple[QuerySet[Connection], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(look_up(term, "key__") | Q(client_public_key=term.lower())), False

    @admin.display(description="key", ordering="key__name")
    def key_name(self, row: Connection) -> str:
        return row.key.name

    @admin.display(description="key")
    def key_link(self, row: Connection) -> str:
        return link_to(row.key)

    @admin.display(description="tenant")
    def tenant_link(self, row: Connection) -> str:
        return link_to(row.tenant)

    @admin.display(description="what the app says of itself (unverified)")
    def claims(self, row: Connection) -> SafeString:
        return as_code(row.client_metadata)

    @admin.display(description="policy")
    def policy_document(self, row: Connection) -> SafeString:
        return as_code(row.policy)

    @admin.display(description="relays")
    def relay_list(self, row: Connection) -> str:
        return ", ".join(row.relays)


@admin.register(WorkerSeat)
class WorkerSeatAdmin(ReadOnlyAdmin[WorkerSeat]):
    list_display = ("id", "host", "pid", "started_at", "last_seen")
    fields = ("id", "host", "pid", "started_at", "last_seen", "report")
    ordering = ("-seen_at",)

    @admin.display(description="last seen", ordering="seen_at")
    def last_seen(self, seat: WorkerSeat) -> datetime.datetime:
        return from_milliseconds(seat.seen_at)

    @admin.display(description="status")
    def report(self, seat: WorkerSeat) -> SafeString:
        return as_code(seat.status)


@admin.register(ShardLease)
class ShardLeaseAdmin(ReadOnlyAdmin[ShardLease]):
    list_display = ("shard", "owner", "fence", "until")
    fields = ("shard", "owner", "fence", "until")
    ordering = ("shard",)
    list_per_page = 100

    @admin.display(description="until", ordering="expires_at")
    def until(self, lease: ShardLease) -> datetime.datetime:
        return from_milliseconds(lease.expires_at)


def from_milliseconds(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
