"""An OpenBao that misbehaves: what is refused, what is tried again, and that it ends in time."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from keycast.crypto.authoriser_keys import Curve, tagged
from keycast.emulators.openbao.app import OpenBaoEmulatorError, OpenBaoEmulatorKey
from keys.errors import KeyDamaged
from keys.hsm import calling
from keys.hsm.openbao import clients
from keys.hsm_errors import HsmAnswerRefused, HsmForbidden, HsmMisconfigured, HsmThrottled, HsmUnavailable
from tests.keys.hsm.openbao.conftest import make_hsm_key


@pytest.fixture(autouse=True)
def short_tries(monkeypatch):
    monkeypatch.setattr(calling, "TRY_SECONDS", 0.5)


@pytest.fixture
def hsm(emulator, keeper):
    made = make_hsm_key(keeper)
    emulator.calls.clear()
    return made


async def refusal(authoriser, hsm):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await authoriser.authorise(hsm, os.urandom(32))
    return type(caught.value)


def failing(emulator, status, times=-1):
    left = [times]

    def before(call):
        if left[0]:
            left[0] -= 1
            raise OpenBaoEmulatorError(status)

    emulator.before = before


async def test_a_reference_that_is_not_of_a_finished_key_is_refused_without_a_call(emulator, authoriser, hsm):
    on_secp256k1 = tagged(
        Curve.SECP256K1, bytes.fromhex("02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
    )
    for broken in (
        replace(hsm, authoriser=""),
        replace(hsm, authoriser=on_secp256k1.hex()),
        replace(hsm, key_version=""),
        replace(hsm, key_name="kek", key_version="kek"),
    ):
        assert await refusal(authoriser, broken) is KeyDamaged
    assert emulator.calls == []


async def test_a_signature_of_another_key_is_thrown_away_and_stops_nobody_else(emulator, authoriser, hsm):
    genuine = emulator.keys[hsm.key_name]
    emulator.keys[hsm.key_name] = OpenBaoEmulatorKey()
    for _ in range(4):
        assert issubclass(await refusal(authoriser, hsm), HsmAnswerRefused)
    assert not authoriser.breaker.is_open
    emulator.keys[hsm.key_name] = genuine
    await authoriser.authorise(hsm, os.urandom(32))


@pytest.mark.parametrize("signature", ["", "vault:v2:AAAA", "vault:v1:!!", "vault:v1:AAAA", 7, None])
async def test_nonsense_in_place_of_a_signature_is_thrown_away(emulator, authoriser, hsm, signature):
    emulator.after = lambda call, data: {"signature": signature}
    assert issubclass(await refusal(authoriser, hsm), HsmAnswerRefused)


@pytest.mark.parametrize(
    ("status", "error"), [(403, HsmForbidden), (405, HsmMisconfigured), (429, HsmThrottled), (503, HsmUnavailable)]
)
async def test_a_status_is_told_as_what_it_means(emulator, authoriser, hsm, status, error):
    failing(emulator, status)
    assert await refusal(authoriser, hsm) is error


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_passing_failure_is_tried_again(emulator, authoriser, hsm, status):
    failing(emulator, status, times=2)
    assert len(await authoriser.authorise(hsm, os.urandom(32))) == 64


async def test_silence_and_an_absent_server_end_in_time(emulator, authoriser, hsm, settings):
    emulator.before = lambda call: time.sleep(0.8)
    assert await refusal(authoriser, hsm) is HsmUnavailable
    emulator.before = lambda call: None
    settings.OPENBAO_URL = "https://127.0.0.1:9"
    assert await refusal(authoriser, hsm) is HsmUnavailable


async def test_another_certificate_is_not_trusted(emulator, authoriser, hsm, settings, tmp_path):
    from keycast.emulators.openbao.server import OpenBaoEmulator

    with OpenBaoEmulator(tmp_path, token="x") as other:
        settings.OPENBAO_CA_FILE = str(other.ca_file)
        clients.reset()
        assert await refusal(authoriser, hsm) is HsmUnavailable
    settings.OPENBAO_CA_FILE = str(tmp_path / "nowhere.pem")
    clients.reset()
    assert await refusal(authoriser, hsm) is HsmMisconfigured


async def test_too_many_at_once_are_told_so_at_once(authoriser, hsm, monkeypatch):
    monkeypatch.setattr(clients, "WAITING", 0)
    assert await refusal(authoriser, hsm) is HsmThrottled
