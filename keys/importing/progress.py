"""Progress for people, on standard error: one line that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Final, TextIO

TERMINAL_INTERVAL: Final = 0.2
LOG_INTERVAL: Final = 5.0


class ImportProgress:
    """Rate and remaining time, from bytes read where the size of the input is known."""

    def __init__(self, stream: TextIO, size: int | None) -> None:
        self._stream = stream
        self._size = size
        self._is_terminal = stream.isatty()
        self._started = self._shown = time.monotonic()
        self._read = 0
        self._passed = 0
        self._lines = 0

    def passed(self, size: int) -> None:
        """So many bytes were done by an earlier run; they say nothing about this one's speed."""
        self._read += size
        self._passed += size

    def advance(self, lines: int, size: int) -> None:
        """So many more lines and bytes are done; shows it if it is time to."""
        self._lines += lines
        self._read += size
        now = time.monotonic()
        if now - self._shown >= (TERMINAL_INTERVAL if self._is_terminal else LOG_INTERVAL):
            self._shown = now
            self._show(now)

    def finish(self) -> None:
        """Leave the last line standing."""
        if self._lines:
            self._show(time.monotonic())
        if self._is_terminal:
            self._stream.write("\n")

    def _show(self, now: float) -> None:
        elapsed = max(now - self._started, 1e-6)
        text = f"{self._lines} keys, {60 * self._lines / elapsed:.0f} a minute{self._remaining(elapsed)}"
        self._stream.write(f"\r{text:<70}" if self._is_terminal else f"{text}\n")
        self._stream.flush()

    def _remaining(self, elapsed: float) -> str:
        done = self._read - self._passed
        if not self._size or not done:
            return ""
        seconds = max(0.0, (self._size - self._read) * elapsed / done)
        return f", {100 * self._read / self._size:.0f} %, {int(seconds) // 60}:{int(seconds) % 60:02} to go"
