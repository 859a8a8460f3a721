"""How a token looks from here, for operators. Changes nothing there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from keycast.base.errors import KeycastError
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.inspection import cosigner, newest
from keys.hsm.pkcs11.client import client
from keys.hsm.pkcs11.config import INSTALL, NOT_INSTALLED, Pkcs11Config
from keys.hsm.pkcs11.library import p11
from keys.hsm.pkcs11.token import SOFTWARE, Token
from keys.signing.reports import HsmReport


def reports() -> Iterator[HsmReport]:
    """The token, the newest key in it, and the co-signer that its authorisations are for."""
    yield _token()
    yield newest("pkcs11", "PKCS#11 key", "CKM_ECDSA, not extractable")
    yield cosigner()


def _token() -> HsmReport:
    name, config = "PKCS#11", Pkcs11Config.from_settings()
    if problem := config.problem():
        fix = INSTALL if problem == NOT_INSTALLED else "Set the KEYCAST_PKCS11_ variables (.env.example)."
        return HsmReport(name, False, problem, fix)
    began = time.perf_counter()
    try:
        detail, missing = client().call_blocking(Breaker("PKCS#11, doctor"), "C_GetTokenInfo", _look, manages=False)
    except KeycastError as error:
        fix = "Check KEYCAST_PKCS11_MODULE, _TOKEN and _PIN_FILE, what the module itself needs, and the way to the HSM."
        return HsmReport(name, False, error.public_message, fix)
    took = (time.perf_counter() - began) * 1000
    if missing:
        return HsmReport(name, False, f"{detail} It lacks {', '.join(missing)}.", "Use another token or firmware.")
    return HsmReport(name, True, f"{detail} Answers in {took:.0f} ms.")


def _look(token: Token, session: Any) -> tuple[str, list[str]]:
    found, wanted = session.token, (p11.Mechanism.EC_KEY_PAIR_GEN, p11.Mechanism.ECDSA)
    has = found.slot.get_mechanisms()
    mark = "KEPT IN SOFTWARE: protects little. " if SOFTWARE in f"{found.manufacturer_id} {found.model}" else ""
    return f"{mark}{found.manufacturer_id} {found.model}.", [each.name for each in wanted if each not in has]
