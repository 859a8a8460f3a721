"""Each way in which Cloud KMS can fail, under 20 requests a second: every request ends, and all is well after.

That each ends in time whatever happens is shown with a clock of its own (tests/keys/hsm/test_calling.py).

The modes of threats.md, K4. Three run always; all of them with KEYCAST_TEST_ALL=1.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from keycast.base.errors import KeycastError
from tests.keys.hsm.google.conftest import misbehave
from tests.waiting import LONG

SIGN = "AsymmetricSign"
RATE = 20
LOAD_SECONDS = 2.5
MODES = {
    "silence for 30 s": ("hang", {"seconds": 30}, True),
    "unavailable": ("error", {"code": "UNAVAILABLE"}, True),
    "permission denied": ("error", {"code": "PERMISSION_DENIED"}, False),
}
MORE_MODES = {
    "too many requests": ("error", {"code": "RESOURCE_EXHAUSTED"}, True),
    "internal error": ("error", {"code": "INTERNAL"}, True),
    "unknown error": ("error", {"code": "UNKNOWN"}, False),
    "disabled version": ("error", {"code": "FAILED_PRECONDITION"}, False),
    "wrong checksum": ("wrong-checksum", {}, True),
    "checksum not verified": ("unverified", {}, True),
    "another key's name": ("wrong-name", {}, True),
    "wrong signature, right checksum": ("wrong-payload", {}, False),
    "slow": ("latency", {"seconds": 2.0}, True),
    "flapping": ("flapping", {"seconds": 0.8}, None),
}
slow = pytest.mark.slow


def cases():
    yield from (pytest.param(*mode, id=name) for name, mode in MODES.items())
    yield from (pytest.param(*mode, id=name, marks=slow) for name, mode in MORE_MODES.items())


async def attempt(authoriser, hsm):
    """How it ended: None when well."""
    try:
        assert len(await authoriser.authorise(hsm, os.urandom(32))) == 64
    except KeycastError as error:
        return error
    return None


async def load(authoriser, hsm, seconds):
    tasks = []
    for _ in range(int(seconds * RATE)):
        tasks.append(asyncio.create_task(attempt(authoriser, hsm)))
        await asyncio.sleep(1 / RATE)
    return await asyncio.gather(*tasks)


@pytest.mark.parametrize(("kind", "fields", "opens"), list(cases()))
async def test_every_request_ends_and_all_is_well_after(emulator, authoriser, hsm, kind, fields, opens):
    assert await attempt(authoriser, hsm) is None
    misbehave(emulator, kind, SIGN, **fields)
    ended = await load(authoriser, hsm, LOAD_SECONDS)
    if opens is None:
        assert any(error is None for error in ended)
    else:
        assert all(error is not None for error in ended)
        assert authoriser.breaker.is_open is opens
        called = emulator.calls[SIGN] if kind != "hang" else 0
        assert not opens or called < len(ended)  # most were refused without a call
    emulator.faults.set([])
    async with asyncio.timeout(LONG):
        while await attempt(authoriser, hsm) is not None:
            await asyncio.sleep(1 / RATE)
    assert all(error is None for error in await load(authoriser, hsm, 0.5))
    assert not authoriser.breaker.is_open
