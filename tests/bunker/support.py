"""A tenant with a key, a bunker URL, a client, and a relay that is a Python object: what worker tests stand on."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django_scopes import scopes_disabled

from accounts.models import Role, Tenant, TenantDomain, User
from bunker import services
from bunker.models import Connection
from bunker.relays.event_checks import Intake, NoServedKeys
from bunker.relays.interfaces import BUILT_IN, DropReason
from bunker.services.grant_seals import seal
from bunker.worker.reconciler import POLL_SECONDS, Reconciler
from keycast.audit.entries import Actor
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip44
from keycast.nostr.nip01 import Event, UnsignedEvent, id_of, parse_event, serialize, verify_event
from keycast.nostr.uris import BunkerUri
from keys import services as key_services
from keys.models import PersonalKey, TransportKey
from keys.refs import SecretPurpose
from keys.signing import envelope
from keys.signing.factory import key_maker
from tests import waiting

ACTOR = Actor.command("tests")
_numbers = itertools.count(1)


@dataclass
class Home:
    """One tenant, one user, one key and its transport key."""

    tenant: Tenant
    user: User
    key: PersonalKey
    transport: TransportKey


def make_tenant(host: str | None = None) -> Tenant:
    number = next(_numbers)
    with scopes_disabled():
        tenant = Tenant.objects.create(slug=f"t{number}-{uuid.uuid4().hex[:6]}", name=f"Tenant {number}")
        TenantDomain.objects.create(
            tenant=tenant,
            host=host or f"{tenant.slug}.localhost",
            is_primary=True,
            verified_at="2026-01-01T00:00:00Z",
        )
    return tenant


def make_home(tenant: Tenant | None = None, *, user_secret: str = "", signer_secret: str = "") -> Home:
    """A key with its transport key; hex secrets where vectors demand certain ones."""
    with scopes_disabled():
        tenant = tenant or make_tenant()
        user = User.objects.create(email=f"{uuid.uuid4().hex[:12]}@example.com")
        tenant.memberships.create(user=user, role=Role.OWNER)
        if user_secret:
            secret = SecretBytes(bytes.fromhex(user_secret))
            key = key_services.import_key(actor=ACTOR, tenant=tenant, user=user, name="Me", secret=secret)
        else:
            key = key_services.create_key(actor=ACTOR, tenant=tenant, user=user, name="Me")
        transport = TransportKey.objects.get(key=key, is_current=True)
        if signer_secret:
            _replace_transport_secret(transport, signer_secret)
        return Home(tenant, user, key, transport)


def _replace_transport_secret(transport: TransportKey, secret_hex: str) -> None:
    secret = SecretBytes(bytes.fromhex(secret_hex))
    with Keypair.from_secret(secret) as keypair:
        public_key = keypair.public_key_hex
    place = envelope.SealingContext(
        transport.tenant_id, transport.id, public_key, SecretPurpose.TRANSPORT_KEY, transport.key_id
    )
    sealed = envelope.seal(secret, place, key_maker()._current())
    transport.public_key = public_key
    transport.encrypted_secret_key = sealed.blob
    transport.kek_version = sealed.kek_version
    transport.save()


async def next_look(reconciler: Reconciler) -> None:
    """Until a worker has looked at the changes once more by itself, from beginning to end.

    It looks every POLL_SECONDS, half a second, so that what it has heard with the next look is in force in a second.
    """
    assert POLL_SECONDS <= 0.5
    looked, genuine = asyncio.Event(), reconciler.look

    async def look() -> int:
        changes = await genuine()
        looked.set()
        return changes

    reconciler.look = look  # type: ignore[method-assign]
    try:
        await asyncio.wait_for(looked.wait(), waiting.LONG)
    finally:
        reconciler.look = genuine  # type: ignore[method-assign]


@contextmanager
def unscoped() -> Iterator[None]:
    with scopes_disabled():
        yield


def regrant(rows: Iterable[Connection], **values: Any) -> None:
    """Give connections other columns, and the seal that goes with them: as a service would."""
    with unscoped():
        for connection in rows:
            for name, value in values.items():
                setattr(connection, name, value)
            connection.seal = seal(connection, connection.policy)
            connection.save(update_fields=[*values, "seal"])


def issue(home: Home, policy: str = "full", **options: Any) -> tuple[Connection, str]:
    """A fresh bunker URL's connection and its secret."""
    with scopes_disabled():
        issued = services.create_bunker_url(actor=ACTOR, key=home.key, policy_slug=policy, name="App", **options)
    return issued.connection, BunkerUri.parse(issued.uri).secret or ""


