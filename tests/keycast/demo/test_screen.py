"""What a newcomer reads: colour and characters only where they can be shown, and what is asked for first, first."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from keycast.demo import summary
from keycast.demo.environment import DemoEnvironment
from keycast.demo.screen import COLUMNS, Screen
from keycast.demo.totp import current_code


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def on(stream, monkeypatch, *, no_colour: bool = False):
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    ticks = iter([10.0, 12.4])
    screen = Screen(stream, clock=lambda: next(ticks))
    with screen.step("Database"):
        assert stream.getvalue().startswith("  Database ...."), "it is said before it is done"
    screen.heading("The portal")
    return stream.getvalue()


def test_a_file_gets_no_colour_and_one_that_is_not_unicode_no_tick(monkeypatch):
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    plain.getvalue = lambda: plain.buffer.getvalue().decode("ascii")
    shown = on(plain, monkeypatch)
    assert "\x1b" not in shown
    assert shown.splitlines()[0].endswith(" ok   2 s")


def test_a_terminal_gets_colour_unless_its_owner_wants_none(monkeypatch):
    assert "\x1b[32m✓\x1b[0m   2 s\n" in on(Terminal(), monkeypatch)
    assert "\x1b" not in on(Terminal(), monkeypatch, no_colour=True)


def test_a_step_that_fails_says_so():
    stream = io.StringIO()
    screen = Screen(stream)
    with pytest.raises(ValueError, match="x"), screen.step("Database"):
        raise ValueError("x")
    assert stream.getvalue().endswith(". not done\n")


def shown_by(folder, monkeypatch):
    npub = "npub1" + "q" * 58
    urls = [f"bunker://{'0' * 64}?relay=ws%3A%2F%2Flocalhost%3A8000%2Frelay&secret={n}" for n in range(3)]
    people = [
        {
            "email": f"{name}@example.com",
            "password": f"password-of-{name}",
            "totp_secret": "A" * 32,
            "otpauth_url": "otpauth://",
        }
        for name in ("alice", "operator", "officer")
    ]
    stream = io.StringIO()
    key = {"npub": npub, "bunker_urls": urls}
    made = {"users": people, "keys": [key, key], "hours": 24}
    summary.show(Screen(stream), DemoEnvironment.prepare(folder, 8000), made, ["{}\n"])
    return stream.getvalue()


def test_the_portal_an_app_and_the_admin_come_first_in_lines_that_fit(tmp_path, monkeypatch):
    shown = shown_by(tmp_path / "v", monkeypatch)
    order = ["http://localhost:8000/", "password-of-alice", "bunker://", "/admin/", "password-of-operator", "The rest"]
    assert sorted(order, key=shown.index) == order
    assert shown.index("The rest") < shown.index("password-of-officer")
    long = [
        line for line in shown.splitlines() if len(line) > COLUMNS and "://" not in line and str(tmp_path) not in line
    ]
    assert long == []


def test_the_next_code_is_asked_for_in_the_demos_own_folder(tmp_path, monkeypatch):
    assert f"make demo-code FOLDER='{tmp_path / 'a folder'}'" in shown_by(tmp_path / "a folder", monkeypatch)


def test_the_command_of_an_installed_copy_is_keycast(settings):
    settings.IS_CHECKOUT = False
    assert summary.command() == "keycast"


def test_a_code_is_that_of_rfc_6238():
    # Appendix B, at 1111111109 s: 07081804, of which the last six digits are shown.
    assert current_code("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 1_111_111_109) == ("081804", 1)


def test_the_command_prints_the_code_of_the_demo_in_a_folder(tmp_path, capsys):
    with pytest.raises(CommandError, match=f"There is no demo in {tmp_path} yet. Start one with: make demo"):
        call_command("demo", code=True, folder=tmp_path)
    prepared = DemoEnvironment.prepare(tmp_path, 8000)
    secret = prepared.secrets["KEYCAST_DEMO_OPERATOR_TOTP"]
    before, _ = current_code(secret)
    call_command("demo", code=True, folder=tmp_path)
    after, _ = current_code(secret)
    assert capsys.readouterr().out.partition(",")[0] in {before, after}
