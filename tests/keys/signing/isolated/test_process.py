"""What the signer does to itself before it reads a key, what it is not given, and who else may not have one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keycast import lifespan, unsafe_settings
from keys.errors import KekUnavailable
from keys.signing.isolated import process as signer
from keys.signing.kms import registry
from tests.keys.signing.isolated.support import KEK, ROOT, SignerProcess, asking

STRANGER = 65534
LOOK = """
import ctypes, os, sys
os.setgid({user}); os.setuid({user})
libc = ctypes.CDLL(None, use_errno=True)
try:
    open("/proc/" + sys.argv[1] + "/mem", "rb").close()
    print("memory")
except PermissionError:
    pass
if libc.ptrace(16, int(sys.argv[1]), 0, 0) == 0:  # PTRACE_ATTACH
    print("traced")
"""


def of_proc(pid, name, field):
    lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
    return next(line[len(field) :].strip() for line in lines if line.startswith(field))


def test_it_does_not_start_without_a_key_or_with_the_co_signers(tmp_path):
    with pytest.raises(AssertionError, match=r"No key-encryption key is configured|cannot be read"):
        SignerProcess(tmp_path / "a", KEYCAST_KEK="")
    with pytest.raises(AssertionError, match="who holds both keys"):
        SignerProcess(tmp_path / "b", KEYCAST_COSIGNER_KEK=KEK)


def test_it_leaves_no_core_gains_no_privileges_and_tells_nothing_of_its_environment(shared_signer):
    pid = shared_signer.pid
    assert of_proc(pid, "limits", "Max core file size").split()[:2] == ["0", "0"]
    assert of_proc(pid, "status", "NoNewPrivs:") == "1"
    assert of_proc(pid, "status", "Umask:") == "0077"
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"KEYCAST_SIGNER_SOCKET" in environment, "the wrong place was looked at"
    assert KEK.partition(":")[2].encode() not in environment


def test_its_memory_is_locked_where_it_says_so(shared_signer):
    locked = int(of_proc(shared_signer.pid, "status", "VmLck:").split()[0])
    assert (locked > 0) == ("kept out of swap" in shared_signer.said)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as another user")
def test_a_hardened_process_cannot_be_read_or_traced_by_its_own_user():
    """Not dumpable: /proc/PID belongs to root, whoever runs the process (prctl(2), PR_SET_DUMPABLE)."""
    code = LOOK.format(user=STRANGER)
    victim = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from keycast.base.hardening import harden\n"
        f"os.setgid({STRANGER}); os.setuid({STRANGER}); harden()\nprint('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", victim], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout.readline() == "ready\n"
        assert Path(f"/proc/{running.pid}/mem").stat().st_uid == 0
        looked = subprocess.run(
            [sys.executable, "-c", code, str(running.pid)], capture_output=True, text=True, check=False
        )
        running.stdin.close()
    assert (looked.returncode, looked.stdout) == (0, ""), looked.stderr


def test_a_child_is_given_the_key_and_nothing_else_of_ours():
    given = dict.fromkeys((*signer.FOREIGN, *signer.KEK_VARIABLES), "secret") | {"PATH": "/bin"}
    kept = signer.environment(given)
    assert {name for name, value in kept.items() if value == "secret"} == set(signer.KEK_VARIABLES)
    assert kept["PATH"] == "/bin"


def test_every_other_child_is_given_no_key(settings):
    settings.SIGNER_SOCKET = "/run/keycast/signer.sock"
    kept = signer.without_kek({"KEYCAST_KEK": "secret", "KEYCAST_KEK_FILE": "/secret", "KEYCAST_SIGNER_CHILD": "1"})
    assert (kept["KEYCAST_KEK"], kept["KEYCAST_KEK_FILE"], kept["KEYCAST_SIGNER_CHILD"]) == ("", "", "0")
    assert kept["KEYCAST_SIGNER_SOCKET"] == settings.SIGNER_SOCKET


def test_a_process_that_asks_a_signer_makes_no_provider_of_its_own(shared_signer):
    """Even with the variable in its environment, as the tests have it."""
    with asking(shared_signer.socket):
        for get in (registry.default_provider, lambda: registry.provider("local")):
            with pytest.raises(KekUnavailable, match="with the signer"):
                get()


def test_a_key_beside_the_signer_is_a_danger(settings, monkeypatch):
    monkeypatch.setenv("KEYCAST_KEK", KEK)
    settings.SIGNER_SOCKET, settings.SIGNER_IS_CHILD = "/run/signer.sock", False
    assert unsafe_settings.key_beside_the_signer()
    monkeypatch.delenv("KEYCAST_KEK")
    monkeypatch.setenv("KEYCAST_KEK_FILE", "/etc/keycast/kek")
    assert unsafe_settings.key_beside_the_signer()
    settings.SIGNER_IS_CHILD = True
    assert unsafe_settings.key_beside_the_signer() is None
    monkeypatch.delenv("KEYCAST_KEK_FILE")
    assert unsafe_settings.no_key_encryption_key(), "a child would have none"
    settings.SIGNER_IS_CHILD = False
    assert unsafe_settings.no_key_encryption_key() is None
    assert unsafe_settings.key_beside_the_signer() is None


def test_the_embedded_server_runs_it_where_it_is_asked_to(settings):
    def names():
        return [service.name for service in lifespan.embedded_services()]

    settings.SIGNER_IS_CHILD = False
    assert "signer" not in names()
    settings.SIGNER_IS_CHILD = True
    assert "signer" in names()
    settings.EMBEDDED = False
    assert unsafe_settings.signer_not_running()
