"""A bare Debian in a folder, made by debootstrap, and commands run in it: for .ci/image and .ci/newcomer.

The root is kept as an archive for a week (KEYCAST_CI_CACHE, else the cache folder of the account), since making it
takes a minute. It rests on nothing that was installed by hand: debootstrap itself is installed where it is missing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_TRUSTED_HOST")
CA = Path("/etc/ssl/certs/ca-certificates.crt")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_FOR = 7 * 24 * 3600
started = time.monotonic()


def note(text: str) -> None:
    print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)


def run(*command: str, quiet: bool = False) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-6000:]}\n{sys.argv[0]}: {shlex.join(command)[:300]}: exit code {done.returncode}")
    if not quiet and done.stdout.strip():
        print(done.stdout.rstrip())
    return done.stdout


def require() -> None:
    """Root and debootstrap, or an end that says which of the two is missing."""
    if os.geteuid() != 0:
        sys.exit(f"{sys.argv[0]}: needs root, for debootstrap and chroot.")
    if not shutil.which("debootstrap"):
        run("apt-get", "update", "-qq", quiet=True)
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap", quiet=True)


def bare_root(suite: str, root: Path, *packages: str) -> Path:
    """Make ``root``, which is not there yet: debootstrap's minbase, stripped like the slim images, and ``packages``."""
    archive = _cache() / f"{'-'.join(('debian', suite, *packages))}.tar"
    if archive.is_file() and time.time() - archive.stat().st_mtime < KEPT_FOR:
        root.mkdir(parents=True)
        run("tar", "-C", str(root), "-xpf", str(archive))
        return root
    if packages:
        bare_root(suite, root)
        note(f"apt-get install {' '.join(packages)}")
        install = f"apt-get install -y -qq --no-install-recommends {' '.join(packages)} >/dev/null && apt-get clean"
        in_root(root, f"apt-get update -qq && {install}", {"DEBIAN_FRONTEND": "noninteractive"})
    else:
        note(f"debootstrap {suite}, from {MIRROR}")
        run("debootstrap", "--variant=minbase", suite, str(root), MIRROR, quiet=True)
        _strip(root)
    part = archive.with_name(f"{archive.name}.{os.getpid()}")
    run("tar", "--one-file-system", "-C", str(root), "-cf", str(part), ".")
    part.replace(archive)
    return root


def _cache() -> Path:
    chosen = os.environ.get("KEYCAST_CI_CACHE")
    folder = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "/root/.cache") / "keycast-ci"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _strip(root: Path) -> None:
    # As the slim images: what apt unpacks is thrown away, and no documentation is installed.
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        shutil.rmtree(root / name, ignore_errors=True)
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    (root / "etc/hosts").touch()  # engines mount theirs over it
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(
        "path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\n"
        "path-exclude /usr/share/locale/*\nforce-unsafe-io\n"
    )


def in_root(root: Path, command: str, environment: dict[str, str], *, offline: bool = False) -> str:
    """The output of a shell command in ``root``, in namespaces of its own, with the build machine's way to the network.

    With ``offline`` there is none but loopback.
    """
    settings = {"PATH": PATH, "HOME": "/root"}
    settings |= {name: os.environ[name] for name in PASSED_ON if name in os.environ} | environment
    if CA.is_file():  # the build machine's own authorities, if its network has one
        settings |= {"PIP_CERT": "/tmp/build-ca.crt"}  # noqa: S108
    script = (
        f'mount --rbind /dev "{root}/dev" && mount -t proc proc "{root}/proc" &&'
        f"{' ip link set lo up &&' if offline else ''}"
        f' exec chroot "{root}" env -i {shlex.join(f"{k}={v}" for k, v in settings.items())}'
        f" sh -c {shlex.quote(command)}"
    )
    lent = {root / "etc/resolv.conf": Path("/etc/resolv.conf"), root / "tmp/build-ca.crt": CA}
    for target, origin in lent.items():
        if origin.is_file():
            shutil.copy(origin, target)
    namespaces = ("--mount", "--pid", "--fork", "--kill-child", *(("--net",) if offline else ()))
    output = run("unshare", *namespaces, "sh", "-c", script, quiet=True)
    for target in lent:
        target.unlink(missing_ok=True)
    return output
