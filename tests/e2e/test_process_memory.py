"""What lies in the memory of each process after 200 signatures: server (web and worker), signer (A), co-signer (B).

Read as root, whom no process can refuse. Keys of the mode hsm are whole in none of them; key-encryption keys are in the
signer alone; a key of the mode encrypted is in the signer for its lease, and after that nowhere.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from keycast.crypto.musig import ORDER
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.demo.environment import free_port
from keycast.emulators.nethsm.server import NetHsmEmulator
from keycast.nostr import nip19
from keys.cosigner import process as cosigner
from keys.signing.isolated import process as signer
from keys.signing.kms import keyfile
from tests.e2e.live import ROOT, LiveServer, live, offer_both_modes
from tests.keycast.crypto.test_memory import count, memory_of
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of the signers"),
    pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="the database makes no difference: shown once"),
]
SIGNATURES = 200
LEASE = 30  # a slow machine needs some of it between the last signature and the look into memory
ADMIN, ADMIN_PASSWORD, OPERATOR_PASSWORD = "root", "the root's passphrase", "the operators' master"


class Apart:
    """The processes beside the server, each started with what it may know."""

    def __init__(self, folder: Path, device: NetHsmEmulator) -> None:
        self.folder, self.kms_port = folder, free_port(40_000 + secrets.randbelow(10_000))
        self.kek_file = folder / "kek"
        keyfile.write_new(self.kek_file)
        self.pids: dict[str, int] = {}
        self.settings = {
            "KEYCAST_KEK_FILE": "",
            "KEYCAST_SIGNER_SOCKET": str(folder / "signer" / "s.sock"),
            "KEYCAST_SIGNER_CHILD": "0",
            "KEYCAST_COSIGNER_SOCKET": str(folder / "cosigner" / "s.sock"),
            "KEYCAST_COSIGNER_DB": str(folder / "cosigner.sqlite3"),
            "KEYCAST_COSIGNER_KEY_LIMIT": "10000",
            "KEYCAST_KEY_LEASE_SECONDS": str(LEASE),
            "KEYCAST_HSM_PROVIDERS": "google,nethsm",
            "KEYCAST_KMS_EMULATOR": "1",
            "KEYCAST_KMS_ENDPOINT": f"127.0.0.1:{self.kms_port}",
            "KEYCAST_GCP_KEY_RING": "projects/emulated/locations/europe-west1/keyRings/test",
            "GRPC_VERBOSITY": "NONE",
            "KEYCAST_NETHSM_EMULATOR": "1",
            "KEYCAST_NETHSM_URL": device.url,
            "KEYCAST_NETHSM_CA_FILE": str(device.ca_file),
            "KEYCAST_NETHSM_ADMIN_USER": ADMIN,
            "KEYCAST_NETHSM_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "KEYCAST_NETHSM_OPERATOR_PASSWORD": OPERATOR_PASSWORD,
        }

    @contextmanager
    def beside(self, environment: dict[str, str]) -> Iterator[None]:
        """All but the server."""
        with ExitStack() as stack:
            stack.enter_context(self.running("KMS", environment, "kms_emulator", "--port", str(self.kms_port)))
            co_signers = cosigner.environment(environment)
            stack.enter_context(self.running("co-signer", co_signers, "cosigner"))
            signers = signer.environment({**environment, "KEYCAST_KEK_FILE": str(self.kek_file)})
            stack.enter_context(self.running("signer", signers, "signer"))
            yield

    @contextmanager
    def running(self, name: str, environment: dict[str, str], *command: str) -> Iterator[None]:
        process = subprocess.Popen([sys.executable, "manage.py", *command], cwd=ROOT, env=environment)
        self.pids[name] = process.pid
        try:
            yield
            assert process.poll() is None, f"{name} ended by itself"
        finally:
            process.terminate()
            process.wait(30)


def wait_for(path: Path) -> None:
    until(path.exists, f"{path} is not there")


def add_key(server: LiveServer, name: str, mode: str, provider: str, secret: str = "") -> str:
    """A key of the user's, imported where ``secret`` (hex) is given; its npub."""
    verb = f"import_key(**o, secret=SecretBytes(bytes.fromhex({secret!r})))" if secret else "create_key(**o)"
    return server.python(
        "import time; from accounts.models import Tenant, User; from keycast.audit.entries import Actor;"
        "from keycast.crypto.secret import SecretBytes; from keycast.nostr import nip19; from keys.models import *;"
        "from keys.services import create_key, finish_pending_key, import_key;"
        "o = dict(actor=Actor.command('test'), tenant=Tenant.objects.get(), name="
        f"{name!r}, user=User.objects.get(email={server.user['email']!r}), key_mode={mode!r}, provider={provider!r});"
        f"key = {verb}; finish_pending_key(key.id) if key.state == 'pending' else None;"
        "print(nip19.encode_npub(PersonalKey.objects.get(pk=key.pk).public_key))"
    )


