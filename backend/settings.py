"""Every setting of the service; the environment decides (see .env.example).

With nothing set it refuses to start. `DEBUG=1` alone is a complete service on this machine.
"""

import os
import secrets
import sys
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from zoneinfo import reset_tzpath

import environ
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured

from backend.logs import logging_settings

env = environ.Env()
env.ENVIRON = {name: value for name, value in os.environ.items() if value}  # empty is unset

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("VAR_DIR", default="") or BASE_DIR / "var").resolve()
VAR_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = env.bool("DEBUG", default=False)
DEMO = env.bool("DEMO", default=False)
BIND = env.str("BIND", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
REDIS_URL = env.str("REDIS_URL", default="")


# --- What must be right before anything starts ------------------------------------------------


def _is_public(bind: str) -> bool:
    """Whether other machines can reach an address that we listen on."""
    if bind == "localhost":
        return False
    try:
        return not ip_address(bind.strip("[]")).is_loopback
    except ValueError:
        return True


def _development_key() -> str:
    """A key made once for this folder, so that sessions survive a restart."""
    path = VAR_DIR / "secret-key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(handle, "w") as file:
        file.write(key := secrets.token_urlsafe(50))
    return key


def _is_weak(key: str) -> bool:
    return len(key) < 50 or len(set(key)) < 5 or key.startswith("django-insecure-")


PUBLIC = _is_public(BIND)
SECRET_KEY = env.str("SECRET_KEY", default="") or (_development_key() if DEBUG else "")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])

if not SECRET_KEY:
    raise ImproperlyConfigured("set SECRET_KEY, or DEBUG=1 for a service on this machine only.")
if not DEBUG and _is_weak(SECRET_KEY):
    raise ImproperlyConfigured("SECRET_KEY is weak: 50 characters or more, made at random.")
if not ALLOWED_HOSTS and not DEBUG:
    raise ImproperlyConfigured("set ALLOWED_HOSTS to the names this service is reached by.")
if DEBUG and PUBLIC and not DEMO:
    raise ImproperlyConfigured(f"DEBUG is on and BIND={BIND} is reachable from outside.")
if DEMO and PUBLIC and not DEBUG:
    raise ImproperlyConfigured(f"demo accounts are public knowledge and BIND={BIND} is, too.")

if not ALLOWED_HOSTS:
    ALLOWED_HOSTS = ["*"] if PUBLIC else ["localhost", "127.0.0.1", "[::1]"]
PUBLIC_URL = env.str("PUBLIC_URL", default="") or (
    f"http://localhost:{PORT}" if DEBUG else f"https://{ALLOWED_HOSTS[0].lstrip('.')}"
)


# --- Django -----------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",  # for its copy of htmx
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.headless",
    "allauth.usersessions",
    "backend",
    "backend.health",
    "backend.audit",
    "backend.clinics",
    "exercises",
    "protocols",
    "backend.care",
    "backend.notifications",
    "backend.reports",
    "backend.rights",
    "backend.api",
    "backend.console",
]

MIDDLEWARE = [
    "backend.logs.RequestIdMiddleware",
    "backend.tenant.Middleware",
    "backend.api.errors.NoDebugPages",
    "backend.console.policy.ConsolePolicy",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "backend.api.account.StrictSignIn",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "backend" / "templates"],  # ours before those of the libraries
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = "backend.urls"
WSGI_APPLICATION = "backend.wsgi.application"
AUTH_USER_MODEL = "clinics.User"
# An e-mail address is unique whatever its case; the check only knows constraints on bare fields.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False

# Time zones come from the pinned package alone, so every machine answers alike.
reset_tzpath(to=())
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]

# Whom we have forgotten, by id. Keep it apart from the backups: a restore needs it afterwards.
ERASURE_LEDGER = env.str("ERASURE_LEDGER", default="") or str(VAR_DIR / "erasures.jsonl")
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

LOGGING = logging_settings(for_people=DEBUG)
LOGGING_CONFIG = "logging.config.dictConfig"


# --- Limits that clients can read in /api/v1/meta ---------------------------------------------

SERVICE_VERSION = "1.0.0"
MINIMUM_CLIENT = {"android": "1.0.0", "ios": "1.0.0", "web": "1.0.0"}
BODY_BYTES = env.int("BODY_BYTES", default=1024 * 1024)
PUSH_ITEMS = env.int("PUSH_ITEMS", default=100)
UPLOADS_PER_MIN = env.int("UPLOADS_PER_MIN", default=60)
READS_PER_MIN = env.int("READS_PER_MIN", default=300)

DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000  # a phase in the protocol editor: 26 for each exercise


# --- Database ---------------------------------------------------------------------------------

