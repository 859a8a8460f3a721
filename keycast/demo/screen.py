"""What a newcomer reads: steps with a tick as they end, headings, and lines below them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

COLUMNS: Final = 80
_STEP_COLUMNS: Final = 66
_BOLD, _GREEN, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[0m"


class Stream(Protocol):
    """What is needed of standard output."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...


class Screen:
    """Writes to ``stream``: colour only on a terminal (and without NO_COLOR), characters only that it can show."""

    def __init__(self, stream: Stream, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ
        self._tick = "✓" if _can_show(stream, "✓") else "ok"

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say ``text`` at once, and at the end of the block how long it took, or that it failed."""
        started = self._clock()
        self._write(f"  {text} ".ljust(_STEP_COLUMNS, ".") + " ")
        try:
            yield
        except BaseException:
            self._write("not done\n")
            raise
        self._write(f"{self._in(_GREEN, self._tick)} {self._clock() - started:3.0f} s\n")

    def heading(self, text: str) -> None:
        self._write(f"\n{self._in(_BOLD, text)}\n\n")

    def lines(self, *texts: str) -> None:
        """Lines below a heading; an empty one stays empty."""
        self._write("".join(f"   {text}".rstrip() + "\n" for text in texts))

    def plain(self, text: str) -> None:
        self._write(f"{text}\n")

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _can_show(stream: Stream, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
