"""A stranger's wrong secrets keep nobody out: the app that has the right one is let in (threats C2)."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async

from bunker.models import PairingGuard
from tests.bunker.conftest import Running
from tests.bunker.support import Client, Home, issue


@pytest.mark.parametrize("guesses", [5, 8])
async def test_the_right_secret_works_after_any_number_of_wrong_ones(worker: Running, home: Home, guesses: int) -> None:
    _, secret = await sync_to_async(lambda: issue(home, "full"))()
    await worker[0].reconciler.look()
    signer = home.transport.public_key
    for number in range(guesses):
        said = await Client(worker[1], signer).ask("connect", signer, f"{number:032x}")
        assert "missing, wrong, used or expired" in said["error"]
    assert (await PairingGuard.objects.aget(transport=home.transport)).failures >= 5
    await worker[0].reconciler.look()
    app = Client(worker[1], signer)
    assert (await app.ask("connect", signer, secret))["result"] == "ack"
    assert "error" not in await app.sign()
