"""What the co-signer of split keys hears of apps that have ended; the others it hears of with their requests."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import Exists, OuterRef
from django.utils import timezone
from django_scopes import scopes_disabled

from bunker.models import Connection
from bunker.services.tenants import LIVE_STATES
from keys.split import ended_apps
from keys.split.ended_apps import EndedApp

LOOK_BACK: Final = timedelta(days=1)
"""For so long it is told again; after that what it was told before lapses there by itself."""
MAX_PER_RUN: Final = 2000


def tell_cosigner() -> int:
    """Tell the co-signer of apps that ended within the last day and are not connected anew; returns how many."""
    # Every tenant's, as a job.
    with scopes_disabled():
        again = Connection.objects.filter(
            key_id=OuterRef("key_id"), client_public_key=OuterRef("client_public_key"), state__in=LIVE_STATES
        )
        ended = Connection.objects.filter(
            ~Exists(again),
            key__encrypted_half_key__isnull=False,
            ended_at__gte=timezone.now() - LOOK_BACK,
        ).exclude(client_public_key="")
        rows = ended.order_by("-ended_at").values_list("tenant_id", "key_id", "client_public_key")[:MAX_PER_RUN]
        return ended_apps.tell([EndedApp(*row) for row in rows])
