"""The process that ``test_memory`` looks into: opens a sealed key by its lease, uses it in every way, and waits.

It knows the key only sealed. It talks on standard output and goes on at each byte of standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid

import django

django.setup()

from keycast.nostr.nip01 import UnsignedEvent  # noqa: E402
from keys import services  # noqa: E402
from keys.refs import KeyRef, SealedSecret, TransportRef  # noqa: E402


def pause(word: str) -> None:
    os.write(1, word.encode() + b"\n")
    os.read(0, 1)


async def use(key: KeyRef, transport: TransportRef, peer: str) -> None:
    service = services.signing_service()
    for number in range(20):
        await service.sign_event(key, UnsignedEvent(key.public_key, number, 1, [], "x"))
    payload = await service.crypt(key, "nip44_encrypt", peer, "x")
    await service.crypt(key, "nip44_decrypt", peer, payload)
    payload = await service.crypt(key, "nip04_encrypt", peer, "x")
    await service.crypt(key, "nip04_decrypt", peer, payload)
    opened = await services.transport_service().open(transport)
    opened.decrypt(peer, opened.encrypt(peer, "x"))
    opened.sign(bytes(32))


def main() -> None:
    given = json.loads(sys.argv[1])
    ids = {name: uuid.UUID(given[name]) for name in ("tenant_id", "key_id", "transport_id")}
    sealed, wire = (
        SealedSecret("local", given["version"], bytes.fromhex(given[name])) for name in ("sealed", "transport_sealed")
    )
    key = KeyRef(ids["tenant_id"], ids["key_id"], given["public_key"], "encrypted", "", sealed)
    transport = TransportRef(**ids, public_key=given["transport_public_key"], sealed=wire)
    asyncio.run(use(key, transport, given["peer"]))
    pause("open")
    if given["end"] == "forget":
        services.signing_service().forget(key.key_id)
        services.transport_service().forget(transport.transport_id)
    else:
        time.sleep(given["lease"])
    pause("wiped")


main()
