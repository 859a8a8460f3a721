"""The project's settings as the test suite runs them: its own data folder, fast hashing, nothing real."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("KEYCAST_ENVIRONMENT", "test")
os.environ.setdefault("KEYCAST_DATA_DIR", tempfile.mkdtemp(prefix="keycast-test-"))
os.environ.setdefault("KEYCAST_EMBEDDED", "0")
os.environ.setdefault("KEYCAST_LOG_LEVEL", "WARNING")
if os.environ.get("KEYCAST_TEST_SIGNER") == "remote":  # tests/plumbing.py starts it
    _name = f"signer-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.sock"
    os.environ["KEYCAST_SIGNER_SOCKET"] = str(Path(os.environ["KEYCAST_DATA_DIR"]) / _name)
elif "KEYCAST_KEK_FILE" not in os.environ:
    os.environ.setdefault("KEYCAST_KEK", "test-1:5Rk4v3Yd2hXbq0uJ8nQmTzWc7LsFgE6aPoViB1xKyNM=")

# Tests empty the cache, so each xdist worker has a Redis database of its own; its child processes inherit it.
if os.environ.get("REDIS_URL") and (worker := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")):
    os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{int(worker) % 15 + 1}"

from keycast.settings import *  # noqa: F403
from keycast.settings import DATA_DIR, DATABASES

# A file, not :memory:, so that threads and child processes of a test see the same database.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": str(Path(DATA_DIR) / "test.sqlite3")}
    # No test pulls the plug. A disk that is busy for another test would hold up a commit for longer than leases live.
    _options = DATABASES["default"]["OPTIONS"]
    _options["init_command"] = _options["init_command"].replace("synchronous=FULL", "synchronous=OFF")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
