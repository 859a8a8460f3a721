"""What the checks look for: each function says in one sentence what is wrong, or returns None. See keycast.checks."""

from __future__ import annotations

import base64
import binascii
import contextlib
import importlib.util
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import OperationalError, ProgrammingError
from django_scopes import scopes_disabled

from keycast.base import versions
from keycast.base.randomness import why_not_random
from keys.hsm.providers import splits_here

SHORTEST_SECRET = 50
"""Characters; Django's own security.W009 asks for the same."""

Finding = str | None

SECRETS = (
    *("SECRET_KEY", "SECRET_KEY_FALLBACKS", "KEYCAST_FIELD_KEY", "KEYCAST_KEK", "KEYCAST_COSIGNER_KEK"),
    *("KEYCAST_AUDIT_CHECKPOINT_KEY", "KEYCAST_PROBE_TOKEN", "DATABASE_URL", "REDIS_URL", "EMAIL_URL"),
    *("KEYCAST_NETHSM_OPERATOR_PASSWORD", "KEYCAST_NETHSM_ADMIN_PASSWORD", "KEYCAST_NETHSM_NAMESPACE_PASSWORD"),
    *("KEYCAST_PKCS11_PIN", "KEYCAST_PKCS11_MANAGER_PIN", "KEYCAST_OPENBAO_TOKEN", "KEYCAST_OPENBAO_MANAGER_TOKEN"),
)
"""Settings whose files nobody else may read."""


def debug_is_on() -> Finding:
    return "DEBUG is on." if settings.DEBUG else None


def secret_key_is_weak() -> Finding:
    return weakness_of(settings.SECRET_KEY, "SECRET_KEY")


def weakness_of(key: str, name: str) -> Finding:
    """What is wrong with a text that signs sessions."""
    if key.startswith("insecure-"):
        return f"{name} is the development one."
    if len(key) < SHORTEST_SECRET or len(set(key)) < 5:
        return f"{name} has fewer than {SHORTEST_SECRET} characters, or hardly any different ones."
    return None


def development_keys_among_earlier() -> Finding:
    """What is only still accepted opens as much as what is current."""
    found = [weakness_of(key, "An earlier SECRET_KEY (SECRET_KEY_FALLBACKS)") for key in settings.SECRET_KEY_FALLBACKS]
    if any(version.startswith("development") for version in own_key_lines().values()):
        found.append("KEYCAST_KEK has a key that a development server made.")
    return " ".join(filter(None, found)) or None


def hand_made_keys() -> Finding:
    """Keys that guard others: their bytes must come from a random source."""
    found = [f"{name} {text}." for name, key in guarding_keys() if (text := why_not_random(decoded(key)))]
    return " ".join(found) or None


