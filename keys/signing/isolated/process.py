"""The signer as a process: the key-encryption keys, opened keys and halves A, and nothing else of the deployment's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from django.conf import settings

from keycast.base import hardening
from keys.errors import KekUnavailable
from keys.signing import factory
from keys.signing.isolated.request_handler import SignerRequestHandler, note_damage
from keys.signing.isolated.server import SignerServer
from keys.signing.kms import registry
from keys.signing.service import SigningService

FOREIGN: Final = (
    *("KEYCAST_FIELD_KEY", "KEYCAST_FIELD_KEY_FILE", "SECRET_KEY", "SECRET_KEY_FILE", "SECRET_KEY_FALLBACKS"),
    *("DATABASE_URL", "REDIS_URL", "EMAIL_URL", "KEYCAST_PROBE_TOKEN", "KEYCAST_PROBE_TOKEN_FILE"),
    *("KEYCAST_COSIGNER_KEK", "KEYCAST_COSIGNER_KEK_FILE", "KEYCAST_COSIGNER_DB", "KEYCAST_GCP_KEEPER_CREDENTIALS"),
    *("KEYCAST_NETHSM_ADMIN_PASSWORD", "KEYCAST_NETHSM_ADMIN_PASSWORD_FILE"),
    *("KEYCAST_NETHSM_NAMESPACE_PASSWORD", "KEYCAST_NETHSM_NAMESPACE_PASSWORD_FILE"),
    *("KEYCAST_PKCS11_MANAGER_PIN", "KEYCAST_PKCS11_MANAGER_PIN_FILE", "KEYCAST_OPENBAO_MANAGER_TOKEN_FILE"),
)
"""What the signer has no business with."""
STAND_INS: Final = {
    "SECRET_KEY": "the signer serves no web page and signs no session",
    "KEYCAST_FIELD_KEY": "unused",
    "DATABASE_URL": "sqlite://:memory:",
    "EMAIL_URL": "consolemail://",
}
KEK_VARIABLES: Final = ("KEYCAST_KEK", "KEYCAST_KEK_FILE")
_TO_BE_DROPPED: Final = (
    "KEYCAST_KEK",
    "KEYCAST_NETHSM_OPERATOR_PASSWORD",
    "KEYCAST_PKCS11_PIN",
    "KEYCAST_OPENBAO_TOKEN",
)


class CosignerKekGivenError(Exception):
    """The signer was given the co-signer's key-encryption key."""


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What a child process that is the signer inherits. Empty rather than missing, so that no .env brings it back."""
    return {**given, **dict.fromkeys(FOREIGN, ""), **STAND_INS}


def without_kek(given: Mapping[str, str]) -> dict[str, str]:
    """What any other child process inherits where the signer is one: not even where the key-encryption key lies."""
    here = {"KEYCAST_SIGNER_CHILD": "0", "KEYCAST_SIGNER_SOCKET": settings.SIGNER_SOCKET}
    return {**given, **dict.fromkeys(KEK_VARIABLES, ""), **here}


async def run(path: Path, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serve until ``stop`` is set. Raises KekUnavailable, SocketRefused, Foreign."""
    is_locked = hardening.harden()
    if any(os.environ.get(name) for name in ("KEYCAST_COSIGNER_KEK", "KEYCAST_COSIGNER_KEK_FILE")):
        raise CosignerKekGivenError(
            "The signer must not have KEYCAST_COSIGNER_KEK: who holds both keys holds both halves."
        )
    registry.be_the_signer()
    if problem := factory.kek_problem():
        raise KekUnavailable(problem)
    hardening.drop_from_environment(_TO_BE_DROPPED)
    service = SigningService(factory.own_signers(), note_damage)
    users = frozenset(map(int, settings.SIGNER_USERS)) or frozenset({os.geteuid()})
    handler = SignerRequestHandler(service, factory.own_key_maker(), is_locked=is_locked)
    server = SignerServer(handler, path, users)
    await server.start()
    try:
        memory = "its memory is kept out of swap" if is_locked else "its memory may be swapped out"
        ready(f"{path}; {memory}")
        await stop.wait()
    finally:
        await server.stop()
        service.forget_all()
