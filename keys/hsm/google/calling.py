"""How often, how long and after what pause a call to Cloud KMS is tried; and what each failure is called here."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from keycast.base.errors import KeycastError
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.errors import (
    HsmAnswerRefused,
    HsmForbidden,
    HsmKeyUnusable,
    HsmMisconfigured,
    HsmThrottled,
    HsmUnavailable,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")

TRIES: Final = 3
#: Seconds for one try, and for all of them with their pauses: a request that waits for this ends within 5 s.
TRY_SECONDS: Final = 1.3
TOTAL_SECONDS: Final = 4.0
_PAUSE: Final = 0.05
_THROTTLED_PAUSE: Final = 0.3
_SHORTEST_TRY: Final = 0.1

Code = grpc.StatusCode
TRANSIENT: Final = frozenset(
    {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.INTERNAL}
)
FORBIDDEN: Final = frozenset({Code.PERMISSION_DENIED, Code.UNAUTHENTICATED})
UNUSABLE: Final = frozenset({Code.FAILED_PRECONDITION, Code.NOT_FOUND})

#: What a client of Google's raises that means "no answer", or carries one.
CallError = (GoogleAPICallError, GoogleAuthError, grpc.RpcError, TimeoutError)


class SuspectAnswer(HsmAnswerRefused):
    """An answer that fits its checksums but not this key's stored public key: no sign of an ailing service."""


def code_of(error: BaseException) -> grpc.StatusCode:
    """The gRPC status that an error of Google's client stands for."""
    if isinstance(error, TimeoutError):
        return Code.DEADLINE_EXCEEDED
    if isinstance(error, GoogleAPICallError):
        return error.grpc_status_code or Code.UNKNOWN
    if isinstance(error, grpc.RpcError):
        code = getattr(error, "code", None)
        return code() if callable(code) else Code.UNKNOWN
    return Code.UNAUTHENTICATED


def translated(error: BaseException) -> KeycastError:
    """The error of ours for one of Google's client. Its own text is for the log alone: it names the project."""
    code = code_of(error)
    if code is Code.RESOURCE_EXHAUSTED:
        return HsmThrottled()
    if code in TRANSIENT:
        return HsmUnavailable()
    if code in FORBIDDEN:
        return HsmForbidden()
    if code in UNUSABLE:
        return HsmKeyUnusable()
    return HsmMisconfigured() if code is Code.INVALID_ARGUMENT else HsmUnavailable()


class Course:
    """The tries of one request. ``before`` each try, then ``succeeded`` or ``failed``; both may raise keys.hsm.errors.

    ``answers`` are status codes that the caller understands: they are raised as they came, and count as answers.
    """

    def __init__(self, breaker: Breaker, what: str, answers: frozenset[grpc.StatusCode] = frozenset()) -> None:
        self._breaker = breaker
        self._what = what
        self._answers = answers
        self._deadline = time.monotonic() + TOTAL_SECONDS
        self._tries = 0
        self._last: KeycastError | None = None

    def before(self) -> float:
        """Seconds that the next try may take."""
        left = self._deadline - time.monotonic()
        if left < _SHORTEST_TRY or not self._breaker.admits():
            raise self._last or HsmUnavailable()
        self._tries += 1
        return min(TRY_SECONDS, left)

    def succeeded(self) -> None:
        self._breaker.succeeded()

    def failed(self, error: Exception) -> float:
        """Seconds to pause before the next try; raises when there is none to be made."""
        is_throttled = self._note(error)
        if self._tries >= TRIES:
            assert self._last is not None  # noqa: S101 -- _note has set it
            raise self._last from None
        pause = (_THROTTLED_PAUSE if is_throttled else _PAUSE) * 2.0 ** (self._tries - 1)
        return pause * random.uniform(0.5, 1.5)  # noqa: S311

    def _note(self, error: Exception) -> bool:
        if isinstance(error, HsmAnswerRefused):
            if not isinstance(error, SuspectAnswer):
                self._breaker.failed()
            self._last = error
            logger.warning("refused an answer of Cloud KMS", extra={"call": self._what, "reason": str(error.__cause__)})
            return False
        code = code_of(error)
        if code not in TRANSIENT:
            # A refusal is about this call; counting it as a failure would close the HSM to everybody.
            self._breaker.succeeded()  # it answered
            if code in self._answers:
                raise error
            logger.error("Cloud KMS refused a call", extra={"call": self._what, "code": code.name})
            raise translated(error) from None
        self._breaker.failed()
        self._last = translated(error)
        logger.warning("Cloud KMS did not answer", extra={"call": self._what, "code": code.name, "try": self._tries})
        return code is Code.RESOURCE_EXHAUSTED


async def run(course: Course, call: Callable[[float], Awaitable[T]]) -> T:
    """The first good answer of ``call(seconds)``, from the event loop. Raises keys.hsm.errors."""
    while True:
        seconds = course.before()
        try:
            async with asyncio.timeout(seconds + 0.2):  # gRPC keeps its own deadline; this is for what precedes it
                answer = await call(seconds)
        except (*CallError, HsmAnswerRefused) as error:
            pause = course.failed(error)
        else:
            course.succeeded()
            return answer
        await asyncio.sleep(pause)


def run_blocking(course: Course, call: Callable[[float], T]) -> T:
    """The first good answer of ``call(seconds)``, from a thread or a job. Raises keys.hsm.errors."""
    while True:
        seconds = course.before()
        try:
            answer = call(seconds)
        except (*CallError, HsmAnswerRefused) as error:
            pause = course.failed(error)
        else:
            course.succeeded()
            return answer
        time.sleep(pause)
