"""Stopping and bringing back several keys at once: each by the service, with an audit row and a result of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from accounts.staff.confirmation import ConfirmationForm
from accounts.staff.roles import StaffPermission, may
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys import services
from keys.models import PersonalKey

MOST: Final = 100
"""Never more at once than what was ticked on a page; a whole tenant is locked by locking the tenant."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one key."""

    key: PersonalKey
    text: str
    is_ok: bool


@dataclass(frozen=True, slots=True)
class BulkAction:
    """One thing that can be done to several keys."""

    slug: str
    title: str
    explanation: str
    run: Callable[[Actor, PersonalKey, str], Any]
    done: str
    is_dangerous: bool = False

    def __call__(self, key_admin: Any, request: HttpRequest, queryset: QuerySet[PersonalKey]) -> TemplateResponse:
        """Django's action: ask for the reason first, then do it and show what came of each."""
        ids = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)[:MOST]
        keys = list(queryset.filter(pk__in=ids)) if may(request.user, StaffPermission.LOCK) else []
        form = ConfirmationForm(request.POST if "confirmed" in request.POST else None)
        is_done = form.is_bound and form.is_valid()
        context = {
            **key_admin.admin_site.each_context(request),
            "title": f"{self.title}: {len(keys)}",
            "opts": key_admin.opts,
            "bulk": self,
            "keys": keys,
            "form": form,
            "results": self._results(request, keys, form.cleaned_data["reason"]) if is_done else None,
        }
        return TemplateResponse(request, "admin/keys/bulk.html", context)

    def _results(self, request: HttpRequest, keys: list[PersonalKey], reason: str) -> list[BulkResult]:
        actor = Actor.staff(request.user)  # type: ignore[arg-type]
        return [self._result(actor, key, reason) for key in keys]

    def _result(self, actor: Actor, key: PersonalKey, reason: str) -> BulkResult:
        try:
            self.run(actor, key, reason)
        except KeycastError as refusal:
            return BulkResult(key, refusal.public_message, is_ok=False)
        return BulkResult(key, self.done, is_ok=True)


BULKS: Final = (
    BulkAction(
        "lock_selected",
        "Lock the selected keys",
        "Nothing is signed with them until they are unlocked.",
        lambda actor, key, reason: services.lock_key(actor=actor, key=key, reason=reason),
        "Locked.",
        is_dangerous=True,
    ),
    BulkAction(
        "unlock_selected",
        "Unlock the selected keys",
        "Signing goes on under the policies that the apps had.",
        lambda actor, key, reason: services.unlock_key(actor=actor, key=key, reason=reason),
        "Unlocked.",
    ),
)


def actions_for(request: HttpRequest) -> dict[str, tuple[Any, str, str]]:
    """As Django's ``ModelAdmin.get_actions``: for those whose duty it is."""
    if not may(request.user, StaffPermission.LOCK):
        return {}
    return {bulk.slug: (bulk, bulk.slug, bulk.title) for bulk in BULKS}
