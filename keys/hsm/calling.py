"""How often, how long and after what pause an HSM is called, whoever makes it: tried, bounded in time, and judged.

A provider says what its failures mean (Judge); the deadline, the tries, their pauses and the breaker are the same for
all. Every call made here may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TypeVar

from keycast.base.errors import KeycastError
from keys.hsm.circuit_breaker import Breaker
from keys.hsm_errors import HsmUnavailable

logger = logging.getLogger(__name__)
T = TypeVar("T")
P = TypeVar("P")

TRIES: Final = 3
#: Seconds for one try, and for all of them with their pauses: a request that waits for this ends within 5 s.
TRY_SECONDS: Final = 1.3
TOTAL_SECONDS: Final = 4.0
SHORTEST_TRY: Final = 0.1
_LONGEST_PAUSE: Final = 2.0

_deadline: ContextVar[float | None] = ContextVar("hsm_deadline", default=None)


class Health(Enum):
    """What a failed try says of the HSM."""

    ANSWERED = "it answered"
    AILING = "it did not answer, or answered nonsense"
    UNKNOWN = "nothing"


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds before the next try, varied by a factor between the two of ``jitter``; twice as long each time."""

    seconds: float
    jitter: tuple[float, float] = (1.0, 1.0)
    doubles: bool = True

    def before_try(self, number: int) -> float:
        """Before the try after the one of this number, which begins at 1."""
        return self.seconds * (2.0 ** (number - 1) if self.doubles else 1.0) * random.uniform(*self.jitter)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed try comes to: ``error`` is raised when it was the last, and at once without a ``pause``.

    ``reason`` is for the log alone; without one nothing is logged.
    """

    error: Exception
    health: Health
    reason: str = ""
    pause: Pause | None = None


class Judge(Protocol):
    """What one provider's failures mean. ``errors`` are those that a call may raise and that are judged."""

    service: str
    errors: tuple[type[Exception], ...]

    @property
    def too_late(self) -> type[KeycastError]:
        """Raised when no time is left for a first try."""
        ...

    def __call__(self, error: Exception, *, is_cut_short: bool, last: Exception | None) -> Verdict:
        """``is_cut_short``: the try had less than its full time. ``last``: what the try before it came to."""
        ...


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Whatever is called in here ends in this time altogether."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


class Course:
    """The tries of one call. ``before`` each try, then ``succeeded`` or ``failed``; all may raise keys.hsm_errors."""

    def __init__(self, breaker: Breaker, what: str, judge: Judge) -> None:
        self._breaker, self._what, self.judge = breaker, what, judge
        own, outer = time.monotonic() + TOTAL_SECONDS, _deadline.get()
        self._deadline = own if outer is None else min(own, outer)
        self._tries = 0
        self._allotted = TRY_SECONDS
        self._last: Exception | None = None

    @property
    def left(self) -> float:
        """Seconds until the call has to have ended."""
        return self._deadline - time.monotonic()

    def before(self) -> float:
        """Seconds that the next try may take."""
        left = self.left
        if left < SHORTEST_TRY:
            raise self._last or self.judge.too_late()
        if not self._breaker.admits():
            raise self._last or HsmUnavailable()
        self._tries += 1
        self._allotted = min(TRY_SECONDS, left)
        return self._allotted

    def succeeded(self) -> None:
        self._breaker.succeeded()

    def failed(self, error: Exception) -> float:
        """Seconds to pause before the next try; raises when there is none to be made."""
        found = self.judge(error, is_cut_short=self._allotted < TRY_SECONDS, last=self._last)
        self._note(found)
        pause = found.pause.before_try(self._tries) if found.pause else None
        if pause is None or self._tries >= TRIES or pause > _LONGEST_PAUSE or pause + SHORTEST_TRY > self.left:
            if found.error is error:
                raise error
            raise found.error from None
        self._last = found.error
        return pause

    def _note(self, found: Verdict) -> None:
        if found.health is Health.ANSWERED:
            self._breaker.succeeded()
        elif found.health is Health.AILING:
            self._breaker.failed()
        if found.reason:
            facts = {"service": self.judge.service, "call": self._what, "reason": found.reason, "try": self._tries}
            logger.log(logging.WARNING if found.pause else logging.ERROR, "a call to an HSM failed", extra=facts)


async def run(
    course: Course,
    call: Callable[[P, float], Awaitable[T]],
    place: Callable[[float], AbstractAsyncContextManager[P]],
) -> T:
    """The first good answer of ``call(client, seconds)``, from the event loop. Raises keys.hsm_errors.

    ``place(seconds)`` gives the client, once there is room for one more request.
    """
    while True:
        async with place(course.left) as client:
            seconds = course.before()
            try:
                async with asyncio.timeout(seconds + 0.2):  # clients keep a deadline; this is for what precedes it
                    answer = await call(client, seconds)
            except course.judge.errors as error:
                pause = course.failed(error)
            else:
                course.succeeded()
                return answer
        await asyncio.sleep(pause)


def run_blocking(course: Course, call: Callable[[float], T]) -> T:
    """The first good answer of ``call(seconds)``, from a thread or a job. Raises keys.hsm_errors."""
    while True:
        seconds = course.before()
        try:
            answer = call(seconds)
        except course.judge.errors as error:
            pause = course.failed(error)
        else:
            course.succeeded()
            return answer
        time.sleep(pause)