DATABASE_URL = env.str("DATABASE_URL", default="") or f"sqlite:///{VAR_DIR / 'db.sqlite3'}"
# The web process sets 5 (wsgi.py), the worker 60 (celery.py); a migration may take its time.
STATEMENT_TIMEOUT_S = env.int("STATEMENT_TIMEOUT_S", default=0)

# What makes tables or copies them works as their owner; all the rest as a role that owns nothing.
_OWNERS_COMMANDS = {"migrate", "backup", "restore", "digest"}
_OWNERS_URL = env.str("MIGRATE_DATABASE_URL", default="")
APP_DATABASE: dict[str, Any] = environ.Env.db_url_config(DATABASE_URL) if _OWNERS_URL else {}
ANY_DATABASE_ROLE = env.bool("ANY_DATABASE_ROLE", default=DEBUG)

_is_owner = bool(_OWNERS_URL) and not _OWNERS_COMMANDS.isdisjoint(sys.argv[1:2])
_url = _OWNERS_URL if _is_owner else DATABASE_URL
DATABASES: dict[str, dict[str, Any]] = {"default": environ.Env.db_url_config(_url)}
_database = DATABASES["default"]
_database["CONN_MAX_AGE"] = 600
_database["CONN_HEALTH_CHECKS"] = True
_database.setdefault("OPTIONS", {})
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["OPTIONS"] |= {
        # A transaction that starts as a reader and then writes fails at once instead of waiting.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # What is deleted is overwritten: the file holds nothing of who was erased.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
        "PRAGMA secure_delete=ON",
    }
else:
    _database["ENGINE"] = "backend.database"
    _database["OPTIONS"] |= {
        "connect_timeout": 2,
        # To compile the statement of a report takes as long as to run it.
        "options": f"-c statement_timeout={STATEMENT_TIMEOUT_S * 1000} -c timezone=UTC -c jit=off",
    }


# --- Cache and Celery: Redis, or this machine alone -------------------------------------------

_REDIS_TIMEOUTS = {"socket_timeout": 1, "socket_connect_timeout": 1}

if REDIS_URL:
    _redis = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "rehab",
        "OPTIONS": _REDIS_TIMEOUTS,
    }
    CACHES: dict[str, dict[str, Any]] = {"default": _redis, "rates": _redis}
    CELERY_BROKER_URL = REDIS_URL
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        **_REDIS_TIMEOUTS,
        "global_keyprefix": "rehab:",
        "visibility_timeout": 300,  # longer than any task may run, short enough to try again
    }
else:
    CACHES = {
        # Codes of a second factor that were tried or used: all processes have to know.
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": VAR_DIR / "cache",
            "OPTIONS": {"MAX_ENTRIES": 10_000},
        },
        # Requests a minute: each process counts for itself, which costs nothing.
        "rates": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    CELERY_BROKER_URL = "filesystem://localhost"
    CELERY_BROKER_TRANSPORT = "backend.broker:Transport"
    _BROKER_DIR = VAR_DIR / "broker"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_BROKER_DIR / "queue"),
        "data_folder_out": str(_BROKER_DIR / "queue"),
        "control_folder": str(_BROKER_DIR / "control"),
        # Without this, messages pass through the machine's shared temporary folder.
        "store_processed": True,
        "processed_folder": str(_BROKER_DIR / "processed"),
        "polling_interval": 0.2,
    }
    for _folder in ("queue", "control", "processed"):
        (_BROKER_DIR / _folder).mkdir(parents=True, exist_ok=True)

CELERY_TIMEZONE = "UTC"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
# Every task may run twice, so one that was lost half-way is simply run again.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 60
CELERY_TASK_SOFT_TIME_LIMIT = 50
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# A sweep that runs twice is harmless; one that is cut off while it sends has to send again.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_IMPORTS = ["backend.tasks"]

HEARTBEAT_PERIOD = timedelta(seconds=30)
SWEEP_PERIOD = timedelta(seconds=env.int("SWEEP_EVERY_S", default=60))
_AT_EACH_MINUTE = crontab()  # on the minute, when reminders are due
SWEEPS = (
    *("close_days", "expire_proposals", "announce", "plan_reminders", "deliver_messages"),
    *("write_exports", "erase_patients", "seal_audit"),
)
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"  # keeps no file: the rows know what is due
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "heartbeat": {
        "task": "backend.tasks.heartbeat",
        "schedule": HEARTBEAT_PERIOD,
        # While no worker runs, wake-up calls must not pile up.
        "options": {"expires": HEARTBEAT_PERIOD.total_seconds()},
    },
    **{
        name: {
            "task": f"backend.tasks.{name}",
            "schedule": SWEEP_PERIOD if timedelta(minutes=1) > SWEEP_PERIOD else _AT_EACH_MINUTE,
            "options": {"expires": 55},
        }
        for name in SWEEPS
    },
    "keep_house": {
        "task": "backend.tasks.keep_house",
        "schedule": crontab(minute="17"),
        "options": {"expires": 3000},
    },
}


