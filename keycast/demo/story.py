"""What a newcomer sees: one note signed by a separate client program, then where everything is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keycast.client.checks import signed_as_asked
from keycast.demo.processes import ServerProcess, manage
from keycast.demo.surroundings import Surroundings, free_port

Say = Callable[[str], Any]


def tell(say: Say, *, folder: Path, port: int, once: bool) -> int:
    """Run the demo; returns the server's exit code with ``once``, else runs until interrupted."""
    wanted, port = port, free_port(port)
    if port != wanted:
        say(f"Port {wanted} is taken; using {port}.")
    surroundings = Surroundings.prepare(folder, port)
    environment = surroundings.environment()
    say(f"Preparing {folder} (database, tenant, operator, user, key) ...")
    made = json.loads(manage(environment, "demo_setup"))
    say("Starting the server: web, built-in relay, bunker worker and jobs in one process ...")
    with ServerProcess(environment, port) as server:
        say("Pairing over the relay, as a separate NIP-46 client program would: manage.py nip46 sign --bunker ...")
        say(_signed_note(environment, made["own_bunker_url"]))
        say(_summary(surroundings, made))
        if not once:
            say("Running. Stop with Ctrl-C.")
            server.wait()
    return server.exit_code or 0


def _signed_note(environment: dict[str, str], bunker_url: str) -> str:
    note = {"kind": 1, "content": "Hello from Keycast: signed by a key I cannot see.", "created_at": int(time.time())}
    arguments = ("--kind", "1", "--content", str(note["content"]), "--created-at", str(note["created_at"]), "--json")
    printed = manage(environment, "nip46", "sign", "--bunker", bunker_url, *arguments)
    event = signed_as_asked(printed.strip(), note)
    return f"\n{printed.strip()}\n\nEvent {event.id}: id and BIP-340 signature verified.\n"


def _summary(surroundings: Surroundings, made: dict[str, Any]) -> str:
    user, operator = made["users"]
    key = made["keys"][0]
    return "\n".join(
        (
            f"Portal   {surroundings.portal_url}",
            f"         sign in as {user['email']}, password {user['password']}",
            f"Admin    {surroundings.admin_url}",
            f"         sign in as {operator['email']}, password {operator['password']}",
            f"         authenticator code {made['totp_code']} (for {made['totp_seconds']} s more), from the secret",
            f"         {operator['totp_secret']}",
            f"         {operator['otpauth_url']}",
            f"Relay    {surroundings.relay_url}",
            f"Key      {key['npub']}",
            f"         three unused bunker URLs (policy full, to be used within {made['hours']} hours) are in",
            f"         {surroundings.folder / 'demo.json'}",
            "",
            f"Other commands on this data: set -a; . {surroundings.folder / 'demo.env'}; set +a",
            "Mails (sign-in codes) are printed here.",
        )
    )
