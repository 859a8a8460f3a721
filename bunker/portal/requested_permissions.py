"""What an app asks for, in words, and what of it each policy would grant: answered by the engine that decides later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bunker.policy import TEMPLATES, Allow, PolicyTemplate, RequestedUse, compile_policy, kind_name
from keycast.nostr.nip46 import KEY_METHODS, METHODS, Nip46Method, RequestedPermission, Use

_SOMEBODY = "0" * 64
_ALWAYS = frozenset(name for name, row in METHODS.items() if row.use is Use.NONE)


@dataclass(frozen=True, slots=True)
class PolicyOffer:
    """One policy beside an app's wishes: ``granted`` and ``refused`` are phrases, empty when it asked for nothing."""

    template: PolicyTemplate
    granted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def phrase(permission: RequestedPermission) -> str:
    """A wish in plain words."""
    if permission.method == Nip46Method.SIGN_EVENT:
        if permission.kind is None:
            return "Sign any kind of event"
        return f"Sign: {kind_name(permission.kind)} (kind {permission.kind})"
    return METHODS[permission.method].wish


def wishes(permissions: Sequence[RequestedPermission]) -> list[str]:
    """What to show of an app's request; harmless methods that every app may use are left out."""
    return [phrase(permission) for permission in permissions if permission.method not in _ALWAYS]


def offers(
    permissions: Sequence[RequestedPermission] = (), templates: Iterable[PolicyTemplate] = TEMPLATES.values()
) -> list[PolicyOffer]:
    """Each template, with what it would grant and refuse of ``permissions``."""
    return [_offer(template, permissions) for template in templates]


def _offer(template: PolicyTemplate, permissions: Sequence[RequestedPermission]) -> PolicyOffer:
    granted: list[str] = []
    refused: list[str] = []
    for permission in permissions:
        if permission.method not in _ALWAYS:
            (granted if grants(template, permission) else refused).append(phrase(permission))
    return PolicyOffer(template, tuple(granted), tuple(refused))


def grants(template: PolicyTemplate, permission: RequestedPermission) -> bool:
    """Whether the template allows this wish, as the engine would decide it. "Any kind" is granted by no template
    but the one that grants every kind there is to grant."""
    if permission.method not in KEY_METHODS:
        return False
    if permission.method == Nip46Method.SIGN_EVENT and permission.kind is None:
        return template.slug == "full"
    call = RequestedUse(method=permission.method, self_public_key="", kind=permission.kind, peer=_SOMEBODY)
    return isinstance(compile_policy(template.document).decide(call), Allow)
