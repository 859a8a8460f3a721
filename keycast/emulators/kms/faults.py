"""How the emulator misbehaves when it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class KmsFaultKind(StrEnum):
    """What goes wrong. Those of the first group happen instead of, or before, an answer; the others spoil it."""

    LATENCY = "latency"
    HANG = "hang"
    ERROR = "error"
    FLAPPING = "flapping"

    WRONG_CHECKSUM = "wrong-checksum"
    UNVERIFIED = "unverified"
    WRONG_NAME = "wrong-name"
    WRONG_PAYLOAD = "wrong-payload"


SPOILS = frozenset(
    {KmsFaultKind.WRONG_CHECKSUM, KmsFaultKind.UNVERIFIED, KmsFaultKind.WRONG_NAME, KmsFaultKind.WRONG_PAYLOAD}
)


@dataclass(slots=True)
class KmsFault:
    """One way to misbehave, for the named methods (all when empty), ``times`` times (-1: until cleared).

    ``seconds`` is the delay of LATENCY and HANG and half the period of FLAPPING; ``code`` a gRPC status by name.
    """

    kind: KmsFaultKind
    methods: tuple[str, ...] = ()
    times: int = -1
    seconds: float = 0.0
    code: str = "UNAVAILABLE"

    def __post_init__(self) -> None:
        self.kind = KmsFaultKind(self.kind)
        self.methods = tuple(self.methods)


class KmsFaults:
    """The faults in force. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[KmsFault] = []
        self._since = time.monotonic()

    def set(self, faults: Iterable[KmsFault]) -> None:
        """Misbehave in these ways and no other; none ends all misbehaviour."""
        with self._lock:
            self._faults = list(faults)
            self._since = time.monotonic()

    def take(self, method: str) -> list[KmsFault]:
        """Those that strike this call, counted down."""
        with self._lock:
            return [fault for fault in self._faults if self._strikes(fault, method)]

    def _strikes(self, fault: KmsFault, method: str) -> bool:
        if fault.times == 0 or (fault.methods and method not in fault.methods):
            return False
        if fault.kind is KmsFaultKind.FLAPPING and int((time.monotonic() - self._since) / max(fault.seconds, 0.01)) % 2:
            return False
        if fault.times > 0:
            fault.times -= 1
        return True
