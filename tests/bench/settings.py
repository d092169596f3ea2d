"""The service as it is deployed, with the floors beside it."""

import os

from backend.settings import *  # noqa: F403

ROOT_URLCONF = os.environ.get("BENCH_URLS", "tests.bench.floors")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # nobody signs in here
