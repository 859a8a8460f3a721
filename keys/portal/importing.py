"""Taking over an existing key: split by the page where its halves are kept apart, else by the server."""

from __future__ import annotations

import json

from django.http import HttpResponse, JsonResponse

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from keycast.base.errors import KeycastError
from keycast.crypto.secret import SecretBytes
from keycast.crypto.secret_fields import SCOPE_KEY
from keys import services
from keys.errors import CustodyError, SealedHalfRefused
from keys.lifecycle.modes import ModeOffer
from keys.models import PersonalKey
from keys.portal.choices import KeyModeChoice, choices_for, form_options, table_rows
from keys.portal.forms import ImportKeyForm
from keys.portal.views import chosen_offer, form_page, tell_made, to_key
from keys.selectors import keeps_halves

_SESSION: str = "split_import"


@portal_view("GET", "POST", action=MemberPermission.CREATE_KEY)
def import_secret(request: PortalRequest) -> HttpResponse:
    """Take over an existing secret key; what was typed is never shown again."""
    choices = choices_for(request.tenant, imports=True)
    form = ImportKeyForm(request.POST or None, choices=form_options(choices))
    if request.method == "POST" and form.is_valid():
        try:
            key = _import(request, form, chosen_offer(choices, form))
        except CustodyError as refused:
            form.add_error("password" if refused.code == "password-refused" else "secret", refused.public_message)
        else:
            tell_made(request, key, "Your key was imported. Next: connect an app to it.")
            return to_key(key)
    context = {"form": form, "choices": choices, "table": table_rows(choices), "split_choices": _split(choices)}
    return form_page(request, "keys/import.html", context)


@portal_view("POST", action=MemberPermission.CREATE_KEY)
def begin_split_import(request: PortalRequest) -> HttpResponse:
    """Asked by the page's script: what it needs to split a key; kept in the session until the halves come, once."""
    try:
        begun = services.begin_split_import(actor=actor_of(request), tenant=request.tenant, user=request.user)
    except KeycastError as refused:
        return JsonResponse({"error": refused.public_message}, status=503)
    request.session[_SESSION] = begun.kept()
    return JsonResponse(begun.shown())


def _split(choices: list[KeyModeChoice]) -> str:
    """The form values of those ways of keeping a key for which a page can split it."""
    return " ".join(choice.value for choice in choices if keeps_halves(choice.offer.key_mode, choice.offer.provider))


def _import(request: PortalRequest, form: ImportKeyForm, chosen: ModeOffer) -> PersonalKey:
    typed = form.cleaned_data
    if typed["split"]:
        return _import_split(request, typed["name"], typed["split"], chosen)
    with _typed_secret(request, form) as secret:
        return services.import_key(
            actor=actor_of(request),
            tenant=request.tenant,
            user=request.user,
            name=typed["name"],
            secret=secret,
            key_mode=chosen.key_mode,
            provider=chosen.provider,
        )


def _import_split(request: PortalRequest, name: str, sent: str, chosen: ModeOffer) -> PersonalKey:
    kept = request.session.pop(_SESSION, {})
    request.session.save()  # before it is used, and whatever comes of it: a page's token is good for one attempt
    if not keeps_halves(chosen.key_mode, chosen.provider):
        raise SealedHalfRefused
    try:
        made = services.SplitInBrowser.of(json.loads(sent))
    except (ValueError, RecursionError):
        raise SealedHalfRefused from None
    return services.import_split_key(
        actor=actor_of(request),
        tenant=request.tenant,
        user=request.user,
        name=name,
        provider=chosen.provider,
        begun=services.SplitImport.of(kept),
        made=made,
    )


def _typed_secret(request: PortalRequest, form: ImportKeyForm) -> SecretBytes:
    """From the buffers that the server took the fields into; from the form itself where another server runs this."""
    taken = getattr(request, "scope", {}).get(SCOPE_KEY)
    if taken and "secret" in taken:
        return services.parse_typed_secret(taken["secret"], taken.get("password"), person=request.user.id)
    typed = form.cleaned_data
    return services.parse_secret_of_person(typed["secret"], typed["password"] or None, person=request.user.id)
