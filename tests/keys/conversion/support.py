"""What tests of conversions ask of a deployment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import connection

from accounts.models import Tenant, User
from keycast.audit.entries import Actor
from keycast.crypto import schnorr
from keys import runtime, services
from keys.conversion import course
from keys.cosigning.client import blocking
from keys.models import Conversion, PersonalKey
from keys.rows import key_ref
from tests.keys.conftest import make_key
from tests.keys.cosigning.rows import again
from tests.keys.cosigning.support import ROOT, Process, note


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
            "KEYCAST_TEST_COSIGNING_CRASH_AT": crash_at,
        }
        command = [sys.executable, "-m", "tests.keys.conversion._process", verb, key.id.hex]
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
    return course.advance(key.id)


def signs(key: PersonalKey, content: str = "still here") -> bool:
    """Sign with the key as it is in the database now, whatever its mode."""
    ref = key_ref(again(key))
    event = asyncio.run(runtime.signing_service().sign_event(ref, note(ref, content)))
    runtime.signing_service().forget(key.id)
    return schnorr.verify(bytes.fromhex(key.public_key or ""), bytes.fromhex(event.id), bytes.fromhex(event.sig))
