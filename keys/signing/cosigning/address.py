"""Where the co-signer listens and how both ends know each other: a Unix socket, or TCP with mutual TLS 1.3."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from keys.errors import KeyModeUnavailable


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of one end: the authority that signed the other end's certificate, own certificate, own key (PEM).

    The authority is for these two alone: whoever has a certificate from it is taken for the other end.
    """

    authority: Path
    certificate: Path
    key: Path

    def context(self, *, server: bool) -> ssl.SSLContext:
        """A context that demands a certificate from the other end."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """A socket's ``path``, or ``host``, ``port`` and ``tls``."""

    path: Path | None = None
    host: str = ""
    port: int = 0
    tls: Tls | None = None


def from_settings() -> Address:
    """As ``KEYCAST_COSIGNER_ADDRESS`` (with its TLS files) or ``KEYCAST_COSIGNER_SOCKET`` say. KeyModeUnavailable."""
    if not settings.COSIGNER_ADDRESS:
        return Address(path=Path(settings.COSIGNER_SOCKET))
    host, _, port = settings.COSIGNER_ADDRESS.rpartition(":")
    files = (settings.COSIGNER_TLS_CA, settings.COSIGNER_TLS_CERT, settings.COSIGNER_TLS_KEY)
    if not host or not port.isdecimal() or not all(files):
        raise KeyModeUnavailable("KEYCAST_COSIGNER_ADDRESS is host:port, and needs its three TLS files.")
    return Address(host=host.strip("[]"), port=int(port), tls=Tls(*map(Path, files)))
