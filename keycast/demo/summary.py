"""What the demo says when everything runs: the three things a person needs first, and the rest below."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

from keycast.demo.environment import DemoEnvironment
from keycast.demo.screen import Screen
from keycast.demo.totp import current_code


def show(screen: Screen, surroundings: DemoEnvironment, made: dict[str, Any], notes: list[str]) -> None:
    """``made``: what demo_setup made, with both keys; ``notes``: the events that were signed, as JSON."""
    _portal(screen, surroundings, made)
    _app(screen, made)
    _admin(screen, surroundings, made)
    _rest(screen, surroundings, made, notes)


def _portal(screen: Screen, surroundings: DemoEnvironment, made: dict[str, Any]) -> None:
    user = made["users"][0]
    screen.heading("1. The portal, where people see their keys and connect apps")
    screen.lines(surroundings.portal_url, *_sign_in(user))


def _app(screen: Screen, made: dict[str, Any]) -> None:
    url, another = made["keys"][0]["bunker_urls"][:2]
    screen.heading("2. Signing from an app: paste this bunker URL into a Nostr app on this machine")
    screen.lines(url, "", "Or sign without an app, by the client that comes along, with another one:", "")
    screen.lines(f"{command()} nip46 sign --content hello --bunker \\", f"  '{another}'")
    screen.lines("", f"Each connects one app, within {made['hours']} hours. Make more in the portal.")


def _admin(screen: Screen, surroundings: DemoEnvironment, made: dict[str, Any]) -> None:
    operator = made["users"][1]
    screen.heading("3. The admin, where the platform's staff work")
    screen.lines(surroundings.admin_url, *_sign_in(operator))
    code, seconds = current_code(operator["totp_secret"])
    screen.lines(f"code        {code}, for {seconds} s more; then: {next_codes(surroundings)}")


def _rest(screen: Screen, surroundings: DemoEnvironment, made: dict[str, Any], notes: list[str]) -> None:
    _, operator, officer = made["users"]
    key, hsm = made["keys"]
    screen.heading("The rest")
    screen.lines(
        "Second person of the staff, who approves what the first one asks for:",
        *(f"  {line}" for line in _sign_in(officer)),
        "",
        "Both for an authenticator app, in place of the codes above:",
        f"  {operator['otpauth_url']}",
        f"  {officer['otpauth_url']}",
        "",
        f"Keys of {made['users'][0]['email']}:",
        f"  {key['npub']}",
        "  encrypted",
        f"  {hsm['npub']}",
        "  HSM-authorised, split key (Cloud KMS EMULATED: protects nothing)",
        "",
        f"Three unused bunker URLs of each key, for {made['hours']} hours:",
        f"  {surroundings.folder / 'demo.json'}",
        f"Relay, built in: {surroundings.relay_url}",
        "Mails that it sends, a file each:",
        f"  {surroundings.mails}",
        "Other commands on this data, after:",
        f"  set -a; . {shlex.quote(str(surroundings.folder / 'demo.env'))}; set +a",
        "",
        "The notes that were signed above:",
        "",
    )
    for note in notes:
        screen.plain(note)


def _sign_in(person: dict[str, Any]) -> tuple[str, str]:
    return f"sign in as  {person['email']}", f"password    {person['password']}"


def next_codes(surroundings: DemoEnvironment) -> str:
    """The command that prints the authenticator's code of this moment."""
    return _demo_command(surroundings, "make demo-code", "demo --code")


def start_again(surroundings: DemoEnvironment) -> str:
    """The command that starts a demo on the same data."""
    return _demo_command(surroundings, "make demo", "demo")


def _demo_command(surroundings: DemoEnvironment, target: str, arguments: str) -> str:
    folder = shlex.quote(str(surroundings.folder))
    if settings.IS_CHECKOUT:
        words, option = target, f" FOLDER={folder}"
    else:
        words, option = f"{command()} {arguments}", f" --folder {folder}"
    return words if surroundings.folder == settings.BASE_DIR / "var" else words + option


def command() -> str:
    """How a person calls our commands from here: by ``manage.py`` in a checkout, else by the installed ``keycast``."""
    if not settings.IS_CHECKOUT:
        return "keycast"
    python, program = Path(sys.executable), settings.BASE_DIR / "manage.py"
    return " ".join(shlex.quote(_shorter(path)) for path in (python, program))


def _shorter(path: Path) -> str:
    """The path from where we stand, if it lies below."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)
