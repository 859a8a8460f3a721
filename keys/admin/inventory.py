"""What HSMs hold, for staff: inventories with their findings, and keys there that no row names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.staff.confirmation import ConfirmationStep, confirmed
from accounts.staff.model_admin import ReadOnlyAdmin, StaffAction
from accounts.staff.pages import staff_page
from accounts.staff.roles import StaffPermission, may
from keycast.audit.entries import Actor
from keys.hsm.inventory import services
from keys.models import HsmInventory, HsmOrphan, InventoryState, OrphanState, Provider

SHOWN: Final = 200
"""So many findings of a kind are on the page; the command's JSON has all that were kept."""


@admin.register(HsmInventory)
class HsmInventoryAdmin(ReadOnlyAdmin[HsmInventory]):
    list_display = ("started_at", "provider", "stands", "progress", "wants_a_look", "asked_by")
    list_filter = ("state",)
    sortable_by = ()
    ordering = ("-started_at",)
    change_list_template = "admin/keys/inventories.html"
    change_form_template = "admin/keys/inventory.html"
    fields = ("provider", "stands", "progress", "problem", "asked_by", "started_at", "finished_at")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        hsms = [_summary(provider) for provider in services.providers()]
        more = {"title": "What HSMs hold", "hsms": hsms, "may_take": may(request.user, StaffPermission.OPERATE)}
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        taken = self.get_object(request, object_id)
        more = {} if taken is None else {"title": "HSM inventory", **_details(taken)}
        return super().change_view(request, object_id, form_url, {**more, **(extra_context or {})})

    @admin.display(description="state")
    def stands(self, taken: HsmInventory) -> SafeString:
        looks = {InventoryState.DONE: "good", InventoryState.FAILED: "bad"}
        state = InventoryState(taken.state)
        return format_html('<span class="{}">{}</span>', looks.get(state, "warn"), state.label)

    @admin.display(description="keys looked at")
    def progress(self, taken: HsmInventory) -> str:
        if taken.state == InventoryState.RUNNING and taken.phase == "hsm":
            return f"reading the HSM: {taken.report.get('in_hsm', 0)} of ours so far"
        return f"{taken.done} of {taken.total}"

    @admin.display(description="to be looked at")
    def wants_a_look(self, taken: HsmInventory) -> int:
        return services.attention_count(taken)


@admin.register(HsmOrphan)
class HsmOrphanAdmin(ReadOnlyAdmin[HsmOrphan]):
    list_display = ("short_name", "state", "reason", "provider", "first_seen_at", "last_seen_at", "decided_by")
    list_filter = ("state",)
    search_fields = ("name__exact",)
    search_help_text = "HSM key name"
    sortable_by = ()
    fields = (
        *("provider", "name", "version_list", "state", "reason", "decided_by", "decided_at", "problem"),
        *("first_seen_at", "last_seen_at"),
    )
    staff_actions = (
        StaffAction(
            "ignore",
            "Leave as it is",
            "For instance because it is another deployment's. Inventories do not tell of it any more.",
            lambda actor, row, reason: services.ignore(actor=actor, orphan=row, reason=reason),
            lambda row: row.state == OrphanState.OPEN,
            permission=StaffPermission.OPERATE,
        ),
        StaffAction(
            "reopen",
            "Look at it again",
            "Takes back what was decided, as long as nothing has been done in the HSM.",
            lambda actor, row, reason: services.reopen(actor=actor, orphan=row, reason=reason),
            lambda row: row.state in {OrphanState.IGNORED, OrphanState.DOOMED},
            permission=StaffPermission.OPERATE,
        ),
        StaffAction(
            "destroy",
            "Destroy in the HSM…",
            "Asks a second person. When they approve, a job looks once more that no row names it, and destroys it: in "
            "Cloud KMS after Google's waiting time, in a NetHSM or behind PKCS#11 at once. If it belongs to another "
            "deployment, or to a newer state of a database that was restored, its owner loses the key.",
            None,
            lambda row: row.state in {OrphanState.OPEN, OrphanState.IGNORED},
            is_dangerous=True,
            permission=StaffPermission.DESTROY,
            step_up=True,
            approval=services.DESTROY_ORPHAN,
        ),
    )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = "Keys in HSMs that no row names"
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    @admin.display(description="HSM key")
    def short_name(self, row: HsmOrphan) -> str:
        return str(row)

    @admin.display(description="versions")
    def version_list(self, row: HsmOrphan) -> str:
        return ", ".join(str(name).rpartition("/")[2] for name in row.versions)


@staff_page("hsm/<slug:provider>/compare/", "hsm_compare", StaffPermission.OPERATE)
def compare_view(request: HttpRequest, provider: str) -> HttpResponse:
    """Begin an inventory. It changes nothing in the HSM; why it is made is kept with it."""

    def begin(reason: str) -> str:
        services.start_inventory(actor=Actor.staff(request.user), provider=provider, reason=reason)  # type: ignore[arg-type]
        return "The comparison has begun. Its page shows how far it is."

    step = ConfirmationStep(
        "Compare now", "Reads every key in the HSM and every row that names one. Changes nothing. Jobs do it."
    )
    label = dict(Provider.choices).get(provider, provider)
    context = {**admin.site.each_context(request), "opts": HsmInventory._meta, "original": label}
    title, back = f"Compare with the database: {label}", reverse("admin:keys_hsminventory_changelist")
    return confirmed(request, title=title, step=step, do=begin, back=back, context=context)


def _summary(provider: str) -> dict[str, Any]:
    """Where things stand with one HSM: the newest result, and a newer try that is under way or went wrong."""
    done, newer = None, None
    for each in services.latest(provider):
        done, newer = (each, newer) if each.state == InventoryState.DONE else (done, each)
    return {
        "provider": provider,
        "label": Provider(provider).label,
        "done": done,
        "newer": newer,
        "age": timezone.now() - done.started_at if done else None,
        "is_old": done is not None and services.is_old(done),
        "wants_a_look": services.attention_count(done) if done else 0,
    }


def _details(taken: HsmInventory) -> dict[str, Any]:
    orphans = {row.name: row for row in HsmOrphan.objects.filter(provider=taken.provider)[:SHOWN]}
    groups = []
    for group in services.groups(taken):
        shown = [{**finding, "url": _page_of(finding, orphans)} for finding in group.findings[:SHOWN]]
        groups.append({"group": group, "shown": shown, "more": group.count - len(shown)})
    foreign: list[str] = taken.report.get("foreign", [])
    return {
        "groups": groups,
        "foreign": foreign[:SHOWN],
        "foreign_count": taken.report.get("foreign_count", 0),
        "in_hsm": taken.report.get("in_hsm", 0),
        "is_running": taken.state == InventoryState.RUNNING,
        "percent": 100 * taken.done // taken.total if taken.total else None,
        "is_old": services.is_old(taken),
    }


def _page_of(finding: Mapping[str, Any], orphans: dict[str, HsmOrphan]) -> str:
    """The page on which something can be done about it; empty where there is none."""
    if finding["key_id"]:
        return reverse("admin:keys_personalkey_change", args=[UUID(finding["key_id"])])
    orphan = orphans.get(finding["name"])
    return reverse("admin:keys_hsmorphan_change", args=[orphan.pk]) if orphan else ""
