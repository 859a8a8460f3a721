"""The clients: as in production over TLS, one a process, none over a fork, and never an emulator in production."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from keycast.emulators.kms.server import KmsEmulator, TlsFiles
from keys.hsm.google import clients
from keys.hsm_errors import HsmForbidden, HsmMisconfigured
from tests.keys.hsm.google.conftest import RING


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def self_signed():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return TlsFiles(builder.sign(key, SHA256()).public_bytes(Encoding.PEM), pem(key))


def service_account(path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "test",
                "private_key_id": "1",
                "private_key": pem(key).decode(),
                "client_email": "keycast@test.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": "https://127.0.0.1:9/never",
            }
        )
    )
    return path


def run_subject(tmp_path, roots, port):
    (tmp_path / "roots.pem").write_bytes(roots)
    return subprocess.run(
        [sys.executable, "-m", "tests.keys.hsm.google._genuine_subject", RING],
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "roots.pem"),
            "GOOGLE_APPLICATION_CREDENTIALS": str(service_account(tmp_path / "account.json")),
            "KEYCAST_KMS_ENDPOINT": f"localhost:{port}",
            "KEYCAST_KMS_EMULATOR": "0",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_server_of_another_authority_is_not_spoken_to(tmp_path):
    with KmsEmulator(host="localhost", tls=self_signed()) as server:
        subject = run_subject(tmp_path, self_signed().certificate, server.address.rpartition(":")[2])
        assert subject.returncode != 0
        assert "HsmUnavailable" in subject.stderr
        assert server.calls == {}


def test_over_tls_with_a_service_account_as_in_production(tmp_path):
    tls = self_signed()
    with KmsEmulator(host="localhost", tls=tls) as server:
        subject = run_subject(tmp_path, tls.certificate, server.address.rpartition(":")[2])
        assert (subject.stdout.strip(), subject.returncode) == ("64", 0), subject.stderr
        assert server.calls["AsymmetricSign"] == 1


def test_production_never_speaks_to_an_emulator(emulator, settings):
    settings.IS_PRODUCTION = True
    with pytest.raises(HsmMisconfigured, match="emulator"):
        clients.blocking_client()


async def test_production_never_speaks_to_an_emulator_from_its_loop_either(emulator, settings):
    settings.IS_PRODUCTION = True
    with pytest.raises(HsmMisconfigured, match="emulator"):
        await clients.loop_client()


def test_no_credentials_are_a_plain_refusal(emulator, settings, monkeypatch, tmp_path):
    settings.KMS_EMULATOR = False
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(HsmForbidden, match="no credentials"):
        clients.blocking_client()


def test_there_is_one_client_a_process_and_one_lane_a_loop(emulator):
    assert clients.blocking_client() is clients.blocking_client()

    async def lanes():
        return [await clients.loop_client() for _ in range(2)]

    (one, same), (other, _) = asyncio.run(lanes()), asyncio.run(lanes())
    assert one is same
    assert one is not other


def test_a_fork_carries_no_client_over(emulator):
    clients.blocking_client()
    clients._after_fork()
    assert clients._blocking == {}
    assert len(clients._lanes) == 0
