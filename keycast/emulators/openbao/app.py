"""The emulated transit engine as an ASGI application: genuine keys and signatures, a genuine server's statuses.

What it answers was compared with OpenBao 2.7.2 (tests/keys/hsm/openbao runs the same tests on both).
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
MAX_BODY: Final = 1024 * 1024
_KEY: Final = re.compile(r"/v1/transit/keys/([A-Za-z0-9_.-]+)(/config|/soft-delete|/soft-delete-restore)?")
_KEK: Final = re.compile(r"/v1/transit/(encrypt|decrypt|keys(?=/[^/]+/rotate))/([A-Za-z0-9_-]+)(?:/rotate)?")
_SIGN: Final = re.compile(r"/v1/transit/sign/([A-Za-z0-9_.-]+)")


class OpenBaoEmulatorError(Exception):
    """An answer with a status of 400 or more."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(slots=True)
class OpenBaoEmulatorKey:
    """One key of type ecdsa-p256, in one version."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    type: str = "ecdsa-p256"
    exportable: bool = False
    deletion_allowed: bool = False
    soft_deleted: bool = False

    def described(self, name: str) -> dict[str, Any]:
        """As ``GET keys/NAME`` has it."""
        pem = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return {
            "name": name,
            "type": self.type,
            "exportable": self.exportable,
            "allow_plaintext_backup": False,
            "imported_key": False,
            "derived": False,
            "deletion_allowed": self.deletion_allowed,
            "soft_deleted": self.soft_deleted,
            "latest_version": 1,
            "keys": {"1": {"name": "P-256", "public_key": pem}},
        }


@dataclass(slots=True)
class OpenBaoEmulatorKek:
    """One key of type aes256-gcm96 with its versions, oldest first."""

    versions: list[bytes] = field(default_factory=lambda: [AESGCM.generate_key(256)])
    exportable: bool = False
    oldest: int = 1

    def described(self, name: str) -> dict[str, Any]:
        """As ``GET keys/NAME`` has it."""
        return {
            "name": name,
            "type": "aes256-gcm96",
            "exportable": self.exportable,
            "allow_plaintext_backup": False,
            "soft_deleted": False,
            "latest_version": len(self.versions),
            "min_decryption_version": self.oldest,
        }


class OpenBaoEmulatorApp:
    """``fault`` is asked before each answer: it may raise OpenBaoEmulatorError, or change the data."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.keys: dict[str, OpenBaoEmulatorKey] = {}
        self.keks: dict[str, OpenBaoEmulatorKek] = {}
        self.knows_associated_data = True
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda call: None
        self.after: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda call, data: data
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > MAX_BODY:
                break
        headers = dict(scope["headers"])
        call = f"{scope['method']} {scope['path'].removeprefix('/v1/')}"
        try:
            with self._lock:
                self.calls.append(call)
                self.before(call)
                is_known = headers.get(b"x-vault-token", b"").decode("latin-1") == self.token
                data = self._answer(scope["method"], scope["path"], body, is_known)
                data = data if data is None else self.after(call, data)
            status, answer = (204, b"") if data is None else (200, msgspec.json.encode({"data": data}))
        except OpenBaoEmulatorError as refusal:
            status, answer = refusal.status, msgspec.json.encode({"errors": [refusal.text] if refusal.text else []})
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, method: str, path: str, body: bytes, is_known: bool) -> dict[str, Any] | None:
        if path == "/v1/sys/seal-status":
            return {"type": "emulator", "sealed": False}
        if not is_known:
            raise OpenBaoEmulatorError(403, "permission denied")
        given = msgspec.json.decode(body) if body else {}
        if (method, path) == ("LIST", "/v1/transit/keys"):
            if not self.keys:
                raise OpenBaoEmulatorError(404)
            return {"keys": sorted(self.keys)}
        if found := _KEK.fullmatch(path):
            return self._kek(method, found[1], found[2], given)
        if (found := _KEY.fullmatch(path)) and method == "GET" and found[1] in self.keks:
            return self.keks[found[1]].described(found[1])
        if found := _KEY.fullmatch(path):
            return self._key(method, found[1], found[2] or "", given)
        if (found := _SIGN.fullmatch(path)) and method == "POST":
            return self._sign(found[1], given)
        raise OpenBaoEmulatorError(404)

    def _key(self, method: str, name: str, what: str, given: dict[str, Any]) -> dict[str, Any] | None:
        key = self.keys.get(name)
        if (method, what) == ("POST", "") and key is None:
            if given.get("type") != "ecdsa-p256":
                raise OpenBaoEmulatorError(400, "the emulator has one type of key")
            key = self.keys[name] = OpenBaoEmulatorKey(exportable=bool(given.get("exportable")))
        if key is None:
            raise OpenBaoEmulatorError(404 if method == "GET" else 400, "" if method == "GET" else "not found")
        if (method, what) == ("DELETE", ""):
            if not key.deletion_allowed:
                raise OpenBaoEmulatorError(400, "deletion is not allowed for this key")
            del self.keys[name]
            return None
        if (method, what) == ("POST", "/config"):
            key.deletion_allowed = bool(given.get("deletion_allowed", key.deletion_allowed))
        elif (method, what) == ("DELETE", "/soft-delete"):
            key.soft_deleted = True
        elif (method, what) == ("POST", "/soft-delete-restore"):
            key.soft_deleted = False
        elif (method, what) not in {("GET", ""), ("POST", "")}:
            raise OpenBaoEmulatorError(405, "unsupported operation")
        return key.described(name)

    def _kek(self, method: str, operation: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
        if operation == "encrypt":  # as the genuine one does for who may create keys
            self.keks.setdefault(name, OpenBaoEmulatorKek())
        key = self.keks.get(name)
        if key is None or method != "POST":
            raise OpenBaoEmulatorError(400, "encryption key not found")
        if operation == "keys":
            key.versions.append(AESGCM.generate_key(256))
            return key.described(name)
        bound = base64.b64decode(given.get("associated_data", "")) if self.knows_associated_data else b""
        if operation == "encrypt":
            number = given.get("key_version") or len(key.versions)
            nonce = os.urandom(12)
            sealed = nonce + AESGCM(key.versions[number - 1]).encrypt(
                nonce, base64.b64decode(given["plaintext"]), bound
            )
            return {"ciphertext": f"vault:v{number}:{base64.b64encode(sealed).decode()}", "key_version": number}
        _, version, text = given["ciphertext"].split(":")
        number, sealed = int(version[1:]), base64.b64decode(text)
        if number < key.oldest:
            raise OpenBaoEmulatorError(400, "ciphertext or signature version is disallowed by policy (too old)")
        try:
            plaintext = AESGCM(key.versions[number - 1]).decrypt(sealed[:12], sealed[12:], bound)
        except (InvalidTag, IndexError, ValueError):
            raise OpenBaoEmulatorError(400, "cipher: message authentication failed") from None
        return {"plaintext": base64.b64encode(plaintext).decode()}

    def _sign(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        key = self.keys.get(name)
        if key is None:
            raise OpenBaoEmulatorError(400, "signing key not found")
        if key.soft_deleted:
            raise OpenBaoEmulatorError(500, "refusing to use soft-deleted key")
        if given.get("key_version", 0) > 1:
            raise OpenBaoEmulatorError(500, "requested version for signing is higher than the latest key version")
        digest = base64.b64decode(given["input"])
        if given.get("prehashed") is not True or given.get("marshaling_algorithm") != "asn1" or len(digest) != 32:
            raise OpenBaoEmulatorError(400, "the emulator signs digests alone")
        signature = key.private.sign(digest, ec.ECDSA(Prehashed(SHA256())))
        return {"key_version": 1, "signature": f"vault:v1:{base64.b64encode(signature).decode()}"}
