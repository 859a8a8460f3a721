"""System checks of our own: one table of dangerous mixes, each with its id and its reason.

``manage.py check --deploy`` runs them all. The fatal ones are ordinary checks that only ever fail in production, so
every command that serves refuses to start there; keycast.startup runs them for the ASGI application as well.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.db import OperationalError, ProgrammingError
from django_scopes import scopes_disabled

from keycast import versions

FATAL = "keycast_fatal"
DEPLOY = "keycast"

SHORTEST_SECRET = 50
"""Characters; Django's own security.W009 asks for the same."""

Finding = str | None


@dataclass(frozen=True, slots=True)
class Rule:
    """One dangerous mix. ``find`` returns what is wrong in one sentence, or None; ``reason`` says why it matters."""

    id: str
    find: Callable[[], Finding]
    reason: str
    hint: str
    fatal: bool = False
    needs_database: bool = False

    def message(self) -> CheckMessage | None:
        found = self.find()
        if found is None:
            return None
        kind = Error if ".E" in self.id else Caution
        return kind(f"{found} {self.reason}", hint=self.hint, id=self.id)


# --- what to look for -------------------------------------------------------------------------------------------------


def debug_is_on() -> Finding:
    return "DEBUG is on." if settings.DEBUG else None


def secret_key_is_weak() -> Finding:
    key = settings.SECRET_KEY
    if key.startswith("insecure-"):
        return "SECRET_KEY is the development one."
    if len(key) < SHORTEST_SECRET or len(set(key)) < 5:
        return f"SECRET_KEY has fewer than {SHORTEST_SECRET} characters, or hardly any different ones."
    return None


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
    return None if settings.SECURE_HSTS_SECONDS else "SECURE_HSTS_SECONDS is 0."


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


def private_relays_are_allowed() -> Finding:
    hosts = settings.RELAY_ALLOWED_PRIVATE_HOSTS
    return f"KEYCAST_RELAY_ALLOW_PRIVATE names {', '.join(hosts)}." if hosts else None


def clear_text_relays() -> Finding:
    found = [url for url in settings.OUTBOUND_RELAYS if not url.startswith("wss://")]
    return f"KEYCAST_RELAYS has {', '.join(found)}." if found else None


def no_key_encryption_key() -> Finding:
    if settings.KEK_PROVIDER != "local" or named("KEYCAST_KEK"):
        return None
    return "No key-encryption key: neither KEYCAST_KEK nor KEYCAST_KEK_FILE is set."


def no_field_key() -> Finding:
    return None if settings.FIELD_KEYS else "Neither KEYCAST_FIELD_KEY nor KEYCAST_FIELD_KEY_FILE is set."


def named(variable: str) -> bool:
    """Tell whether a secret is given, directly or by file."""
    return bool(os.environ.get(variable) or os.environ.get(f"{variable}_FILE"))


def secret_file_is_readable() -> Finding:
    names = ("SECRET_KEY_FILE", "KEYCAST_KEK_FILE", "KEYCAST_FIELD_KEY_FILE", "KEYCAST_COSIGNER_KEK_FILE")
    found = [text for name in names if (text := readable_by_others(os.environ.get(name, ""), name))]
    return " ".join(found) or None


def readable_by_others(path: str, name: str) -> Finding:
    """Say so if group or others may read the file; a missing file is another rule's business."""
    if not path:
        return None
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except OSError:
        return None
    return f"{name} may be read by others (mode {mode:o})." if mode & (stat.S_IRWXG | stat.S_IRWXO) else None


def emulator_is_used() -> Finding:
    is_used = os.environ.get("KEYCAST_EMULATOR") or settings.KMS_EMULATOR or settings.NETHSM_EMULATOR
    host = settings.KMS_ENDPOINT.partition(":")[0]
    is_elsewhere = bool(host) and not host.endswith(".googleapis.com")
    return "An emulator of an HSM is configured." if is_used or is_elsewhere else None


def nethsm_is_spoken_to_in_clear() -> Finding:
    url = settings.NETHSM_URL
    return "KEYCAST_NETHSM_URL is not https." if url and not url.startswith("https://") else None


def no_cosigner_key() -> Finding:
    """Only where the co-signer runs here, as the server's child: elsewhere it refuses by itself."""
    if "google" not in settings.HSM_PROVIDERS or not settings.COSIGNER_IS_CHILD or named("KEYCAST_COSIGNER_KEK"):
        return None
    return "No key-encryption key of the co-signer: neither KEYCAST_COSIGNER_KEK nor KEYCAST_COSIGNER_KEK_FILE is set."


