"""allauth's hooks for second factors and passkeys: what it would store in clear is sealed, bound to its owner and type.

allauth hands over a text to encrypt without saying whose it is. So ``encrypt`` only marks it (Unbound), saving the
Authenticator seals it for that row's user and type, and loading one marks what is sealed with where it was found
(Found), which is what ``decrypt`` then demands of the seal.
"""

from __future__ import annotations

from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.db.models.signals import post_init, pre_save

from accounts.sealing import SealBroken, open_text, seal_text
from accounts.signin.registration import tenant_of

_PURPOSE = "authenticator"


class UnsealedSecret(str):
    """A secret on its way to being stored. Its text is a placeholder: stored by accident, it tells nothing."""

    __slots__ = ("secret",)
    secret: str


class SealedText(str):
    """A sealed text, and the user and type of the row it was found in."""

    __slots__ = ("place",)
    place: tuple[str, str]


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth is untyped
    """Chosen by ``MFA_ADAPTER``."""

    def encrypt(self, text: str) -> str:
        unbound = UnsealedSecret("unbound")
        unbound.secret = text
        return unbound

    def decrypt(self, encrypted_text: str) -> str:
        if isinstance(encrypted_text, UnsealedSecret):
            return encrypted_text.secret
        if not isinstance(encrypted_text, SealedText):
            raise SealBroken
        return open_text(str(encrypted_text), _PURPOSE, *encrypted_text.place)

    def get_totp_issuer(self) -> str:
        return self._get_site_name()

    def _get_site_name(self) -> str:
        from allauth.core import context  # noqa: PLC0415 -- the request of this moment

        tenant = tenant_of(context.request)
        return tenant.name if tenant else "Keycast"


def _place(authenticator: Authenticator) -> tuple[str, str]:
    return str(authenticator.user_id), str(authenticator.type)


def _mapped(value: Any, authenticator: Authenticator, change: Any) -> Any:
    """``value`` with ``change`` made to what allauth stores encrypted: ``secret``, ``seed``, ``migrated_codes``."""
    if not isinstance(value, dict):
        return value
    mapped = dict(value)
    for name in ("secret", "seed"):
        if isinstance(mapped.get(name), str):
            mapped[name] = change(mapped[name], authenticator)
    if isinstance(mapped.get("migrated_codes"), list):
        mapped["migrated_codes"] = [change(code, authenticator) for code in mapped["migrated_codes"]]
    return mapped


def _sealed(text: str, authenticator: Authenticator) -> str:
    if isinstance(text, UnsealedSecret):
        return _found(seal_text(text.secret, _PURPOSE, *_place(authenticator)), authenticator)
    if not isinstance(text, SealedText):
        raise SealBroken
    return text


def _found(text: str, authenticator: Authenticator) -> str:
    if isinstance(text, UnsealedSecret):
        return text
    found = SealedText(str(text))
    found.place = _place(authenticator)
    return found


def _before_save(sender: Any, instance: Authenticator, **_: Any) -> None:
    if instance.type != Authenticator.Type.WEBAUTHN:
        instance.data = _mapped(instance.data, instance, _sealed)


def _after_load(sender: Any, instance: Authenticator, **_: Any) -> None:
    if instance.type != Authenticator.Type.WEBAUTHN and "data" in instance.__dict__:
        instance.data = _mapped(instance.data, instance, _found)


def connect() -> None:
    """Start sealing; called once, when the app is ready."""
    pre_save.connect(_before_save, sender=Authenticator, dispatch_uid="accounts.seal")
    post_init.connect(_after_load, sender=Authenticator, dispatch_uid="accounts.found")
