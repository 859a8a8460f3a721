"""Who may connect to the co-signer, and what ends a connection."""

from __future__ import annotations

import asyncio
import os

import pytest

from keys.signing.cosigning.errors import CosignerUnavailable
from tests.keys.cosigner.support import Bench


async def test_a_stranger_is_not_admitted_to_the_socket(tmp_path):
    bench = Bench(tmp_path)
    bench.users = frozenset({os.geteuid() + 1})
    await bench.start()
    try:
        with pytest.raises(CosignerUnavailable):
            await bench.client.ping()
    finally:
        await bench.stop()


async def test_the_socket_is_its_owners_alone(bench):
    assert bench.address.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "raw", [b"\x00\x00\x00\x01\xc1", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x00\x00\x00\x05\x91\xa4ping"]
)
async def test_what_is_no_request_ends_its_connection_and_no_other(bench, raw):
    await bench.client.ping()
    reader, writer = await asyncio.open_unix_connection(str(bench.address.path))
    writer.write(raw)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()
    await bench.client.ping()
