"""A process that reaches a Cloud KMS as in production: over TLS, with a service account's own signed token."""

from __future__ import annotations

import asyncio
import os
import sys

import django

django.setup()

from keys.hsm.google.authoriser import GoogleAuthoriser  # noqa: E402
from keys.hsm.google.keeper import GoogleKeyManager  # noqa: E402
from keys.refs import HsmRef  # noqa: E402

keeper = GoogleKeyManager(sys.argv[1])
name = keeper.create("user-over-tls").name
status = keeper.check(name)
signature = asyncio.run(
    GoogleAuthoriser().authorise(HsmRef(name, status.version, status.public_key.hex()), os.urandom(32))
)
print(len(signature))
