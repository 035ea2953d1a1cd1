"""One settings file, read from the environment (the table is in docs/operations.md). Wiring only, no logic."""

from pathlib import Path

from csp.constants import NONCE, NONE, SELF
from django.templatetags.static import static

from config.backends import caches, channel_layers, databases, downloads, origin_of, redis_url, s3_bucket, storages
from config.env import (
    env_bool,
    env_choice,
    env_decimal,
    env_file,
    env_folder,
    env_hosts,
    env_int,
    env_origins,
    env_paths,
    env_slug,
    env_str,
    env_time_zone,
)
from config.logs import calm_down, is_no_probe
from config.secret import secret_key
from core.doorbells import queue_of
from generation.engines.params import PROMPT_LIMIT

ROOT = Path(__file__).resolve().parents[2]
DATA = env_folder("TESSERA_DATA", ROOT / "data")
DEBUG = env_bool("TESSERA_DEBUG", False)
SECRET_KEY = secret_key(DATA)

HOST = env_str("TESSERA_HOST", "127.0.0.1")
PORT = env_int("TESSERA_PORT", 8000, least=1, most=65535)
ALLOWED_HOSTS = env_hosts("TESSERA_ALLOWED_HOSTS", HOST)
CSRF_TRUSTED_ORIGINS = env_origins("TESSERA_TRUSTED_ORIGINS")
SECURE = env_bool("TESSERA_HTTPS", False)

# The first administrator; without a password one is made and shown once
ADMIN_EMAIL = env_str("TESSERA_ADMIN_EMAIL", "admin@tessera.local")
ADMIN_PASSWORD = env_str("TESSERA_ADMIN_PASSWORD")

# The engine room and the queue
# Of the device that a cluster started with these settings serves; one cluster for each, on any machine.
DEVICE_NAME = env_slug("TESSERA_DEVICE_NAME", "main")
DEVICE = env_choice("TESSERA_DEVICE", "auto", ["auto", "cpu", "cuda", "mps"])
# Where else checkpoints of the same names lie on this machine; how long a silent device is waited for.
CHECKPOINTS = env_paths("TESSERA_CHECKPOINTS")
GONE_MINUTES = env_int("TESSERA_GONE_MINUTES", 60, least=1, most=100_000)
THREADS = env_int("TESSERA_THREADS", 0, least=0, most=512)
# Where the engine room draws on the CPU, pages and streams come first.
ROOM_NICE = env_int("TESSERA_ROOM_NICE", 5, least=0, most=19)
LEASE_SECONDS = env_int("TESSERA_LEASE_SECONDS", 45, least=5, most=3600)
STALL_SECONDS = env_int("TESSERA_STALL_SECONDS", 120, least=5, most=3600)
LOAD_SECONDS = env_int("TESSERA_LOAD_SECONDS", 600, least=10, most=7200)
# Memory of the room, in megabytes (1,000,000 bytes); 0 is measured, or never. A device's row in the admin may differ.
MEMORY_BUDGET_MB = env_int("TESSERA_MEMORY_BUDGET_MB", 0, least=0, most=10_000_000)
MEMORY_RESERVE_MB = env_int("TESSERA_MEMORY_RESERVE_MB", 0, least=0, most=10_000_000)
WARM_BUDGET_MB = env_int("TESSERA_WARM_BUDGET_MB", 0, least=0, most=10_000_000)
MOST_LOADED = env_int("TESSERA_MOST_LOADED", 0, least=0, most=1000)
IDLE_MINUTES = env_int("TESSERA_IDLE_MINUTES", 60, least=0, most=100_000)
RECYCLE_AFTER = env_int("TESSERA_RECYCLE_AFTER", 0, least=0, most=1_000_000)
CREEP_LIMIT_MB = env_int("TESSERA_CREEP_LIMIT_MB", 1000, least=0, most=10_000_000)
SIDE_BY_SIDE = env_int("TESSERA_SIDE_BY_SIDE", 8, least=1, most=64)
LONGEST_SWAP_WAIT = env_int("TESSERA_LONGEST_SWAP_WAIT", 300, least=0, most=86400)  # seconds
# Quotas; 0 is unlimited. The row of a person or a project in the admin may differ.
MAX_QUEUED = env_int("TESSERA_MAX_QUEUED", 20, least=0, most=100_000)
MAX_OVERNIGHT = env_int("TESSERA_MAX_OVERNIGHT", 1000, least=0, most=100_000)
SECONDS_A_DAY = env_int("TESSERA_SECONDS_A_DAY", 0, least=0, most=10_000_000)
OVERNIGHT_SECONDS_A_DAY = env_int("TESSERA_OVERNIGHT_SECONDS_A_DAY", 0, least=0, most=10_000_000)
PROJECT_MAX_QUEUED = env_int("TESSERA_PROJECT_MAX_QUEUED", 0, least=0, most=100_000)
PROJECT_SECONDS_A_DAY = env_int("TESSERA_PROJECT_SECONDS_A_DAY", 0, least=0, most=10_000_000)
MAX_ATTEMPTS = 2
# How long SIGTERM lets the worker finish what it draws; Ctrl-C never waits.
DRAIN_SECONDS = env_int("TESSERA_DRAIN_SECONDS", 30, least=0, most=3600)
# What drawing costs, where operators want to know. A device's row in the admin may differ.
WATTS = env_int("TESSERA_WATTS", 0, least=0, most=1_000_000)
PRICE_PER_KWH = env_decimal("TESSERA_PRICE_PER_KWH", "0", most=1_000_000)
PRICE_PER_DEVICE_HOUR = env_decimal("TESSERA_PRICE_PER_DEVICE_HOUR", "0", most=1_000_000)
CURRENCY = env_str("TESSERA_CURRENCY", "EUR")[:8]
HEARTBEAT_SECONDS = 3
# An open socket is re-checked this often, and closed when its client reads nothing for so long.
SOCKET_CHECK_SECONDS = 60
SOCKET_STALL_SECONDS = 30
TRASH_DAYS = env_int("TESSERA_TRASH_DAYS", 30, least=1, most=3650)
UPLOAD_MAX_BYTES = env_int("TESSERA_UPLOAD_MAX_MB", 20, least=1, most=500) * 1024 * 1024
UPLOAD_MAX_PIXELS = env_int("TESSERA_UPLOAD_MAX_MEGAPIXELS", 40, least=1, most=400) * 1_000_000
PROMPT_MAX_LENGTH = PROMPT_LIMIT
# With either of them every download is signed, or is not handed out.
C2PA_CERTIFICATE = env_file("TESSERA_C2PA_CERTIFICATE")
C2PA_KEY = env_file("TESSERA_C2PA_KEY")

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "allauth",
    "allauth.account",
    "django_htmx",
    "django_q",
    "core",
    "accounts",
    "generation",
]

