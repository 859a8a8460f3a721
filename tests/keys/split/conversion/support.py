"""What tests of conversions ask of a deployment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import connection
from django_scopes import scopes_disabled

from accounts.models import Tenant, User
from keycast.audit.entries import Actor
from keycast.crypto import schnorr
from keys import services
from keys.lifecycle.rows import key_ref
from keys.models import Conversion, PersonalKey
from keys.signing import runtime
from keys.signing.cosigning.client import blocking
from keys.split.conversion import steps
from tests.keys.conftest import make_key
from tests.keys.cosigner.rows import again
from tests.keys.cosigner.support import ROOT, Process, note


@dataclass
class Deployment:
    """A tenant with one member, the co-signer's process, and the emulated Cloud KMS."""

    tenant: Tenant
    user: User
    process: Process
    emulator: Any

    def key(self) -> PersonalKey:
        """An encrypted key of the member's."""
        return make_key(self.user, self.tenant)

    def converting(self, key: PersonalKey) -> Conversion:
        return services.convert_key(actor=Actor.user(self.user), key=key)

    def state_at_b(self, key: PersonalKey) -> str:
        return blocking(lambda b: b.state(key.tenant_id, key.id))

    def run(self, key: PersonalKey, crash_at: str = "", verb: str = "convert") -> int:
        """Have another process bring the key's conversion (or succession) on, and perhaps die at a step."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "KEYCAST_ENVIRONMENT": "test",
            "KEYCAST_DATA_DIR": str(settings.DATA_DIR),
            "DATABASE_URL": database_url(),
            "KEYCAST_HSM_PROVIDERS": "google",
            "KEYCAST_KMS_EMULATOR": "1",
            "KEYCAST_KMS_ENDPOINT": settings.KMS_ENDPOINT,
            "KEYCAST_GCP_KEY_RING": settings.GCP_KEY_RING,
            "KEYCAST_COSIGNER_SOCKET": str(self.process.socket),
            "KEYCAST_TEST_CRASH_AT": crash_at,
        }
        command = [sys.executable, "-m", "tests.keys.split.conversion._process", verb, key.id.hex]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in {0, -9}, done.stderr
        return done.returncode


def database_url() -> str:
    """The test's own database, for another process."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    who = f"{quote(found['USER'])}:{quote(found['PASSWORD'])}@" if found["USER"] else ""
    return f"postgres://{who}{found['HOST']}:{found['PORT']}/{found['NAME']}"


def lease_over() -> None:
    """As when the minute of a process that died has passed."""
    Conversion.objects.update(busy_until=None)


def finished(key: PersonalKey) -> bool:
    lease_over()
    return steps.advance(key.id)


def signs(key: PersonalKey, content: str = "still here") -> bool:
    """Sign with the key as it is in the database now, whatever its mode."""
    ref = key_ref(again(key))
    event = asyncio.run(runtime.signing_service().sign_event(ref, note(ref, content)))
    runtime.signing_service().forget(key.id)
    return schnorr.verify(bytes.fromhex(key.public_key or ""), bytes.fromhex(event.id), bytes.fromhex(event.sig))


class Signing:
    """A worker that signs one note after the other with the newest reference it was given, until the block ends.

    ``used`` is told which reference each signature was made with; every one verified.
    """

    def __init__(self, key: PersonalKey) -> None:
        self.key, self.refs, self.used = key, [key_ref(key)], []
        self.error = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Signing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.error == ""

    def hear(self) -> None:
        """Take the row as it is now, and sign with it at least once."""
        with scopes_disabled():
            self.refs.append(key_ref(again(self.key)))
        end = time.monotonic() + 60
        while (not self.used or self.used[-1] is not self.refs[-1]) and not self.error and time.monotonic() < end:
            time.sleep(0.01)

    def _run(self) -> None:
        try:
            asyncio.run(self._sign())
        except Exception as error:
            self.error = repr(error)
            raise

    async def _sign(self) -> None:
        public_key = bytes.fromhex(self.key.public_key or "")
        while not self._stop.is_set():
            ref = self.refs[-1]
            event = await runtime.signing_service().sign_event(ref, note(ref, str(len(self.used))))
            assert schnorr.verify(public_key, bytes.fromhex(event.id), bytes.fromhex(event.sig))
            self.used.append(ref)
