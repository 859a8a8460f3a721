"""Settings, read from the environment (twelve-factor). Every variable is described in .env.example.

``KEYCAST_ENVIRONMENT`` is ``production`` unless it says otherwise: a forgotten variable makes the server refuse
to start (keycast.checks), never makes it lenient.
"""

from __future__ import annotations

from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from keycast.settings.env import env, secret

BASE_DIR = Path(__file__).resolve().parent.parent.parent
env_file = BASE_DIR / ".env"
if env_file.is_file():
    env.read_env(str(env_file))

ENVIRONMENT = env.str("KEYCAST_ENVIRONMENT", default="production")
if ENVIRONMENT not in {"production", "development", "test"}:
    raise ImproperlyConfigured("KEYCAST_ENVIRONMENT must be production, development or test.")
IS_PRODUCTION = ENVIRONMENT == "production"
DEBUG = env.bool("DEBUG", default=False)
DATA_DIR = Path(env.str("KEYCAST_DATA_DIR", default=str(BASE_DIR / "var")))

SECRET_KEY = secret("SECRET_KEY", None if IS_PRODUCTION else "insecure-development-only-secret-key-do-not-deploy")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# Hosts are checked against verified tenant domains by accounts.middleware; Django's own list only adds to that.
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["*"])
TRUSTED_PROXY_COUNT = env.int("KEYCAST_TRUSTED_PROXIES", default=0)
PLATFORM_HOSTS = env.list("KEYCAST_PLATFORM_HOSTS", default=[])
PUBLIC_SCHEME = env.str("KEYCAST_PUBLIC_SCHEME", default="https" if IS_PRODUCTION else "http")
PUBLIC_PORT = env.int("KEYCAST_PUBLIC_PORT", default=443 if IS_PRODUCTION else 8000)

INSTALLED_APPS = [
    "keycast.apps.KeycastConfig",
    "keycast.audit",
    "accounts",
    "keys",
    "bunker",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "keycast.apps.KeycastAdminConfig",
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
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "keycast.urls"
ASGI_APPLICATION = "keycast.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
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
if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
    }
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "django_cache"}}

Q_CLUSTER = {
    "name": "keycast",
    "orm": "default",
    "workers": env.int("KEYCAST_JOB_WORKERS", default=1),
    "timeout": 300,
    "retry": 360,
    "max_attempts": 3,
    "catch_up": False,
    "save_limit": 1000,
    "label": "Jobs",
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("KEYCAST_STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
STATICFILES_DIRS = [BASE_DIR / "static"]

# Custody
KEY_MODE = env.str("KEY_MODE", default="encrypted")
KEK_PROVIDER = env.str("KEYCAST_KEK_PROVIDER", default="local")
KEK_LEASE_SECONDS = env.int("KEYCAST_KEY_LEASE_SECONDS", default=60)

# Bunker
EMBEDDED = env.bool("KEYCAST_EMBEDDED", default=True)
OUTBOUND_RELAYS = env.list("KEYCAST_RELAYS", default=[])
RELAY_ALLOWED_PRIVATE_HOSTS = env.list("KEYCAST_RELAY_ALLOW_PRIVATE", default=[])
BUNKER_SECRET_LIFETIME = env.int("KEYCAST_BUNKER_SECRET_LIFETIME", default=600)
BUNKER_PAIRING_FAILURES = env.int("KEYCAST_PAIRING_FAILURES", default=5)
BUNKER_PAIRING_WINDOW = env.int("KEYCAST_PAIRING_WINDOW", default=900)