def cosigner_key_is_ours() -> Finding:
    shared = key_lines("KEYCAST_KEK") & key_lines("KEYCAST_COSIGNER_KEK")
    return "The co-signer has a key-encryption key that is also ours." if shared else None


def key_lines(variable: str) -> set[str]:
    """The keys of a key-encryption key setting, without their versions; none when its file cannot be read."""
    text, path = os.environ.get(variable, ""), os.environ.get(f"{variable}_FILE", "")
    if path:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text += "\n" + Path(path).read_text(encoding="ascii")
    lines = (line.strip() for line in text.replace(",", "\n").splitlines())
    return {line.partition(":")[2].strip() for line in lines if ":" in line and not line.startswith("#")} - {""}


def rows(query: Callable[[], bool]) -> bool:
    """Answer of a query, or False where there is no table yet (the first migration runs these checks too)."""
    try:
        with scopes_disabled():
            return query()
    except (OperationalError, ProgrammingError):
        return False


def demo_tenant_is_present() -> Finding:
    from accounts.models import TenantDomain  # noqa: PLC0415  (the app registry must be ready)

    local = {"localhost", "127.0.0.1", "[::1]"}
    if rows(lambda: TenantDomain.objects.filter(host__in=local).exists()):
        return "The database has a tenant at localhost, as the demo makes it."
    return None


def development_keys_are_present() -> Finding:
    from keys.models import PersonalKey  # noqa: PLC0415

    if rows(lambda: PersonalKey.objects.filter(kek_version__startswith="development").exists()):
        return "The database has keys sealed under a development key-encryption key."
    return None


# --- the table --------------------------------------------------------------------------------------------------------

