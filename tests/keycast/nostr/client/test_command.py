"""``manage.py nip46`` as another program would run it."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from keycast.nostr.nip01 import parse_event, verify_event
from tests.paths import ROOT


async def nip46(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit code, standard output, standard error; the environment knows nothing of a server."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCAST", "DJANGO"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "manage.py",
        "nip46",
        *arguments,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_bad_arguments_end_with_2(bunker):
    assert (await nip46("sign", "--content", "x"))[0] == 2
    assert (await nip46("sign", "--bunker", "nostr:npub1", "--content", "x"))[0] == 2
    assert (await nip46("sign", "--bunker", bunker.bunker_url(), stdin="not json"))[0] == 2


async def test_an_unreachable_relay_ends_with_3(bunker):
    url = bunker.bunker_url("ws://127.0.0.1:9")
    code, out, _ = await nip46("ping", "--bunker", url, "--timeout", "0.5", "--json")
    assert code == 3
    assert json.loads(out)["error"]["code"] == "relays-unreachable"


async def test_silence_ends_with_4(bunker):
    bunker.script["ping"] = lambda params: None
    assert (await nip46("ping", "--bunker", bunker.bunker_url(), "--timeout", "0.5"))[0] == 4


async def test_an_answer_that_does_not_verify_ends_with_5_and_is_not_printed(bunker):
    bunker.script["sign_event"] = lambda params: {
        "result": json.dumps({**json.loads(bunker.signed(json.loads(params[0]))), "sig": "00" * 64})
    }
    code, out, err = await nip46("sign", "--bunker", bunker.bunker_url(), "--content", "x")
    assert (code, out) == (5, "")
    assert "does not verify" in err


async def test_a_refusal_ends_with_1_and_the_bunkers_words(bunker):
    bunker.script["sign_event"] = lambda params: {"error": "not in the policy"}
    code, out, err = await nip46("sign", "--bunker", bunker.bunker_url(), "--content", "x", "--json")
    assert code == 1
    assert "not in the policy" in json.loads(out)["error"]["message"]
    assert "not in the policy" in err


async def test_sign_prints_the_verified_event(bunker):
    arguments = ["--kind", "1", "--content", "hello 🫂", "--tag", "t", "x", "--tag", "client", "me"]
    code, out, err = await nip46("sign", "--bunker", bunker.bunker_url(), *arguments)
    assert (code, err) == (0, "")
    event = parse_event(out.strip())
    assert verify_event(event)
    assert (event.kind, event.content, event.tags) == (1, "hello 🫂", [["t", "x"], ["client", "me"]])


async def test_sign_reads_an_event_from_standard_input(bunker):
    template = {"kind": 30023, "content": "text", "tags": [["d", "a"]], "created_at": 1_700_000_000}
    _, out, _ = await nip46("sign", "--bunker", bunker.bunker_url(), "--json", stdin=json.dumps(template))
    assert {name: json.loads(out)[name] for name in template} == template


async def test_ping_and_whoami_answer_in_json(bunker, tmp_path):
    key = ["--client-key-file", str(tmp_path / "client")]
    _, out, _ = await nip46("ping", "--bunker", bunker.bunker_url(), "--json", *key)
    assert json.loads(out)["answer"] == "pong"
    _, out, _ = await nip46("whoami", "--bunker", bunker.bunker_url(), "--json", *key)
    assert json.loads(out)["public_key"] == bunker.user.public_key_hex
    assert json.loads(out)["npub"].startswith("npub1")


async def test_bench_counts_what_was_signed_and_verified(bunker):
    arguments = ["--clients", "3", "--duration", "0.5", "--json"]
    code, out, _ = await nip46("bench", "--bunker", bunker.bunker_url(), *arguments)
    figures = json.loads(out)
    assert code == 0
    assert figures["signed"] > 3
    assert figures["p50_ms"] <= figures["p95_ms"]
    assert (figures["clients"], figures["refused"]) == (3, 0)