# --- API --------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "EXCEPTION_HANDLER": "backend.api.errors.handle",
    "DEFAULT_SCHEMA_CLASS": "backend.api.openapi.Description",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "URL_FORMAT_OVERRIDE": None,  # `Accept` says it
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Rehabilitation exercises",
    "VERSION": SERVICE_VERSION,
    "OAS_VERSION": "3.1.1",
    "SERVERS": [{"url": "/"}],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PATH_CONVERTER_OVERRIDES": {"str": {"type": "string", "format": "uuid"}},
    "ENUM_SUFFIX": "",
    # Names become names of types in clients; tests/contract pins them.
    "ENUM_NAME_OVERRIDES": {
        "AdherenceGrouping": "backend.api.reports.GROUPINGS",
        "AdherenceHeatmap": ["day"],
        "AlertLevel": ["emergency", "urgent", "routine", "patient"],
        "AssignmentEnd": ["completed", "stopped"],
        "AuditOutcome": "backend.audit.models.OUTCOMES",
        "BodyRegion": "backend.api.exercises.BODY_REGIONS",
        "CaseloadTier": ["urgent", "review", "watch", "on_track"],
        "ChangeOp": ["upsert", "delete", "refetch"],
        "ClockState": ["ok", "suspect"],
        "ConditionCode": "backend.api.physio.patients.condition_codes",
        "ConsentCode": ["health_data"],
        "DateOutcome": "backend.reports.timeline.OUTCOMES",
        "DayColour": ["STOP", "SEVERE", "RED", "AMBER", "GREEN", "-"],
        "DifferenceKind": "protocols.differences.KINDS",
        "CriterionResult": "backend.api.progressions_shown.RESULTS",
        "DecisionOutcome": "backend.api.progressions_shown.OUTCOMES",
        "DecisionReason": [
            *("clinical_judgement", "patient_preference", "new_finding", "data_unreliable"),
            "other",
        ],
        "DoseSide": ["left", "right", "both", "alternate", "none"],
        "EffortScale": ["cr10"],
        "EntryState": ["done", "skipped"],
        "EpisodeEndReason": ["completed", "transferred", "stopped", "other"],
        "EvidenceTag": ["seed", "trial", "guideline", "expert"],
        "ErasureGround": ["asked", "mistake", "ordered"],
        "ErasureReason": ["asked", "mistake", "ordered", "retention"],
        "ExportFormat": ["csv", "ndjson", "xlsx", "pdf"],
        "ExportKind": ["sessions", "adherence"],
        "ExportStatus": ["queued", "running", "ready", "failed", "expired"],
        "ExerciseKind": "backend.api.exercises.KINDS",
        "ExerciseSide": "backend.api.exercises.SIDES",
        "FlagAction": ["contacted", "plan_changed", "advised", "referred", "no_action"],
        "FlagLevel": ["emergency", "urgent", "routine"],
        "PainAdviceCode": ["carry_on", "carry_on_with_care", "ease_off", "stop_today"],
        "PartOfDay": ["morning", "midday", "evening", "any"],
        "Ketones": "backend.api.records.KETONES",
        "LadderStep": ["easier", "harder"],
        "Platform": ["android", "ios", "web"],
        "ProblemRegion": "backend.api.physio.patients.PROBLEM_REGIONS",
        "ProgressionStatus": [
            *("proposed", "approved", "declined", "modified"),
            *("superseded", "expired", "withdrawn"),
        ],
        "ProtocolEffortScale": ["cr10", "percent"],
        "ProtocolGate": ["N-TENS"],
        "ProtocolStatus": "backend.api.physio.protocols.STATUSES",
        "PushKind": ["fcm_token", "fcm_installation", "apns", "web_push"],
        "ScreenCode": ["intake", "session_start", "weekly"],
        "ScreeningMoment": "backend.api.plan_shown.MOMENTS",
        "Recommendation": ["advance", "hold", "step_back", "stop_and_review", "discharge"],
        "RecordType": ["session", "check_in"],
        "ReminderChannel": "backend.api.reminders.CHANNELS",
        "ReminderKind": "backend.api.reminders.KINDS",
        "ReminderReason": "backend.api.reminders.REASONS",
        "ReminderStatus": "backend.api.reminders.STATUSES",
        "ScheduleKind": ["daily", "weekly", "every_n_days", "once"],
        "SessionOutcome": ["open", "completed", "partial", "skipped"],
        "SessionState": ["open", "finished", "skipped"],
        "Side": ["left", "right", "both", "none"],
        "SlotStatus": [
            *("due", "open", "completed", "partial", "skipped"),
            *("missed", "not_heard", "excused"),
        ],
        "TimelineMark": "backend.reports.timeline.MARKS",
        "TimelineMetric": "backend.reports.timeline.METRICS",
        "ServiceScope": ["reports.read"],
        "StaffRole": "backend.api.clinic.ROLES",
        "StopSignCode": "backend.api.records.stop_sign_codes",
        "TailoringOp": "backend.api.physio.assignments.OPS",
        "UploadStatus": [
            *("created", "updated", "unchanged", "superseded"),
            *("conflict", "rejected", "retry"),
        ],
        "HillPattern": "backend.api.assignments_shown.HILL_PATTERNS",
        "PainWord": "backend.api.records.pain_word_codes",
        "WorseWith": "backend.api.records.worse_with_codes",
        "Weekday": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
    },
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "backend.api.openapi.finish",
    ],
}


