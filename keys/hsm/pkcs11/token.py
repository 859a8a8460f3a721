"""A token, as the module's thread holds it: found by its label, logged in to, and found anew after it was away.

Nothing here may be called from another thread (keys.hsm.pkcs11.library).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from django.conf import settings

from keys.hsm.pkcs11 import library
from keys.hsm.pkcs11.config import Pkcs11Config
from keys.hsm.pkcs11.failures import FailureKind, TokenFailure, failure_of
from keys.hsm.pkcs11.library import p11
from keys.hsm_errors import HsmMisconfigured

T = TypeVar("T")
HANDLES_KEPT: Final = 4096
SOFTWARE: Final = "SoftHSM"
"""What calls itself this keeps keys in files: good for trying out and for tests."""


class Token:
    """``work`` is done with a session: read-only as who signs, read-write as who manages keys."""

    def __init__(self, config: Pkcs11Config) -> None:
        self._config = config
        self._sessions: dict[bool, Any] = {}
        self._handles: dict[str, Any] = {}
        self._refused: set[str] = set()
        self._times_away = 0

    def do(self, work: Callable[[Any], T], *, manages: bool = False) -> T:
        """``work(session)``. Raises TokenFailure, keys.hsm_errors, and what ``work`` raises of its own."""
        try:
            result = work(self._session(manages))
        except TokenFailure as failure:
            self._forget_after(failure)
            raise
        except _module_errors() as error:
            meant = failure_of(error)
            self._forget_after(meant)
            raise meant from None
        self._times_away = 0
        return result

    def signing_key(self, session: Any, label: str, find: Callable[[Any, str], Any]) -> Any:
        """The private key of this label; looked for once a login. Raises what ``find`` raises."""
        if label not in self._handles:
            if len(self._handles) >= HANDLES_KEPT:
                self._handles.clear()
            self._handles[label] = find(session, label)
        return self._handles[label]

    def forget_handle(self, label: str) -> bool:
        """Look for the key again next time; whether a handle had been kept."""
        return self._handles.pop(label, None) is not None

    def _session(self, manages: bool) -> Any:
        if manages not in self._sessions:
            if self._config.manager_pin and self._sessions:
                self.close()  # one user at a time is logged in, for all sessions of a process
            self._sessions[manages] = self._opened(manages)
        return self._sessions[manages]

    def _opened(self, manages: bool) -> Any:
        self._config.require()
        token = self._found()
        pin = (manages and self._config.manager_pin) or self._config.pin
        if self._sessions:  # logged in already, by the other session
            return token.open(rw=manages)
        # Each attempt with a wrong PIN brings the token nearer to locking itself.
        if pin in self._refused:
            raise TokenFailure(FailureKind.PIN, "the PIN was refused before")
        try:
            return token.open(rw=manages, user_pin=pin)
        except p11.exceptions.UserAlreadyLoggedIn:
            return token.open(rw=manages)
        except p11.exceptions.PKCS11Error as error:
            if (failure := failure_of(error)).kind is FailureKind.PIN:
                self._refused.add(pin)
            raise failure from None

    def _found(self) -> Any:
        found = list(library.load(self._config.module).get_tokens(token_label=self._config.token))
        if not found:
            raise TokenFailure(FailureKind.AWAY, "no token of this label")
        if len(found) > 1:
            raise HsmMisconfigured("There are several tokens of the same label; give each a label of its own.")
        if settings.IS_PRODUCTION and SOFTWARE in f"{found[0].manufacturer_id} {found[0].model}":
            raise HsmMisconfigured("A token in software is configured as HSM; production refuses it.")
        return found[0]

    def _forget_after(self, failure: TokenFailure) -> None:
        if failure.kind not in {FailureKind.AWAY, FailureKind.PIN}:
            return
        self.close()
        self._times_away += failure.kind is FailureKind.AWAY
        if self._times_away > 1:  # once may have been a session that ended
            library.begin_anew(self._config.module)

    def close(self) -> None:
        """Log out, as far as the token is there; the next call logs in anew."""
        self._handles.clear()
        # The one that logged in comes last: it logs out.
        for session in reversed(list(self._sessions.values())):
            with contextlib.suppress(*_module_errors()):
                session.close()
        self._sessions.clear()


def _module_errors() -> tuple[type[Exception], ...]:
    return (p11.exceptions.PKCS11Error,) if p11 is not None else ()
