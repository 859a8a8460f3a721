"""System checks of our own: one table of dangerous mixes, each with its id and its reason.

``manage.py check --deploy`` runs them all. The fatal ones are ordinary checks that only ever fail in production, so
every command that serves refuses to start there; keycast.operations.startup runs them for the ASGI application as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution

from keycast import unsafe_settings
from keycast.operations.startup import FATAL

DEPLOY = "keycast"


@dataclass(frozen=True, slots=True)
class SettingsRule:
    """One dangerous mix. ``find`` returns what is wrong in one sentence, or None; ``reason`` says why it matters."""

    id: str
    find: Callable[[], unsafe_settings.Finding]
    reason: str
    hint: str
    fatal: bool = False
    needs_database: bool = False
    risk: str = ""
    """Name by which KEYCAST_ACCEPTED_RISKS starts all the same; empty: nothing does."""

    @property
    def is_accepted(self) -> bool:
        """Whether this installation starts with it all the same; then it is a warning."""
        return bool(self.risk) and self.risk in settings.ACCEPTED_RISKS

    def message(self) -> CheckMessage | None:
        found = self.find()
        if found is None:
            return None
        kind = Error if ".E" in self.id and not self.is_accepted else Caution
        override = f" To start all the same: KEYCAST_ACCEPTED_RISKS={self.risk}" if self.risk else ""
        return kind(f"{found} {self.reason}", hint=f"{self.hint}{override}", id=self.id)


def unknown_risks() -> unsafe_settings.Finding:
    found = sorted(set(settings.ACCEPTED_RISKS) - RISKS)
    return f"KEYCAST_ACCEPTED_RISKS knows no {', '.join(found)}." if found else None


RULES: tuple[SettingsRule, ...] = (
    SettingsRule(
        "keycast.E001",
        unsafe_settings.debug_is_on,
        "Error pages would show requests, settings and local variables, and published test keys would be accepted.",
        "Set DEBUG=0.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E002",
        unsafe_settings.secret_key_is_weak,
        "Sessions and one-time links could be forged.",
        "Set SECRET_KEY_FILE; .env.example shows how to make one.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E003",
        unsafe_settings.no_key_encryption_key,
        "Secret keys could not be sealed (docs/security-model.md).",
        "Make one with: manage.py generate_kek, and point KEYCAST_KEK_FILE at it.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E004",
        unsafe_settings.no_field_key,
        "Second factors would be stored under a key derived from SECRET_KEY.",
        "Set KEYCAST_FIELD_KEY_FILE to a file with 32 random bytes in base64.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E005",
        unsafe_settings.emulator_is_used,
        "An emulator protects nothing.",
        "Unset KEYCAST_EMULATOR, KEYCAST_KMS_EMULATOR, KEYCAST_NETHSM_EMULATOR, and KEYCAST_KMS_ENDPOINT where it "
        "names a host that is not Google's.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E006",
        unsafe_settings.demo_tenant_is_present,
        "Its passwords are printed in the documentation.",
        "Start production on a fresh database.",
        fatal=True,
        needs_database=True,
    ),
    SettingsRule(
        "keycast.E007",
        unsafe_settings.development_keys_are_present,
        "That key lies in a working copy, readable by whoever has it.",
        "Start production on a fresh database.",
        fatal=True,
        needs_database=True,
    ),
    SettingsRule(
        "keycast.E008",
        unsafe_settings.memory_layer_across_processes,
        "Messages of that layer never leave their process: workers would not hear of revocations in time, and the "
        "built-in relay would reach no worker.",
        "Set REDIS_URL, or KEYCAST_EMBEDDED=1 for one process.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E009",
        unsafe_settings.sqlite_across_processes,
        "SQLite has one writer: several web and bunker processes would wait for each other until requests fail.",
        "Set DATABASE_URL to PostgreSQL, or KEYCAST_EMBEDDED=1 for one process.",
    ),
    SettingsRule(
        "keycast.W010",
        unsafe_settings.embedded_on_postgresql,
        "Each web process would start its own bunker worker and job cluster.",
        "Set KEYCAST_EMBEDDED=0 and run `manage.py bunker` and `manage.py qcluster`, or keep to one web process.",
    ),
    SettingsRule(
        "keycast.W011",
        unsafe_settings.several_job_workers_on_sqlite,
        "They would only wait for each other's writes.",
        "Set KEYCAST_JOB_WORKERS=1.",
    ),
    SettingsRule(
        "keycast.E012",
        unsafe_settings.sqlite_is_lax,
        "Writes are lost under load, or an audit row is lost in a power cut (docs/decisions/0005).",
        "Leave the OPTIONS of keycast.settings as they are.",
    ),
    SettingsRule(
        "keycast.E013",
        unsafe_settings.library_out_of_bounds,
        "See keycast/base/versions.py.",
        "pip install --require-hashes -r requirements/production.txt",
    ),
    SettingsRule(
        "keycast.E014",
        unsafe_settings.cookies_are_insecure,
        "A session could be read off the wire or by a script.",
        "Use https: the cookies follow KEYCAST_PUBLIC_SCHEME.",
    ),
    SettingsRule(
        "keycast.E015",
        unsafe_settings.scheme_is_http,
        "Passwords, sessions and bunker secrets would cross the network in clear.",
        "Put a TLS proxy in front and set KEYCAST_PUBLIC_SCHEME=https.",
        fatal=True,
        risk="http",
    ),
    SettingsRule(
        "keycast.E016",
        unsafe_settings.no_strict_transport,
        "The first visit of a browser may be in clear (RFC 6797).",
        "Leave KEYCAST_HSTS_SECONDS as it is; every host of every tenant has to speak https.",
        fatal=True,
        risk="no-hsts",
    ),
    SettingsRule(
        "keycast.E017",
        unsafe_settings.no_platform_host,
        "The staff admin answers on every tenant's host.",
        "Set KEYCAST_PLATFORM_HOSTS to a host of its own.",
        fatal=True,
        risk="no-platform-host",
    ),
    SettingsRule(
        "keycast.E018",
        unsafe_settings.forwarded_host_is_trusted,
        "Any caller could choose the tenant by a header.",
        "Leave USE_X_FORWARDED_HOST off.",
    ),
    SettingsRule(
        "keycast.E019",
        unsafe_settings.many_trusted_proxies,
        "With more proxies named than there are, callers choose their own address and escape rate limits.",
        "Set it to the number of proxies that you run in front of Keycast.",
    ),
    SettingsRule(
        "keycast.E020",
        unsafe_settings.mail_goes_nowhere,
        "Sign-in codes would end in a log or nowhere.",
        "Set EMAIL_URL to an SMTP server.",
        fatal=True,
        risk="no-mail",
    ),
    SettingsRule(
        "keycast.W021",
        unsafe_settings.private_relays_are_allowed,
        "Users could make the worker connect to your inner network (SSRF).",
        "Unset KEYCAST_RELAY_ALLOW_PRIVATE unless you run such a relay on purpose.",
    ),
    SettingsRule(
        "keycast.W022",
        unsafe_settings.clear_text_relays,
        "Whoever listens sees which signer is asked when.",
        "Use wss:// relays.",
    ),
    SettingsRule(
        "keycast.E023",
        unsafe_settings.secret_file_is_readable,
        "Another account on the machine could open every key.",
        "chmod 600, owned by the account that Keycast runs as.",
        fatal=True,
        risk="readable-secrets",
    ),
    SettingsRule(
        "keycast.E024",
        unsafe_settings.nethsm_is_spoken_to_in_clear,
        "Whoever listens would read the passphrases of the HSM's users.",
        "Use https, and give the device's certificate in KEYCAST_NETHSM_CA_FILE.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E025",
        unsafe_settings.no_cosigner_key,
        "Halves of split keys could not be sealed (docs/hsm.md).",
        "Make one with: manage.py generate_kek --path FILE, and point KEYCAST_COSIGNER_KEK_FILE at it.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E026",
        unsafe_settings.cosigner_key_is_ours,
        "One key would open both halves of every split key.",
        "Make a key of its own for the co-signer, and refresh the halves (docs/hsm.md).",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E027",
        unsafe_settings.key_beside_the_signer,
        "KEYCAST_SIGNER_SOCKET is there to keep key-encryption keys out of it.",
        "Give them to manage.py signer alone; with KEYCAST_SIGNER_CHILD=1 in a file (KEYCAST_KEK_FILE).",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E028",
        unsafe_settings.signer_not_running,
        "Only the server of the embedded shape runs the signer as its child.",
        "Run manage.py signer as a service, and name its socket in KEYCAST_SIGNER_SOCKET.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E029",
        unsafe_settings.mail_waits_for_ever,
        "A mail server that does not answer would hold jobs and the watchdog for as long as it likes.",
        "Set KEYCAST_EMAIL_TIMEOUT to a few seconds; unset, it is 10.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.W030",
        unsafe_settings.no_restore_journal,
        "A restored backup would bring destroyed keys and revoked apps back, and nobody would notice.",
        "Name a file on another disk than the database's (docs/operations.md, Backup and restore).",
    ),
    SettingsRule(
        "keycast.E035",
        unsafe_settings.no_signer_of_its_own,
        "Web, workers and jobs would each hold the key-encryption key: what breaks into one of them has every key.",
        "Run manage.py signer, name its socket in KEYCAST_SIGNER_SOCKET and give KEYCAST_KEK_FILE to it alone; or "
        "accept it: KEYCAST_SIGNER_IN_PROCESS=1.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E031",
        unsafe_settings.hand_made_keys,
        "Whoever guesses it opens everything that it seals.",
        "Make keys with: manage.py generate_kek, openssl rand -base64 32, manage.py generate_checkpoint_key. What is "
        "sealed under a key that was guessed is to be sealed anew (docs/key-rotation.md).",
        fatal=True,
        risk="hand-made-keys",
    ),
    SettingsRule(
        "keycast.E032",
        unsafe_settings.equal_secrets,
        "Whoever learns it in one place has it in the other.",
        "Make each secret for itself (.env.example).",
        fatal=True,
        risk="equal-secrets",
    ),
    SettingsRule(
        "keycast.E033",
        unsafe_settings.development_keys_among_earlier,
        "It is published, or lies in a working copy.",
        "Take it out. Sessions that it signed end; rotate away from a key-encryption key first (docs/key-rotation.md).",
        fatal=True,
        risk="development-keys",
    ),
    SettingsRule(
        "keycast.E034",
        unsafe_settings.database_is_readable,
        "It names every person, app and key, and what each did.",
        "Run: manage.py migrate, which makes it its owner's alone; or chmod 600.",
        fatal=True,
        risk="readable-database",
    ),
    SettingsRule(
        "keycast.E036",
        unknown_risks,
        "What it was meant to accept is refused, or nothing is.",
        "Take it out, or write it as in .env.example.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E150",
        unsafe_settings.pkcs11_is_not_usable,
        "No key in the HSM could be made or used.",
        "pip install --require-hashes -r requirements/pkcs11.txt, and set the KEYCAST_PKCS11_ variables (docs/hsm.md).",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E151",
        unsafe_settings.pkcs11_module_is_writable,
        "The module runs inside the processes that hold halves of keys: who changes it, has them.",
        "chmod o-w, for the file and its folder.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E152",
        unsafe_settings.pkcs11_token_is_software,
        "Its keys lie in files, readable by whoever has them and the PIN: no HSM guards anything.",
        "Name the module of an HSM, or keep keys in the mode “Encrypted”.",
        fatal=True,
    ),
    SettingsRule(
        "keycast.E153",
        unsafe_settings.openbao_is_spoken_to_in_clear,
        "Whoever listens would read the tokens.",
        "Use https, and give the server's certificate in KEYCAST_OPENBAO_CA_FILE.",
        fatal=True,
    ),
)
RISKS = frozenset(rule.risk for rule in RULES if rule.risk)


def messages(rules: Iterable[SettingsRule]) -> list[CheckMessage]:
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