# --- Sign-in (django-allauth) -----------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]

SESSION_ENGINE = "backend.clinics.sign_in"
SESSION_COOKIE_AGE = int(timedelta(days=90).total_seconds())
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "mfa_index"
ACCOUNT_LOGOUT_REDIRECT_URL = LOGIN_URL

# Checks of a password that fail, in 15 minutes.
SIGN_IN_TRIES_AN_ACCOUNT = 10
SIGN_IN_TRIES_AN_ADDRESS = 30
# How many proxies of ours add to X-Forwarded-For. The rest of that header is anybody's word.
ALLAUTH_TRUSTED_PROXY_COUNT = env.int(
    "PROXIES", default=int(env.bool("BEHIND_PROXY", default=False))
)

CSRF_FAILURE_VIEW = "backend.api.errors.csrf_failed"
ACCOUNT_ADAPTER = "backend.clinics.sign_in.Adapter"
ACCOUNT_SIGNUP_FORM_CLASS = "backend.clinics.sign_in.SignUpForm"
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
ACCOUNT_PASSWORD_RESET_BY_CODE_ENABLED = True
# An account has one address; a new one counts once its code came back.
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_RATE_LIMITS = {
    "login": None,  # only failures count, see the tries above
    "login_failed": "10/15m/key",  # codes of a second factor
    "change_password": "10/15m/user",
}

HEADLESS_CLIENTS = ("app", "browser")
MFA_ADAPTER = "backend.clinics.sign_in.SecondFactors"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG  # browsers trust http://localhost
MFA_TOTP_ISSUER = "Rehabilitation exercises"
MFA_TOTP_TOLERANCE = 1  # clocks of phones are a few seconds off
MFA_ALLOW_UNVERIFIED_EMAIL = True  # nobody signs up without being invited


# --- The console ------------------------------------------------------------------------------

CONSOLE_IDLE_MINUTES = env.int("CONSOLE_IDLE_MINUTES", default=30)
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}


# --- E-mail -----------------------------------------------------------------------------------

if env.str("EMAIL_URL", default=""):
    globals().update(env.email_url("EMAIL_URL"))
else:
    # A log is no place for addresses and codes; on a developer's screen they are the point.
    EMAIL_BACKEND = f"django.core.mail.backends.{'console' if DEBUG else 'dummy'}.EmailBackend"
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="rehab@localhost")


# --- Notices to phones and browsers -----------------------------------------------------------

# Where credentials are missing, a notice is logged by its key and goes nowhere.
FCM_CREDENTIALS = env.str("FCM_CREDENTIALS", default="")
FCM_URL = env.str("FCM_URL", default="https://fcm.googleapis.com")
APNS_KEY = env.str("APNS_KEY", default="")
APNS_KEY_ID = env.str("APNS_KEY_ID", default="")
APNS_TEAM_ID = env.str("APNS_TEAM_ID", default="")
APNS_TOPIC = env.str("APNS_TOPIC", default="")
APNS_URL = env.str("APNS_URL", default="https://api.push.apple.com")
VAPID_KEY = env.str("VAPID_KEY", default="")
VAPID_CONTACT = env.str("VAPID_CONTACT", default="")


# --- Transport --------------------------------------------------------------------------------

SSL = env.bool("SSL", default=not DEBUG)
SECURE_SSL_REDIRECT = SSL and env.bool("SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
if env.bool("BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=31_536_000) if SSL else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SSL
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
X_FRAME_OPTIONS = "DENY"
