"""The emulated OpenBao as a server."""

from __future__ import annotations

from pathlib import Path

from keycast.emulators.openbao.app import OpenBaoEmulatorApp
from keycast.emulators.tls_server import TlsEmulator


class OpenBaoEmulator(TlsEmulator):
    """An OpenBao on ``host:port`` that knows one token."""

    def __init__(self, folder: Path, *, token: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.app = OpenBaoEmulatorApp(token)
        super().__init__(self.app, folder, "openbao-emulator", host, port)
