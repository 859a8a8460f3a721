"""A module belongs to one process: what a fork does, and that one that hangs keeps no process from ending."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keycast.crypto import ecdsa
from tests.keys.hsm.pkcs11.softhsm import PIN
from tests.paths import ROOT

pytestmark = pytest.mark.needs_softhsm

SETUP = """
import asyncio, os, sys, threading
import django
django.setup()
from keys.hsm.pkcs11 import client
from keys.hsm.pkcs11.authoriser import Pkcs11Authoriser
from keys.refs import HsmRef
hsm = HsmRef(sys.argv[1], sys.argv[1], sys.argv[2])
def sign(): return asyncio.run(Pkcs11Authoriser().authorise(hsm, bytes(32))).hex()
"""
FORKED = """
before = sign()
sys.stdout.flush()
child = os.fork()
print("child" if child == 0 else "parent", sign(), flush=True)
if child:
    os.waitpid(child, 0)
os._exit(0)
"""
HANGING = """
sign()
client.client().submit(lambda token, session: threading.Event().wait())
print("ends", flush=True)
"""


def run(hsm, softhsm, script):
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "keycast.settings",
        "KEYCAST_ENVIRONMENT": "test",
        "SOFTHSM2_CONF": str(softhsm.config),
        "KEYCAST_PKCS11_MODULE": softhsm.module,
        "KEYCAST_PKCS11_TOKEN": softhsm.label,
        "KEYCAST_PKCS11_PIN": PIN,
    }
    command = [sys.executable, "-c", SETUP + script, hsm.key_name, hsm.authoriser]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def test_a_process_that_was_forked_after_signing_begins_anew_and_leaves_its_parent_alone(hsm, softhsm):
    words = run(hsm, softhsm, FORKED)
    signatures = dict(zip(words[::2], words[1::2], strict=True))
    assert sorted(signatures) == ["child", "parent"]
    for signature in signatures.values():
        assert ecdsa.verify(bytes.fromhex(hsm.authoriser), bytes(32), bytes.fromhex(signature))


def test_a_module_that_hangs_does_not_keep_the_process_from_ending(hsm, softhsm):
    assert run(hsm, softhsm, HANGING) == ["ends"]