def equal_secrets() -> Finding:
    """Each secret is one of its own: whoever learns one must not have another by it. E026 is about the co-signer's."""
    known = [("SECRET_KEY", key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    known += [("KEYCAST_PROBE_TOKEN", settings.PROBE_TOKEN)] if settings.PROBE_TOKEN else []
    owners: dict[bytes, set[str]] = {}
    for name, key in known:
        owners.setdefault(key.encode(), set()).add(name)
    for name, key in guarding_keys():
        owners.setdefault(decoded(key) or key.encode(), set()).add(name)
        owners.setdefault(key.encode(), set()).add(name)
    both = {"KEYCAST_KEK", "KEYCAST_COSIGNER_KEK"}
    found = {" and ".join(sorted(names)) for names in owners.values() if len(names) > 1 and names != both}
    return f"The same secret serves as {'; as '.join(sorted(found))}." if found else None


def guarding_keys() -> list[tuple[str, str]]:
    """The keys of 32 bytes that are this process's to read, as they are written: variable and base64."""
    found = [("KEYCAST_KEK", key) for key in own_key_lines()]
    found += [("KEYCAST_COSIGNER_KEK", key) for key in key_lines("KEYCAST_COSIGNER_KEK")]
    found += [("KEYCAST_FIELD_KEY", key) for key in settings.FIELD_KEYS]
    if settings.AUDIT_CHECKPOINT_KEY:
        found.append(("KEYCAST_AUDIT_CHECKPOINT_KEY", settings.AUDIT_CHECKPOINT_KEY.removeprefix("ed25519:")))
    return found


def own_key_lines() -> dict[str, str]:
    """The key-encryption keys; none where a signer alone reads them, and looks at them itself."""
    return {} if settings.SIGNER_SOCKET else key_lines("KEYCAST_KEK")


def decoded(key: str) -> bytes:
    """The bytes of a key in base64; none where it is not base64."""
    try:
        return base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return b""


def no_restore_journal() -> Finding:
    return None if settings.RESTORE_JOURNAL else "KEYCAST_RESTORE_JOURNAL is empty."


def uses_memory_layer() -> bool:
    return "InMemory" in settings.CHANNEL_LAYERS["default"]["BACKEND"]


def memory_layer_across_processes() -> Finding:
    if uses_memory_layer() and not settings.EMBEDDED:
        return "KEYCAST_EMBEDDED=0 with the in-memory channel layer."
    return None


def sqlite_across_processes() -> Finding:
    if settings.IS_SQLITE and not settings.EMBEDDED:
        return "KEYCAST_EMBEDDED=0 on SQLite."
    return None


def embedded_on_postgresql() -> Finding:
    if settings.EMBEDDED and not settings.IS_SQLITE:
        return "KEYCAST_EMBEDDED=1 on PostgreSQL."
    return None


def several_job_workers_on_sqlite() -> Finding:
    workers = settings.Q_CLUSTER["workers"]
    return f"{workers} job workers on SQLite." if settings.IS_SQLITE and workers > 1 else None


def database_options() -> dict[str, Any]:
    options: dict[str, Any] = settings.DATABASES["default"].get("OPTIONS", {})
    return options


def sqlite_is_lax() -> Finding:
    if not settings.IS_SQLITE:
        return None
    options = database_options()
    pragmas = options.get("init_command", "").replace(" ", "").lower()
    if options.get("transaction_mode") != "IMMEDIATE" or "journal_mode=wal" not in pragmas:
        return "SQLite runs without WAL or without IMMEDIATE transactions."
    if "synchronous=full" not in pragmas:
        return "SQLite runs without synchronous=FULL."
    return None


def library_out_of_bounds() -> Finding:
    return " ".join(versions.problems()) or None


def cookies_are_insecure() -> Finding:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY")
    lax = [name for name in names if not getattr(settings, name)]
    return f"{', '.join(lax)} off." if lax else None


def scheme_is_http() -> Finding:
    return "KEYCAST_PUBLIC_SCHEME is http." if settings.PUBLIC_SCHEME != "https" else None


def no_strict_transport() -> Finding:
    """Over http there is nothing that browsers could insist on; that it is http is another rule's business."""
    return "KEYCAST_HSTS_SECONDS is 0." if settings.IS_HTTPS and settings.SECURE_HSTS_SECONDS <= 0 else None


def no_platform_host() -> Finding:
    return None if settings.PLATFORM_HOSTS else "KEYCAST_PLATFORM_HOSTS is empty."


def forwarded_host_is_trusted() -> Finding:
    if getattr(settings, "USE_X_FORWARDED_HOST", False) and not settings.TRUSTED_PROXY_COUNT:
        return "USE_X_FORWARDED_HOST without KEYCAST_TRUSTED_PROXIES."
    return None


def many_trusted_proxies() -> Finding:
    count = settings.TRUSTED_PROXY_COUNT
    return f"KEYCAST_TRUSTED_PROXIES is {count}." if not 0 <= count <= 3 else None


def mail_goes_nowhere() -> Finding:
    backend = settings.EMAIL_BACKEND.rsplit(".", 2)[-2]
    return f"E-mail goes to the {backend} backend." if backend in {"console", "locmem", "dummy", "filebased"} else None


def mail_waits_for_ever() -> Finding:
    seconds = settings.EMAIL_TIMEOUT
    return None if seconds and seconds > 0 else f"KEYCAST_EMAIL_TIMEOUT is {seconds}."


def private_relays_are_allowed() -> Finding:
    hosts = settings.RELAY_ALLOWED_PRIVATE_HOSTS
    return f"KEYCAST_RELAY_ALLOW_PRIVATE names {', '.join(hosts)}." if hosts else None


def clear_text_relays() -> Finding:
    found = [url for url in settings.OUTBOUND_RELAYS if not url.startswith("wss://")]
    return f"KEYCAST_RELAYS has {', '.join(found)}." if found else None


def no_key_encryption_key() -> Finding:
    """Where the signer is a process of its own, it alone needs one, and refuses by itself."""
    is_elsewhere = settings.SIGNER_SOCKET and not settings.SIGNER_IS_CHILD
    if settings.KEK_PROVIDER != "local" or named("KEYCAST_KEK") or is_elsewhere:
        return None
    return "No key-encryption key: neither KEYCAST_KEK nor KEYCAST_KEK_FILE is set."


def key_beside_the_signer() -> Finding:
    """The server that runs the signer as its child may know where the key lies, and hands that on; it reads none."""
    if not settings.SIGNER_SOCKET:
        return None
    if os.environ.get("KEYCAST_KEK"):
        return "KEYCAST_KEK is set in a process that is not the signer."
    if os.environ.get("KEYCAST_KEK_FILE") and not settings.SIGNER_IS_CHILD:
        return "KEYCAST_KEK_FILE is set in a process that is not the signer."
    return None


def no_signer_of_its_own() -> Finding:
    """In the scaled shape alone: the embedded one is a single process, and may run the signer as its child."""
    if settings.EMBEDDED or settings.SIGNER_SOCKET or settings.SIGNER_IN_PROCESS:
        return None
    return "KEYCAST_EMBEDDED=0 without a signer of its own."


def signer_not_running() -> Finding:
    is_left_alone = settings.SIGNER_IS_CHILD and not settings.EMBEDDED
    return "KEYCAST_SIGNER_CHILD=1 with KEYCAST_EMBEDDED=0." if is_left_alone else None


def no_field_key() -> Finding:
    return None if settings.FIELD_KEYS else "Neither KEYCAST_FIELD_KEY nor KEYCAST_FIELD_KEY_FILE is set."


def named(variable: str) -> bool:
    """Tell whether a secret is given, directly or by file."""
    return bool(os.environ.get(variable) or os.environ.get(f"{variable}_FILE"))


def secret_file_is_readable() -> Finding:
    files = {f"{name}_FILE": os.environ.get(f"{name}_FILE", "") for name in SECRETS}
    files[".env"] = str(settings.ENV_FILE) if settings.ENV_FILE else ""
    found = [text for name, path in files.items() if (text := readable_by_others(path, name))]
    return " ".join(found) or None


def database_is_readable() -> Finding:
    """The file of SQLite, and what it writes beside it."""
    if not settings.IS_SQLITE:
        return None
    path = database_file()
    found = [text for end in ("", "-wal", "-shm") if (text := readable_by_others(path + end, f"{path}{end}"))]
    return " ".join(found) or None


def database_file() -> str:
    return str(settings.DATABASES["default"]["NAME"])


def readable_by_others(path: str, name: str) -> Finding:
    """Say so if others, or a group, may read the file; a missing file is another rule's business.

    What belongs to root and is given to us by our group is not ours to change (Secrets of Kubernetes, credentials of
    systemd); what others may read is never right.
    """
    if not path:
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    is_given = status.st_uid == 0 and os.geteuid() != 0
    refused = stat.S_IRWXO if is_given else stat.S_IRWXG | stat.S_IRWXO
    return (
        f"{name} may be read by others (mode {stat.S_IMODE(status.st_mode):o})." if status.st_mode & refused else None
    )


def emulator_is_used() -> Finding:
    is_used = os.environ.get("KEYCAST_EMULATOR") or settings.KMS_EMULATOR or settings.NETHSM_EMULATOR
    host = settings.KMS_ENDPOINT.partition(":")[0]
    is_elsewhere = bool(host) and not host.endswith(".googleapis.com")
    return "An emulator of an HSM is configured." if is_used or is_elsewhere else None


def nethsm_is_spoken_to_in_clear() -> Finding:
    url = settings.NETHSM_URL
    return "KEYCAST_NETHSM_URL is not https." if url and not url.startswith("https://") else None


def pkcs11_is_not_usable() -> Finding:
    """What is missing or unsafe in this process; whether the token answers is for doctor."""
    if not _uses_pkcs11():
        return None
    if importlib.util.find_spec("pkcs11") is None:
        return "Keys are to be behind PKCS#11, and Python's library for it is not installed."
    if not Path(settings.PKCS11_MODULE).is_absolute() or not Path(settings.PKCS11_MODULE).is_file():
        return "KEYCAST_PKCS11_MODULE is not the absolute path of a file."
    missing = [f"KEYCAST_PKCS11_{name}" for name in ("TOKEN", "PIN") if not getattr(settings, f"PKCS11_{name}")]
    return f"{' and '.join(missing)} not set." if missing else None


def pkcs11_module_is_writable() -> Finding:
    """It is loaded into the process that holds halves; whoever may write to it runs there."""
    if not _uses_pkcs11():
        return None
    path = Path(settings.PKCS11_MODULE)
    try:
        found = [each for each in (path.resolve(), path.resolve().parent) if each.stat().st_mode & stat.S_IWOTH]
    except OSError:
        return None
    return f"Others may write to {found[0]}." if found else None


def pkcs11_token_is_software() -> Finding:
    is_used = _uses_pkcs11() and "softhsm" in settings.PKCS11_MODULE.lower()
    return "KEYCAST_PKCS11_MODULE is SoftHSM." if is_used else None


def _uses_pkcs11() -> bool:
    return "pkcs11" in (*settings.HSM_PROVIDERS, settings.KEK_PROVIDER)


def openbao_is_spoken_to_in_clear() -> Finding:
    url = settings.OPENBAO_URL
    return "KEYCAST_OPENBAO_URL is not https." if url and not url.startswith("https://") else None


def no_cosigner_key() -> Finding:
    """Only where the co-signer runs here, as the server's child: elsewhere it refuses by itself."""
    if not splits_here() or not settings.COSIGNER_IS_CHILD or named("KEYCAST_COSIGNER_KEK"):
        return None
    return "No key-encryption key of the co-signer: neither KEYCAST_COSIGNER_KEK nor KEYCAST_COSIGNER_KEK_FILE is set."


def cosigner_key_is_ours() -> Finding:
    if not named("KEYCAST_COSIGNER_KEK"):
        return None
    shared = key_lines("KEYCAST_KEK").keys() & key_lines("KEYCAST_COSIGNER_KEK").keys()
    return "The co-signer has a key-encryption key that is also ours." if shared else None


def key_lines(variable: str) -> dict[str, str]:
    """The versions of a key-encryption key setting by their keys; none when its file cannot be read."""
    text, path = os.environ.get(variable, ""), os.environ.get(f"{variable}_FILE", "")
    if path:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text += "\n" + Path(path).read_text(encoding="ascii")
    lines = (line.strip() for line in text.splitlines())
    words = [word.partition(":") for line in lines if not line.startswith("#") for word in line.split()]
    return {key: version for version, _, key in words if key}


def rows(query: Callable[[], bool]) -> bool:
    """Answer of a query, or False where there is no table yet (the first migration runs these checks too)."""
    try:
        # The checks ask of the whole deployment.
        with scopes_disabled():
            return query()
    except (OperationalError, ProgrammingError):
        return False


def demo_tenant_is_present() -> Finding:
    from accounts.models import TenantDomain  # noqa: PLC0415  (the app registry must be ready)
    from accounts.services.domains import LOCAL_HOSTS  # noqa: PLC0415

    if rows(lambda: TenantDomain.objects.filter(host__in=LOCAL_HOSTS).exists()):
        return "The database has a tenant at localhost, as the demo makes it."
    return None


def development_keys_are_present() -> Finding:
    from keys.models import PersonalKey  # noqa: PLC0415

    if rows(lambda: PersonalKey.objects.filter(kek_version__startswith="development").exists()):
        return "The database has keys sealed under a development key-encryption key."
    return None