@dataclass(eq=False)
class FakePort:
    """The built-in relay as the worker sees it, with an Intake in front, like the real one."""

    intake: Intake = field(default_factory=Intake)
    published: list[Event] = field(default_factory=list)
    sink: Any = None
    waiters: dict[str, asyncio.Queue[Event]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    drops: list[DropReason | None] = field(default_factory=list)

    @property
    def served(self) -> Any:
        return self.intake.served

    @served.setter
    def served(self, served: Any) -> None:
        self.intake.served = served

    def attach(self, sink: Any) -> None:
        self.sink = sink

    def detach(self, sink: Any) -> None:
        self.sink = None
        self.intake.served = NoServedKeys()

    def publish(self, event: Event, raw: bytes) -> None:
        assert parse_event(raw) == event
        self.published.append(event)
        recipient = event.tags[0][1]
        if recipient in self.waiters:
            self.waiters[recipient].put_nowait(event)

    def forget(self, event_id: str) -> None:
        self.intake.forget(event_id)

    def refuse(self, event_id: str, reason: str) -> None:
        self.refused[event_id] = reason

    def send(self, raw: bytes, relay: str = BUILT_IN) -> DropReason | None:
        """Deliver one event as a client's frame would."""
        lane = self.intake.lane(relay)
        event, drop = self.intake.admit(raw, lane)
        if drop is None and event is not None and self.sink is not None:
            drop = self.intake.hand_over(event, raw, lane, self.sink)
        self.drops.append(drop)
        return drop


class FakePool:
    """No outbound relay at all."""

    def __init__(self) -> None:
        self.wanted: dict[str, set[str]] = {}
        self._stop = asyncio.Event()

    def attach(self, sink: Any) -> None: ...
    def forget(self, event_id: str) -> None: ...

    def set_wanted(self, wanted: Any) -> None:
        self.wanted = dict(wanted)

    def publish(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing is published outside")

    def fits(self, size: int, relays: Any) -> bool:
        return True

    def health(self) -> list[Any]:
        return []

    async def run(self) -> None:
        await self._stop.wait()

    async def stop(self) -> None:
        self._stop.set()


class Client:
    """A NIP-46 client on a FakePort."""

    def __init__(self, port: FakePort, signer: str, secret: str = "") -> None:
        self.port = port
        self.signer = signer
        if secret:
            self.keypair = Keypair.from_secret(SecretBytes(bytes.fromhex(secret)))
        else:
            self.keypair = Keypair.generate()[0]
        self.public_key = self.keypair.public_key_hex
        self._conversation = nip44.conversation_key(self.keypair, bytes.fromhex(signer))
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        port.waiters[self.public_key] = self._inbox
        self._ids = (f"{uuid.uuid4().hex[:6]}-{number}" for number in itertools.count(1))

    def compose(
        self, method: str, params: list[Any], request_id: str | None = None, created_at: int | None = None
    ) -> tuple[str, bytes]:
        """A request event: its id and its JSON."""
        text = json.dumps({"id": request_id or next(self._ids), "method": method, "params": params})
        return self.compose_text(text, created_at)

    def compose_text(self, text: str, created_at: int | None = None) -> tuple[str, bytes]:
        content = nip44.encrypt(text, self._conversation)
        unsigned = UnsignedEvent(self.public_key, created_at or int(time.time()), 24133, [["p", self.signer]], content)
        digest = id_of(unsigned)
        event = unsigned.signed(digest.hex(), self.keypair.sign(digest))
        return event.id, serialize(event)

    @property
    def secret(self) -> str:
        """This client's secret key in hex, to make the same client again."""
        with self.keypair.secret() as secret:
            return secret.view().hex()

    def encrypt(self, text: str) -> str:
        """``text`` from this client to the key that it speaks to."""
        return nip44.encrypt(text, self._conversation)

    def read_own(self, raw: bytes) -> str:
        """The text of a request that this client composed."""
        return nip44.decrypt(parse_event(raw).content, self._conversation)

    def read(self, event: Event) -> dict[str, Any]:
        """What a reply says, after checking everything a client checks."""
        assert verify_event(event)
        assert event.pubkey == self.signer
        assert event.tags[0] == ["p", self.public_key]
        answer: dict[str, Any] = json.loads(nip44.decrypt(event.content, self._conversation))
        assert answer["result"] in ("", "error") if "error" in answer else answer["result"]
        return answer

    async def next(self, seconds: float = waiting.LONG) -> dict[str, Any]:
        """The next reply."""
        return self.read(await asyncio.wait_for(self._inbox.get(), seconds))

    async def silence(self, seconds: float = 0.3) -> None:
        """Assert that nothing comes."""
        try:
            event = await asyncio.wait_for(self._inbox.get(), seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected reply: {self.read(event)}")

    async def ask(self, method: str, *params: Any, request_id: str | None = None) -> dict[str, Any]:
        """Send a request and give its answer."""
        request_id = request_id or next(self._ids)
        self.port.send(self.compose(method, list(params), request_id)[1])
        while (answer := await self.next())["id"] != request_id:
            pass
        return answer

    async def sign(self, content: str = "hello", kind: int = 1, **more: Any) -> dict[str, Any]:
        """Have a note signed; the answer, not yet looked into."""
        template = {"kind": kind, "content": content, "tags": [], "created_at": int(time.time()), **more}
        return await self.ask("sign_event", json.dumps(template))
