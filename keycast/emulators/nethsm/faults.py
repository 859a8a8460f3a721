"""How the emulator misbehaves when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class NetHsmFaultKind(StrEnum):
    """What goes wrong: before an answer, instead of one, or in it."""

    LATENCY = "latency"
    STATUS = "status"
    DISCONNECT = "disconnect"
    GARBAGE = "garbage"

    WRONG_SIGNATURE = "wrong-signature"
    SHORT_SIGNATURE = "short-signature"
    WRONG_KEY = "wrong-key"


@dataclass(slots=True)
class NetHsmFault:
    """One way to misbehave, for the named operations (all when empty), ``times`` times (-1: until cleared).

    Operations are those of ``Service``. ``seconds`` is LATENCY's, and STATUS's ``Retry-After`` when not 0.
    """

    kind: NetHsmFaultKind
    operations: tuple[str, ...] = ()
    times: int = -1
    seconds: float = 0.0
    status: int = 503


class NetHsmFaults:
    """The faults in force. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[NetHsmFault] = []

    def set(self, *faults: NetHsmFault) -> None:
        """Misbehave in these ways and no other; none ends all misbehaviour."""
        with self._lock:
            self._faults = list(faults)

    def take(self, operation: str) -> list[NetHsmFault]:
        """Those that strike this call, counted down."""
        with self._lock:
            return list(self._strike(operation))

    def _strike(self, operation: str) -> Iterable[NetHsmFault]:
        for fault in self._faults:
            if fault.times != 0 and (not fault.operations or operation in fault.operations):
                fault.times -= fault.times > 0
                yield fault
