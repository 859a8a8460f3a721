"""An emulator that speaks HTTP, as a server of its own thread, over TLS with a certificate made on the spot."""

from __future__ import annotations

import ipaddress
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_START_SECONDS: Final = 10.0


class TlsEmulator:
    """An ASGI application on ``host:port`` (0: any free port), from ``start`` to ``stop``.

    ``folder`` gets certificate and key, called after ``name``.
    """

    def __init__(self, application: Any, folder: Path, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self._application, self._name = application, name
        self.ca_file = folder / f"{name}.pem"
        self._key_file = folder / f"{name}-key.pem"
        self._host, self._port = host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"https://{self._host}:{self._port}"

    def start(self) -> Self:
        """Listen. Raises OSError. A restarted emulator keeps its port, its certificate and its content."""
        if not (self.ca_file.exists() and self._key_file.exists()):
            _write_certificate(self.ca_file, self._key_file, self._host)
        config = uvicorn.Config(
            self._application,
            host=self._host,
            port=self._port,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            ssl_certfile=str(self.ca_file),
            ssl_keyfile=str(self._key_file),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=_run, args=(self._server,), name=self._name, daemon=True)
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise OSError(f"cannot listen on {self._host}:{self._port}")
            time.sleep(0.01)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        """Close every connection at once."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(_START_SECONDS)
            self._server = self._thread = None

    def wait(self) -> None:
        """Serve until ``stop``."""
        thread = self._thread
        while thread is not None and thread.is_alive():
            thread.join(0.5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _run(server: uvicorn.Server) -> None:
    try:
        server.run()
    except SystemExit:  # uvicorn's way of saying that it cannot listen
        return


def _write_certificate(path: Path, key_path: Path, host: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Keycast emulator")])
    now = datetime.now(UTC)
    hosts: list[x509.GeneralName] = [x509.DNSName("localhost")]
    try:
        hosts.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        hosts.append(x509.DNSName(host))
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=365))
    builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    certificate = builder.sign(key, SHA256())
    key_path.touch(mode=0o600)
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
