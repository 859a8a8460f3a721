"""What an HSM says of a key pair that it made: the format that Google Cloud KMS calls CAVIUM_V2_COMPRESSED.

gzip of, all numbers big-endian::

    response code (4), flags (4), total size (4), buffer size (4)
    buffer:  version (2), flags (2), offset of the first key (2), offset of the second key (2)
             per key: handle (4), number of attributes (4), size (4), then per attribute: type (4), length (4), value
    RSA signature over all before it (256)

Source: Marvell, "LiquidSecurity Software Key Attestation" (parse_v2.py); Google, "Verifying attestations".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SIGNATURE_SIZE: Final = 256
MAX_SIZE: Final = 64 * 1024
_RESPONSE: Final = struct.Struct(">IIII")
_INFO: Final = struct.Struct(">HHHH")
_OBJECT: Final = struct.Struct(">III")
_ATTRIBUTE: Final = struct.Struct(">II")
_MAX_ATTRIBUTES: Final = 512
_GZIP: Final = 16 + zlib.MAX_WBITS

CLASS, KEY_TYPE, ID, PUBLIC_POINT = 0x0, 0x100, 0x102, 0x120
EXTRACTABLE, LOCAL, NEVER_EXTRACTABLE = 0x162, 0x163, 0x164
PUBLIC_CLASS, PRIVATE_CLASS, EC_TYPE = 2, 3, 3
"""Values of CLASS and KEY_TYPE (PKCS#11: CKO_PUBLIC_KEY, CKO_PRIVATE_KEY, CKK_EC)."""


class UnprovenError(Exception):
    """It does not prove that the key is in an HSM; the reason is for the co-signer's log."""


@dataclass(frozen=True, slots=True)
class AttestedObject:
    """One key of the pair: its attributes by number."""

    attributes: Mapping[int, bytes]

    def number(self, attribute: int) -> int:
        """A small number or a flag. Raises UnprovenError when it is missing."""
        value = self.attributes.get(attribute, b"")
        if not 1 <= len(value) <= 8:
            raise UnprovenError(f"attribute {attribute:#x} is missing")
        return int.from_bytes(value)

    @property
    def identifier(self) -> str:
        return self.attributes.get(ID, b"").split(b"\0", 1)[0].decode("ascii", "replace").lower()


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement taken apart; who signed it is not said yet."""

    signed: bytes
    signature: bytes
    public: AttestedObject
    private: AttestedObject


def parsed(content: bytes) -> Statement:
    """Take a compressed statement apart. Raises UnprovenError."""
    data = _inflated(content)
    if len(data) <= SIGNATURE_SIZE + _RESPONSE.size + _INFO.size:
        raise UnprovenError("the statement is too short")
    signed, signature = data[:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:]
    _, _, _, size = _RESPONSE.unpack_from(signed)
    begin = len(signed) - size
    if begin < _RESPONSE.size or size < _INFO.size:
        raise UnprovenError("the statement's sizes do not fit")
    buffer = signed[begin:]
    _, _, first, second = _INFO.unpack_from(buffer)
    # A pair is two objects, one after the other; anything else is not about a key pair that signs.
    if not _INFO.size <= first < second < len(buffer):
        raise UnprovenError("the statement is not about a key pair")
    objects = [_object(buffer[first:second]), _object(buffer[second:])]
    by_class = {found.number(CLASS): found for found in objects}
    if by_class.keys() != {PUBLIC_CLASS, PRIVATE_CLASS}:
        raise UnprovenError("the statement is not about a key pair")
    return Statement(signed, signature, by_class[PUBLIC_CLASS], by_class[PRIVATE_CLASS])


def _object(data: bytes) -> AttestedObject:
    if len(data) < _OBJECT.size:
        raise UnprovenError("an object is cut off")
    _, count, _ = _OBJECT.unpack_from(data)
    if not 0 < count <= _MAX_ATTRIBUTES:
        raise UnprovenError("an object has no attributes, or too many")
    found: dict[int, bytes] = {}
    at = _OBJECT.size
    for _ in range(count):
        if at + _ATTRIBUTE.size > len(data):
            raise UnprovenError("an attribute is cut off")
        number, length = _ATTRIBUTE.unpack_from(data, at)
        at += _ATTRIBUTE.size
        # Twice the same: one reader would take the first, another the last.
        if at + length > len(data) or number in found:
            raise UnprovenError("an attribute is cut off, or there twice")
        found[number] = data[at : at + length]
        at += length
    return AttestedObject(found)


def _inflated(content: bytes) -> bytes:
    unpacking = zlib.decompressobj(_GZIP)
    try:
        data = unpacking.decompress(content, MAX_SIZE)
    except zlib.error:
        raise UnprovenError("the statement is not gzip") from None
    if not unpacking.eof or unpacking.unused_data:
        raise UnprovenError("the statement is cut off, or too long")
    return data
