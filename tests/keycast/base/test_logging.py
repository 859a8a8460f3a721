"""No line of the log carries a secret, whatever was passed to it."""

from __future__ import annotations

import base64
import json
import logging
import sys

import pytest
import structlog

from keycast.base.logging import MASK, escape, formatter, redact, redact_text, redact_value

KEY = bytes(range(7, 39))
NSEC = "nsec1" + "q2ac3d4e5f6g7h8j9k0lmnprstuvwxyz" * 2
SECRETS = {
    "hex": KEY.hex(),
    "upper-case hex": KEY.hex().upper(),
    "nsec": NSEC,
    "upper-case nsec": NSEC.upper(),
    "ncryptsec": "ncryptsec1" + "q2ac3d4e5f6g7h8j9k0l" * 7,
    "base64": base64.b64encode(KEY).decode(),
    "base64url without padding": base64.urlsafe_b64encode(bytes(range(200, 232))).decode().rstrip("="),
    "base64 that begins with a slash": base64.b64encode(b"\xff" * 32).decode(),
    "bunker secret": "secret=0f1e2d3c4b5a69788796a5b4c3d2e1f0",
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize(
    "frame", ["{}", "could not open {}!", "key={},", '{{"x": "{}"}}', "bunker://abc?relay=wss://r&{}&x=1"]
)
def test_a_secret_is_masked_wherever_it_stands(kind: str, frame: str) -> None:
    text = redact_text(frame.format(SECRETS[kind]))
    assert MASK in text
    assert SECRETS[kind].removeprefix("secret=") not in text


@pytest.mark.parametrize(
    "text",
    [
        "GET /keys/0b0e4c52-6c3c-4f53-9d0b-2f7f0a3c8f11/connections/0b0e4c52-6c3c-4f53-9d0b-2f7f0a3c8f11/",
        'File "/srv/keycast/.venv/lib/python3.11/site-packages/django/core/handlers/base.py", line 197',
        "test_a_member_of_another_tenant_cannot_see_the_key_of_this_one_or_its_name",
        "npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9",
        "tenant 5f0c7d1e2b3a49588776a5b4c3d2e1f0 locked",
    ],
)
def test_what_operators_need_stays_readable(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x00", "\x85", "\u2028", "\u202e", "\ufeff"])
def test_a_control_character_is_written_out(character: str) -> None:
    assert escape(f"a{character}b") == f"a\\u{ord(character):04x}b"


def test_bytes_show_only_their_length() -> None:
    assert redact_value({"payload": KEY, "list": [bytearray(KEY)]}) == {
        "payload": "<bytes 32>",
        "list": ["<bytearray 32>"],
    }


def test_a_secret_deep_inside_a_container_is_masked_or_left_out() -> None:
    assert KEY.hex() not in repr(redact_value({"a": [{"b": ({"c": {"d": [KEY.hex()]}},)}]}))


def test_a_public_id_may_stand_in_its_own_field_only() -> None:
    line = redact(None, "info", {"event_id": KEY.hex(), "other": KEY.hex()})
    assert line == {"event_id": KEY.hex(), "other": MASK}


def test_a_very_long_value_is_cut() -> None:
    assert len(redact_text("word " * 10_000)) < 2100


def rendered(record: logging.LogRecord) -> dict[str, object]:
    line: dict[str, object] = json.loads(formatter(json_lines=True).format(record))
    return line


def test_a_library_that_logs_a_secret_is_redacted_too() -> None:
    record = logging.LogRecord("lib", logging.WARNING, __file__, 1, "got %s", (KEY.hex(),), None)
    assert rendered(record)["event"] == f"got {MASK}"


def test_a_traceback_has_no_locals_and_a_redacted_message() -> None:
    marker = "local-" + "value-marker"
    try:
        raise ValueError(f"bad key {KEY.hex()}")
    except ValueError:
        record = logging.LogRecord("lib", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    text = json.dumps(rendered(record))
    assert "ValueError" in text
    assert "test_logging.py" in text
    assert KEY.hex() not in text
    assert marker not in text


def test_our_own_lines_pass_the_same_step(capfd: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(json_lines=True))
    target = logging.getLogger("tests.redaction")
    target.addHandler(handler)
    target.propagate = False
    structlog.get_logger("tests.redaction").warning("opened", secret_key=KEY.hex(), path="/connect?token=abc")
    line = json.loads(capfd.readouterr().err)
    assert line["secret_key"] == MASK
    assert line["event"] == "opened"
    assert line["level"] == "warning"
