"""After a secret is wiped, no copy of it is left in the process: its whole memory is read from outside.

The heap is clean at once. On the stack, half a key may stay where the processor's vector registers were spilled in the
middle of a copy (by lazy symbol binding, for one), which no program can wipe; the next key's work overwrites it. So
the stack is read after the process has gone on working with another key, as a signer does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keycast.crypto.ecdh import shared_x
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip44
from tests.paths import ROOT

SUBJECT = Path(__file__).with_name("_memory_subject.py")


def memory_of(pid: int, *, stack: bool = True) -> list[bytes]:
    """Every readable and writable mapping of the process, its stack too or not."""
    maps = Path(f"/proc/{pid}/maps")
    while True:
        mapped = maps.read_text()
        try:
            return _read_mappings(pid, mapped, stack=stack)
        except OSError:  # a mapping went away or became smaller meanwhile: what is there now is what counts
            if maps.read_text() == mapped:
                raise


def _read_mappings(pid: int, mapped: str, *, stack: bool) -> list[bytes]:
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in mapped.splitlines():
            span, permissions, *_ = line.split()
            if not permissions.startswith("rw") or ("[stack]" in line and not stack):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                found.append(memory.read(end - start))
            except OSError:
                if not permissions.endswith("s"):
                    raise OSError(line) from None
                # A file that ends before its mapping does, as SQLite's shared index may.
    return found


def count(regions: list[bytes], secret: bytes) -> int:
    """How often a half of the secret occurs, in either byte order (libsecp256k1's limbs are little-endian)."""
    windows = {part[i : i + 16] for part in (secret, secret[::-1]) for i in (0, 8, 16)}
    return sum(region.count(window) for region in regions for window in windows)


@pytest.fixture
def readable():
    try:
        with open(f"/proc/{os.getpid()}/mem", "rb"):
            pass
    except OSError:
        pytest.skip("this system does not let a process's memory be read: the wiping of secrets is NOT tested")


@pytest.mark.usefixtures("readable")
def test_no_copy_of_a_secret_survives_its_wiping():
    keypair, secret = Keypair.generate()
    peer = Keypair.generate()[0].public_key
    known = {
        "secret key": bytes(secret.view()),
        "shared x": _copy(shared_x(keypair, peer)),
        "conversation key": _copy(nip44.conversation_key(keypair, peer)),
    }
    subject = subprocess.Popen(
        [sys.executable, str(SUBJECT), peer.hex()],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        subject.stdin.write(known["secret key"])
        subject.stdin.flush()
        in_use = memory_at(subject, "open")
        heap_after = memory_at(subject, "wiped", stack=False)
        all_later = memory_at(subject, "went on")
    finally:
        subject.communicate(timeout=20)
    assert count(in_use, known["secret key"]) > 0, "the search finds nothing even while the secret is in use"
    assert count(in_use, known["conversation key"]) > 0
    nothing = dict.fromkeys(known, 0)
    assert {name: count(heap_after, value) for name, value in known.items()} == nothing
    assert {name: count(all_later, value) for name, value in known.items()} == nothing


def memory_at(subject: subprocess.Popen[bytes], word: str, **options: bool) -> list[bytes]:
    """The memory when the subject has said ``word``; then it is told to go on."""
    assert subject.stdout.readline().decode().strip() == word
    memory = memory_of(subject.pid, **options)
    subject.stdin.write(b".")
    subject.stdin.flush()
    return memory


def _copy(secret):
    return bytes(secret.view())
