"""The service as it is deployed, with the floors beside it."""

from backend.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.floors"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # nobody signs in here
