"""Signer A for the benchmark, in a process of its own: many clients that each have one event signed after the other.

Standard input: one JSON plan a line. Standard output: ``ready``, then for each plan ``began``, ``ended`` and the
figures as one JSON line. Keys and signing service are the product's; there is no database.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import django
import uvloop

Step = Callable[[Any], Awaitable[None]]
Until = tuple[float, list[float]]
TENANT = UUID(int=1)
KEYS = 10
WARM_UP = 30
SENDERS = 50


def main() -> None:
    django.setup()
    print("ready", flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        subject = Subject(sys.argv[1])
        runner.run(subject.prepare())
        for line in sys.stdin:
            runner.run(subject.work(**json.loads(line)))


class Subject:
    """Keys of one way of keeping, and the two things to be measured: signing, and asking the HSM alone."""

    def __init__(self, way: str) -> None:
        from keys.lifecycle.damage import report_damage
        from keys.signing import factory

        self.service = factory.make_signing_service(report_damage)
        self.keys = [MAKERS[way]() for _ in range(KEYS)]
        self.numbers = itertools.count()

    async def prepare(self) -> None:
        for key in self.keys:
            await self.sign(key)

    async def work(self, clients: int, seconds: float, method: str) -> None:
        """``clients`` at once for so long; tells the driver when the clock runs, so that it can look at others' CPU.

        With ``inbox`` ``seconds`` is the number of messages.
        """
        if method == "inbox":
            await self.inbox(clients, int(seconds))
            return
        step: Step = getattr(self, method)
        await asyncio.gather(*(self._client(number, step, WARM_UP // clients + 1, None) for number in range(clients)))
        print("began", flush=True)
        granted, operations = self._counts()
        latencies: list[float] = []
        cpu, began = time.process_time(), time.perf_counter()
        end = began + seconds
        await asyncio.gather(*(self._client(number, step, None, (end, latencies)) for number in range(clients)))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        print("ended", flush=True)
        latencies.sort()
        granted, operations = (now - before for now, before in zip(self._counts(), (granted, operations), strict=True))
        figures = {
            "clients": clients,
            "signatures": len(latencies),
            "per_second": len(latencies) / took,
            "p50_ms": 1000 * latencies[len(latencies) // 2],
            "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
            "own_ms": 1000 * cpu / len(latencies),
            "per_operation": granted / operations if operations else 0.0,
        }
        print(json.dumps(figures), flush=True)

    async def inbox(self, clients: int, count: int) -> None:
        """``count`` gift wraps (NIP-59) of one key, opened by one app with so many requests at once."""
        from keycast.crypto.schnorr import Keypair

        key, app = self.keys[0], Keypair.generate()[0].public_key_hex
        senders = [Keypair.generate()[0] for _ in range(SENDERS)]
        wraps = iter([wrapped(bytes.fromhex(key.public_key), senders[n % SENDERS]) for n in range(count)])
        print("began", flush=True)
        readings = self.service._signers["hsm", "google"].readings  # type: ignore[attr-defined]
        (granted, operations), opened = self._counts(), readings.opened
        cpu, began = time.process_time(), time.perf_counter()

        async def open_some() -> None:
            for wrap, payload, sender, seal in wraps:
                await self.service.crypt(key, "nip44_decrypt", wrap, payload, app)
                await self.service.crypt(key, "nip44_decrypt", sender, seal, app)

        await asyncio.gather(*(open_some() for _ in range(clients)))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        print("ended", flush=True)
        figures = {
            "clients": clients,
            "signatures": count,
            "took": took,
            "own_ms": 1000 * cpu / count,
            "operations": self._counts()[1] - operations + readings.opened - opened,
            "authorised": self._counts()[0] - granted,
        }
        print(json.dumps(figures), flush=True)

    def _counts(self) -> tuple[int, int]:
        """Authorisations given so far, and HSM operations that they took."""
        grants = getattr(self.service._signers.get(("hsm", "google")), "grants", None)
        return (grants.granted, grants.operations) if grants else (0, 0)

    async def _client(
        self, number: int, step: Step, count: int | None, until: tuple[float, list[float]] | None
    ) -> None:
        key = self.keys[number % KEYS]
        if until is None:
            for _ in range(count or 0):
                await step(key)
            return
        end, latencies = until
        while (began := time.perf_counter()) < end:
            await step(key)
            latencies.append(time.perf_counter() - began)

    async def sign(self, key: Any) -> None:
        """One event; the service verifies its signature before it lets go of it."""
        from keycast.nostr.nip01 import UnsignedEvent

        content = f"a note of usual length, number {next(self.numbers)}: " + "words " * 12
        await self.service.sign_event(key, UnsignedEvent(key.public_key, int(time.time()), 1, [], content))

    async def authorise(self, key: Any) -> None:
        """What Google's client and the check of its answer cost, without any signature of ours."""
        from keys.split import maintenance

        await maintenance.authoriser_of("google").authorise(key.hsm, next(self.numbers).to_bytes(32, "big"))


