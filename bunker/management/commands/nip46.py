"""``manage.py nip46``: a client for any bunker, on the command line. It needs no database and no server settings."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from keycast.nostr import nip19
from keycast.nostr.client import BunkerClient, ClientError, identity
from keycast.nostr.client.speed import measure
from keycast.nostr.nip01 import serialize

Options = dict[str, Any]
EXIT_CODES = (
    "Exit codes: 0 done; 1 the bunker refused; 2 bad arguments; 3 no relay could be used; 4 no answer in time; "
    "5 the answer does not verify."
)


class Command(BaseCommand):
    """Each sub-command opens the bunker's relays, pairs, asks, prints the answer and ends."""

    help = f"A NIP-46 client for any bunker. {EXIT_CODES}"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="action", required=True, metavar="sign|ping|whoami|...")
        sign = _sub(commands, "sign", "Have an event signed; prints it once its id and signature are verified.")
        sign.add_argument("--kind", type=int, default=1)
        sign.add_argument("--content", help="without it, an event as JSON is read from standard input")
        sign.add_argument("--tag", nargs="+", action="append", default=[], metavar="ITEM", dest="tags")
        sign.add_argument("--created-at", type=int, metavar="UNIX_SECONDS")
        _sub(commands, "ping", "Ask whether the bunker answers.")
        _sub(commands, "whoami", "Print the public key that the bunker signs with.")
        _sub(commands, "logout", "End this client's pairing.")
        for name, what in (("encrypt", "a text for"), ("decrypt", "a payload from")):
            crypt = _sub(commands, name, f"Have {what} a peer {name}ed (NIP-44, or NIP-04 with --nip04).")
            crypt.add_argument("--peer", required=True, metavar="NPUB|HEX")
            crypt.add_argument("--text", help="without it, standard input is read")
            crypt.add_argument("--nip04", action="store_true", help="the old, weaker encryption of NIP-04")
        bench = _sub(commands, "bench", "Measure signatures per second and latency; answers are verified afterwards.")
        bench.add_argument("--clients", type=int, default=1)
        bench.add_argument("--duration", type=float, default=5.0, metavar="SECONDS")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            answer = asyncio.run(_run(options))
        except ClientError as error:
            self._fail(error, as_json=options["json"])
        except KeyboardInterrupt:
            sys.exit(130)
        else:
            self.stdout.write(answer)

    def _fail(self, error: ClientError, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"error": {"code": error.code, "message": error.public_message}}))
        self.stderr.write(error.public_message)
        sys.exit(error.exit_code)


def _sub(commands: Any, name: str, text: str) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(name, help=text, description=f"{text} {EXIT_CODES}")
    parser.add_argument(
        "--bunker", action="append", metavar="URL", help="bunker:// address; for bench it may be repeated"
    )
    parser.add_argument("--bunker-file", type=Path, help="file of bunker:// addresses, which ps does not show")
    parser.add_argument("--relay", action="append", default=[], metavar="URL", help="use instead of the address's")
    parser.add_argument("--client-key-file", type=Path, help="keep the client's key there, so that a pairing lasts")
    parser.add_argument("--no-connect", action="store_true", help="this client key is paired already")
    parser.add_argument("--timeout", type=float, default=15.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print JSON, errors too")
    return parser


async def _run(options: Options) -> str:
    urls = _urls(options)
    if options["action"] == "bench":
        return _figures(
            await measure(urls, clients=options["clients"], seconds=options["duration"], patience=options["timeout"]),
            options,
        )
    keypair = identity.load_or_create(options["client_key_file"]) if options["client_key_file"] else None
    client = BunkerClient(
        urls[0], keypair=keypair, relays=options["relay"], timeout=options["timeout"], on_auth_url=_ask_person
    )
    async with client:
        if not options["no_connect"]:
            await client.connect(metadata={"name": "keycast nip46"})
        return await ACTIONS[options["action"]](client, options)


def _urls(options: Options) -> list[str]:
    urls: list[str] = list(options["bunker"] or [])
    if options["bunker_file"]:
        urls += _read(options["bunker_file"]).split()
    if not urls:
        raise _usage("Give a bunker:// address with --bunker or --bunker-file.")
    return urls


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise _usage("The file of bunker addresses cannot be read.") from None


def _usage(message: str) -> ClientError:
    error = ClientError(message, code="usage")
    error.exit_code = 2
    return error


def _ask_person(url: str) -> None:
    sys.stderr.write(f"The bunker asks for its owner's approval. Open: {url!r}\n")
    sys.stderr.flush()


async def _sign(client: BunkerClient, options: Options) -> str:
    await client.get_public_key()
    return serialize(await client.sign_event(_template(options))).decode()


def _template(options: Options) -> dict[str, Any]:
    if options["content"] is None:
        template = _from_stdin()
    else:
        template = {"kind": options["kind"], "content": options["content"], "tags": options["tags"]}
    if options["created_at"] is not None:
        template["created_at"] = options["created_at"]
    template.setdefault("created_at", int(time.time()))
    template.setdefault("tags", [])
    return template


def _from_stdin() -> dict[str, Any]:
    try:
        found = json.load(sys.stdin)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not {"kind", "content"} <= set(found):
        raise _usage("Standard input does not hold an event as JSON with kind and content; or give --content.")
    return {name: found[name] for name in ("kind", "content", "tags", "created_at", "pubkey") if name in found}


async def _ping(client: BunkerClient, options: Options) -> str:
    started = time.monotonic()
    await client.ping()
    milliseconds = round(1000 * (time.monotonic() - started), 2)
    return json.dumps({"answer": "pong", "ms": milliseconds}) if options["json"] else f"pong ({milliseconds} ms)"


async def _whoami(client: BunkerClient, options: Options) -> str:
    public_key = await client.get_public_key()
    npub = nip19.encode_npub(public_key)
    return json.dumps({"public_key": public_key, "npub": npub}) if options["json"] else npub


async def _logout(client: BunkerClient, options: Options) -> str:
    await client.logout()
    return json.dumps({"answer": "ack"}) if options["json"] else "Logged out."


async def _crypt(client: BunkerClient, options: Options) -> str:
    scheme = "nip04" if options["nip04"] else "nip44"
    method = getattr(client, f"{scheme}_{options['action']}")
    text = sys.stdin.read() if options["text"] is None else options["text"]
    answer: str = await method(_peer(options["peer"]), text)
    return json.dumps({"result": answer}, ensure_ascii=False) if options["json"] else answer


def _peer(text: str) -> str:
    try:
        return nip19.decode_npub(text) if text.startswith("npub1") else text
    except ValueError:
        raise _usage("The peer is neither an npub nor 64 hex digits.") from None


def _figures(figures: dict[str, Any], options: Options) -> str:
    if options["json"]:
        return json.dumps(figures)
    return (
        "{clients} clients, {seconds} s: {signed} signed and verified, {per_second} per second, "
        "p50 {p50_ms} ms, p95 {p95_ms} ms, {refused} refused".format(**figures)
    )


ACTIONS = {
    "sign": _sign,
    "ping": _ping,
    "whoami": _whoami,
    "logout": _logout,
    "encrypt": _crypt,
    "decrypt": _crypt,
}
