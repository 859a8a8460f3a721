"""A co-signer for each test, in the test's own event loop."""

from __future__ import annotations

import pytest

from tests.keys.cosigner.support import Bench


@pytest.fixture
async def bench(tmp_path):
    bench = await Bench(tmp_path).start()
    yield bench
    await bench.stop()