MIDDLEWARE = [
    "core.pages.Security",
    "servestatic.middleware.ServeStaticMiddleware",
    "core.middleware.request_id",
    "csp.middleware.CSPMiddleware",
    "core.middleware.admin_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.own_password_first",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
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

# Whether other machines may share the work.
SHARED = bool(env_str("TESSERA_DATABASE_URL"))
DATABASES = databases(DATA, env_str("TESSERA_DATABASE_URL"), env_int("TESSERA_DATABASE_POOL", 16, least=2, most=500))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS = redis_url(env_str("TESSERA_REDIS_URL"))
CHANNEL_LAYERS = channel_layers(DATA, REDIS)
CACHES = caches(REDIS)

# A q2 task is only a doorbell, so one worker, no retries, no recycling; see docs/decisions.
Q_CLUSTER = {
    "name": "tessera",
    "cluster_name": queue_of(DEVICE_NAME),
    "orm": "default",
    "redis": REDIS,
    "broker_class": "generation.brokers.redis.RedisBells" if REDIS else "generation.brokers.rows.DatabaseBells",
    "workers": 1,
    "recycle": 0,
    "queue_limit": 1,
    "bulk": 1,
    "poll": 0.0,  # DatabaseBells waits by itself
    "guard_cycle": 0.5,
    "timeout": 24 * 3600,
    "retry": 3 * 24 * 3600,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": 20,
    "catch_up": False,
    "daemonize_workers": False,
    "label": "Doorbell",
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "studio"
LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "accounts.adapter.ClosedDoorAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

LANGUAGE_CODE = "en"
TIME_ZONE = env_time_zone("TESSERA_TIME_ZONE", "UTC")
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = DATA / "static"
S3 = s3_bucket()
# All pages of a web process share one interpreter; more at once is for those that wait for another machine.
PAGES_AT_ONCE = env_int("TESSERA_PAGES_AT_ONCE", 8 if SHARED or S3 else 2, least=1, most=64)
STORAGES = storages(S3)
DOWNLOADS = downloads(S3)
DOWNLOAD_SECONDS = 300
SERVESTATIC_USE_FINDERS = True
MEDIA_ROOT = DATA / "media"
LIVE_ROOT = DATA / "live"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_TEMP_DIR = None

SESSION_COOKIE_SECURE = SECURE
CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
# What the proxy says of a visitor is believed: the way that was taken, and the last address, which it wrote itself.
BEHIND_PROXY = env_bool("TESSERA_BEHIND_PROXY", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
ALLAUTH_TRUSTED_PROXY_COUNT = int(BEHIND_PROXY)
X_FRAME_OPTIONS = "DENY"
# Nothing comes from outside. The admin has a policy of its own: core.middleware.admin_policy says why.
# A presigned picture is redirected to its bucket.
ELSEWHERE = origin_of(S3) if DOWNLOADS == "presigned" else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "blob:", "data:", *ELSEWHERE],
        "connect-src": [SELF, *ELSEWHERE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

LOG_LEVEL = env_choice("TESSERA_LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR"])
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "filters": {
        "no_probes": {"()": "django.utils.log.CallbackFilter", "callback": is_no_probe},
        "calm": {"()": "django.utils.log.CallbackFilter", "callback": calm_down},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["calm"]}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django.request": {"filters": ["no_probes"]},
        "django-q": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
        "django.channels.server": {"level": "WARNING"},
    },
}

UNFOLD = {
    "SITE_TITLE": "Tessera",
    "SITE_HEADER": "Tessera",
    "SITE_SUBHEADER": "Operations",
    "SITE_URL": "/",
    "SHOW_HISTORY": True,
    "SITE_ICON": lambda _: static("core/favicon.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("core/favicon.svg")}],
    # the accent of tokens.css, in the steps that unfold wants
    "COLORS": {
        "primary": {
            "50": "#eef8f6",
            "100": "#ddefeb",
            "200": "#b9e0d9",
            "300": "#93e0d3",
            "400": "#66cabb",
            "500": "#2f9486",
            "600": "#0e6a61",
            "700": "#0a5b53",
            "800": "#0a4d46",
            "900": "#163530",
            "950": "#05231f",
        }
    },
}
