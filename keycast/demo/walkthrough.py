"""What a newcomer sees: notes signed by a separate client program, then where everything is."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from keycast.demo.environment import DemoEnvironment
from keycast.demo.processes import DemoFailed, ServerProcess, manage
from keycast.demo.reservation import locked_folder, open_port
from keycast.demo.screen import Screen
from keycast.demo.summary import show, start_again
from keycast.nostr.client.checks import signed_as_asked

LARGEST_PORT: Final = 65_535
HSM_WITHIN: Final = 90.0
"""Seconds that the co-signer and the emulator may take to start."""


def run(screen: Screen, *, folder: Path, port: int, once: bool) -> int:
    """Run the demo; returns the server's exit code with ``once``, else runs until interrupted."""
    if not 0 < port <= LARGEST_PORT:
        raise DemoFailed(f"{port} is no port: choose one up to {LARGEST_PORT}, for example make demo PORT=8100")
    with locked_folder(folder) as lock, open_port(port) as listener:
        screen.plain(f"Keycast demo, with its data in {folder}")
        if (found := listener.getsockname()[1]) != port:
            screen.plain(f"Port {port} is taken; using {found}. Choose one with: make demo PORT=n")
        return _run(screen, folder, lock, listener, once=once)


def _run(screen: Screen, folder: Path, lock: int, listener: socket.socket, *, once: bool) -> int:
    surroundings = DemoEnvironment.prepare(folder, listener.getsockname()[1], has_hsm=True)
    environment = surroundings.environment()
    _require_kms_port(environment)
    screen.plain("")
    with screen.step("Database, tenant, people and a key"):
        made = json.loads(manage(environment, "demo_setup"))
    with ExitStack() as running:
        with screen.step("Server: web, built-in relay, bunker worker and jobs"):
            server = running.enter_context(ServerProcess(environment, listener, kept_open=[lock]))
        with screen.step("A note, signed over the relay through a bunker URL"):
            note = _signed_note(environment, made["own_bunker_url"], "signed by a key I cannot see")
        with screen.step("A key that an HSM authorises (EMULATED: protects nothing)"):
            hsm = _hsm_key(environment)
        with screen.step("A note, signed with that key"):
            hsm_note = _signed_note(environment, hsm["own_bunker_url"], "authorised by an HSM (emulated)")
        show(screen, surroundings, {**made, "keys": [*made["keys"], hsm]}, [note, hsm_note])
        if not once:
            screen.plain("Running. Stop with Ctrl-C.")
            server.wait()
    if once:
        screen.plain(f"Stopped, as it was to run once. To use the portal and the admin: {start_again(surroundings)}")
    return server.exit_code or 0


def _hsm_key(environment: dict[str, str]) -> dict[str, Any]:
    """The key of the emulated HSM, once the server's children are up."""
    wait_for_hsm(environment)
    made: dict[str, Any] = json.loads(manage(environment, "demo_setup", "--hsm"))
    return made


def wait_for_hsm(environment: dict[str, str]) -> None:
    """Return when the co-signer and the emulated Cloud KMS listen. Raises DemoFailed."""
    folder, deadline = Path(environment["KEYCAST_DATA_DIR"]), time.monotonic() + HSM_WITHIN
    while not (_listens(_kms_port(environment) or folder / "kms.sock") and _listens(folder / "cosigner.sock")):
        if time.monotonic() > deadline:
            raise DemoFailed(f"The co-signer and the emulator were not ready within {HSM_WITHIN:.0f} seconds.")
        time.sleep(0.1)


def _kms_port(environment: dict[str, str]) -> int:
    """Where somebody wants the emulator to listen; 0: at a socket in the folder. Raises DemoFailed."""
    given = environment.get("KEYCAST_KMS_EMULATOR_PORT") or "0"
    if not given.isascii() or not given.isdecimal() or int(given) > LARGEST_PORT:
        raise DemoFailed(f"KEYCAST_KMS_EMULATOR_PORT is no port: {given}")
    return int(given)


def _require_kms_port(environment: dict[str, str]) -> None:
    if (port := _kms_port(environment)) and _listens(port):
        raise DemoFailed(f"Port {port} (KEYCAST_KMS_EMULATOR_PORT) is taken. Choose another, or unset the variable.")


def _listens(place: int | Path) -> bool:
    with socket.socket(socket.AF_INET if isinstance(place, int) else socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", place) if isinstance(place, int) else str(place)) == 0


def _signed_note(environment: dict[str, str], bunker_url: str, how: str) -> str:
    """The event as it was signed by a separate client program, and that it was checked here."""
    note = {"kind": 1, "content": f"Hello from Keycast: {how}.", "created_at": int(time.time())}
    arguments = ("--kind", "1", "--content", str(note["content"]), "--created-at", str(note["created_at"]), "--json")
    printed = manage(environment, "nip46", "sign", "--bunker", bunker_url, *arguments)
    event = signed_as_asked(printed.strip(), note)
    return f"{printed.strip()}\nEvent {event.id}: id and BIP-340 signature verified.\n"
