"""What a co-signed signature that an app asked for costs both signers together, the HSM not counted, by this machine.

In milliseconds: ``make bench`` (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from keycast.crypto import schnorr
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.signing.cosigned import CosignedSigner
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.service import SigningService
from tests.keys.cosigner.asking import App
from tests.keys.cosigner.rows import signer_of
from tests.keys.cosigner.support import FakeHsm, Process, kek_a, make_key, note

SIGNATURES = 1000
AT_ONCE = 10
MOST_TIMES_A_PLAIN_ONE = 40


class Signed:
    """An authoriser that has signed already."""

    provider = "google"

    def __init__(self):
        self.by_digest = {}

    async def authorise(self, hsm, digest):
        return self.by_digest[digest]


def seconds_of(pid):
    """Processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def plain_seconds():
    """Processor time of as many plain signatures, made and verified, here and now."""
    keypair, message = Keypair.generate()[0], bytes(32)
    started = time.process_time()
    for _ in range(SIGNATURES):
        schnorr.verify(bytes.fromhex(keypair.public_key_hex), message, keypair.sign_unchecked(message))
    return time.process_time() - started


async def no_report(*_):
    raise AssertionError("no damage expected")


@pytest.mark.slow
async def test_both_signers_together_cost_a_bounded_number_of_plain_signatures(tmp_path, monkeypatch):
    process, hsm, signed = Process(tmp_path), FakeHsm(), Signed()
    client = process.client()
    try:
        keys = [await make_key(client, hsm) for _ in range(10)]
        signer: CosignedSigner = signer_of(hsm, client)
        signer._authorisers = {"google": signed}
        kek = kek_a()
        monkeypatch.setattr(signer._vault, "_providers", lambda _: kek)
        service = SigningService({("hsm", "google"): signer}, no_report)
        events, app = [(keys[n % 10], note(keys[n % 10], str(n))) for n in range(SIGNATURES)], App()
        work = [(key, event, app.use(app.to_sign(event))) for key, event in events]
        challenge, salt = await client.challenge(), authorisation.new_salt()
        monkeypatch.setattr(authorisation, "new_salt", lambda: salt)
        for key, event, _ in work:
            named = (key.tenant_id, key.key_id, id_of(event), challenge, salt)
            digest = authorisation.digest(AuthorisationPurpose.SIGN, *named)
            signed.by_digest[digest] = hsm.sign(key.hsm.key_name, digest)
        waiting = iter(work)

        async def one_after_the_other():
            for key, event, asked in waiting:
                await service.sign_event(key, event, asked)

        own, other = time.process_time(), seconds_of(process.process.pid)
        await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
        total = time.process_time() - own + seconds_of(process.process.pid) - other
        assert total / plain_seconds() <= MOST_TIMES_A_PLAIN_ONE
    finally:
        await client.close()
        process.stop()
