"""The apps and the latest activity on a key's page (keys.portal.panels)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet

from accounts.portal.access import PortalRequest
from bunker.portal.activity import activity_of_key
from bunker.portal.presentation import present
from bunker.selectors import connections_of, with_app_counts
from keys.models import PersonalKey

_LATEST = 8


class AppsPanel:
    """Connected apps of one key, and the last few things that happened."""

    template = "apps/key_panel.html"

    def annotate(self, keys: QuerySet[PersonalKey]) -> QuerySet[PersonalKey]:
        return with_app_counts(keys)

    def context(self, request: PortalRequest, key: PersonalKey) -> dict[str, Any]:
        found = connections_of(tenant=request.tenant, user=request.user, key=key)
        apps = [present(connection) for connection in found[:100]]
        return {
            "key": key,
            "apps": [app for app in apps if app.is_live],
            "ended_count": sum(not app.is_live for app in apps),
            "lines": activity_of_key(key, limit=_LATEST).lines,
        }

    def app_names(self, request: PortalRequest, key: PersonalKey) -> Mapping[str, str]:
        found = connections_of(tenant=request.tenant, user=request.user, key=key)
        return {app.client_public_key: app.name for app in reversed(found[:200]) if app.client_public_key}
