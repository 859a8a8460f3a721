"""A real server, its children and its commands, seen from outside: files, standard error, process list (threats L1)."""

from __future__ import annotations

import hashlib
import http.cookiejar
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip19
from keycast.nostr.uris import BunkerUri
from tests.e2e.live import LiveServer, live
from tests.security.canary import Canary, Search

SECRET = hashlib.sha256(b"the key of the canary outside").digest()
BULK = hashlib.sha256(b"the key of the canary in bulk").digest()
PLAINTEXT = "xB6nQ2wE9rT4yU7iO1pL"


class Surfer:
    """A browser without a face."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        self.jar = http.cookiejar.CookieJar()
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar)).open

    def get(self, path: str) -> str:
        try:
            with self._open(self.base + path) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            return refused.read().decode()

    def post(self, path: str, **form: str) -> str:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(path))
        assert token
        data = urllib.parse.urlencode({**form, "csrfmiddlewaretoken": token[1]}).encode()
        request = urllib.request.Request(self.base + path, data, {"Referer": self.base + path})  # noqa: S310 -- our own server
        try:
            with self._open(request) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            return refused.read().decode()


def use(server: LiveServer, search: Search) -> None:
    surfer = Surfer(server.portal_url)
    surfer.post("/account/login/", login=server.user["email"], password=server.user["password"])
    page = surfer.get("/keys/import/")
    choice = re.search(r'name="choice"[^>]*value="([^"]+)"', page)
    assert choice, page
    nsec = nip19.encode_nsec(SecretBytes(SECRET))
    form = {"name": "Canary", "choice": choice[1], "understood": "on"}
    search.look("a refused import", surfer.post("/keys/import/", secret=nsec + "q", **form))
    imported = surfer.post("/keys/import/", secret=nsec, **form)
    assert "was imported" in imported
    search.look("an import", imported)
    found = re.search(r"npub1[02-9ac-hj-np-z]{58}", imported)
    assert found
    uri = server.bunker_url(key=found[0], policy="full", name="Canary app")
    secret = BunkerUri.parse(uri).secret or ""
    search.canaries.append(Canary("the pairing secret", secret.encode()))
    signed = server.manage("nip46", "sign", "--bunker", uri, "--content", PLAINTEXT, "--json")
    assert PLAINTEXT in signed
    line = {"email": server.user["email"], "name": "Bulk", "secret": nip19.encode_nsec(SecretBytes(BULK))}
    slug = server.python("from accounts.models import Tenant; print(Tenant.objects.get().slug)")
    search.look("import_keys", server.manage("import_keys", "-", "--tenant", slug, stdin=json.dumps(line) + "\n"))
    for path in ("/keys/", "/apps/", "/security/", "/healthz", "/readyz", "/metrics"):
        search.look(path, surfer.get(path))


def family(pid: int) -> list[int]:
    """A process and everything that it started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    members = {pid}
    while more := {child for child, parent in parents.items() if parent in members} - members:
        members |= more
    return sorted(members)


def look_at_processes(server: LiveServer, search: Search) -> int:
    search.look("ps", subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, check=True).stdout)
    members = family(server.pid)
    for member in members:
        for name in ("environ", "cmdline"):
            search.look(f"/proc/{member}/{name}", Path(f"/proc/{member}/{name}").read_bytes())
    return len(members)


@pytest.mark.slow
def test_nothing_outside_the_processes_shows_a_secret(capfd: pytest.CaptureFixture[str]) -> None:
    search = Search([Canary("the key", SECRET, is_key=True), Canary("a key of many", BULK, is_key=True)])
    search.canaries.append(Canary("the plaintext", PLAINTEXT.encode()))
    with live({"KEYCAST_LOG_LEVEL": "DEBUG", "KEYCAST_LOG_JSON": "1"}) as server:
        use(server, search)
        assert look_at_processes(server, search) >= 2
        for file in sorted(server.folder.rglob("*")):
            if file.is_file():
                search.look(str(file.relative_to(server.folder)), file.read_bytes())
    out, errors = capfd.readouterr()
    assert "worker_ready" in errors
    search.look("standard error", errors)
    search.look("standard output", out)
    assert sorted(set(search.found)) == []
