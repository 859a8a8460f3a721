"""The audit log in the staff admin: rows and heads are shown, nothing in it can be changed (keycast.console.audit)."""

from __future__ import annotations

import datetime
import json
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from accounts.staff.model_admin import ReadOnlyAdmin, as_code
from accounts.staff.roles import StaffPermission
from keycast.audit.descriptions import sentence
from keycast.audit.models import AuditChain, AuditRow
from keycast.console import jobs, tenants  # noqa: F401 -- serve their pages
from keycast.console.audit import pages


@admin.register(AuditRow)
class AuditRowAdmin(ReadOnlyAdmin[AuditRow]):
    view_permission = StaffPermission.VIEW_AUDIT
    fields = (
        *("moment", "what", "tag", "outcome", "actor_type", "actor_id", "actor_label", "chain", "sequence"),
        *("key_id", "connection_id", "request_id", "details", "hash_hex", "previous_hash_hex"),
    )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Our own page: Django's counts rows and skips over them, which takes ever longer (keycast.audit.browsing)."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "title": "Audit log", "opts": self.opts}
        return pages.log(request, {**context, **(extra_context or {})})

    @admin.display(description="at (UTC)")
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
    view_permission = StaffPermission.VIEW_AUDIT
    list_display = ("name", "sequence", "head_hex")
    fields = ("name", "sequence", "head_hex")

    @admin.display(description="head")
    def head_hex(self, chain: AuditChain) -> str:
        return bytes(chain.head).hex()
