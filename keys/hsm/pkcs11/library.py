"""The vendor's module in this process: loaded on first use, never carried over a fork.

python-pkcs11 initialises a module with C_Initialize(NULL), which says that one thread at a time will call it (PKCS#11
v2.40, section 5.4). So everything here is called by the thread of keys.hsm.pkcs11.thread alone.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

from keys.hsm.pkcs11.config import NOT_INSTALLED
from keys.hsm_errors import HsmMisconfigured

p11: Any
try:
    import pkcs11 as p11
except ImportError:  # an extra: who did not ask for it is told so where it is needed
    p11 = None

_loaded: dict[str, Any] = {}
_stale: Final[set[str]] = set()
"""To be initialised anew: loaded by the process that this one was forked from, or their token was away."""


def load(path: str) -> Any:
    """The module, initialised for this process. Raises HsmMisconfigured, and what python-pkcs11 raises."""
    if p11 is None:
        raise HsmMisconfigured(NOT_INSTALLED)
    if path not in _loaded:
        try:
            found = p11.lib(path)
        except p11.exceptions.PKCS11Error as error:
            if str(error).startswith(("OS exception", "Unknown exception")):
                raise HsmMisconfigured("The vendor's module for PKCS#11 cannot be loaded.") from None
            raise
        # Never let go of, not even at exit: that would call C_Finalize, and a module that hangs would hang the exit.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
        _loaded[path] = found
    if path in _stale:
        _loaded[path].reinitialize()
        _stale.discard(path)
    return _loaded[path]


def begin_anew(path: str) -> None:
    """Have ``load`` initialise the module anew: what many need after their HSM was away (C_Finalize, C_Initialize)."""
    if path in _loaded:
        _stale.add(path)


def _after_fork() -> None:
    _stale.update(_loaded)


os.register_at_fork(after_in_child=_after_fork)
