"""Points of the curve as other modules of this package hold them: parsed, serialised, and drawn with even Y."""

from __future__ import annotations

from typing import Any, Final

from keycast.crypto._secp256k1 import CONTEXT, ffi, lib
from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes

POINT_SIZE: Final = 33
UNCOMPRESSED_SIZE: Final = 65
_COMPRESSED: Final = lib.SECP256K1_EC_COMPRESSED


def parsed(point: bytes) -> Any:
    """A compressed point (33 bytes) as libsecp256k1 holds it. Raises CryptoError."""
    if type(point) is not bytes or len(point) != POINT_SIZE:
        raise CryptoError("not a point")
    output = ffi.new("secp256k1_pubkey *")
    if lib.secp256k1_ec_pubkey_parse(CONTEXT, output, point, POINT_SIZE) != 1:
        raise CryptoError("not a point")
    return output


def compressed(point: bytes) -> bytes:
    """The compressed form (33 bytes) of a point in either form of SEC 1, 2.3.3. Raises CryptoError."""
    if type(point) is not bytes or len(point) not in {POINT_SIZE, UNCOMPRESSED_SIZE}:
        raise CryptoError("not a point")
    output = ffi.new("secp256k1_pubkey *")
    if lib.secp256k1_ec_pubkey_parse(CONTEXT, output, point, len(point)) != 1:
        raise CryptoError("not a point")
    return serialised(output)


def serialised(point: Any) -> bytes:
    """The compressed form (33 bytes) of a parsed point."""
    output, size = ffi.new("unsigned char[33]"), ffi.new("size_t *", POINT_SIZE)
    lib.secp256k1_ec_pubkey_serialize(CONTEXT, output, size, point, _COMPRESSED)
    return bytes(ffi.buffer(output))


def public_point(keypair: Keypair) -> bytes:
    """The public point of a keypair, compressed, whatever its Y. Raises SecretWiped."""
    output = ffi.new("secp256k1_pubkey *")
    with keypair._lock:
        if keypair.is_wiped:
            raise SecretWiped
        lib.secp256k1_keypair_pub(CONTEXT, output, keypair._keypair)
    return serialised(output)


def even_half() -> tuple[Keypair, SecretBytes]:
    """A fresh keypair whose public point has an even Y, so that its x-only key names it fully, and its secret."""
    keypair, secret = Keypair.generate()
    if public_point(keypair)[0] == 2:
        return keypair, secret
    keypair.wipe()
    lib.secp256k1_ec_seckey_negate(CONTEXT, ffi.from_buffer(secret.view()))
    return Keypair.from_secret(secret), secret
