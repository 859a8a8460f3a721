"""How OpenBao looks from here, for operators. Changes nothing there."""

from __future__ import annotations

import time
from collections.abc import Iterator

from keycast.base.errors import KeycastError
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.inspection import cosigner, newest
from keys.hsm.openbao import calls, keeper
from keys.hsm.openbao.calls import BaoRequest
from keys.hsm.openbao.config import OpenBaoConfig
from keys.signing.reports import HsmReport


def reports() -> Iterator[HsmReport]:
    """The server and its engine, the newest key in it, and the co-signer that its authorisations are for."""
    yield _server()
    yield newest("openbao", "OpenBao key", "ecdsa-p256, not exportable")
    yield cosigner()


def _server() -> HsmReport:
    name, config = "OpenBao", OpenBaoConfig.from_settings()
    if problem := config.problem():
        return HsmReport(name, False, problem, "Set the KEYCAST_OPENBAO_ variables (.env.example).")
    breaker, began = Breaker("OpenBao, doctor"), time.perf_counter()
    try:
        mark = "EMULATED: protects nothing. " if keeper.is_emulator(config, breaker) else ""
        listing = BaoRequest("LIST", f"{config.mount}/keys", None, frozenset({404}), manages=True)
        calls.call_blocking(config, breaker, listing)
    except KeycastError as error:
        fix = "Is it unsealed? Check KEYCAST_OPENBAO_URL, its certificate, the tokens and the policies of docs/hsm.md."
        return HsmReport(name, False, error.public_message, fix)
    return HsmReport(name, True, f"{mark}Answers in {(time.perf_counter() - began) * 1000:.0f} ms.")