def sign(server: LiveServer, npub: str, wanted: int) -> int:
    """Have a real client sign until there are that many; how many there are."""
    signed = 0

    def are_enough() -> bool:
        nonlocal signed
        url = server.bunker_url(key=npub)
        try:
            printed = server.manage("nip46", "bench", "--bunker", url, "--clients", "1", "--duration", "2", "--json")
        except AssertionError:  # the worker may still be taking its leases
            return False
        signed += json.loads(printed)["signed"]
        return signed >= wanted

    until(are_enough, lambda: f"only {signed} signatures", pause=0.5)
    return signed


def forms(secret: bytes) -> list[bytes]:
    """How a secret key may lie about: as it is, negated (as good), in hex, as an nsec."""
    negated = (ORDER - int.from_bytes(secret, "big")).to_bytes(32, "big")
    with SecretBytes(secret) as held:
        words = nip19.encode_nsec(held)
    return [secret, negated, secret.hex().encode(), secret.hex().upper().encode(), words.encode()]


def occurrences(memory: list[bytes], secret: bytes) -> int:
    whole, negated, *texts = forms(secret)
    found = count(memory, whole) + count(memory, negated)
    return found + sum(region.count(text) for region in memory for text in texts)


def secret_of(keypair: Keypair) -> bytes:
    with keypair.secret() as secret:
        return bytes(secret.view())


def keks(path: Path) -> list[bytes]:
    """Key-encryption keys as bytes, and as they are written."""
    written = [line.partition(b":")[2] for line in path.read_bytes().split()]
    return [*(bytes(key.view()) for key in keyfile.parse(path.read_bytes()).values()), *written]


def test_each_process_memory_holds_only_the_secrets_it_may_hold() -> None:
    encrypted, split = (secret_of(Keypair.generate()[0]) for _ in range(2))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kc-mem-")))
        device = stack.enter_context(NetHsmEmulator(folder, admin=ADMIN, passphrase=ADMIN_PASSWORD))
        apart = Apart(folder, device)
        server = stack.enter_context(live(apart.settings, apart.beside, kek_file=apart.kek_file))
        apart.pids["server"] = server.pid
        for name in ("signer", "cosigner"):
            wait_for(folder / name / "s.sock")
        offer_both_modes(server)
        npubs = [
            add_key(server, "Split", "hsm", "google", split.hex()),
            add_key(server, "In the device", "hsm", "nethsm"),
            add_key(server, "Encrypted", "encrypted", "local", encrypted.hex()),
        ]
        (held,) = device.app.store.keys.values()
        signed = [sign(server, npub, SIGNATURES // len(npubs) + 1) for npub in npubs]
        assert sum(signed) >= SIGNATURES

        seen = {name: memory_of(apart.pids[name]) for name in ("server", "signer", "co-signer")}
        assert occurrences(seen["signer"], encrypted) > 0, "the search finds nothing even while the key is open"
        assert all(count(seen["signer"], kek) for kek in keks(apart.kek_file)[:1]), "nor the key-encryption key"
        for name, memory in seen.items():
            for kind, secret in (("split", split), ("NetHSM", secret_of(held.keypair))):
                assert occurrences(memory, secret) == 0, f"the whole {kind} key in the memory of {name}"
            if name != "signer":
                assert occurrences(memory, encrypted) == 0, f"an encrypted key in the memory of {name}"
                found = sum(count(memory, kek) for kek in keks(apart.kek_file))
                assert found == 0, f"a key-encryption key in the memory of {name}"
        del seen

        def is_wiped() -> bool:
            sign(server, npubs[0], 1)
            return not occurrences(memory_of(apart.pids["signer"]), encrypted)

        until(is_wiped, "an encrypted key outlives its lease")
        for name in ("server", "co-signer"):
            assert occurrences(memory_of(apart.pids[name]), encrypted) == 0
