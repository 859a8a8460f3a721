"""Signer A as ``test_memory`` looks into it: imports a key, makes another, signs with both, and waits to be read.

The secret arrives on standard input straight into a bytearray, so that nothing but the code under test copies it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from uuid import uuid4

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from keycast.crypto.secret import SecretBytes  # noqa: E402
from keycast.nostr.nip01 import id_of  # noqa: E402
from keys.lifecycle.rows import key_ref  # noqa: E402
from keys.models import PersonalKey  # noqa: E402
from keys.signing.cosigning.address import Address  # noqa: E402
from keys.signing.cosigning.client import CosignerClient  # noqa: E402
from keys.split import halves  # noqa: E402
from tests.keys.cosigner.rows import signer_of  # noqa: E402
from tests.keys.cosigner.support import FakeHsm, note  # noqa: E402

PEER = "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659"


def receive():
    buffer = bytearray(32)
    if os.readv(0, [buffer]) != 32:
        raise SystemExit("no secret")
    return SecretBytes.adopt(buffer)


def made(hsm, client, secret):
    row = PersonalKey(tenant_id=uuid4(), key_mode="hsm", hsm_provider="google")
    if secret is None:
        halves.create(row, client)
    else:
        halves.adopt(row, secret, client)
    row.kms_key_name, row.kms_key_version = f"user-{row.id}", "1"
    row.authoriser_public_key = hsm.make(row.kms_key_name).hex()
    halves.register(row, client)
    return row


async def use(key, signer, times):
    for number in range(times):
        event = note(key, str(number))
        await signer.sign_event_id(key, event, id_of(event))
    text = await signer.crypt(key, "nip44_encrypt", PEER, "hello")
    await signer.crypt(key, "nip44_decrypt", PEER, text)


def main(socket, times):
    client, hsm = CosignerClient(lambda: Address(path=Path(socket))), FakeHsm()
    with receive() as secret:
        rows = [made(hsm, client, secret), made(hsm, client, None)]
    signer = signer_of(hsm, client)

    async def everything():
        for row in rows:
            await use(key_ref(row), signer, times)

    asyncio.run(everything())
    described = [
        f"{row.tenant_id}/{row.id}/{row.cosigner_public_key}/{bytes(row.encrypted_half_key).hex()}" for row in rows
    ]
    os.write(1, f"{' '.join(described)}\n".encode())
    os.read(0, 1)


main(sys.argv[1], int(sys.argv[2]))
