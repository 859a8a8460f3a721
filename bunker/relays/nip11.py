"""What ``/relay`` answers over plain HTTP: the relay information document (NIP-11), or a line for people."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

import keycast
from bunker.relays.event_checks import KIND
from bunker.relays.hub import get_hub
from bunker.relays.limits import BuiltInLimits, IntakeLimits

MEDIA_TYPE = "application/nostr+json"
SOFTWARE = "keycast"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Accept, Content-Type",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
}


def relay_information(request: HttpRequest) -> HttpResponse:
    """Answer GET (document or page) and OPTIONS (CORS preflight) at the relay's own address."""
    if request.method == "OPTIONS":
        return HttpResponse(status=204, headers=CORS)
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD", "OPTIONS"])
    hub = get_hub()
    if MEDIA_TYPE in request.headers.get("Accept", ""):
        answer: HttpResponse = JsonResponse(
            document(tenant_name(request), hub.limits, hub.intake.limits, is_auth_required=hub.is_auth_required),
            content_type=MEDIA_TYPE,
        )
    else:
        answer = HttpResponse(
            "This is a Nostr relay for remote signing (NIP-46). Open it with a Nostr client.\n",
            content_type="text/plain; charset=utf-8",
        )
    for name, value in {**CORS, "Vary": "Accept"}.items():
        answer.headers[name] = value
    return answer


def tenant_name(request: HttpRequest) -> str:
    """Return the name of the tenant on whose host the request came."""
    tenant = getattr(request, "tenant", None)
    return str(tenant.name) if tenant is not None else "Keycast"


def document(
    name: str, limits: BuiltInLimits, intake: IntakeLimits, *, is_auth_required: bool = False
) -> dict[str, Any]:
    """Build the document; every number is the one that the relay enforces."""
    return {
        "name": f"{name}: remote signing",
        "description": "Carries NIP-46 requests and replies of the signers served on this host, and nothing else.",
        "supported_nips": [1, 11, 40, 42, 46],
        "software": SOFTWARE,
        "version": getattr(keycast, "__version__", ""),
        "limitation": {
            "max_message_length": intake.frame_bytes,
            "max_subscriptions": limits.subscriptions,
            "max_filters": limits.filters,
            "max_limit": limits.stored_per_request,
            "default_limit": limits.stored_per_request,
            "max_subid_length": limits.subscription_id_chars,
            "auth_required": is_auth_required,
            "payment_required": False,
            "restricted_writes": True,
            "created_at_lower_limit": intake.freshness,
            "created_at_upper_limit": intake.freshness,
        },
        "retention": [{"kinds": [KIND], "time": limits.memory_seconds}, {"time": 0}],
    }
