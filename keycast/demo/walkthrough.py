"""What a newcomer sees: one note signed by a separate client program, then where everything is."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from keycast.demo.environment import DemoEnvironment
from keycast.demo.processes import DemoFailed, ServerProcess, manage
from keycast.demo.reservation import locked_folder, open_port
from keycast.nostr.client.checks import signed_as_asked

Say = Callable[[str], Any]
LARGEST_PORT: Final = 65_535
HSM_WITHIN: Final = 30.0
"""Seconds that the co-signer and the emulator may take to start."""


def run(say: Say, *, folder: Path, port: int, once: bool) -> int:
    """Run the demo; returns the server's exit code with ``once``, else runs until interrupted."""
    with locked_folder(folder) as lock, open_port(port) as listener:
        if listener.getsockname()[1] != port:
            say(f"Port {port} is taken; using {listener.getsockname()[1]}. Choose with: make demo PORT=n")
        return _run(say, folder, lock, listener, once=once)


def _run(say: Say, folder: Path, lock: int, listener: socket.socket, *, once: bool) -> int:
    surroundings = DemoEnvironment.prepare(folder, listener.getsockname()[1], has_hsm=True)
    environment = surroundings.environment()
    _require_kms_port(environment)
    say(f"Preparing {folder} (database, tenant, operator, user, key) ...")
    made = json.loads(manage(environment, "demo_setup"))
    say("Starting the server: web, built-in relay, bunker worker and jobs in one process ...")
    with ServerProcess(environment, listener, kept_open=[lock]) as server:
        say("Pairing over the relay, as a separate NIP-46 client program would: manage.py nip46 sign --bunker ...")
        say(_signed_note(environment, made["own_bunker_url"], "signed by a key I cannot see"))
        say("The same with a split key, each signature authorised by an HSM. EMULATED here: it protects nothing ...")
        hsm = _hsm_key(environment)
        say(_signed_note(environment, hsm["own_bunker_url"], "authorised by an HSM (emulated)"))
        say(_summary(surroundings, {**made, "keys": [*made["keys"], hsm]}))
        if not once:
            say("Running. Stop with Ctrl-C.")
            server.wait()
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
    note = {"kind": 1, "content": f"Hello from Keycast: {how}.", "created_at": int(time.time())}
    arguments = ("--kind", "1", "--content", str(note["content"]), "--created-at", str(note["created_at"]), "--json")
    printed = manage(environment, "nip46", "sign", "--bunker", bunker_url, *arguments)
    event = signed_as_asked(printed.strip(), note)
    return f"\n{printed.strip()}\n\nEvent {event.id}: id and BIP-340 signature verified.\n"


def _summary(surroundings: DemoEnvironment, made: dict[str, Any]) -> str:
    user, operator, officer = made["users"]
    key, hsm = made["keys"]
    return "\n".join(
        (
            f"Portal   {surroundings.portal_url}",
            f"         sign in as {user['email']}, password {user['password']}",
            f"Admin    {surroundings.admin_url}",
            f"         sign in as {operator['email']}, password {operator['password']}",
            f"         authenticator code {made['totp_code']} (for {made['totp_seconds']} s more), from the secret",
            f"         {operator['totp_secret']}",
            f"         {operator['otpauth_url']}",
            f"         second person for approvals: {officer['email']}, password {officer['password']},",
            f"         {officer['otpauth_url']}",
            f"Relay    {surroundings.relay_url}",
            f"Keys     {key['npub']}",
            "         encrypted",
            f"         {hsm['npub']}",
            "         HSM-authorised, split key (Cloud KMS EMULATED: protects nothing)",
            f"         three unused bunker URLs of each (policy full, to be used within {made['hours']} hours) are in",
            f"         {surroundings.folder / 'demo.json'}",
            "",
            f"Other commands on this data: set -a; . {surroundings.folder / 'demo.env'}; set +a",
            "Mails (sign-in codes) are printed here.",
        )
    )
