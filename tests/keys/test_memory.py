"""After the lease, and after ``forget``, no plaintext key is left anywhere in the process's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip04, nip44
from keys.refs import SecretPurpose
from keys.signing import envelope
from keys.signing.envelope import SealingContext
from keys.signing.kms import registry
from tests.keycast.crypto.test_memory import count, memory_of, readable
from tests.paths import ROOT

__all__ = ["readable"]

SUBJECT = Path(__file__).with_name("_memory_subject.py")


class Prepared:
    """A personal and a transport key sealed here, so that the process under test never sees them in clear."""

    def __init__(self) -> None:
        self.tenant_id, self.key_id, self.transport_id = (uuid.uuid4() for _ in range(3))
        self.key, secret = Keypair.generate()
        self.transport, wire_secret = Keypair.generate()
        self.peer = Keypair.generate()[0]
        provider = registry.provider("local")
        place = SealingContext(self.tenant_id, self.key_id, self.key.public_key_hex, SecretPurpose.PERSONAL_KEY)
        self.sealed = envelope.seal(secret, place, provider)
        place = SealingContext(
            self.tenant_id, self.transport_id, self.transport.public_key_hex, SecretPurpose.TRANSPORT_KEY, self.key_id
        )
        self.wire = envelope.seal(wire_secret, place, provider)
        self.secrets = {
            "secret key": bytes(secret.view()),
            "transport secret": bytes(wire_secret.view()),
            "conversation key": _copy(nip44.conversation_key(self.key, self.peer.public_key)),
            "transport conversation key": _copy(nip44.conversation_key(self.transport, self.peer.public_key)),
            "nip04 key": _copy(nip04.shared_key(self.key, self.peer.public_key)),
        }

    def as_json(self, end: str, lease: float) -> str:
        return json.dumps(
            {
                "tenant_id": str(self.tenant_id),
                "key_id": str(self.key_id),
                "transport_id": str(self.transport_id),
                "public_key": self.key.public_key_hex,
                "transport_public_key": self.transport.public_key_hex,
                "version": self.sealed.kek_version,
                "sealed": self.sealed.blob.hex(),
                "transport_sealed": self.wire.blob.hex(),
                "peer": self.peer.public_key_hex,
                "end": end,
                "lease": lease,
            }
        )


def _copy(secret: SecretBytes) -> bytes:
    return bytes(secret.view())


def run(prepared: Prepared, end: str, lease: int) -> tuple[list[bytes], list[bytes]]:
    """The process's memory after use, and after the end of the lease or of its patience."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "KEYCAST_KEY_LEASE_SECONDS": str(lease),
    }
    subject = subprocess.Popen(
        [sys.executable, str(SUBJECT), prepared.as_json(end, lease)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert subject.stdout.readline() == b"open\n"
        before = memory_of(subject.pid)
        subject.stdin.write(b".")
        subject.stdin.flush()
        assert subject.stdout.readline() == b"wiped\n"
        after = memory_of(subject.pid)
    finally:
        subject.communicate(b".", timeout=30)
    return before, after


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize(("end", "lease"), [("forget", 600), ("expiry", 6)])
def test_no_plaintext_is_left(end, lease):
    prepared = Prepared()
    before, after = run(prepared, end, lease)
    kept = [name for name in prepared.secrets if name != "nip04 key"]
    missing = [name for name in kept if count(before, prepared.secrets[name]) == 0]
    assert not missing, "the search finds nothing even while the keys are open"
    found = {name: count(after, secret) for name, secret in prepared.secrets.items()}
    assert found == dict.fromkeys(prepared.secrets, 0)


@pytest.mark.usefixtures("readable")
def test_without_a_lease_there_is_none_even_directly_after_use():
    prepared = Prepared()
    before, _ = run(prepared, "forget", 0)
    assert {name: count(before, secret) for name, secret in prepared.secrets.items()} == dict.fromkeys(
        prepared.secrets, 0
    )
