"""The emulated NetHSM as a server."""

from __future__ import annotations

from pathlib import Path

from keycast.emulators.nethsm.app import NetHsmEmulatorApp
from keycast.emulators.nethsm.store import NetHsmEmulatorStore
from keycast.emulators.tls_server import TlsEmulator


class NetHsmEmulator(TlsEmulator):
    """A NetHSM on ``host:port``; a restarted one keeps its port, its certificate and its content."""

    def __init__(self, folder: Path, *, admin: str, passphrase: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.app = NetHsmEmulatorApp(NetHsmEmulatorStore(admin, passphrase))
        super().__init__(self.app, folder, "nethsm-emulator", host, port)
