"""What apps above this one add to the pages about keys: the connected apps, which keys knows nothing of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from django.db.models import QuerySet

from accounts.portal.access import PortalRequest
from keys.models import PersonalKey


class KeyPanel(Protocol):
    """A part of the key page, and the figures that go with it in the list."""

    template: str

    def annotate(self, keys: QuerySet[PersonalKey]) -> QuerySet[PersonalKey]:
        """Add ``app_count`` and ``used_at`` to a list of keys."""
        ...

    def context(self, request: PortalRequest, key: PersonalKey) -> dict[str, Any]:
        """What ``template`` needs to show the part on one key's page."""
        ...

    def app_names(self, request: PortalRequest, key: PersonalKey) -> Mapping[str, str]:
        """What the owner calls the apps of one key, by their public keys (64 hex digits)."""
        ...


_panels: list[KeyPanel] = []


def register(panel: KeyPanel) -> None:
    """Called once, when the app that owns the panel is ready."""
    _panels.append(panel)


def annotated(keys: QuerySet[PersonalKey]) -> QuerySet[PersonalKey]:
    for panel in _panels:
        keys = panel.annotate(keys)
    return keys


def rendered(request: PortalRequest, key: PersonalKey) -> list[dict[str, Any]]:
    """For each panel its template and that template's context, in the order of registration."""
    return [{"template": panel.template, **panel.context(request, key)} for panel in _panels]


def app_names(request: PortalRequest, key: PersonalKey) -> dict[str, str]:
    """The names that any panel knows."""
    return {client: name for panel in _panels for client, name in panel.app_names(request, key).items()}
