"""Known secrets go through the portal and the worker, succeed and fail in every way, and are then looked for (L1).

What may show one, and is left out: the page that hands out a bunker URL, once, and the second step of approving a
``nostrconnect://`` address, which sends back what the same person has just sent.
"""

from __future__ import annotations

import hashlib
import html
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from asgiref.sync import sync_to_async
from django.core import mail
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client as Browser

from accounts.models import Role
from accounts.services import add_member, create_tenant, create_user
from bunker.models import WorkerSeat
from keycast.audit.errors import AuditUnavailable
from keycast.base import metrics
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip19, nip49
from keycast.nostr.uris import BunkerUri
from keys.models import PersonalKey, TransportKey
from tests.bunker.conftest import Running
from tests.bunker.support import ACTOR, Client, FakePort, Home, unscoped
from tests.security.canary import Canary, Lines, Search

SECRET = hashlib.sha256(b"the key of the canary test").digest()
PLAINTEXT = "vQ9xLw3Kp7zR2mTt8Yb5"
PASSWORD = "hN4cJ8sWd6GfQ1uXe0"
LOGIN = "Zr7kM2pVb9TyA5wLo3"
HOST = "canary.localhost"
EMAIL = "canary@example.org"


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


class Story:
    """Everything that is done with the secrets; what the outside got to see is in ``seen``."""

    def __init__(self, running: Running, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worker, self.port = running
        self.lines = lines
        self.patch = monkeypatch
        self.seen: list[tuple[str, bytes]] = []
        self.bunker_secrets: list[str] = []
        self.browser = Browser(headers={"host": HOST}, raise_request_exception=False)
        self.home: Home

    # In the portal

    def post(self, path: str, data: dict[str, str], *, is_shown_once: bool = False) -> HttpResponse:
        answer: HttpResponse = self.browser.post(path, data)
        headers = "\n".join(f"{name}: {value}" for name, value in answer.items()).encode()
        self.seen.append((f"POST {path} {answer.status_code}", headers + (b"" if is_shown_once else answer.content)))
        return answer

    def get(self, path: str) -> HttpResponse:
        answer: HttpResponse = self.browser.get(path, follow=True)
        self.seen.append((f"GET {path} {answer.status_code}", answer.content))
        return answer

    def come_in(self) -> None:
        cache.clear()
        with unscoped():
            tenant = create_tenant(actor=ACTOR, slug="canary", name="Canary", host=HOST, registration="open")
            user = create_user(actor=ACTOR, email=EMAIL, password=LOGIN)
            add_member(actor=ACTOR, tenant=tenant, user=user, role=Role.OWNER)
        self.post("/account/login/", {"login": EMAIL, "password": PASSWORD})
        self.post(
            "/account/login/", {"login": LOGIN, "password": EMAIL}, is_shown_once=True
        )  # in the wrong field: echoed
        self.post("/account/login/code/", {"email": f"{PASSWORD}@example.org"})
        mail.outbox.clear()  # it answers that very address
        self.browser = Browser(headers={"host": HOST}, raise_request_exception=False)
        assert self.post("/account/login/", {"login": EMAIL, "password": LOGIN}).status_code == 302
        self.get("/security/")
        with unscoped():
            self.home = Home(tenant, user, PersonalKey(), TransportKey())

    def form(self, secret: str, password: str = "", **more: str) -> dict[str, str]:
        return {
            "name": "Mine",
            "secret": secret,
            "password": password,
            "choice": "encrypted:local",
            "understood": "on",
        } | more

    def import_and_fail(self) -> None:
        nsec = nip19.encode_nsec(SecretBytes(SECRET))
        sealed = nip49.encrypt(SecretBytes(SECRET), PASSWORD, log_n=4)
        page = self.get("/keys/import/").content.decode()
        choice = re.search(r'name="choice"[^>]*value="([^"]+)"', page)
        assert choice, page
        chosen = {"choice": choice[1]}
        for form in (
            self.form(nsec[:-1] + "q", **chosen),
            self.form(SECRET.hex() + "0", **chosen),
            self.form(SECRET.hex()[:-1] + "g", **chosen),
            self.form(sealed, PASSWORD + "x", **chosen),
            self.form(sealed[:-1] + ("q" if sealed[-1] == "p" else "p"), PASSWORD, **chosen),
            self.form(nsec, choice="nonsense"),
            {**self.form(nsec, **chosen), "understood": ""},
            {**self.form(nsec, **chosen), "name": ""},
        ):
            assert self.post("/keys/import/", form).status_code == 422
        self.break_the_import(self.form(nsec, PASSWORD, **chosen))
        assert self.post("/keys/import/", self.form(sealed, PASSWORD, **chosen)).status_code == 302
        assert self.post("/keys/import/", self.form(SECRET.hex().upper(), **chosen)).status_code == 422
        with unscoped():
            key = PersonalKey.objects.get(is_imported=True)
            self.home = Home(self.home.tenant, self.home.user, key, TransportKey.objects.get(key=key))

    def break_the_import(self, form: dict[str, str]) -> None:
        """The audit log is away; a bug raises with locals full of secrets, and one whose message repeats the key."""

        def unavailable(*_: Any, **__: Any) -> None:
            raise AuditUnavailable

        def broken(**given: Any) -> None:
            raw = bytes(given["secret"].view())
            raise RuntimeError(f"cannot keep {raw.hex()} or {nip19.encode_nsec(SecretBytes(raw))}")

        with self.patch.context() as patch:
            patch.setattr("keys.lifecycle.audit.record_all", unavailable)
            assert self.post("/keys/import/", form).status_code == 503
        with self.patch.context() as patch:
            patch.setattr("keys.services.creation.create_keys", lambda *_, **__: {}["missing"])
            assert self.post("/keys/import/", form).status_code == 500
        with self.patch.context() as patch:
            patch.setattr("keys.services.import_key", broken)
            assert self.post("/keys/import/", form).status_code == 500

    def bunker_url(self, policy: str) -> BunkerUri:
        page = self.get("/apps/connect/").content.decode()
        once = re.search(r'name="once" value="(\w{32})"', page)
        assert once
        form = {"key": str(self.home.key.id), "name": policy, "policy": policy, "lifetime": "", "once": once[1]}
        self.post("/account/reauthenticate/", {"password": LOGIN})
        shown = html.unescape(self.post("/apps/connect/", form, is_shown_once=True).content.decode())
        found = re.search(r"bunker://[0-9a-f]{64}\?[^\s\"<]+", shown)
        assert found
        uri = BunkerUri.parse(found[0])
        self.post("/apps/connect/", form)  # a reload
        assert uri.secret
        self.bunker_secrets.append(uri.secret)
        return uri

    def approve(self) -> None:
        """A nostrconnect:// address carries the app's secret."""
        secret = hashlib.sha256(b"nostrconnect").hexdigest()[:32]
        self.bunker_secrets.append(secret)
        client = Client(FakePort(), self.home.transport.public_key).public_key
        uri = f"nostrconnect://{client}?relay=wss%3A%2F%2Frelay.example.org&secret={secret}&name=App"
        self.post("/apps/approve/", {"uri": uri.replace("wss", "javascript")}, is_shown_once=True)
        self.post("/apps/approve/", {"uri": uri}, is_shown_once=True)
        grant = {"uri": uri, "key": str(self.home.key.id), "name": "App", "policy": "social", "lifetime": ""}
        assert self.post("/apps/approve/", grant).status_code == 302

    def read_everything(self) -> None:
        for path in ("/", "/keys/", "/apps/", "/security/", "/people/", f"/keys/{self.home.key.id}/", "/no/such/page/"):
            self.get(path)
        self.get(f"/keys/{self.home.key.id}/activity/")
        for path in ("/healthz", "/readyz", "/metrics"):
            self.get(path)

    # At the worker

    async def pair(self, policy: str) -> Client:
        uri = await sync_to_async(self.bunker_url)(policy)
        await self.worker.reconciler.look()
        client = Client(self.port, uri.signer_public_key)
        secret = uri.secret or ""
        assert "error" in await client.ask("connect", uri.signer_public_key, secret[:-1] + "x")
        assert "error" in await client.ask("connect", "ab" * 32, secret)
        answer = await client.ask("connect", uri.signer_public_key, secret, "", json.dumps({"name": "App"}))
        assert answer.get("result") == "ack"
        thief = Client(self.port, uri.signer_public_key)
        self.port.send(thief.compose("connect", [uri.signer_public_key, secret])[1])
        return client

    async def use(self, client: Client) -> None:
        peer = Client(FakePort(), self.home.transport.public_key).public_key
        signed = await client.sign(PLAINTEXT)
        assert PLAINTEXT in signed["result"]
        for way in ("nip44", "nip04"):
            sealed = (await client.ask(f"{way}_encrypt", peer, PLAINTEXT))["result"]
            assert (await client.ask(f"{way}_decrypt", peer, sealed))["result"] == PLAINTEXT
            assert "error" in await client.ask(f"{way}_decrypt", peer, PLAINTEXT)
            assert "error" in await client.ask(f"{way}_decrypt", peer, sealed[1:])
            assert "error" in await client.ask(f"{way}_encrypt", PLAINTEXT, PLAINTEXT)
            assert "error" in await client.ask(f"{way}_encrypt", peer)

    async def be_refused(self, client: Client) -> None:
        peer = Client(FakePort(), self.home.transport.public_key).public_key
        for kind in (0, 1, 24133, 65_537, -1, "1", True, 1.0):
            assert "error" in await client.sign(PLAINTEXT, kind=kind)  # type: ignore[arg-type]
        assert "error" in await client.ask("nip44_encrypt", peer, PLAINTEXT)
        assert "error" in await client.ask("sign_event", PLAINTEXT)
        assert "error" in await client.ask("sign_event", json.dumps({"kind": 1, "content": PLAINTEXT}))
        assert "error" in await client.ask(PLAINTEXT, PLAINTEXT)
        for text in (PLAINTEXT, json.dumps([PLAINTEXT]), json.dumps({"id": "a", "method": 1, "params": [PLAINTEXT]})):
            self.port.send(client.compose_text(text)[1])
        self.port.send(json.dumps({"content": PLAINTEXT}).encode())

    async def break_the_worker(self, client: Client) -> None:
        """The audit log is away; a method raises what nobody expects; the stored key is damaged."""

        def unavailable(*_: Any) -> None:
            raise AuditUnavailable

        async def broken(*given: Any) -> None:
            raise RuntimeError(f"a bug with {given[-1]!r}")

        peer = Client(FakePort(), self.home.transport.public_key).public_key
        with self.patch.context() as patch:
            patch.setattr("bunker.worker.commit_transaction.append", unavailable)
            assert "error" in await client.sign(PLAINTEXT)
        with self.patch.context() as patch:
            patch.setattr("bunker.methods.crypt.CipherMethod.run", broken)
            self.port.send(client.compose("nip44_encrypt", [peer, PLAINTEXT])[1])
            await client.silence()
        await sync_to_async(self.damage)()
        await self.worker.reconciler.reload([self.home.transport.id])
        assert "error" in await client.sign(PLAINTEXT)
        assert "error" in await client.ask("nip44_encrypt", peer, PLAINTEXT)

    def damage(self) -> None:
        from keys.services import signing_service

        with unscoped():
            key = PersonalKey.objects.get(id=self.home.key.id)
            blob = bytearray(bytes(key.encrypted_secret_key or b""))
            blob[-1] ^= 1
            PersonalKey.objects.filter(id=key.id).update(encrypted_secret_key=bytes(blob))
        signing_service().forget(key.id)


@pytest.fixture
async def story(worker: Running, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> Story:
    told = Story(worker, lines, monkeypatch)
    await sync_to_async(told.come_in)()
    await sync_to_async(told.import_and_fail)()
    full, none = await told.pair("full"), await told.pair("read-only")
    await told.use(full)
    await told.be_refused(none)
    await sync_to_async(told.approve)()
    await told.break_the_worker(full)
    await sync_to_async(told.read_everything)()
    return told


def searched(story: Story) -> Search:
    search = Search(
        [
            Canary("the key", SECRET, is_key=True),
            Canary("the plaintext", PLAINTEXT.encode()),
            Canary("the ncryptsec's password", PASSWORD.encode()),
            Canary("the sign-in password", LOGIN.encode()),
            *(Canary("a pairing secret", secret.encode()) for secret in story.bunker_secrets),
        ]
    )
    for place, content in story.seen:
        search.look(place, content)
    for line in story.lines.text:
        search.look(f"log: {line[:60]}", line)
    for message in mail.outbox:
        search.look("mail", message.message().as_bytes())
    search.look("metrics", metrics.render())
    search.look("worker status", json.dumps(story.worker.status()))
    search.look_through_the_database()
    return search


async def test_no_log_page_mail_metric_or_row_shows_a_secret(story: Story) -> None:
    assert any('"level": "error"' in line for line in story.lines.text), "the failures were logged"
    assert len(story.seen) > 30
    assert len(story.bunker_secrets) == 3
    assert await WorkerSeat.objects.acount() == 1
    search = await sync_to_async(searched)(story)
    assert sorted(set(search.found)) == []


@pytest.mark.parametrize(
    ("place", "leak"),
    [
        ("log", lambda: logging.getLogger("keys").warning("opened %r", SECRET[4:16])),
        ("log", lambda: structlog.get_logger("bunker").error("request_failed", why=f"could not read {PLAINTEXT}")),
        ("row", lambda: _write_down(SECRET.hex().upper())),
        ("row", lambda: _write_down(PLAINTEXT[3:12])),
    ],
    ids=["bytes in a log", "plaintext in a log", "hex in a row", "part of a plaintext in a row"],
)
@pytest.mark.django_db(transaction=True)
def test_the_search_finds_what_leaks(place: str, leak: Any, lines: Lines) -> None:
    leak()
    search = Search([Canary("the key", SECRET, is_key=True), Canary("the plaintext", PLAINTEXT.encode())])
    if place == "log":
        for line in lines.text:
            search.look("log", line)
    else:
        search.look_through_the_database()
    assert search.found


def _write_down(text: str) -> None:
    from bunker.models import Change

    Change.objects.create(kind="key", object_id=text[:32], at=time.time_ns() // 1_000_000)
