"""The audit log in the staff admin: read, narrowed and searched by index; nothing in it can be changed."""

from __future__ import annotations

import datetime
import json
from contextlib import suppress

from django.contrib import admin
from django.db.models import Max, Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.models import Tenant
from keycast.admin_tools import ReadOnlyAdmin, as_code
from keycast.audit.models import AuditChain, AuditRow
from keycast.audit.sentences import outcome_word, sentence
from keycast.audit.services import chain_of
from keycast.audit.tags import Outcome, Tag
from keycast.nostr.nip19 import Nip19Error, public_key_of
from keycast.staff import Duty
from keys.models import PersonalKey

ACTOR_TYPES = ("user", "staff", "client", "system", "command")
Choices = list[tuple[str, str]]

CHAINS_OFFERED = 500
SEARCHED = 200_000
"""How many of the newest rows are read for what has no index (docs/decisions/0041)."""


class ChainFilter(admin.SimpleListFilter):
    """By chain; the names come from the heads, not from a scan of the rows."""

    title = "chain"
    parameter_name = "chain"

    def lookups(self, request: HttpRequest, model_admin: object) -> Choices:
        names = AuditChain.objects.values_list("name", flat=True)[:CHAINS_OFFERED]
        titles = {chain_of(tenant.id): tenant.name for tenant in Tenant.objects.only("id", "name")}
        return sorted(((name, titles.get(name, name)) for name in names), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditRow]) -> QuerySet[AuditRow]:
        return queryset.filter(chain=self.value()) if self.value() else queryset


class TagFilter(admin.SimpleListFilter):
    title = "what happened"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: object) -> Choices:
        return [(tag.value, sentence(tag.value)) for tag in Tag]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditRow]) -> QuerySet[AuditRow]:
        return queryset.filter(tag=self.value()) if self.value() else queryset


class OutcomeFilter(admin.SimpleListFilter):
    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: object) -> Choices:
        return [(outcome.value, outcome_word(outcome.value)) for outcome in Outcome]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditRow]) -> QuerySet[AuditRow]:
        return queryset.filter(outcome=self.value()) if self.value() else queryset


class ActorFilter(admin.SimpleListFilter):
    title = "actor"
    parameter_name = "actor"

    def lookups(self, request: HttpRequest, model_admin: object) -> Choices:
        return [(name, name) for name in ACTOR_TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditRow]) -> QuerySet[AuditRow]:
        return queryset.filter(actor_type=self.value()) if self.value() else queryset


@admin.register(AuditRow)
class AuditRowAdmin(ReadOnlyAdmin[AuditRow]):
    view_duty = Duty.VIEW_AUDIT
    list_display = ("moment", "what", "outcome", "actor_type", "actor_label", "chain", "sequence")
    list_display_links = ("moment", "what")
    list_filter = (ChainFilter, OutcomeFilter, ActorFilter, TagFilter)
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("request_id",)
    search_help_text = "event id, public key or npub of a key or an app, id of a key, connection or person"
    fields = (
        *("moment", "what", "tag", "outcome", "actor_type", "actor_id", "actor_label", "chain", "sequence"),
        *("key_id", "connection_id", "request_id", "details", "hash_hex", "previous_hash_hex"),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditRow], search_term: str
    ) -> tuple[QuerySet[AuditRow], bool]:
        term = search_term.strip()
        return (queryset.filter(look_up(term)) if term else queryset), False

    @admin.display(description="at (UTC)", ordering="id")
    def moment(self, row: AuditRow) -> str:
        at = datetime.datetime.fromtimestamp(row.at / 1_000_000, datetime.UTC)
        return at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

    @admin.display(description="what happened")
    def what(self, row: AuditRow) -> str:
        return sentence(row.tag)

    @admin.display(description="details")
    def details(self, row: AuditRow) -> SafeString:
        return as_code(json.loads(row.data))

    @admin.display(description="hash")
    def hash_hex(self, row: AuditRow) -> str:
        return bytes(row.hash).hex()

    @admin.display(description="hash before it")
    def previous_hash_hex(self, row: AuditRow) -> str:
        return bytes(row.previous_hash).hex()


@admin.register(AuditChain)
class AuditChainAdmin(ReadOnlyAdmin[AuditChain]):
    view_duty = Duty.VIEW_AUDIT
    list_display = ("name", "sequence", "head_hex")
    fields = ("name", "sequence", "head_hex")

    @admin.display(description="head")
    def head_hex(self, chain: AuditChain) -> str:
        return bytes(chain.head).hex()


def look_up(term: str) -> Q:
    """An event id, a key or an app by public key (hex or npub), or an id of 32 hex digits, dashes allowed.

    Keys and people are found by index, without intents of requests; event ids and apps among the newest rows only.
    """
    digits = term.replace("-", "").lower()
    with suppress(Nip19Error):
        digits = public_key_of(term)
    recent = Q(id__gt=(AuditRow.objects.aggregate(newest=Max("id"))["newest"] or 0) - SEARCHED)
    if len(digits) != 64:
        by_person = Q(actor_id=digits, request_id="")
        return _of_key(digits) | by_person | (recent & (Q(connection_id=digits) | Q(actor_id=digits)))
    if key := PersonalKey.objects.filter(public_key=digits).only("id").first():
        return _of_key(key.id.hex)
    return recent & (Q(request_id=digits) | Q(actor_id=digits))


def _of_key(key_id: str) -> Q:
    return Q(key_id=key_id) & ~Q(outcome=Outcome.INTENT)  # as the index has it
