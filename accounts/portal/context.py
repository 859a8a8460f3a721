"""What every page's frame needs: the navigation of a member. Lazy, so that error pages cost no query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from django.http import HttpRequest
from django.urls import reverse

from accounts.models import Membership, Tenant, User
from accounts.panic.selectors import deployment_lock
from accounts.permissions import MemberPermission, can
from accounts.selectors import active_membership_of


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """One link of the main navigation."""

    label: str
    url: str
    is_current: bool


class PortalContext:
    """The header's data for one request; ``membership`` is None for everybody but active members of the tenant."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def membership(self) -> Membership | None:
        tenant, user = getattr(self._request, "tenant", None), getattr(self._request, "user", None)
        if tenant is None or not isinstance(user, User):
            return None
        return active_membership_of(user, tenant)

    @property
    def notice(self) -> str:
        """What stops all signing here, whatever a key's own state says; empty while nothing does."""
        membership = self.membership
        if membership is None:
            return ""
        if deployment_lock().locked_at is not None:
            return "The whole service is locked at the moment: nothing is signed for anybody."
        if membership.tenant.state == Tenant.State.LOCKED:
            return f"{membership.tenant.name} is locked at the moment: nothing is signed for anybody here."
        if membership.user.locked_at is not None:
            return "Your account is locked: nothing is signed with your keys. See Account, Emergency."
        return ""

    @property
    def start(self) -> str:
        """Where the name at the top leads: on hosts that no tenant has, only the staff admin lives."""
        return "/" if getattr(self._request, "tenant", None) is not None else "/admin/"

    @property
    def account_url(self) -> str:
        """The overview that pages about passwords and passkeys lead back to."""
        return reverse("portal:security") if self.membership is not None else reverse("mfa_index")

    @property
    def navigation(self) -> list[NavigationItem]:
        entries = [("Keys", "keys:list"), ("Apps", "apps:list"), ("Account", "portal:security")]
        if can(self.membership, MemberPermission.VIEW_PEOPLE):
            entries.append(("People", "portal:people"))
        if can(self.membership, MemberPermission.VIEW_AUDIT):
            entries.append(("Audit", "apps:audit"))
        if can(self.membership, MemberPermission.CHANGE_TENANT):
            entries.append(("Settings", "portal:settings"))
        return [self._item(label, reverse(name)) for label, name in entries]

    def _item(self, label: str, url: str) -> NavigationItem:
        path = self._request.path
        is_account = label == "Account" and path.startswith("/account/")
        return NavigationItem(label, url, is_current=path.startswith(url) or is_account)


def portal(request: HttpRequest) -> dict[str, PortalContext]:
    """The template context processor."""
    return {"portal": PortalContext(request)}
