"""The calls of the emulated device, one method each. Source: NetHSM's API description v1 (docs/nethsm-api.yaml)."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import Annotated, Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keycast.emulators.nethsm.store import (
    NetHsmEmulatorKey,
    NetHsmEmulatorStore,
    NetHsmEmulatorUser,
    make_key,
    namespace_of,
)

ID: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
USER_ID: Final = re.compile(r"([a-zA-Z0-9][a-zA-Z0-9_.-]*~)?[a-zA-Z0-9][a-zA-Z0-9_.-]*")
MECHANISM_OF: Final = {"BIP340": "BIP340_Signature", "ECDSA": "ECDSA_Signature"}


class NetHsmEmulatorError(Exception):
    """An answer with a status of 400 or more."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class EmulatorResponse(msgspec.Struct, frozen=True):
    """A status, and a body: JSON, PEM text, or none."""

    status: int
    body: Any = None
    location: str = ""


class KeyRestrictions(msgspec.Struct, forbid_unknown_fields=True):
    tags: list[str] = []


class KeyGenerateRequestData(msgspec.Struct, forbid_unknown_fields=True):
    """KeyGenerateRequestData."""

    mechanisms: Annotated[list[str], msgspec.Meta(min_length=1)]
    type: str
    length: Annotated[int, msgspec.Meta(ge=128, le=8192)] = 256
    id: str = ""
    restrictions: KeyRestrictions = msgspec.field(default_factory=KeyRestrictions)
    label: str = ""


class SignRequestData(msgspec.Struct, forbid_unknown_fields=True):
    """SignRequestData."""

    mode: str
    message: str


