"""The audit log of a tenant, for its owners, administrators and auditors: what everybody did, in plain words."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.selectors import members_of
from bunker.portal import activity
from keycast.audit import browser_exports, selectors
from keycast.audit.browsing import AuditBrowsePage, browse
from keycast.audit.selectors import AuditFilters
from keycast.audit.services import chain_of
from keycast.audit.tags import AuditTag
from keycast.base.errors import KeycastError
from keys.models import PersonalKey

SHOWN = 30
OFFERED = 500
Choices = list[tuple[str, str]]

GROUPS = {
    "sign-in": (
        "Signing in",
        ("accounts:session:", "accounts:password:", "accounts:email:", "accounts:authenticator:"),
    ),
    "people": ("People and roles", ("accounts:user:", "accounts:membership:", "accounts:invitation:")),
    "keys": ("Keys", ("keys:",)),
    "apps": ("Apps", ("bunker:connection:", "bunker:pairing:")),
    "uses": ("Uses of keys", ()),
    "tenant": ("Settings and staff", ("accounts:tenant:", "accounts:domain:", "admin:", "platform:")),
}


def tags_of(group: str) -> list[str]:
    """The tags that a group stands for; requests of apps are the uses of keys."""
    if group == "uses":
        return [tag.value for tag in AuditTag if tag.value.endswith(":request")]
    return [tag.value for tag in AuditTag if tag.value.startswith(GROUPS[group][1])]


class AuditForm(forms.Form):
    """What to show. Only the tenant's own keys and members can be chosen."""

    what = forms.ChoiceField(label="What", required=False)
    outcome = forms.ChoiceField(label="How it ended", required=False, choices=list(activity.FILTERS.items()))
    person = forms.ChoiceField(label="By whom", required=False)
    key = forms.ChoiceField(label="Key", required=False)
    since = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="Until", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, data: QueryDict, *, people: Choices, keys: Choices) -> None:
        super().__init__(data)
        self._offer("what", [("", "Everything"), *((slug, title) for slug, (title, _) in GROUPS.items())])
        self._offer("person", [("", "Anybody"), *people])
        self._offer("key", [("", "Any key"), *keys])

    def _offer(self, name: str, choices: Choices) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 -- as declared above
        field.choices = choices

    def filters(self) -> AuditFilters:
        """What was asked, once the form is valid. Days are days in UTC, the last one included."""
        asked = self.cleaned_data
        last = asked["until"] + datetime.timedelta(days=1) if asked["until"] else None
        return AuditFilters(
            tags=tags_of(asked["what"]) if asked["what"] else [],
            outcomes=activity.OUTCOMES.get(asked["outcome"], ()),
            actor_id=asked["person"],
            key_id=asked["key"],
            since=_midnight(asked["since"]),
            until=_midnight(last),
        )


@dataclass(frozen=True, slots=True)
class AuditEntryView:
    """One line in words, and the name of the key that it is about."""

    line: activity.ActivityLine
    key: str


@portal_view("GET", action=MemberPermission.VIEW_AUDIT)
def log(request: PortalRequest) -> HttpResponse:
    """One page of the tenant's own chain."""
    form = _form(request, request.GET)
    sheet = AuditBrowsePage([])
    if form.is_valid():
        cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
        sheet = browse(filters=form.filters(), chain=chain_of(request.tenant.id), limit=SHOWN, **cursors)
    context = {
        "form": form,
        "entries": _entries(request, sheet.lines),
        "sheet": sheet,
        "is_filtered": any(request.GET.get(name) for name in form.fields),
        "older": _address(request, before=sheet.older) if sheet.older else "",
        "newer": _address(request, after=sheet.newer) if sheet.newer else "",
    }
    return render(request, "apps/audit.html", context)


@portal_view("POST", action=MemberPermission.VIEW_AUDIT)
def export(request: PortalRequest) -> HttpResponse:
    """The rows that the filters choose, as a file that proves itself."""
    form, chain = _form(request, request.POST), chain_of(request.tenant.id)
    if not form.is_valid():
        messages.error(request, "These filters are not valid, so nothing was taken out.")
        return redirect("apps:audit")
    filters = form.filters()
    try:
        within = browser_exports.begin(actor=actor_of(request), chain=chain, filters=filters)
    except KeycastError as refusal:
        messages.error(request, refusal.public_message)
        return redirect("apps:audit")
    return cast("HttpResponse", browser_exports.response(request, request.tenant.slug, chain, filters, within))


def _form(request: PortalRequest, data: QueryDict) -> AuditForm:
    people = [(member.user_id.hex, member.user.email) for member in members_of(request.tenant)[:OFFERED]]
    keys = PersonalKey.objects.filter(tenant=request.tenant).select_related("user").order_by("name", "id")[:OFFERED]
    return AuditForm(data, people=people, keys=[(key.id.hex, f"{key.name} ({key.user.email})") for key in keys])


def _entries(request: PortalRequest, lines: list[selectors.AuditLine]) -> list[AuditEntryView]:
    ids = {UUID(line.key_id) for line in lines if line.key_id}
    names = {key.id.hex: key.name for key in PersonalKey.objects.filter(tenant=request.tenant, id__in=ids)}
    return [AuditEntryView(activity.in_words(line), names.get(line.key_id, "")) for line in lines]


def _address(request: PortalRequest, **cursor: str) -> str:
    query = request.GET.copy()
    for name in ("before", "after"):
        query.pop(name, None)
    query.update(cursor)
    return query.urlencode()


def _midnight(day: Any) -> datetime.datetime | None:
    return None if day is None else datetime.datetime.combine(day, datetime.time(), datetime.UTC)
