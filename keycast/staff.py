"""Who of the platform's staff may do what in the admin: the one place where that is decided. Default deny."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from allauth.mfa.utils import is_mfa_enabled
from django.http import HttpRequest

from accounts.staff import SECOND_FACTORS, is_admitted

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User


KEPT = "_keycast_has_second_factor"


class Duty(StrEnum):
    """What staff can be asked to do."""

    VIEW = "view"
    ACT = "act"


def is_staff(user: User | AnonymousUser) -> bool:
    """Tell whether this is an active member of the platform's staff."""
    return bool(user.is_active and user.is_staff)


def has_second_factor(user: User | AnonymousUser) -> bool:
    """Tell whether the account has more than a password. That this session used it, proved_second_factor tells.

    Asked many times a page, so the answer is kept on ``user``, which lives as long as the request.
    """
    known: bool | None = getattr(user, KEPT, None)
    if known is None:
        known = bool(user.is_authenticated and is_mfa_enabled(user, SECOND_FACTORS))
        setattr(user, KEPT, known)
    return known


def proved_second_factor(request: HttpRequest) -> bool:
    """Tell whether active staff proved a second factor in this session; kept on the request, which asks many times."""
    known: bool | None = getattr(request, KEPT, None)
    if known is None:
        known = is_admitted(request)
        setattr(request, KEPT, known)
    return known


def may(user: User | AnonymousUser, duty: Duty) -> bool:
    """Tell whether ``user`` may see or act on what the admin shows.

    Staff with a second factor, whatever the duty: staff are not yet divided into roles. ``is_superuser`` counts for
    nothing, so that nobody comes in by it who was not made staff.
    """
    return is_staff(user) and has_second_factor(user)
