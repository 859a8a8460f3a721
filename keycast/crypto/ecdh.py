"""Raw elliptic-curve Diffie-Hellman, as NIP-04 and NIP-44 need it: the x coordinate, unhashed.

libsecp256k1 multiplies in constant time only inside ``secp256k1_ecdh``, and hands the point to a hash function of the
caller's choice, which must then be a C function pointer. Here it is a cffi callback that moves the 32 bytes of x from
libsecp256k1's stack (which the library clears) straight into the caller's wiped buffer: no Python object ever holds
x. The alternatives are worse: ``ec_pubkey_tweak_mul`` is variable time, and an own C extension is one more thing to
build and to trust.
"""

from __future__ import annotations

from typing import Any

from keycast.crypto._secp256k1 import CONTEXT, ffi, lib
from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.schnorr import Keypair, is_public_key
from keycast.crypto.secret import SecretBytes, view_of


@ffi.callback("int(unsigned char *, const unsigned char *, const unsigned char *, void *)", error=0)  # type: ignore[untyped-decorator]
def _copy_x(output: Any, x32: Any, _y32: Any, _data: Any) -> int:
    ffi.memmove(output, x32, 32)
    return 1


def _lifted(public_key: bytes) -> Any:
    """The curve point with this x and an even y (BIP-340, lift_x). Raises CryptoError."""
    if not is_public_key(public_key):
        raise CryptoError("not a public key")
    point = ffi.new("secp256k1_pubkey *")
    if lib.secp256k1_ec_pubkey_parse(CONTEXT, point, b"\x02" + public_key, 33) != 1:
        raise CryptoError("not a public key")
    return point


def shared_x(secret: Keypair | SecretBytes | bytearray | memoryview, peer_public_key: bytes) -> SecretBytes:
    """The x coordinate (32 bytes, unhashed) of ``secret`` times the peer's even-Y point. Constant time in the secret.

    Raises CryptoError for a peer (32 bytes, x-only) that is not on the curve or a secret out of range, SecretWiped
    for a wiped one. Source: NIP-44, "Calculate a conversation key" 1; NIP-04.
    """
    point = _lifted(peer_public_key)
    if isinstance(secret, Keypair):
        with secret.secret() as copy:
            return _multiply(copy, point)
    return _multiply(secret, point)


def _multiply(secret: SecretBytes | bytearray | memoryview, point: Any) -> SecretBytes:
    view = view_of(secret, 32)
    shared = SecretBytes.zero(32)
    if (
        lib.secp256k1_ecdh(CONTEXT, ffi.from_buffer(shared.view()), point, ffi.from_buffer(view), _copy_x, ffi.NULL)
        != 1
    ):
        shared.wipe()
        raise CryptoError("the shared secret cannot be computed")
    if isinstance(secret, SecretBytes) and secret.is_wiped:
        shared.wipe()
        raise SecretWiped
    return shared
