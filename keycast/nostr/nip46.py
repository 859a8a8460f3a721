"""NIP-46 messages: what is inside a kind 24133 event once it is decrypted. Requests, responses, permissions."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Annotated, Any, Final, NamedTuple, Self

import msgspec
from msgspec import Meta

from keycast.nostr.errors import NostrError
from keycast.nostr.strict import RedactedStruct, decode_strictly, is_unambiguous
from keycast.nostr.types import MAX_KIND

KIND: Final = 24133
MAX_REQUEST_ID: Final = 4096
MAX_METHOD: Final = 64
MAX_PARAMS: Final = 16
MAX_PERMISSIONS_TEXT: Final = 4096


class Nip46Method(StrEnum):
    """The methods of NIP-46 as of 2026-07-15."""

    CONNECT = "connect"
    SIGN_EVENT = "sign_event"
    PING = "ping"
    GET_PUBLIC_KEY = "get_public_key"
    NIP04_ENCRYPT = "nip04_encrypt"
    NIP04_DECRYPT = "nip04_decrypt"
    NIP44_ENCRYPT = "nip44_encrypt"
    NIP44_DECRYPT = "nip44_decrypt"
    SWITCH_RELAYS = "switch_relays"
    LOGOUT = "logout"


class Use(Enum):
    """What a method does with the user's key."""

    NONE = "none"
    SIGN = "sign"
    CRYPT = "crypt"
    """Encrypts or decrypts: ``[third party's public key, text]``."""


class MethodRow(NamedTuple):
    """What everybody says of one method: policies, the portal, the audit log and the signers take theirs from here.

    ``sentence`` is the audit log's; the others are there for methods that use the key: ``wish`` is what an app asks
    for, ``grant`` what a policy lets it do ("May ..."), ``doing`` the subject of "... is not among the things".
    """

    method: Nip46Method
    use: Use
    sentence: str
    wish: str = ""
    grant: str = ""
    doing: str = ""


def _crypt(method: Nip46Method, nip: str) -> MethodRow:
    verb, wish = ("encrypt", "Write") if method.endswith("_encrypt") else ("decrypt", "Read")
    return MethodRow(
        method,
        Use.CRYPT,
        sentence=f"{verb.capitalize()} a message ({nip})",
        wish=f"{wish} private messages ({nip})",
        grant=f"{verb} messages ({nip})",
        doing=f"{verb.capitalize()}ing with {nip}",
    )


_ROWS: Final = (
    MethodRow(Nip46Method.CONNECT, Use.NONE, "App asked to connect"),
    MethodRow(Nip46Method.SIGN_EVENT, Use.SIGN, "Sign an event", "Sign events", "sign events", "Signing"),
    MethodRow(Nip46Method.PING, Use.NONE, "Ping"),
    MethodRow(Nip46Method.GET_PUBLIC_KEY, Use.NONE, "Tell the public key"),
    _crypt(Nip46Method.NIP04_ENCRYPT, "NIP-04"),
    _crypt(Nip46Method.NIP04_DECRYPT, "NIP-04"),
    _crypt(Nip46Method.NIP44_ENCRYPT, "NIP-44"),
    _crypt(Nip46Method.NIP44_DECRYPT, "NIP-44"),
    MethodRow(Nip46Method.SWITCH_RELAYS, Use.NONE, "Switch relays"),
    MethodRow(Nip46Method.LOGOUT, Use.NONE, "Log the app out"),
)
METHODS: Final[dict[str, MethodRow]] = {row.method.value: row for row in _ROWS}
"""The table, by name."""
KEY_METHODS: Final = tuple(row.method.value for row in _ROWS if row.use is not Use.NONE)
CRYPT_METHODS: Final = tuple(row.method.value for row in _ROWS if row.use is Use.CRYPT)


class RequestError(NostrError):
    """A text that is not a request.

    ``request_id`` is the id to answer with an error, or None when there is no usable id and silence is the answer.
    ``code`` is ``malformed``, ``duplicate-key`` or ``bad-id``; a ``bad-id`` may hold control characters (NUL too), so
    it may be echoed in a reply but not stored.
    """

    def __init__(self, code: str, request_id: str | None = None) -> None:
        self.code = code
        self.request_id = request_id
        super().__init__(f"invalid request: {code}")


