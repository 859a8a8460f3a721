"""A co-signer, a signer A and an HSM, as tests put them together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keycast.crypto import ecdsa, split
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.points import even_half
from keycast.crypto.schnorr import Keypair
from keycast.emulators.kms.attestations import Attestations, Pair
from keycast.nostr.nip01 import UnsignedEvent
from keys.cosigner import records
from keys.cosigner.attestation.roots import AttestationRoots
from keys.cosigner.candidates import AuthoriserPolicy
from keys.cosigner.challenges import ChallengeIssuer
from keys.cosigner.server import CosignerServer
from keys.cosigner.service import Cosigner, CosignerLimits
from keys.cosigner.store import CosignerStore
from keys.refs import HsmRef, KeyRef, SealedSecret
from keys.signing.cache import LeasedCache
from keys.signing.cosigned import NO_READING_GRANTS, CosignedSigner
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.address import Address
from keys.signing.cosigning.authorisation import UseAuthorisation
from keys.signing.cosigning.client import CosignerClient
from keys.signing.cosigning.messages import HsmProof
from keys.signing.half import OpenHalf, seal_half
from keys.signing.kms.local import LocalKekProvider
from keys.signing.opened_key import OpenKey
from keys.signing.vault import OpenKeyVault
from tests.paths import ROOT

KEK_A = b"a-1:g82ie6Q54O/OtW3Uy/5IoZ/URbWLmSb0GcQNrmC0Fts="
KEK_B = b"b-1:Xs/j4POIlt+iOWHKvlyBQVOImm5dkCAoLaIN5gnIm1U="


RING = "projects/test/locations/europe-west1/keyRings/keycast"
#: Trusts the first authoriser, as outside production, and has no successor wait.
POLICY = AuthoriserPolicy(AttestationRoots.found(None, is_production=False), RING, trusts_first=True, delay=0)
ATTESTATIONS = Attestations()


def _uncompressed(public_key):
    curve = ec.SECP256R1() if len(public_key) == 34 else ec.SECP256K1()
    point = ec.EllipticCurvePublicKey.from_encoded_point(curve, public_key[-33:])
    return point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def attested(public_key, name="user-1", **changes):
    """What the emulator's HSM says of a key in our key ring."""
    version = changes.pop("version", f"{RING}/cryptoKeys/{name}/cryptoKeyVersions/1")
    made = ATTESTATIONS.attestation(Pair(_uncompressed(public_key), version, **changes))
    chains = made.cert_chains
    found = [*chains.cavium_certs, *chains.google_card_certs, *chains.google_partition_certs]
    return HsmProof(version, made.content, "".join(found).encode())


class FakeHsm:
    """An Authoriser (keys.hsm.protocol) with one ECDSA key a personal key; counts what it signs."""

    provider = "google"

    def __init__(self):
        self.keys, self.count, self.cosigner = {}, 0, None  # the co-signer whose challenges `grant` names

    def make(self, name):
        self.keys[name] = ec.generate_private_key(ec.SECP256K1())
        return self.keys[name].public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def sign(self, name, digest):
        self.count += 1
        return ecdsa.normalise(ecdsa.parse_der(self.keys[name].sign(digest, ec.ECDSA(Prehashed(SHA256())))))

    async def authorise(self, hsm, digest):
        return self.sign(hsm.key_name, digest)


def kek_a():
    return LocalKekProvider(lambda: KEK_A)


class CosignerKek(LocalKekProvider):
    name = records.KEK_PROVIDER


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


class Bench:
    """One co-signer in this event loop, one signer A, one HSM."""

    def __init__(self, folder, lease=60.0, limits=None, address=None, client_address=None, **others):
        self.folder, self.lease = folder, lease
        self.limits = limits or CosignerLimits((10_000, 10_000), (10_000, 10_000), **others)
        self.address = address or Address(path=folder / "b.sock")
        self.hsm, self.clock = FakeHsm(), Clock()
        self.client = CosignerClient(lambda: client_address or self.address)
        self.users, self.brake, self.watch = frozenset({os.geteuid()}), None, None
        self.policy = POLICY
        self.signer = self.new_signer()

    async def start(self):
        kek = CosignerKek(lambda: KEK_B)
        self.store = CosignerStore(self.folder / "b.sqlite3", self.brake, self.watch)
        self.vault_b = OpenKeyVault(
            lambda keypair, tenant: OpenKey(keypair, tenant, 0), lambda _: kek, LeasedCache(lambda: self.lease, 100)
        )
        challenges = ChallengeIssuer(self.clock)
        self.cosigner = Cosigner(self.store, self.vault_b, lambda: kek, self.limits, self.policy, challenges=challenges)
        self.hsm.cosigner = self.cosigner
        self.server = CosignerServer(self.cosigner, self.address, self.users)
        await self.server.start()
        return self

    async def restart(self):
        """The co-signer alone, as it comes back with the same database."""
        await self.server.stop()
        self.store.close()
        await self.start()

    async def stop(self):
        await self.client.close()
        await self.server.stop()
        self.vault_b.forget_all()
        self.signer.forget_all()
        self.store.close()

    def new_signer(self, client=None, reading=NO_READING_GRANTS):
        self.kek = kek_a()
        vault = OpenKeyVault(
            lambda keypair, tenant: OpenHalf(keypair, tenant, 16),
            lambda _: self.kek,
            LeasedCache(lambda: self.lease, 100),
        )
        return CosignedSigner(vault, {"google": self.hsm}, client or self.client, reading=reading)

    async def key(self, secret=None, register=True, tenant_id=None):
        """A usable key: created without a dealer, or imported."""
        return await make_key(self.client, self.hsm, secret, register=register, tenant_id=tenant_id)


