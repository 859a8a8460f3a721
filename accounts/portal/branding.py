"""A tenant's colour as a style sheet of its own: pages carry no inline style, and none is needed."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.colours import AccentColours, dark, is_colour, light
from accounts.models import Tenant


@require_safe
def stylesheet(request: HttpRequest) -> HttpResponse:
    """The custom properties that differ from static/css/keycast.css. Nothing but hex digits of ours goes in."""
    tenant: Tenant | None = getattr(request, "tenant", None)
    if tenant is None or not is_colour(tenant.accent):
        raise Http404
    day, night = _properties(light(tenant.accent)), _properties(dark(tenant.accent))
    text = (
        f":root {{ {day} }}\n"
        f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {night} }} }}\n'
        f':root[data-theme="dark"] {{ {night} }}\n'
    )
    return HttpResponse(text, content_type="text/css; charset=utf-8")


def _properties(shades: AccentColours) -> str:
    return (
        f"--accent: {shades.accent}; --accent-strong: {shades.strong}; "
        f"--accent-soft: {shades.soft}; --on-accent: {shades.on_accent};"
    )