def wrapped(reader: bytes, sender: Any) -> tuple[str, str, str, str]:
    """A gift wrap of a chat message: the wrap's key and payload, the sender's key and payload."""
    from keycast.crypto.schnorr import Keypair
    from keycast.nostr import nip44

    once = Keypair.generate()[0]
    seal = nip44.encrypt("a message of usual length " * 6, nip44.conversation_key(sender, reader))
    return (
        once.public_key_hex,
        nip44.encrypt(seal, nip44.conversation_key(once, reader)),
        sender.public_key_hex,
        seal,
    )


def encrypted() -> Any:
    from keys.refs import KeyRef, SecretPurpose
    from keys.signing.factory import key_maker

    key_id = uuid4()
    made = key_maker().generate(tenant_id=TENANT, row_id=key_id, parent_id=None, purpose=SecretPurpose.PERSONAL_KEY)
    return KeyRef(TENANT, key_id, made.public_key, "encrypted", "", made.sealed)


def cosigned() -> Any:
    from django.conf import settings

    from keycast.crypto.musig import KeyAggregate
    from keycast.crypto.points import even_half
    from keys.hsm.registration import hsm_key_managers
    from keys.refs import HsmRef, KeyRef, SealedSecret
    from keys.signing.cosigning.client import blocking
    from keys.signing.half import seal_half
    from keys.signing.kms import registry

    key_id, keeper = uuid4(), hsm_key_managers()["google"]
    keypair, secret = even_half()
    half_a = keypair.public_key
    half_b = blocking(lambda b: b.create(TENANT, key_id, half_a))
    half = seal_half(keypair, secret, TENANT, key_id, registry.default_provider())
    keeper.create(f"user-{key_id}")
    name = f"{settings.GCP_KEY_RING}/cryptoKeys/user-{key_id}"
    made = keeper.check(name)
    blocking(lambda b: b.register_authoriser(TENANT, key_id, made.public_key))
    public_key = KeyAggregate(b"\x02" + half_a, half_b).public_key.hex()
    hsm = HsmRef(name, made.version, made.public_key.hex(), "", half_b[1:].hex())
    sealed = SealedSecret("google", half.sealed.kek_version, half.pack())
    return KeyRef(TENANT, key_id, public_key, "hsm", "google", sealed, hsm)


def nethsm() -> Any:
    from keys.hsm.nethsm import names
    from keys.hsm.registration import hsm_key_managers
    from keys.refs import HsmRef, KeyRef

    key_id, keeper = uuid4(), hsm_key_managers()["nethsm"]
    name = names.key_name(TENANT, key_id)
    keeper.create(name)
    public_key = keeper.check(name).public_key[1:].hex()
    return KeyRef(TENANT, key_id, public_key, "hsm", "nethsm", hsm=HsmRef(name, name))


MAKERS: dict[str, Callable[[], Any]] = {"encrypted": encrypted, "cosigned": cosigned, "nethsm": nethsm}


if __name__ == "__main__":
    main()
