"""Logging: JSON lines in production, one redaction step that every line passes.

A line names ids, kinds, sizes and classes of errors. It never has a request's body, and tracebacks come without locals;
what still looks like a secret when a line is written is masked here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

MASK = "[redacted]"

SECRETS = re.compile(
    r"""
      (?i:n(?:sec|cryptsec)1[02-9ac-hj-np-z]{10,})     # NIP-19 and NIP-49 secrets
    | (?<![0-9a-zA-Z])[0-9a-fA-F]{64,}(?![0-9a-zA-Z])  # a secret key, or something as long: a signature, a hash
    | (?<=secret=)[^&\s"']+                            # the one-time secret of a bunker:// or nostrconnect:// URI
    | [0-9A-Za-z+/]{42,}={1,2}                         # padded base64 of 32 bytes or more
    | (?<![0-9A-Za-z+/_.-])                            # the same unpadded: ciphertext, sealed keys, tokens;
      (?=[0-9a-z+/_-]*[A-Z])                           #   not a path, and not a long snake_case name
      [0-9A-Za-z+_-][0-9A-Za-z+/_-]{42,}
    | (?<![0-9A-Za-z+_-])(?=[0-9a-z+_-]*[A-Z])         # and where a path or a dotted token has one as its segment
      [0-9A-Za-z+_-]{43,}
    """,
    re.VERBOSE,
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
"""Characters that could forge a line, move a terminal's cursor or turn the reading direction."""

PUBLIC_FIELDS = frozenset({"event_id", "key_id", "connection_id", "tenant_id", "public_key", "client"})
"""Fields whose values are public ids: 64 hex digits may stand there."""

DEEPEST = 4
LONGEST = 2000


def escape(text: str) -> str:
    """Make control characters visible instead of effective."""
    return CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def redact_text(text: str) -> str:
    """Mask what looks like a secret, escape control characters, cut what is too long."""
    text = escape(SECRETS.sub(MASK, text))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def redact_value(value: Any, depth: int = 0) -> Any:
    """Redact strings wherever they hide in plain containers; bytes and unknown objects show only their type."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{type(value).__name__} {len(value)}>"
    if depth >= DEEPEST:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {redact_text(str(key)): redact_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in value]
    return redact_text(str(value))


def redact(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: the mandatory last step before a line is rendered."""
    for key, value in line.items():
        if key == "exception" and isinstance(value, str):
            line[key] = "\n".join(redact_text(part) for part in value.splitlines())
        elif key in PUBLIC_FIELDS and isinstance(value, str):
            line[key] = escape(value)[:LONGEST]
        elif not key.startswith("_"):
            line[key] = redact_value(value)
    return line


def drop_started(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """One line per request is enough: the one that knows how it ended."""
    if line.get("event") == "request_started":
        raise structlog.DropEvent
    return line


def drop_access_values(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Paths without their query: one-time tokens stand there."""
    request = line.get("request")
    if isinstance(request, str):
        line["request"] = request.partition("?")[0]
    return line


SHARED = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    drop_access_values,
)


def configure(*, json_lines: bool, level: str) -> dict[str, Any]:
    """Set structlog up and return Django's LOGGING: both go through the same steps to standard error."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            drop_started,
            *SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "keycast.base.logging.formatter", "json_lines": json_lines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"handlers": [], "propagate": True, "level": at} for name, at in QUIETER.items()},
    }


QUIETER = {
    "django": "INFO",
    "django.server": "WARNING",
    "django.request": "ERROR",
    "django-q": "WARNING",
    "uvicorn": "WARNING",
    "websockets": "WARNING",
    "asyncio": "WARNING",
    "httpx": "WARNING",
    "httpcore": "WARNING",
}


def formatter(*, json_lines: bool) -> structlog.stdlib.ProcessorFormatter:
    """Formatter of every handler: tracebacks as text without locals, redaction, then JSON or a plain line."""
    renderer: Any = structlog.processors.JSONRenderer() if json_lines else plain_renderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*SHARED, structlog.stdlib.ExtraAdder(allow=())],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
    )


def plain_renderer() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=32
    )
