"""The page before a deed in the admin: what it does, why it is done, and, where it matters, that it is still you."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from accounts.models import User
from accounts.signin.stepup import is_fresh, keep, take_form_data, to_proof
from keycast.base.errors import KeycastError


@dataclass(frozen=True, slots=True)
class ConfirmationStep:
    """What is about to be done. ``needs_proof``: the second factor, afresh. ``needs_approval``: by another person."""

    title: str
    explanation: str
    is_dangerous: bool = False
    needs_proof: bool = False
    needs_approval: bool = False


class ConfirmationForm(forms.Form):
    reason = forms.CharField(
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True, "autocomplete": "off"}),
        help_text="Written to the audit log.",
    )


def confirmed(
    request: HttpRequest,
    *,
    title: str,
    step: ConfirmationStep,
    do: Callable[[str], str],
    back: str,
    context: dict[str, Any],
) -> HttpResponse:
    """Ask for the reason (GET); do it (POST) and go to ``back``, with what ``do(reason)`` returned as a message.

    A proof that has grown old is asked for after the POST; then the page comes again with what was typed, and nothing
    has been done yet. What ``do`` refuses with (KeycastError) is shown.
    """
    place, user = request.path, request.user
    assert isinstance(user, User)  # noqa: S101 -- the admin's gate let nobody else in
    form = (
        ConfirmationForm(request.POST)
        if request.method == "POST"
        else ConfirmationForm(initial=take_form_data(request, place) or {})
    )
    if request.method == "POST" and form.is_valid():
        if step.needs_proof and not is_fresh(request, user):
            keep(request, place, form.cleaned_data)
            return to_proof(user, request.get_full_path())
        return _do(request, do, form.cleaned_data["reason"], back)
    page = {**context, "title": title, "step": step, "form": form, "back": back, "is_back": bool(form.initial)}
    return TemplateResponse(request, "admin/staff_action.html", page)


def _do(request: HttpRequest, do: Callable[[str], str], reason: str, back: str) -> HttpResponse:
    try:
        messages.success(request, do(reason))
    except KeycastError as refusal:
        messages.error(request, refusal.public_message)
    return redirect(back)
