#!/usr/bin/env python3
"""Does the process of this container answer? Exit code 0: yes. Standard library alone, so that asking costs nothing.

With ``--ready`` a web process is asked whether it has all it needs (/readyz), else whether it answers at all. /readyz
wants KEYCAST_PROBE_TOKEN, or what the server keeps in KEYCAST_DATA_DIR/probe-token where none is set.

Which process it is says the command line of process 1 (or its child, behind an init). Web processes are asked at
/healthz, workers at their metrics, signer and co-signer at their sockets; jobs are watched by the web processes
(KEYCAST_JOBS_SILENT_SECONDS), so here it is enough that they run.
"""

import http.client
import itertools
import os
import socket
import sys
from pathlib import Path

COMMANDS = ("serve", "bunker", "qcluster", "signer", "cosigner", "demo")
SECONDS = 4


def command(proc: Path = Path("/proc")) -> str:
    """The Keycast command that runs here, or an empty string."""
    folders = sorted((path for path in proc.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    for folder in folders:
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        for before, word in itertools.pairwise(words):
            if word in COMMANDS and Path(before).name in {"keycast", "manage.py"}:
                return word
    return ""


def probe_token() -> str:
    """The server's, or an empty string."""
    environment = os.environ
    file = environment.get("KEYCAST_PROBE_TOKEN_FILE") or Path(
        environment.get("KEYCAST_DATA_DIR") or "var", "probe-token"
    )
    try:
        return environment.get("KEYCAST_PROBE_TOKEN") or Path(file).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def answers_http(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {probe_token()}"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        try:
            client.connect(path)
        except OSError:
            return False
        return True


def main() -> bool:
    """Whether it does."""
    running, environment = command(), os.environ
    if running == "serve":
        return answers_http(
            int(environment.get("KEYCAST_LISTEN_PORT") or 8000), "/readyz" if "--ready" in sys.argv[1:] else "/healthz"
        )
    if running == "bunker" and (port := int(environment.get("KEYCAST_METRICS_PORT") or 0)):
        return answers_http(port, "/metrics")
    if running == "signer":
        return accepts(environment["KEYCAST_SIGNER_SOCKET"])
    if running == "cosigner" and (path := environment.get("KEYCAST_COSIGNER_SOCKET")):
        return accepts(path)
    return bool(running)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
