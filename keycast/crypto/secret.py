"""One type for secrets: a buffer that is wiped, and that refuses to be printed, copied or serialised."""

from __future__ import annotations

import hmac
import os
from types import TracebackType
from typing import Any, NoReturn, Self

from keycast.crypto._secp256k1 import ffi
from keycast.crypto.errors import CryptoError, SecretWiped


def wipe_bytes(data: bytes) -> None:
    """Overwrite a ``bytes`` object in place, for the C functions that can return a secret in no other form.

    Only for an object that the caller has just received and that nothing else refers to: ``bytes`` is immutable to
    everybody else. Objects below two bytes are shared by the interpreter, and are left alone.
    """
    if type(data) is not bytes:
        raise TypeError("wipe_bytes takes bytes")
    if len(data) > 1:
        ffi.memmove(ffi.from_buffer(data), bytes(len(data)), len(data))


class SecretBytes:
    """A secret of fixed length in one buffer that this object owns; wiped on ``wipe()``, ``__exit__`` and deletion.

    ``view()`` is the only way in. Equality is constant-time and only between secrets. There is no ``bytes()``, no
    iteration, no hash, no copy, no pickle, no JSON; ``repr``, ``str`` and ``format`` tell the length and nothing else.
    """

    __slots__ = ("__weakref__", "_buffer", "_wiped")

    _buffer: bytearray
    _wiped: bool

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` in; the source stays as it was and remains the caller's to wipe (see ``adopt``)."""
        self._wiped = True  # so that __del__ is harmless should the copy fail
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError("a secret is made of bytes")
        self._buffer = bytearray(data)
        self._wiped = False

    @classmethod
    def zero(cls, size: int) -> Self:
        """``size`` zero bytes, to be filled through ``view()``."""
        return cls.adopt(bytearray(size))

    @classmethod
    def random(cls, size: int) -> Self:
        """``size`` bytes from the operating system's generator, read straight into the buffer."""
        os.urandom(1)  # blocks until the kernel's pool is initialised; /dev/urandom alone would not
        secret = cls.zero(size)
        with open("/dev/urandom", "rb", buffering=0) as source:
            if source.readinto(secret._buffer) != size:
                raise OSError("the random generator gave too few bytes")
        return secret

    @classmethod
    def adopt(cls, buffer: bytearray) -> Self:
        """Take over ``buffer`` itself, without a copy; the caller must not resize it afterwards."""
        if type(buffer) is not bytearray:
            raise TypeError("only a bytearray can be adopted")
        secret = cls.__new__(cls)
        secret._buffer = buffer
        secret._wiped = False
        return secret

    @classmethod
    def adopt_bytes(cls, data: bytes) -> Self:
        """Copy ``data`` and overwrite the source; see :func:`wipe_bytes` for when that is allowed."""
        secret = cls(data)
        wipe_bytes(data)
        return secret

    @property
    def is_wiped(self) -> bool:
        """True from the moment that wiping begins."""
        return self._wiped

    def view(self) -> memoryview:
        """A writable view of the one buffer. Raises SecretWiped after ``wipe()``.

        Keep the secret itself in a variable for as long as the view is used: when the secret is deleted, the view
        shows zeros.
        """
        if self._wiped:
            raise SecretWiped
        return memoryview(self._buffer)

    def wipe(self) -> None:
        """Overwrite the buffer with zeros; may be called again."""
        # The flag first: whoever reads the buffer and then finds the flag unset has read the secret, not zeros.
        self._wiped = True
        self._buffer[:] = bytes(len(self._buffer))

    def __len__(self) -> int:
        return len(self._buffer)

    def __bool__(self) -> bool:
        return not self._wiped

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()

    def __del__(self) -> None:
        if not getattr(self, "_wiped", True):
            self.wipe()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self.view(), other.view())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<SecretBytes {len(self._buffer)}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError("a secret is never copied, iterated or serialised")

    __bytes__ = __iter__ = __getitem__ = __contains__ = _refuse
    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = __getstate__ = __setstate__ = _refuse


def view_of(secret: SecretBytes | bytearray | memoryview, size: int) -> memoryview:
    """A contiguous byte view of ``secret``, of exactly ``size`` bytes; raises CryptoError otherwise.

    ``bytes`` is refused: it cannot be wiped, so it is no place for a secret.
    """
    if isinstance(secret, SecretBytes):
        view = secret.view()
    elif isinstance(secret, bytearray | memoryview):
        view = memoryview(secret)
    else:
        raise TypeError("a secret is a SecretBytes, a bytearray or a memoryview")
    if view.nbytes != size or view.itemsize != 1 or not view.contiguous:
        raise CryptoError("a secret has the wrong length")
    return view