RULES: tuple[Rule, ...] = (
    Rule(
        "keycast.E001",
        debug_is_on,
        "Error pages would show requests, settings and local variables, and published test keys would be accepted.",
        "Set DEBUG=0.",
        fatal=True,
    ),
    Rule(
        "keycast.E002",
        secret_key_is_weak,
        "Sessions and one-time links could be forged.",
        "Set SECRET_KEY_FILE; .env.example shows how to make one.",
        fatal=True,
    ),
    Rule(
        "keycast.E003",
        no_key_encryption_key,
        "Secret keys could not be sealed (docs/security-model.md).",
        "Make one with: manage.py generate_kek, and point KEYCAST_KEK_FILE at it.",
        fatal=True,
    ),
    Rule(
        "keycast.E004",
        no_field_key,
        "Second factors would be stored under a key derived from SECRET_KEY.",
        "Set KEYCAST_FIELD_KEY_FILE to a file with 32 random bytes in base64.",
        fatal=True,
    ),
    Rule(
        "keycast.E005",
        emulator_is_used,
        "An emulator protects nothing.",
        "Unset KEYCAST_EMULATOR, KEYCAST_KMS_EMULATOR, KEYCAST_NETHSM_EMULATOR, and KEYCAST_KMS_ENDPOINT where it "
        "names a host that is not Google's.",
        fatal=True,
    ),
    Rule(
        "keycast.E006",
        demo_tenant_is_present,
        "Its passwords are printed in the documentation.",
        "Start production on a fresh database.",
        fatal=True,
        needs_database=True,
    ),
    Rule(
        "keycast.E007",
        development_keys_are_present,
        "That key lies in a working copy, readable by whoever has it.",
        "Start production on a fresh database.",
        fatal=True,
        needs_database=True,
    ),
    Rule(
        "keycast.E008",
        memory_layer_across_processes,
        "Messages of that layer never leave their process: workers would not hear of revocations in time, and the "
        "built-in relay would reach no worker.",
        "Set REDIS_URL, or KEYCAST_EMBEDDED=1 for one process.",
        fatal=True,
    ),
    Rule(
        "keycast.E009",
        sqlite_across_processes,
        "SQLite has one writer: several web and bunker processes would wait for each other until requests fail.",
        "Set DATABASE_URL to PostgreSQL, or KEYCAST_EMBEDDED=1 for one process.",
    ),
    Rule(
        "keycast.W010",
        embedded_on_postgresql,
        "Each web process would start its own bunker worker and job cluster.",
        "Set KEYCAST_EMBEDDED=0 and run `manage.py bunker` and `manage.py qcluster`, or keep to one web process.",
    ),
    Rule(
        "keycast.W011",
        several_job_workers_on_sqlite,
        "They would only wait for each other's writes.",
        "Set KEYCAST_JOB_WORKERS=1.",
    ),
    Rule(
        "keycast.E012",
        sqlite_is_lax,
        "Writes are lost under load, or an audit row is lost in a power cut (docs/decisions/0005).",
        "Leave the OPTIONS of keycast.settings as they are.",
    ),
    Rule(
        "keycast.E013",
        library_out_of_bounds,
        "See keycast/versions.py.",
        "pip install --require-hashes -r requirements/production.txt",
    ),
    Rule(
        "keycast.E014",
        cookies_are_insecure,
        "A session could be read off the wire or by a script.",
        "Use https: the cookies follow KEYCAST_PUBLIC_SCHEME.",
    ),
    Rule(
        "keycast.E015",
        scheme_is_http,
        "Passwords, sessions and bunker secrets would cross the network in clear.",
        "Put a TLS proxy in front and set KEYCAST_PUBLIC_SCHEME=https.",
    ),
    Rule(
        "keycast.W016",
        no_strict_transport,
        "The first visit of a browser may be in clear (RFC 6797).",
        "Set KEYCAST_HSTS_SECONDS once every host of every tenant speaks https.",
    ),
    Rule(
        "keycast.W017",
        no_platform_host,
        "The staff admin answers on every tenant's host.",
        "Set KEYCAST_PLATFORM_HOSTS to a host of its own.",
    ),
    Rule(
        "keycast.E018",
        forwarded_host_is_trusted,
        "Any caller could choose the tenant by a header.",
        "Leave USE_X_FORWARDED_HOST off.",
    ),
    Rule(
        "keycast.E019",
        many_trusted_proxies,
        "With more proxies named than there are, callers choose their own address and escape rate limits.",
        "Set it to the number of proxies that you run in front of Keycast.",
    ),
    Rule(
        "keycast.E020",
        mail_goes_nowhere,
        "Sign-in codes would end in a log or nowhere.",
        "Set EMAIL_URL to an SMTP server.",
    ),
    Rule(
        "keycast.W021",
        private_relays_are_allowed,
        "Users could make the worker connect to your inner network (SSRF).",
        "Unset KEYCAST_RELAY_ALLOW_PRIVATE unless you run such a relay on purpose.",
    ),
    Rule(
        "keycast.W022",
        clear_text_relays,
        "Whoever listens sees which signer is asked when.",
        "Use wss:// relays.",
    ),
    Rule(
        "keycast.E023",
        secret_file_is_readable,
        "Another account on the machine could open every key.",
        "chmod 600, owned by the account that Keycast runs as.",
    ),
    Rule(
        "keycast.E024",
        nethsm_is_spoken_to_in_clear,
        "Whoever listens would read the passphrases of the HSM's users.",
        "Use https, and give the device's certificate in KEYCAST_NETHSM_CA_FILE.",
        fatal=True,
    ),
    Rule(
        "keycast.E025",
        no_cosigner_key,
        "Halves of split keys could not be sealed (docs/hsm.md).",
        "Make one with: manage.py generate_kek --path FILE, and point KEYCAST_COSIGNER_KEK_FILE at it.",
        fatal=True,
    ),
    Rule(
        "keycast.E026",
        cosigner_key_is_ours,
        "One key would open both halves of every split key.",
        "Make a key of its own for the co-signer, and refresh the halves (docs/hsm.md).",
        fatal=True,
    ),
)


def messages(rules: Iterable[Rule]) -> list[CheckMessage]:
    """Outcome of some rules; an id appears at most once."""
    return [message for rule in rules if (message := rule.message())]


@register(FATAL)
def check_fatal(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """What must not start in production, by settings alone."""
    if not settings.IS_PRODUCTION:
        return []
    return messages(rule for rule in RULES if rule.fatal and not rule.needs_database)


@register(FATAL, Tags.database)
def check_fatal_rows(app_configs: Any = None, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """What must not start in production, by what the database holds."""
    if not settings.IS_PRODUCTION or not databases:
        return []
    return messages(rule for rule in RULES if rule.fatal and rule.needs_database)


@register(DEPLOY, deploy=True)
def check_deploy(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Everything else that an operator should know before opening the doors."""
    return messages(rule for rule in RULES if not rule.fatal)