class UserPostData(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """UserPostData."""

    real_name: str
    role: Literal["Administrator", "Operator", "Metrics", "Backup"]
    passphrase: Annotated[str, msgspec.Meta(min_length=10, max_length=200)]


class NetHsmEmulatorService:
    """Every method takes the authenticated user, the path's last id, and the request's body, and gives an Answer."""

    def __init__(self, store: NetHsmEmulatorStore) -> None:
        self.store = store

    def namespaces(self, user: NetHsmEmulatorUser, _id: str, _body: bytes) -> EmulatorResponse:
        return EmulatorResponse(200, [{"id": name} for name in sorted(self.store.namespaces)])

    def put_namespace(self, user: NetHsmEmulatorUser, name: str, _body: bytes) -> EmulatorResponse:
        _valid(ID, name)
        if name in self.store.namespaces:
            raise NetHsmEmulatorError(409, "namespace already exists")
        self.store.namespaces.add(name)
        return EmulatorResponse(204)

    def delete_namespace(self, user: NetHsmEmulatorUser, name: str, _body: bytes) -> EmulatorResponse:
        if name not in self.store.namespaces:
            raise NetHsmEmulatorError(404, "no such namespace")
        self.store.remove_namespace(name)
        return EmulatorResponse(204)

    def users(self, user: NetHsmEmulatorUser, _id: str, _body: bytes) -> EmulatorResponse:
        seen = [each for each in self.store.users.values() if not user.namespace or each.namespace == user.namespace]
        return EmulatorResponse(200, [{"user": each.id} for each in sorted(seen, key=lambda each: each.id)])

    def put_user(self, user: NetHsmEmulatorUser, user_id: str, body: bytes) -> EmulatorResponse:
        """An R-Administrator may make users in a namespace that is not there yet, and in no other."""
        wanted = _decode(body, UserPostData)
        _valid(USER_ID, user_id)
        self._require_reach(user, user_id)
        if namespace_of(user_id) and wanted.role in {"Metrics", "Backup"}:
            raise NetHsmEmulatorError(400, "this role is for users of the whole device")
        if user_id in self.store.users:
            raise NetHsmEmulatorError(409, "user already exists")
        self.store.users[user_id] = NetHsmEmulatorUser(user_id, wanted.real_name, wanted.role, wanted.passphrase)
        return EmulatorResponse(201, {"id": user_id}, f"/api/v1/users/{user_id}")

    def get_user(self, user: NetHsmEmulatorUser, user_id: str, _body: bytes) -> EmulatorResponse:
        if user.role != "Administrator" and user.id != user_id:
            raise NetHsmEmulatorError(403, "not yours")
        found = self._user(user, user_id)
        return EmulatorResponse(200, {"realName": found.real_name, "role": found.role})

    def delete_user(self, user: NetHsmEmulatorUser, user_id: str, _body: bytes) -> EmulatorResponse:
        self._require_reach(user, user_id)
        del self.store.users[self._user(user, user_id).id]
        return EmulatorResponse(204)

    def keys(self, user: NetHsmEmulatorUser, _id: str, _body: bytes) -> EmulatorResponse:
        return EmulatorResponse(
            200, [{"id": name} for place, name in sorted(self.store.keys) if place == user.namespace]
        )

    def generate(self, user: NetHsmEmulatorUser, _id: str, body: bytes) -> EmulatorResponse:
        wanted = _decode(body, KeyGenerateRequestData)
        key_id = wanted.id or secrets.token_hex(10)
        _valid(ID, key_id)
        if wanted.type != "EC_P256K1" or not set(wanted.mechanisms) <= set(MECHANISM_OF.values()):
            raise NetHsmEmulatorError(400, "the emulator makes keys on secp256k1 alone")
        if (user.namespace, key_id) in self.store.keys:
            raise NetHsmEmulatorError(409, "key already exists")
        made = make_key(wanted.mechanisms)
        made.label, made.tags = wanted.label, wanted.restrictions.tags
        self.store.keys[user.namespace, key_id] = made
        return EmulatorResponse(201, {"id": key_id}, f"/api/v1/keys/{key_id}")

    def get_key(self, user: NetHsmEmulatorUser, key_id: str, _body: bytes) -> EmulatorResponse:
        key = self._key(user, key_id)
        point = key.point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        found = {
            "mechanisms": key.mechanisms,
            "type": "EC_P256K1",
            "operations": key.operations,
            "restrictions": {"tags": key.tags} if key.tags else {},
            "public": {"data": base64.b64encode(point).decode()},
        }
        return EmulatorResponse(200, found | ({"label": key.label} if key.label else {}))

    def delete_key(self, user: NetHsmEmulatorUser, key_id: str, _body: bytes) -> EmulatorResponse:
        self._key(user, key_id)
        del self.store.keys[user.namespace, key_id]
        return EmulatorResponse(204)

    def public_key(self, user: NetHsmEmulatorUser, key_id: str, _body: bytes) -> EmulatorResponse:
        pem = self._key(user, key_id).point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return EmulatorResponse(200, pem.decode())

    def sign(self, user: NetHsmEmulatorUser, key_id: str, body: bytes) -> EmulatorResponse:
        wanted, key = _decode(body, SignRequestData), self._key(user, key_id)
        if MECHANISM_OF.get(wanted.mode) not in key.mechanisms or wanted.mode != "BIP340":
            raise NetHsmEmulatorError(400, "the key or the emulator does not sign in this mode")
        try:
            message = base64.b64decode(wanted.message, validate=True)
        except (binascii.Error, ValueError):
            raise NetHsmEmulatorError(400, "message is not base64") from None
        if len(message) != 32:
            raise NetHsmEmulatorError(400, "message must be 32 bytes")
        key.operations += 1
        return EmulatorResponse(200, {"signature": base64.b64encode(key.keypair.sign(message)).decode()})

    def _key(self, user: NetHsmEmulatorUser, key_id: str) -> NetHsmEmulatorKey:
        found = self.store.keys.get((user.namespace, key_id))
        if found is None:
            raise NetHsmEmulatorError(404, "no such key")
        return found

    def _user(self, user: NetHsmEmulatorUser, user_id: str) -> NetHsmEmulatorUser:
        found = self.store.users.get(user_id)
        if found is None or (user.namespace and found.namespace != user.namespace):
            raise NetHsmEmulatorError(404, "no such user")
        return found

    def _require_reach(self, user: NetHsmEmulatorUser, user_id: str) -> None:
        target = namespace_of(user_id)
        if target != user.namespace and (user.namespace or target in self.store.namespaces):
            raise NetHsmEmulatorError(403, "not your namespace")


def _decode(body: bytes, kind: Any) -> Any:
    """Exactly the JSON that is specified. Raises Refusal (400)."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NetHsmEmulatorError(400, str(error)) from None


def _valid(pattern: re.Pattern[str], text: str) -> None:
    if not pattern.fullmatch(text):
        raise NetHsmEmulatorError(400, "invalid id")
