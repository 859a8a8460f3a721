"""Where signing happens, for operators: in this process, or in a signer of its own, and whether it can."""

from __future__ import annotations

import time
from typing import Final

from django.conf import settings

from keycast.base.errors import KeycastError
from keys.signing import factory
from keys.signing.isolated import access
from keys.signing.kms import registry
from keys.signing.reports import HsmReport

_NAME = "signer"
ANSWERS_WITHIN: Final = 5.0
"""Seconds. As long as a request may take: on a busy machine a signer that takes its time is not away."""
_START = "Run manage.py signer (KEYCAST_SIGNER_CHILD=1: the server does), and see that KEYCAST_SIGNER_USERS names us."


def report() -> HsmReport:
    """One look."""
    return _outside() if registry.is_elsewhere() else _inside()


def _inside() -> HsmReport:
    problem = factory.kek_problem()
    fix = "See KEYCAST_KEK_FILE and KEYCAST_KEK_PROVIDER in .env.example."
    return HsmReport(_NAME, not problem, problem or "Signs in each process, which has the key-encryption keys.", fix)


def _outside() -> HsmReport:
    began = time.perf_counter()
    try:
        found = access.status(ANSWERS_WITHIN)
    except KeycastError as error:
        return HsmReport(_NAME, False, error.public_message, f"{_START} Socket: {settings.SIGNER_SOCKET}")
    took = (time.perf_counter() - began) * 1000
    if found.problem:
        return HsmReport(_NAME, False, f"It cannot seal: {found.problem}", "Look at the signer's own environment.")
    missing = sorted({factory.name_of(served) for served in factory.served()} - set(found.modes))
    if missing or found.provider != settings.KEK_PROVIDER:
        detail = (
            f"It seals with {found.provider}, and serves no {', '.join(missing)}."
            if missing
            else (f"It seals with {found.provider}; here KEYCAST_KEK_PROVIDER is {settings.KEK_PROVIDER}.")
        )
        return HsmReport(_NAME, False, detail, "Give it the same KEYCAST_HSM_PROVIDERS and KEYCAST_KEK_PROVIDER.")
    swap = "kept out of swap" if found.is_locked else "not locked against swap"
    return HsmReport(_NAME, True, f"Process {found.process}, answers in {took:.1f} ms, memory {swap}.")