class Nip46Request(RedactedStruct, frozen=True, gc=False):
    """One call. ``method`` may be one we do not know: that is answered with an error, not with silence."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_REQUEST_ID)]
    method: Annotated[str, Meta(max_length=MAX_METHOD)]
    params: Annotated[list[str], Meta(max_length=MAX_PARAMS)]

    def to_text(self) -> str:
        """The JSON to encrypt."""
        return _encode(self).decode()


class Nip46Response(RedactedStruct, frozen=True, gc=False, omit_defaults=True):
    """One answer. On success only ``result``, a string that is never empty (clients hang on an empty or null one).

    On failure ``error``, and ``result`` empty (nostrify refuses an answer without one), or ``"error"`` where the result
    would be an event: nostr-sdk reads that first, and shows the reason only behind this word. It stands nowhere else,
    for a client that looks at ``result`` alone would take it for a text. For an ``auth_url`` challenge ``result`` is
    ``"auth_url"`` and ``error`` the URL.
    """

    id: str
    result: str | None = None
    error: str | None = None

    @classmethod
    def ok(cls, request_id: str, result: str) -> Self:
        """A success. Raises ValueError for an empty result."""
        if not result:
            raise ValueError("a result is never empty")
        return cls(request_id, result)

    @classmethod
    def failed(cls, request_id: str, error: str, method: str = "") -> Self:
        """A failure of ``method``, with a sentence that is safe to show. Raises ValueError for an empty one."""
        if not error:
            raise ValueError("an error is never empty")
        return cls(request_id, "error" if method == Nip46Method.SIGN_EVENT else "", error)

    @classmethod
    def auth_url(cls, request_id: str, url: str) -> Self:
        """A challenge: the person is to open ``url``; the same request id is answered again afterwards."""
        return cls(request_id, "auth_url", url)

    def to_text(self) -> str:
        """The JSON to encrypt."""
        if isinstance(self.id, NumericId):
            return _encode(_NumberedResponse(msgspec.Raw(self.id.encode()), self.result, self.error)).decode()
        return _encode(self).decode()


class NumericId(str):
    """The id of a request that gave a number, as JSON text: NIP-46 has strings, so it is answered with an error."""

    __slots__ = ()


class _NumberedResponse(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    id: msgspec.Raw
    result: str | None = None
    error: str | None = None


_decode_request: Final = msgspec.json.Decoder(Nip46Request).decode
_decode_response: Final = msgspec.json.Decoder(Nip46Response).decode
_encode: Final = msgspec.json.Encoder().encode


def parse_request(text: str) -> Nip46Request:
    """The request in a decrypted text: an object with id, method and params, all strings; unknown members ignored.

    The parameters of ``connect`` may be anything.

    Raises RequestError, and nothing else.
    """
    try:
        data = text.encode()
        request = _decode_request(data)
    except (ValueError, RecursionError):
        odd = _read_leniently(text)
        if odd is None:
            raise RequestError("malformed", _salvaged_id(text)) from None
        request = odd
    if not is_unambiguous(data, request):
        raise RequestError("duplicate-key", request.id)
    if not request.id.isprintable():
        raise RequestError("bad-id", request.id)
    return request


def parse_response(text: str) -> Nip46Response:
    """The response in a decrypted text, for the client side. Raises RequestError."""
    try:
        return _decode_response(text.encode())
    except (ValueError, RecursionError):
        raise RequestError("malformed") from None


def _read_leniently(text: str) -> Nip46Request | None:
    """A ``connect`` whose parameters are not all strings; None for the rest.

    It is a greeting, whose odd parts are no reason to fail: null becomes "", metadata as an object its JSON.
    """
    try:
        found = _object(text)
        if not isinstance(found, dict) or found.get("method") != Nip46Method.CONNECT:
            return None
        params = found.get("params")
        given = params if isinstance(params, list) else []
        texts = [said if isinstance(said, str) else "" if said is None else _json(said) for said in given]
        return msgspec.convert({**found, "params": texts[:MAX_PARAMS]}, Nip46Request)
    except (ValueError, RecursionError):
        return None


def _salvaged_id(text: str) -> str | None:
    """The id of an object that is not a request, if it has one that can be answered."""
    try:
        return _id_of(_object(text))
    except (ValueError, RecursionError):
        return None


def _object(text: str) -> Any:
    """Any JSON value that two readers understand alike: no duplicate key, no lone surrogate. Raises ValueError."""
    decode_strictly(text)
    return msgspec.json.decode(text.encode())


def _id_of(found: Any) -> str | None:
    request_id: Any = found.get("id") if isinstance(found, dict) else None
    if isinstance(request_id, int | float) and not isinstance(request_id, bool):
        request_id = NumericId(_json(request_id))
    is_usable = isinstance(request_id, str) and 1 <= len(request_id) <= MAX_REQUEST_ID and request_id.isprintable()
    return request_id if is_usable else None


def _json(value: Any) -> str:
    return _encode(value).decode()


class RequestedPermission(msgspec.Struct, frozen=True, gc=False):
    """What a client would like to do: a method of NIP-46, and for ``sign_event`` one kind (None: every kind).

    It is a wish, never a grant.
    """

    method: str
    kind: int | None = None

    @classmethod
    def read(cls, text: str) -> Self | None:
        """One permission: ``nip44_encrypt`` or ``sign_event:1``; None for what nobody knows."""
        method, separator, parameter = text.partition(":")
        if method not in METHODS:
            return None
        if not separator or (method == Nip46Method.SIGN_EVENT and parameter in ("", "*")):
            return cls(method)
        is_kind = parameter.isascii() and parameter.isdigit() and len(parameter) <= 5 and int(parameter) <= MAX_KIND
        return cls(method, int(parameter)) if is_kind and method == Nip46Method.SIGN_EVENT else None

    def __str__(self) -> str:
        return self.method if self.kind is None else f"{self.method}:{self.kind}"


class RequestedPermissions(NamedTuple):
    """The list of permissions of ``connect`` or a ``nostrconnect://`` URI, as far as it can be understood.

    ``known`` are those of methods that NIP-46 has. ``unknown`` are the other entries, in the client's own words.
    """

    known: tuple[RequestedPermission, ...] = ()
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join([*map(str, self.known), *self.unknown])


def parse_permissions(text: str) -> RequestedPermissions:
    """Read a comma-separated list; never raises. Entries beyond MAX_PERMISSIONS_TEXT characters are left out."""
    entries = dict.fromkeys(entry for part in clipped_permissions(text).split(",") if (entry := part.strip()))
    read = {entry: RequestedPermission.read(entry) for entry in entries}
    known = dict.fromkeys(permission for permission in read.values() if permission is not None)
    return RequestedPermissions(tuple(known), tuple(entry for entry, permission in read.items() if permission is None))


def clipped_permissions(text: str) -> str:
    """As much of a list as is looked at, in whole entries: half of ``sign_event:30023`` would be another wish."""
    if len(text) <= MAX_PERMISSIONS_TEXT:
        return text
    return text[: MAX_PERMISSIONS_TEXT + 1].rpartition(",")[0]
