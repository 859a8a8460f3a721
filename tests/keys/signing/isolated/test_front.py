"""Who may talk to the signer, over what, and what it does with nonsense."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import uuid

import msgspec
import pytest

from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import UnsignedEvent, id_of
from keys.errors import InvalidOperand
from keys.refs import KeyRef
from keys.signing.cosigning.messages import EventBody
from keys.signing.isolated import access, messages
from keys.signing.isolated.server import SignerServer, SocketRefused
from keys.signing.wire.frames import MAX_FRAME
from tests.keys.signing.isolated.support import ROOT, asking
from tests.keys.signing.isolated.test_both_shapes import made_key

STRANGER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
KNOCK = f"""
import os, socket, sys
import django
django.setup()
from keys.signing.isolated import messages  # before the user changes, who may not be able to read the library
body = messages.encode(messages.StatusRequest(7))
os.setuid({STRANGER})
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(10)
    try:
        connection.connect(sys.argv[1])
        connection.sendall(len(body).to_bytes(4, "big") + body)
        print("answered" if connection.recv(4) else "refused")
    except ConnectionError:
        print("refused")
"""


def raw(path, data):
    """What comes back for these bytes, until the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(data)
        try:
            return connection.recv(65_536)
        except ConnectionResetError:
            return b""


def framed(body):
    return len(body).to_bytes(4, "big") + body


@needs_root
def test_another_user_is_refused_even_where_the_socket_lets_them_in(shared_signer):
    folder, path = shared_signer.folder, shared_signer.socket
    modes = folder.stat().st_mode, path.stat().st_mode, folder.parent.stat().st_mode
    try:
        folder.parent.chmod(0o711)
        folder.chmod(0o711)
        path.chmod(0o666)
        done = subprocess.run(
            [sys.executable, "-c", KNOCK, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        folder.chmod(modes[0] & 0o777)
        path.chmod(modes[1] & 0o777)
        folder.parent.chmod(modes[2] & 0o777)
    assert done.stdout.strip() == "refused", done.stderr


def test_the_socket_is_its_owners_alone_in_a_folder_of_its_owner_alone(shared_signer):
    mode = shared_signer.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert mode & 0o777 == 0o600
    assert shared_signer.folder.stat().st_mode & 0o777 == 0o700


async def test_with_other_users_named_its_group_may_connect(tmp_path):
    for users, mode in (({os.geteuid()}, 0o600), ({os.geteuid(), STRANGER}, 0o660)):
        server = SignerServer(None, tmp_path / "signer.sock", frozenset(users))
        await server.start()
        assert (tmp_path / "signer.sock").stat().st_mode & 0o777 == mode
        await server.stop()
    assert not (tmp_path / "signer.sock").exists()


async def test_it_refuses_a_folder_that_others_can_write_to(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(SocketRefused, match="Others can write"):
        await SignerServer(None, folder / "signer.sock", frozenset({0})).start()


async def test_a_second_one_does_not_take_the_socket_of_the_first(outside):
    with pytest.raises(SocketRefused, match="Another signer serves"):
        await SignerServer(None, outside.socket, frozenset({0})).start()
    assert access.status().process == outside.pid


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"hello",
        msgspec.msgpack.encode(["status"]),
        msgspec.msgpack.encode(["status", -1]),
        msgspec.msgpack.encode(["status", 1, "more"]),
        msgspec.msgpack.encode(["shutdown", 1]),
        msgspec.msgpack.encode(["sign", 1, {}, [], b""]),
        b"\x91" * 5000,
    ],
    ids=range(9),
)
def test_what_is_no_request_ends_the_connection_and_nothing_else(shared_signer, body):
    assert raw(shared_signer.socket, framed(body)) == b""
    with asking(shared_signer.socket):
        assert access.status().process == shared_signer.pid


def test_a_frame_too_long_ends_the_connection(shared_signer):
    assert raw(shared_signer.socket, (MAX_FRAME + 1).to_bytes(4, "big") + b"x" * 100) == b""


async def test_an_event_with_another_id_or_author_is_not_signed(outside):
    """The caller computes the id; the signer does not believe it."""
    tenant_id, row_id, made = made_key()
    key = KeyRef(tenant_id, row_id, made.public_key, "encrypted", "", made.sealed)
    event = UnsignedEvent(key.public_key, 1, 1, [], "what it says")
    other = UnsignedEvent(key.public_key, 1, 1, [], "what is signed")
    signer = access.RemoteSigner(access.client())
    with pytest.raises(InvalidOperand):
        await signer.sign_event_id(key, event, id_of(other))
    stranger = UnsignedEvent(Keypair.generate()[0].public_key_hex, 1, 1, [], "x")
    with pytest.raises(InvalidOperand):
        await signer.sign_event_id(key, stranger, id_of(stranger))
    assert len(await signer.sign_event_id(key, event, id_of(event))) == 64


def test_no_request_opens_a_personal_key():
    """The one reply that carries a secret is that of a remote-signer key, whose purpose is bound into its seal."""
    carries = {kind for kind in messages.SignerReply.__subclasses__() if "secret" in kind.__struct_fields__}
    assert carries == {messages.OpenedTransportKeyReply}


def test_messages_show_nothing_of_themselves():
    secret = b"\xaa" * 32
    message = messages.ImportKeyRequest(1, secret, uuid.uuid4(), uuid.uuid4(), "personal-key")
    assert repr(message) == "<ImportKeyRequest>"
    body = EventBody("a" * 64, 1, 1, [], "private words")
    assert "private" not in repr(body)
