"""The table of real client libraries in docs/app-makers.md: made from a run of them all (tests.e2e.client_runs).

``python -m tests.e2e.client_table`` runs them and renews the table. A test compares the two.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib.metadata import version
from textwrap import wrap
from typing import Final

import django
from django.apps import apps

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
if not apps.ready:  # as a command: the demo, which starts the server, knows models
    django.setup()

from tests.e2e.client_runs import LIBRARIES, RELAYS, Found, Outcome, everything
from tests.e2e.conftest import CLIENTS, reaching, relay_from_npm
from tests.e2e.live import live
from tests.paths import ROOT

DOCUMENT: Final = ROOT / "docs" / "app-makers.md"
BEGIN, END = "<!-- made by tests/e2e/client_table.py -->", "<!-- end of what it makes -->"
STEPS: Final = {
    "bunker": "connect by `bunker://`",
    "nostrconnect": "connect by `nostrconnect://`",
    "get_public_key": "`get_public_key`",
    "ping": "`ping`",
    "sign_event": "`sign_event`",
    "nip44_encrypt": "`nip44_encrypt`",
    "nip44_decrypt": "`nip44_decrypt`",
    "nip04_encrypt": "`nip04_encrypt`",
    "nip04_decrypt": "`nip04_decrypt`",
    "switch_relays": "`switch_relays`",
    "logout": "`logout`",
    "refusal": "a refusal, with its reason",
    "tabs": "two tabs with one client key",
    "burst": "1,000 `nip44_decrypt` at once",
    "cut": "after a lost connection",
    "renewed": "after it, with a new signer of the same key",
    "restart": "after our restart",
}
WORDS: Final = {"ok": "ok", "no": "-", "fails": "fails"}
WIDTH: Final = 125
PACKAGES: Final = {
    "nostr-tools": "nostr-tools",
    "nostrify": "@nostrify/nostrify",
    "NDK": "@nostr-dev-kit/ndk",
    "NDK ": "ndk2",
    "applesauce": "applesauce-signers",
    "welshman": "@welshman/signer",
}
ONLY_BUILT_IN: Final = ("burst", "cut", "renewed")
NOTES: Final = (
    (
        ("NDK 2.12", "NDK 3"),
        ("restart", "cut"),
        "opens its subscription once, and not again on a new connection: requests go out, and no answer is heard. When "
        "the relay says `disconnect`, make a new `NDKNip46Signer` with the same client key.",
    ),
    (
        ("nostrify",),
        ("burst",),
        "opens a subscription for each request, and waits for ever for one that the relay closes; ours allows 500 at "
        "once. Ask 200 at a time.",
    ),
    (
        ("welshman",),
        ("restart",),
        "tries again without a pause while the relay is away, queues its subscription each time, and sends the queue "
        "at 200 messages a second: after some seconds away, the next request is sent as much as half a minute later.",
    ),
)
"""Libraries, steps, and what is their own doing with our relay there, with what an app can do."""


def table(found: Found) -> str:
    """Markdown: the versions, one table for each relay, and the notes."""
    parts = [f"Run with {', '.join(versions())}."]
    for relay in RELAYS:
        head = [f"over {'our' if relay == RELAYS[0] else 'another'} relay", *LIBRARIES]
        lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for step, label in STEPS.items():
            if relay == RELAYS[0] or step not in ONLY_BUILT_IN:
                cells = [_cell(found[library, relay, step], library, relay, step) for library in LIBRARIES]
                lines.append("| " + " | ".join([label, *cells]) + " |")
        parts.append("\n".join(lines))
    notes = (f"{number}. {', '.join(libraries)}: {text}" for number, (libraries, _, text) in enumerate(NOTES, 1))
    parts.append("\n".join(line for note in notes for line in wrap(note, WIDTH, subsequent_indent="   ")))
    return "\n\n".join(parts)


def versions() -> list[str]:
    """The libraries that are run, each with its version."""
    wanted: dict[str, str] = json.loads((CLIENTS / "libraries/package.json").read_text())["dependencies"]
    pinned = {package: wish.rpartition("@")[2] for package, wish in wanted.items()}
    from_npm = [f"{name.strip()} {pinned[package]}" for name, package in PACKAGES.items()]
    return [*from_npm, f"nostr-sdk {version('nostr-sdk')}"]


def _cell(outcome: Outcome, library: str, relay: str, step: str) -> str:
    number = _note(library, relay, step)
    return WORDS[outcome.outcome] + (f" ({number})" if number else "")


def _note(library: str, relay: str, step: str) -> int:
    """The number of the note on this, or 0."""
    if relay != RELAYS[0]:
        return 0
    fitting = (n for n, (libraries, steps, _) in enumerate(NOTES, 1) if library in libraries and step in steps)
    return next(fitting, 0)


def unexplained(found: Found) -> list[str]:
    """What failed without a note, with what the library said."""
    return [
        f"{library}, {relay} relay, {step}: {outcome.detail}"
        for (library, relay, step), outcome in found.items()
        if outcome.outcome == "fails" and not _note(library, relay, step)
    ]


def documented() -> str:
    """The table that is in the document."""
    return DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def write(made: str) -> None:
    """Put a table into the document in place of the one that is there."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    """Run, print what was found, and renew the document."""
    with relay_from_npm() as other_relay, live(reaching(other_relay)) as server:
        found = asyncio.run(everything(server, other_relay))
    for (library, relay, step), outcome in sorted(found.items()):
        print(f"{library:12} {relay:9} {step:15} {outcome.outcome:6} {outcome.milliseconds:6} {outcome.detail}")
    if problems := unexplained(found):
        sys.exit("Write a note for each, in tests/e2e/client_table.py:\n" + "\n".join(problems))
    write(table(found))
    print(f"{DOCUMENT} is up to date.")


if __name__ == "__main__":
    main()
