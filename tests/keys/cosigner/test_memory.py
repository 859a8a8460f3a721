"""After 200 signatures no process holds a user's secret key, and neither signer the other's half.

The whole keys are put together here, in a third process, from both halves, to know what to look for.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from uuid import UUID

import pytest

from keycast.crypto.musig import ORDER, KeyAggregate
from keycast.crypto.schnorr import Keypair
from keys.cosigner import records
from keys.refs import SealedSecret
from keys.signing import envelope
from keys.signing.half import SealedHalf
from keys.signing.kms import registry
from tests.keycast.crypto.test_memory import count, memory_of
from tests.keycast.crypto.test_memory import readable as readable  # noqa: PLC0414 -- a fixture
from tests.keys.cosigner.support import KEK_B, ROOT, CosignerKek, Process

SIGNATURES = 100
"""With each of two keys."""


def value_of(secret):
    return bytes(secret.view())


def halves_of(process, described):
    """Both halves in clear, and the tweak, of what signer A has described."""
    tenant, key, half_b, blob = described.split("/")
    ids = UUID(tenant), UUID(key)
    half_a = SealedHalf.unpack(bytes.fromhex(blob), "test-1")
    a = envelope.unseal(half_a.sealed, half_a.place(*ids), registry.provider("local"))
    connection = sqlite3.connect(process.folder / "p.sqlite3")
    version, sealed, tweak = connection.execute(
        "SELECT kek_version, sealed, tweak FROM cosigner_half WHERE half_b = ?", (bytes.fromhex(half_b),)
    ).fetchone()
    connection.close()
    place = records.sealing_context_of(*ids, bytes.fromhex(half_b))
    b = envelope.unseal(SealedSecret("cosigner", version, sealed), place, CosignerKek(lambda: KEK_B))
    aggregate = KeyAggregate(b"\x02" + half_a.public, b"\x02" + bytes.fromhex(half_b), tweak)
    return value_of(a), value_of(b), aggregate


def whole_of(a, b, aggregate):
    total = int.from_bytes(aggregate.coefficient("A"), "big") * int.from_bytes(a, "big") + int.from_bytes(b, "big")
    total = (-total if aggregate.is_odd else total) + int.from_bytes(aggregate.tweak or b"", "big")
    return (total % ORDER).to_bytes(32, "big")


def negated(secret):
    """The same key with the other sign, which is as good."""
    return (ORDER - int.from_bytes(secret, "big")).to_bytes(32, "big")


@pytest.mark.usefixtures("readable")
def test_no_process_holds_a_whole_key_nor_the_other_half(tmp_path):
    keypair, secret = Keypair.generate()
    process = Process(tmp_path)
    signer = subprocess.Popen(
        [sys.executable, "-m", "tests.keys.cosigner._memory_a", str(process.socket), str(SIGNATURES)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        signer.stdin.write(value_of(secret))
        signer.stdin.flush()
        described = signer.stdout.readline().decode().split()
        memory_a, memory_b = memory_of(signer.pid), memory_of(process.process.pid)
        found = [halves_of(process, each) for each in described]
    finally:
        signer.communicate(timeout=20)
        process.stop()
    assert len(found) == 2
    imported = whole_of(*found[0])
    assert Keypair.from_secret(bytearray(imported)).public_key == keypair.public_key
    for a, b, aggregate in found:
        whole = whole_of(a, b, aggregate)
        assert count(memory_a, a) > 0, "the search finds nothing even though the half is open"
        assert count(memory_b, b) > 0
        for memory in (memory_a, memory_b):
            assert count(memory, whole) == 0
            assert count(memory, negated(whole)) == 0
        assert count(memory_a, b) == 0
        assert count(memory_b, a) == 0
