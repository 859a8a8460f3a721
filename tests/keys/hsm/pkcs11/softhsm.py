"""Tokens of SoftHSM2 (Debian: softhsm2) in a folder of the tests' own; the genuine module, in this process."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

PIN, SO_PIN = "correct horse", "battery staple"
PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


def module_path():
    """Where the module is; skips where SoftHSM2 is not installed (a failure with KEYCAST_TEST_ALL=1)."""
    found = next((place for place in PLACES if Path(place).exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed (Debian: softhsm2)")
    return found


class SoftHsm:
    """A folder of tokens; the module reads where it is once, when a process initialises it."""

    def __init__(self, folder):
        self.module, self.tokens = module_path(), folder / "tokens"
        self.tokens.mkdir()
        self.config = folder / "softhsm2.conf"
        self.config.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="utf-8"
        )

    def new_token(self):
        """The label of a fresh token."""
        label = f"t-{secrets.token_hex(6)}"
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"SOFTHSM2_CONF": str(self.config)})
        return label
