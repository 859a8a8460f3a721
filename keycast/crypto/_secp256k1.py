"""libsecp256k1 as coincurve bundles it: the pinned version, our own randomised context, and one self-test.

The functions of ``lib`` check nothing: a wrong length reads or writes beyond a buffer, and a bad argument aborts the
process. Only the modules of this package may use them, and they assert every type and length first.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any, Final

from coincurve._libsecp256k1 import ffi, lib

PINNED_COINCURVE: Final = "21.0.0"
"""The release whose struct sizes and bundled libsecp256k1 these modules were written against and tested with."""

STRUCT_SIZES: Final = {"secp256k1_keypair": 96, "secp256k1_xonly_pubkey": 64, "secp256k1_pubkey": 64}


def _check_version() -> None:
    if version("coincurve") != PINNED_COINCURVE:
        raise ImportError(f"keycast.crypto needs coincurve {PINNED_COINCURVE} exactly")
    for name, size in STRUCT_SIZES.items():
        if ffi.sizeof(name) != size:
            raise ImportError(f"libsecp256k1: {name} does not have its known size")


def _randomised_context() -> Any:
    """A context blinded with a fresh seed against side channels; safe to share between threads once made."""
    lib.secp256k1_selftest()
    context = ffi.gc(lib.secp256k1_context_create(lib.SECP256K1_CONTEXT_NONE), lib.secp256k1_context_destroy)
    if not context or lib.secp256k1_context_randomize(context, os.urandom(32)) != 1:
        raise ImportError("libsecp256k1: no context")
    return context


_check_version()
CONTEXT: Final = _randomised_context()

__all__ = ["CONTEXT", "ffi", "lib"]
