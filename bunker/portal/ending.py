"""Ending an app's access by the address in the mail that told of it, by whoever has that mail, signed in or not."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render

from bunker.portal.presentation import present
from bunker.services.notices import end_by_mail as end
from bunker.services.notices import named_by
from keycast.base.errors import NotFound


def end_by_mail(request: HttpRequest, token: str) -> HttpResponse:
    """Ask once on GET, for mail programs open addresses by themselves; end the access on POST."""
    tenant = getattr(request, "tenant", None)
    if tenant is None:
        raise Http404
    if request.method not in {"GET", "HEAD", "POST"}:
        return HttpResponseNotAllowed(["GET", "POST"])
    try:
        if request.method == "POST":
            end(tenant=tenant, token=token)
            return redirect(request.path)
        connection = named_by(tenant, token)
    except NotFound as missing:
        raise Http404 from missing
    return render(request, "apps/end_by_mail.html", {"app": present(connection)})
