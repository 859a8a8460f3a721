"""The process itself: what it is not given, and that it ends when asked to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from keycast import lifespan
from keycast.base import hardening
from keycast.crypto import ecdsa
from keycast.crypto.known_answers import KnownAnswerFailed
from keys.cosigner import process as cosigner
from keys.hsm import registration
from tests.keys.cosigner.support import Process


def test_a_child_gets_none_of_signer_as_secrets():
    given = dict.fromkeys(cosigner.FOREIGN, "secret") | {"PATH": "/bin", "KEYCAST_NETHSM_OPERATOR_PASSWORD": "x"}
    kept = cosigner.environment(given)
    assert "secret" not in kept.values()
    assert "KEYCAST_NETHSM_OPERATOR_PASSWORD" not in kept
    assert kept["PATH"] == "/bin"


def test_production_refuses_the_other_signers_key(tmp_path, monkeypatch):
    process = Process(tmp_path)
    assert process.stop() == 0
    process.environment |= {
        "KEYCAST_ENVIRONMENT": "production",
        "SECRET_KEY": "x" * 60,
        "KEYCAST_FIELD_KEY": "x",
        "KEYCAST_KEK": "a-1:MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=",
    }
    try:
        process.start()
    except AssertionError:
        assert process.stop() == 1
    else:
        raise AssertionError("it started")


def test_neither_signer_starts_when_a_primitive_gives_another_answer(monkeypatch, settings):
    monkeypatch.setattr(ecdsa, "verify", lambda *_: True)
    monkeypatch.setattr(hardening, "harden", lambda: True)
    with pytest.raises(KnownAnswerFailed):
        asyncio.run(cosigner.run(None, asyncio.Event(), print))
    settings.HSM_PROVIDERS = ["google"]
    with pytest.raises(KnownAnswerFailed):
        registration.register()


def test_it_leaves_no_core_gains_no_privileges_and_takes_its_socket_away(tmp_path):
    process = Process(tmp_path)
    try:
        limits = Path(f"/proc/{process.process.pid}/limits").read_text().splitlines()
        (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
        assert core == ["0", "0"]
        assert "NoNewPrivs:\t1" in Path(f"/proc/{process.process.pid}/status").read_text()
        assert process.socket.exists()
    finally:
        assert process.stop() == 0
    assert not process.socket.exists()


def test_the_embedded_server_runs_it_where_keys_can_be_split(settings):
    settings.HSM_PROVIDERS, settings.COSIGNER_IS_CHILD = ["google"], True
    assert "co-signer" in [service.name for service in lifespan.embedded_services()]
    settings.COSIGNER_IS_CHILD = False
    assert "co-signer" not in [service.name for service in lifespan.embedded_services()]
    settings.HSM_PROVIDERS, settings.COSIGNER_IS_CHILD = [], True
    assert "co-signer" not in [service.name for service in lifespan.embedded_services()]
