"""Sealing short texts that this app must keep: TOTP secrets, recovery-code seeds, sessions.

AES-256-GCM (keycast.crypto.aead) under keys derived from ``KEYCAST_FIELD_KEY``, one for each purpose; the associated
data says to whom and where a text belongs, so that a sealed text moved to another row does not open.
``KEYCAST_FIELD_KEY`` may hold several keys, the newest first: it seals, all of them open.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterator
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from keycast.base.errors import KeycastError
from keycast.crypto.aead import AeadError, open_into, seal
from keycast.crypto.secret import SecretBytes

_PREFIX = "k1."


class SealBroken(KeycastError):
    """A sealed text that does not open here: altered, moved, or of a key we no longer have."""

    code = "seal-broken"
    public_message = "Something stored for this account cannot be read. Please contact support."
    http_status = 500


def seal_text(text: str, purpose: str, *context: str) -> str:
    """``text`` sealed for ``purpose``, bound to ``context``; printable ASCII."""
    blob = seal(next(_keys(purpose)), text.encode(), _aad(context))
    return _PREFIX + base64.urlsafe_b64encode(blob).decode().rstrip("=")


def open_text(sealed: str, purpose: str, *context: str) -> str:
    """What seal_text sealed for the same purpose and context. Raises SealBroken."""
    blob, aad = _decoded(sealed), _aad(context)
    for key in _keys(purpose):
        try:
            with open_into(key, blob, aad) as opened:
                return bytes(opened.view()).decode()
        except AeadError:
            continue
    raise SealBroken


def authenticate(purpose: str, *parts: str) -> str:
    """HMAC-SHA-256 (RFC 2104) of ``parts`` under the first key for ``purpose``; 64 hex digits."""
    return _digest(next(_keys(purpose)), _aad(parts)).hex()


def is_authentic(tag: str, purpose: str, *parts: str) -> bool:
    """Whether ``authenticate`` made ``tag`` of these parts, under any of the keys; constant in time for each."""
    message, given = _aad(parts), tag.encode(errors="replace")
    return any(hmac.compare_digest(_digest(key, message).hex().encode(), given) for key in _keys(purpose))


def _digest(key: SecretBytes, message: bytes) -> bytes:
    return hmac.digest(key.view(), message, "sha256")


def _decoded(sealed: str) -> bytes:
    if not sealed.startswith(_PREFIX):
        raise SealBroken
    text = sealed.removeprefix(_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SealBroken from None


def _aad(context: tuple[str, ...]) -> bytes:
    """Every part with its length before it, so that no two contexts read alike."""
    parts = [part.encode(errors="surrogatepass") for part in context]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _keys(purpose: str) -> Iterator[SecretBytes]:
    for configured in settings.FIELD_KEYS or [""]:
        yield _derived(configured, settings.SECRET_KEY, purpose)


@lru_cache(maxsize=32)
def _derived(configured: str, secret_key: str, purpose: str) -> SecretBytes:
    """The key for one purpose (RFC 5869). Without a configured key, in development, from the secret key."""
    material = _parsed(configured) if configured else secret_key.encode()
    # A key for each purpose: a sealed session put in the place of a second factor's secret does not open.
    info = b"keycast accounts " + purpose.encode()
    return SecretBytes(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(material))


def _parsed(configured: str) -> bytes:
    try:
        key = base64.b64decode(configured, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise ImproperlyConfigured("KEYCAST_FIELD_KEY holds base64 of 32 bytes (openssl rand -base64 32).")
    return key
