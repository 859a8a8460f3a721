"""Between machines: TLS 1.3 both ways, and nobody without the right certificate."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.test import override_settings

from keycast.nostr.nip01 import id_of
from keys.errors import KeyModeUnavailable
from keys.signing.cosigning import address
from keys.signing.cosigning.address import Address, Tls
from keys.signing.cosigning.client import CosignerClient
from keys.signing.cosigning.errors import CosignerUnavailable
from tests.keys.cosigner.support import Bench, note


class Authority:
    """A certificate authority of a test, writing PEM files."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._issue(name, self.key, is_authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def files(self, name):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, secret = self.folder / f"{self.name}-{name}.pem", self.folder / f"{self.name}-{name}.key"
        certificate.write_bytes(self._issue(name, key).public_bytes(Encoding.PEM))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Tls(self.file, certificate, secret)

    def _issue(self, name, key, is_authority=False):
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(loopback, critical=False)
        )
        return builder.sign(self.key, SHA256())


@pytest.fixture
async def served(tmp_path):
    authority = Authority(tmp_path, "ours")
    bench = Bench(tmp_path, address=Address(host="127.0.0.1", port=0, tls=authority.files("co-signer")))
    await bench.start()
    bench.authority = authority
    bench.reached = Address(host="127.0.0.1", port=bench.server.port, tls=authority.files("signer-a"))
    bench.client = CosignerClient(lambda: bench.reached)
    bench.signer = bench.new_signer()
    yield bench
    await bench.stop()


async def refused(where):
    client = CosignerClient(lambda: where, within=1.0)
    with pytest.raises(CosignerUnavailable):
        await client.ping()
    await client.close()


async def test_a_client_of_another_authority_is_refused(served, tmp_path):
    foreign = Authority(tmp_path, "theirs").files("signer-a")
    await refused(replace(served.reached, tls=replace(foreign, authority=served.authority.file)))


async def test_a_server_of_another_authority_is_not_talked_to(served, tmp_path):
    own = served.reached.tls
    await refused(replace(served.reached, tls=replace(own, authority=Authority(tmp_path, "theirs").file)))


async def test_a_server_of_another_name_is_not_talked_to(served):
    await refused(replace(served.reached, host="localhost"))


async def test_without_tls_there_is_no_answer(served):
    await refused(replace(served.reached, tls=None))


async def test_with_certificates_of_one_authority_both_ends_work(served):
    key = await served.key()
    assert len(await served.signer.sign_event_id(key, note(key), id_of(note(key)))) == 64
    row = await served.store.write(
        lambda w: w.execute("SELECT actor_label FROM audit_auditrow ORDER BY id DESC").fetchone()
    )
    assert row == ("tls:signer-a",)


@pytest.mark.parametrize("given", ["host", "host:x", ":1"])
def test_an_address_that_is_none_is_refused(given):
    with (
        override_settings(COSIGNER_ADDRESS=given, COSIGNER_TLS_CA="a", COSIGNER_TLS_CERT="b", COSIGNER_TLS_KEY="c"),
        pytest.raises(KeyModeUnavailable),
    ):
        address.from_settings()


def test_tcp_without_tls_files_is_refused():
    with override_settings(COSIGNER_ADDRESS="127.0.0.1:1", COSIGNER_TLS_CA=""), pytest.raises(KeyModeUnavailable):
        address.from_settings()