async def make_key(client, hsm, secret=None, *, register=True, tenant_id=None):
    tenant_id, key_id = tenant_id or uuid4(), uuid4()
    tweak = b""
    if secret is None:
        keypair, a = even_half()
        half_b = await client.create(tenant_id, key_id, keypair.public_key)
    else:
        a, b, tweak = split.new_halves_for(secret)
        keypair, whole = Keypair.from_secret(a), Keypair.from_secret(secret).public_key
        half_b = await client.adopt_half(tenant_id, key_id, keypair.public_key, b, tweak, whole)
    aggregate = KeyAggregate(b"\x02" + keypair.public_key, half_b, tweak or None)
    half = seal_half(keypair, a, tenant_id, key_id, kek_a())
    name = f"user-{key_id}"
    authoriser = hsm.make(name)
    if register:
        await client.register_authoriser(tenant_id, key_id, authoriser)
    hsm_ref = HsmRef(name, f"{name}/1", authoriser.hex(), tweak.hex(), half_b[1:].hex())
    sealed = SealedSecret("google", half.sealed.kek_version, half.pack())
    return KeyRef(tenant_id, key_id, aggregate.public_key.hex(), "hsm", "google", sealed, hsm_ref)


def half_a(key):
    return key.sealed.blob[1:33]


def note(key, content="hello", created_at=1_700_000_000):
    return UnsignedEvent(key.public_key, created_at, 1, [["t", "x"]], content)


def grant(hsm, key, purpose, subject, *, challenge=None, of=None):
    """An authorisation by ``key``'s HSM key; ``of`` names another key in the digest."""
    named = of or key
    return grant_of(hsm, (named.tenant_id, named.key_id), key.hsm.key_name, purpose, subject, challenge)


def grant_of(hsm, ids, name, purpose, subject, challenge=None):
    """An authorisation by the HSM key of this name, for the key with these ids (tenant's, own)."""
    challenge, salt = challenge or hsm.cosigner.challenges.current()[0], authorisation.new_salt()
    digest = authorisation.digest(purpose, *ids, subject, challenge, salt)
    return UseAuthorisation(challenge, salt, hsm.sign(name, digest))


class Process:
    """A co-signer that is a process of its own: ``manage.py cosigner``."""

    def __init__(self, folder, crash_at="", **environment):
        self.folder, self.socket = folder, folder / "p.sock"
        kek = folder / "kek-b"
        if not kek.exists():
            kek.write_bytes(KEK_B)
            kek.chmod(0o600)
        self.environment = {
            "PATH": os.environ["PATH"],
            "KEYCAST_ENVIRONMENT": "test",
            "KEYCAST_DATA_DIR": str(folder),
            "KEYCAST_COSIGNER_SOCKET": str(self.socket),
            "KEYCAST_COSIGNER_DB": str(folder / "p.sqlite3"),
            "KEYCAST_COSIGNER_KEK_FILE": str(kek),
            "DATABASE_URL": "sqlite:////nonexistent/main.sqlite3",
            "KEYCAST_KEY_LEASE_SECONDS": "60",
            "KEYCAST_COSIGNER_KEY_LIMIT": "10000",
            "KEYCAST_COSIGNER_TENANT_LIMIT": "10000",
            "KEYCAST_GCP_KEY_RING": RING,
            "KEYCAST_COSIGNER_AUTHORISER_DELAY_HOURS": "0",
            **environment,
        }
        self.start(crash_at)

    def start(self, crash_at=""):
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "cosigner"],
            env={**self.environment, "KEYCAST_TEST_CRASH_AT": crash_at},
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        assert "listens on" in line, line

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=15)
        return self.process.returncode

    def died(self, within=5.0):
        """Whether it killed itself at the chosen step."""
        end = time.monotonic() + within
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        return self.process.returncode == -9

    def verify_audit(self):
        command = [sys.executable, str(ROOT / "manage.py"), "cosigner", "--verify-audit"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def client(self):
        return CosignerClient(lambda: Address(path=self.socket))
