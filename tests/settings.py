"""The service without any other service, made fast (TEST_DATABASE_URL, TEST_REDIS_URL: with)."""

import os
import tempfile


def _own(redis_url: str) -> str:
    """The named database of Redis, or one after it: processes of pytest must not share a cache."""
    place, _, number = redis_url.rpartition("/")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return f"{place}/{int(number) + int(worker)}" if redis_url else ""


_var = tempfile.TemporaryDirectory(prefix="rehab-test-")

os.environ |= {
    "DEBUG": "1",
    "DEMO": "0",
    "BIND": "127.0.0.1",
    "SECRET_KEY": "only-for-tests-" + "0123456789abcdefghij" * 2,
    "VAR_DIR": _var.name,
    "DATABASE_URL": os.environ.get("TEST_DATABASE_URL", ""),
    "REDIS_URL": _own(os.environ.get("TEST_REDIS_URL", "")),
    "EMAIL_URL": "",
    "FCM_CREDENTIALS": "",
    "APNS_KEY": "",
    "VAPID_KEY": "",
    "STATEMENT_TIMEOUT_S": "30",
}

from backend.settings import *
from backend.settings import DATABASES, STATIC_ROOT, VAR_DIR

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, as in service: threads and processes of a test see one database.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
else:  # nothing outlives a test, so nothing has to reach the disk
    DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"

STATIC_ROOT.mkdir()
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
