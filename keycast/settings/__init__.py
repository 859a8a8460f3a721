"""Settings, read from the environment (twelve-factor). Every variable is described in .env.example.

``KEYCAST_ENVIRONMENT`` is ``production`` unless it says otherwise: a forgotten variable makes the server refuse
to start (keycast.checks), never makes it lenient.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from keycast.base import logging
from keycast.settings.env import env, secret

PACKAGE_DIR = Path(__file__).resolve().parent.parent
# A checkout has templates and static files beside the package, an installed copy in it (pyproject.toml). Data and .env
# are the checkout's, or where the installed command is run: never in site-packages, which an upgrade replaces.
IS_CHECKOUT = (PACKAGE_DIR.parent / "manage.py").is_file()
RESOURCES_DIR = PACKAGE_DIR.parent if IS_CHECKOUT else PACKAGE_DIR
BASE_DIR = PACKAGE_DIR.parent if IS_CHECKOUT else Path.cwd()
env_file = BASE_DIR / ".env"
ENV_FILE: Path | None = None
if env_file.is_file() and os.environ.get("KEYCAST_ENVIRONMENT") != "test":
    ENV_FILE = env_file
    env.read_env(str(env_file))

ENVIRONMENT = env.str("KEYCAST_ENVIRONMENT", default="production")
if ENVIRONMENT not in {"production", "development", "test"}:
    raise ImproperlyConfigured("KEYCAST_ENVIRONMENT must be production, development or test.")
IS_PRODUCTION = ENVIRONMENT == "production"
# A client of any bunker touches no data of ours; who makes keys needs none that are there. Neither serves anybody.
IS_CLIENT = sys.argv[1:2] == ["nip46"]
NEEDS_SECRETS = IS_PRODUCTION and sys.argv[1:2] not in (["nip46"], ["generate_kek"], ["generate_checkpoint_key"])
# Names of rules that would refuse a start (keycast.checks), with which this installation is to start all the same
ACCEPTED_RISKS = env.list("KEYCAST_ACCEPTED_RISKS", default=[])
DEBUG = env.bool("DEBUG", default=False)
DATA_DIR = Path(env.str("KEYCAST_DATA_DIR", default=str(BASE_DIR / "var")))

SECRET_KEY = secret("SECRET_KEY", None if NEEDS_SECRETS else "insecure-development-only-secret-key-do-not-deploy")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# Hosts are checked against verified tenant domains by accounts.middleware; Django's own list only adds to that.
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["*"])
TRUSTED_PROXY_COUNT = env.int("KEYCAST_TRUSTED_PROXIES", default=0)
PLATFORM_HOSTS = env.list("KEYCAST_PLATFORM_HOSTS", default=[])
PUBLIC_SCHEME = env.str("KEYCAST_PUBLIC_SCHEME", default="https" if IS_PRODUCTION else "http")
PUBLIC_PORT = env.int("KEYCAST_PUBLIC_PORT", default=443 if IS_PRODUCTION else 8000)
LISTEN_HOST = env.str("KEYCAST_LISTEN_HOST", default="127.0.0.1")
LISTEN_PORT = env.int("KEYCAST_LISTEN_PORT", default=8000)
CONNECTION_LIMITS = env.dict("KEYCAST_CONNECTION_LIMITS", default={})
PROBE_TOKEN = secret("KEYCAST_PROBE_TOKEN", "")
METRICS_PORT = env.int("KEYCAST_METRICS_PORT", default=0)

INSTALLED_APPS = [
    "keycast.apps.KeycastConfig",
    "keycast.console.apps.ConsoleConfig",
    "keycast.demo",
    "keycast.audit",
    "keycast.operations",
    "accounts",
    "keys",
    "bunker",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "keycast.console.apps.ConsoleAdminConfig",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_q",
    "rest_framework",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "django_htmx",
]

MIDDLEWARE = [
    "keycast.operations.probes.ProbeMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "accounts.middleware.TenantMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "accounts.portal.headers.no_store",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.SessionTenantMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.signin.freshness.FreshSignInMiddleware",
    "keycast.base.error_pages.ErrorMiddleware",
]

ROOT_URLCONF = "keycast.urls"
ASGI_APPLICATION = "keycast.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [RESOURCES_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.portal.context.portal",
            ],
        },
    },
]

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'keycast.sqlite3'}")}
IS_SQLITE = DATABASES["default"]["ENGINE"].endswith("sqlite3")
if IS_SQLITE:
    # WAL + IMMEDIATE: without them six writers lost a fifth of their writes. FULL: an audit row outlives a power cut.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 5,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;",
    }
else:
    DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="")
# Version 1 of entries were pickles: processes of 0.1 that still run would stumble over JSON under the same names.
if REDIS_URL:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}}
    CACHES = {"default": {"BACKEND": "keycast.base.caches.JsonRedisCache", "LOCATION": REDIS_URL, "VERSION": 2}}
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {
        "default": {
            "BACKEND": "keycast.base.caches.JsonDatabaseCache",
            "LOCATION": "django_cache",
            "VERSION": 2,
            # Counters of wrong passwords are kept here. With Django's 300 entries, whoever makes 300 others has a third
            # of all thrown out, his own counter among them.
            "OPTIONS": {"MAX_ENTRIES": 50_000, "CULL_FREQUENCY": 10},
        }
    }

# Jobs are signed JSON in the database (keycast.operations.job_packages); nothing is cached or kept by django-q2 itself.
Q_CLUSTER = {
    "name": "keycast-jobs",
    "orm": "default",
    "broker_class": "keycast.operations.job_broker.JobBroker",
    "workers": env.int("KEYCAST_JOB_WORKERS", default=1),
    "timeout": 300,
    "retry": 360,
    "max_attempts": 3,
    "label": "Jobs",
}
# Longer than one job may take (timeout above), or a long job would look like a cluster that hangs.
JOBS_SILENT_SECONDS = env.int("KEYCAST_JOBS_SILENT_SECONDS", default=420)

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
HASHES_AT_ONCE = env.int("KEYCAST_HASHES_AT_ONCE", default=2)
PASSWORD_HASHERS = [
    "accounts.signin.hashers.BoundedArgon2Hasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

# Sealed with it: TOTP secrets, recovery codes, sessions. Several keys: the first seals, all open.
FIELD_KEYS = secret("KEYCAST_FIELD_KEY", None if NEEDS_SECRETS else "").replace(",", " ").split()
SESSION_ENGINE = "accounts.sessions"
# Sign-in by e-mailed code, password, passkey, TOTP (accounts.signin); no answer tells whether an address is known.
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "accounts.signin.adapter.AccountAdapter"
ACCOUNT_FORMS = {"signup": "accounts.signin.forms.SignupForm"}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
ACCOUNT_LOGIN_BY_CODE_SUPPORTS_RESEND = True
ACCOUNT_PASSWORD_RESET_BY_CODE_ENABLED = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = PUBLIC_SCHEME
MFA_ADAPTER = "accounts.signin.authenticators.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_USER_VERIFICATION = "required"  # a passkey alone signs in, so it has to be two factors in one
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_PRODUCTION and PUBLIC_SCHEME == "http"
MFA_TOTP_TOLERANCE = 1

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("KEYCAST_STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
# An installed copy has them in the package, where they are found as those of the app keycast.
STATICFILES_DIRS = [RESOURCES_DIR / "static"] if IS_CHECKOUT else []
WHITENOISE_USE_FINDERS = not IS_PRODUCTION
STATIC_STORAGE = "whitenoise.storage.CompressedManifestStaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {
        "BACKEND": STATIC_STORAGE if IS_PRODUCTION else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
if not IS_PRODUCTION and not IS_CLIENT:
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)

# What browsers may do here. Everything not named is refused; no inline script or style anywhere.
IS_HTTPS = PUBLIC_SCHEME == "https"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}
PERMISSIONS_POLICY: dict[str, list[str]] = {
    **{name: [] for name in ("camera", "geolocation", "microphone", "payment", "usb")},
    "publickey-credentials-get": ["self"],
    "publickey-credentials-create": ["self"],
}
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_NAME = "__Host-session" if IS_HTTPS else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if IS_HTTPS else "csrf"
SESSION_COOKIE_AGE = env.int("KEYCAST_SESSION_SECONDS", default=14 * 24 * 3600)
SECURE_HSTS_SECONDS = env.int("KEYCAST_HSTS_SECONDS", default=365 * 24 * 3600 if IS_PRODUCTION else 0)
# Without a trusted proxy the scheme of the outside is unknown, and a redirect would go in circles.
SECURE_SSL_REDIRECT = env.bool("KEYCAST_SSL_REDIRECT", default=IS_HTTPS and TRUSTED_PROXY_COUNT > 0)
# Subdomains and preload lists of tenants' domains are not ours to decide on.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if not SECURE_SSL_REDIRECT:
    SILENCED_SYSTEM_CHECKS.append("security.W008")
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 300

# E-mail (sign-in codes, invitations). Errors are never mailed: they could carry what a request carried.
vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
# For each answer of the mail server, so that one that does not answer holds nobody for long
EMAIL_TIMEOUT = env.float("KEYCAST_EMAIL_TIMEOUT", default=10.0)
DEFAULT_FROM_EMAIL = env.str("KEYCAST_EMAIL_FROM", default="Keycast <keycast@localhost>")
ADMINS: list[tuple[str, str]] = []
DEFAULT_EXCEPTION_REPORTER = "keycast.base.error_pages.WithoutLocals"

LOGGING = logging.configure(
    json_lines=env.bool("KEYCAST_LOG_JSON", default=IS_PRODUCTION),
    level=env.str("KEYCAST_LOG_LEVEL", default="INFO"),
)

# Bounds of a tenant where staff set none of its own (accounts.quotas)
TENANT_QUOTAS: dict[str, int] = {
    "relays": 25,
    **env.dict("KEYCAST_TENANT_QUOTAS", cast={"value": int}, default={}),
}
if unknown_quotas := set(TENANT_QUOTAS) - {"members", "keys", "apps", "signatures", "relays"}:
    raise ImproperlyConfigured(f"KEYCAST_TENANT_QUOTAS knows no {', '.join(sorted(unknown_quotas))}.")

# Custody
KEY_MODE = env.str("KEY_MODE", default="encrypted")
KEK_PROVIDER = env.str("KEYCAST_KEK_PROVIDER", default="local")
KEK_LEASE_SECONDS = env.int("KEYCAST_KEY_LEASE_SECONDS", default=60)
OPEN_KEYS_KEPT = env.int("KEYCAST_OPEN_KEYS", default=16_384)
NIP49_MAX_LOG_N = env.int("KEYCAST_NIP49_MAX_LOG_N", default=20)
NIP49_WEB_LOG_N = env.int("KEYCAST_NIP49_WEB_LOG_N", default=18)
NIP49_IMPORTS_PER_HOUR = env.int("KEYCAST_NIP49_IMPORTS_PER_HOUR", default=3)
KEY_EXPORT = env.bool("KEYCAST_KEY_EXPORT", default=False)
KEY_EXPORTS_PER_HOUR = env.int("KEYCAST_KEY_EXPORTS_PER_HOUR", default=20)
KEYS_PER_USER = env.int("KEYCAST_KEYS_PER_USER", default=100)
KEY_DESTRUCTION_DAYS = env.int("KEYCAST_KEY_DESTRUCTION_DAYS", default=30)
ROTATION_LEASE_SECONDS = env.float("KEYCAST_ROTATION_LEASE_SECONDS", default=60.0)
# The signer: in every process that signs, or (with a socket) in one of its own, which alone has key-encryption keys
SIGNER_IS_CHILD = env.bool("KEYCAST_SIGNER_CHILD", default=False)
SIGNER_SOCKET = env.str("KEYCAST_SIGNER_SOCKET", default="") or (
    str(DATA_DIR / "signer.sock") if SIGNER_IS_CHILD else ""
)
SIGNER_IN_PROCESS = env.bool("KEYCAST_SIGNER_IN_PROCESS", default=False)
SIGNER_USERS = env.list("KEYCAST_SIGNER_USERS", default=[])
# The co-signer: signer B of split keys, a process of its own
COSIGNER_SOCKET = env.str("KEYCAST_COSIGNER_SOCKET", default="") or str(DATA_DIR / "cosigner.sock")
COSIGNER_ADDRESS = env.str("KEYCAST_COSIGNER_ADDRESS", default="")
COSIGNER_IS_CHILD = not COSIGNER_ADDRESS and not env.str("KEYCAST_COSIGNER_SOCKET", default="")
COSIGNER_TLS_CA = env.str("KEYCAST_COSIGNER_TLS_CA", default="")
COSIGNER_TLS_CERT = env.str("KEYCAST_COSIGNER_TLS_CERT", default="")
COSIGNER_TLS_KEY = env.str("KEYCAST_COSIGNER_TLS_KEY", default="")
COSIGNER_DB = env.str("KEYCAST_COSIGNER_DB", default=str(DATA_DIR / "cosigner.sqlite3"))
COSIGNER_USERS = env.list("KEYCAST_COSIGNER_USERS", default=[])
COSIGNER_AUTHORISER_PROOF = env.str(
    "KEYCAST_COSIGNER_AUTHORISER_PROOF", default="attested" if IS_PRODUCTION else "first"
)
COSIGNER_AUTHORISER_DELAY_HOURS = env.float("KEYCAST_COSIGNER_AUTHORISER_DELAY_HOURS", default=24.0)
COSIGNER_ATTESTATION_ROOTS = env.str("KEYCAST_COSIGNER_ATTESTATION_ROOTS", default="")
COSIGNER_KEY_LIMIT = env.float("KEYCAST_COSIGNER_KEY_LIMIT", default=100.0)
COSIGNER_TENANT_LIMIT = env.float("KEYCAST_COSIGNER_TENANT_LIMIT", default=1000.0)
COSIGNER_KEY_SIGNATURES = env.int("KEYCAST_COSIGNER_KEY_SIGNATURES", default=100_000)
COSIGNER_KEY_OPENINGS = env.int("KEYCAST_COSIGNER_KEY_OPENINGS", default=100_000)
COSIGNER_TENANT_SIGNATURES = env.int("KEYCAST_COSIGNER_TENANT_SIGNATURES", default=0)
COSIGNER_TENANT_OPENINGS = env.int("KEYCAST_COSIGNER_TENANT_OPENINGS", default=0)
COSIGNER_KINDS = env.str("KEYCAST_COSIGNER_KINDS", default="")
COSIGNER_ASKED = env.str("KEYCAST_COSIGNER_ASKED", default="where-available")
COSIGNER_APPS = env.str("KEYCAST_COSIGNER_APPS", default="open")
COSIGNER_EMAIL_URL = secret("KEYCAST_COSIGNER_EMAIL_URL", default="")
COSIGNER_ALARM_TO = env.list("KEYCAST_COSIGNER_ALARM_TO", default=[])
COSIGNER_ALARM_FROM = env.str("KEYCAST_COSIGNER_ALARM_FROM", default="")
AUTHORISATION_COLLECT_MS = env.float("KEYCAST_AUTHORISATION_COLLECT_MS", default=20.0)
COSIGNER_SHARED_AUTHORISATIONS = env.bool("KEYCAST_COSIGNER_SHARED_AUTHORISATIONS", default=True)
READING_MINUTES = env.float("KEYCAST_READING_MINUTES", default=10.0)
READING_USES = env.int("KEYCAST_READING_USES", default=1000)
COSIGNER_READING_MINUTES = env.float("KEYCAST_COSIGNER_READING_MINUTES", default=15.0)
COSIGNER_READING_USES = env.int("KEYCAST_COSIGNER_READING_USES", default=2000)
COSIGNER_FORGET_DAYS = env.float("KEYCAST_COSIGNER_FORGET_DAYS", default=30.0)
COSIGNER_FORGETS_PER_HOUR = env.int("KEYCAST_COSIGNER_FORGETS_PER_HOUR", default=20)

# HSM (keys.hsm.registration)
HSM_PROVIDERS = env.list("KEYCAST_HSM_PROVIDERS", default=[])
GCP_KEY_RING = env.str("KEYCAST_GCP_KEY_RING", default="")
GCP_KEK = env.str("KEYCAST_GCP_KEK", default="")
# Two identities at Google: keys.hsm.google.identities
GCP_AUTHORISER_CREDENTIALS = env.str("KEYCAST_GCP_AUTHORISER_CREDENTIALS", default="")
GCP_KEEPER_CREDENTIALS = env.str("KEYCAST_GCP_KEEPER_CREDENTIALS", default="")
KMS_ENDPOINT = env.str("KEYCAST_KMS_ENDPOINT", default="")
HSM_INVENTORY_READS = env.int("KEYCAST_HSM_INVENTORY_READS", default=200)
KMS_EMULATOR = env.bool("KEYCAST_KMS_EMULATOR", default=False)
KMS_EMULATOR_PORT = env.int("KEYCAST_KMS_EMULATOR_PORT", default=0)
KMS_EMULATOR_SOCKET = "" if KMS_EMULATOR_PORT else str(DATA_DIR / "kms.sock")
# Where no emulator is named, the server of the embedded shape runs one.
KMS_EMULATOR_IS_CHILD = KMS_EMULATOR and not KMS_ENDPOINT and not IS_PRODUCTION
if KMS_EMULATOR_IS_CHILD:
    KMS_ENDPOINT = f"unix:{KMS_EMULATOR_SOCKET}" if KMS_EMULATOR_SOCKET else f"127.0.0.1:{KMS_EMULATOR_PORT}"
NETHSM_URL = env.str("KEYCAST_NETHSM_URL", default="")
NETHSM_CA_FILE = env.str("KEYCAST_NETHSM_CA_FILE", default="")
NETHSM_EMULATOR = env.bool("KEYCAST_NETHSM_EMULATOR", default=False)
NETHSM_OPERATOR_USER = env.str("KEYCAST_NETHSM_OPERATOR_USER", default="keycast")
NETHSM_OPERATOR_PASSWORD = secret("KEYCAST_NETHSM_OPERATOR_PASSWORD", default="")
NETHSM_ADMIN_USER = env.str("KEYCAST_NETHSM_ADMIN_USER", default="")
NETHSM_ADMIN_PASSWORD = secret("KEYCAST_NETHSM_ADMIN_PASSWORD", default="")
NETHSM_NAMESPACE_PASSWORD = secret("KEYCAST_NETHSM_NAMESPACE_PASSWORD", default="")
PKCS11_MODULE = env.str("KEYCAST_PKCS11_MODULE", default="")
PKCS11_TOKEN = env.str("KEYCAST_PKCS11_TOKEN", default="")
PKCS11_PIN = secret("KEYCAST_PKCS11_PIN", default="")
PKCS11_MANAGER_PIN = secret("KEYCAST_PKCS11_MANAGER_PIN", default="")
PKCS11_CURVE = env.str("KEYCAST_PKCS11_CURVE", default="secp256k1")
if PKCS11_CURVE not in {"secp256k1", "p256"}:
    raise ImproperlyConfigured("KEYCAST_PKCS11_CURVE must be secp256k1 or p256.")
PKCS11_KEK = env.str("KEYCAST_PKCS11_KEK", default="")
PKCS11_CAN_DISABLE = env.bool("KEYCAST_PKCS11_CAN_DISABLE", default=True)
OPENBAO_URL = env.str("KEYCAST_OPENBAO_URL", default="")
OPENBAO_CA_FILE = env.str("KEYCAST_OPENBAO_CA_FILE", default="")
OPENBAO_MOUNT = env.str("KEYCAST_OPENBAO_MOUNT", default="transit")
OPENBAO_TOKEN = env.str("KEYCAST_OPENBAO_TOKEN", default="")
OPENBAO_TOKEN_FILE = env.str("KEYCAST_OPENBAO_TOKEN_FILE", default="")
OPENBAO_MANAGER_TOKEN_FILE = env.str("KEYCAST_OPENBAO_MANAGER_TOKEN_FILE", default="")
OPENBAO_KEK = env.str("KEYCAST_OPENBAO_KEK", default="")
OPENBAO_CAN_DISABLE = env.bool("KEYCAST_OPENBAO_CAN_DISABLE", default=True)

# Audit log (docs/audit.md)
AUDIT_CHECKPOINT_KEY = secret("KEYCAST_AUDIT_CHECKPOINT_KEY", default="")
AUDIT_CHECKPOINT_KMS_KEY = env.str("KEYCAST_AUDIT_CHECKPOINT_KMS_KEY", default="")
AUDIT_CHECKPOINT_PUBLIC_KEYS = env.list("KEYCAST_AUDIT_CHECKPOINT_PUBLIC_KEYS", default=[])
AUDIT_CHECKPOINT_FILE = env.str("KEYCAST_AUDIT_CHECKPOINT_FILE", default="")
AUDIT_CHECKPOINT_SECONDS = env.int("KEYCAST_AUDIT_CHECKPOINT_SECONDS", default=600)
AUDIT_CHECKPOINT_ROWS = env.int("KEYCAST_AUDIT_CHECKPOINT_ROWS", default=10_000)
AUDIT_RETENTION_DAYS = env.int("KEYCAST_AUDIT_RETENTION_DAYS", default=0)
AUDIT_EXPORT_ROWS = env.int("KEYCAST_AUDIT_EXPORT_ROWS", default=100_000)

# What must not come undone when an older database is restored (keycast.audit.restore_journal)
RESTORE_JOURNAL = env.str(
    "KEYCAST_RESTORE_JOURNAL",
    # Its name until 0.1, still read.
    default=env.str("KEYCAST_ENDINGS_FILE", default=str(DATA_DIR / "endings.jsonl") if IS_PRODUCTION else ""),
)

# Bunker
EMBEDDED = env.bool("KEYCAST_EMBEDDED", default=True)
OUTBOUND_RELAYS = env.list("KEYCAST_RELAYS", default=[])
RELAY_ALLOWED_PRIVATE_HOSTS = env.list("KEYCAST_RELAY_ALLOW_PRIVATE", default=[])
RELAY_ALLOWED_PORTS = env.list("KEYCAST_RELAY_PORTS", cast=int, default=[])
RELAY_AUTH = env.str("KEYCAST_RELAY_AUTH", default="offered")
if RELAY_AUTH not in {"offered", "required"}:
    raise ImproperlyConfigured("KEYCAST_RELAY_AUTH must be offered or required.")
RELAY_LIMITS = env.dict("KEYCAST_RELAY_LIMITS", default={})
BUNKER_LIMITS = env.dict("KEYCAST_BUNKER_LIMITS", default={})
BUNKER_SECRET_LIFETIME = env.int("KEYCAST_BUNKER_SECRET_LIFETIME", default=600)
BUNKER_PAIRING_FAILURES = env.int("KEYCAST_PAIRING_FAILURES", default=5)
BUNKER_PAIRING_WINDOW = env.int("KEYCAST_PAIRING_WINDOW", default=900)
