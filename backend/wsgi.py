"""Entry point for gunicorn (see gunicorn.conf.py)."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
os.environ.setdefault("STATEMENT_TIMEOUT_S", "5")

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application
from django.urls import resolve

try:
    application = get_wsgi_application()

    from backend.health.checks import refuse_a_bad_place

    refuse_a_bad_place()
    resolve("/healthz")  # loads all routes: once for every worker, and a bad one stops here
except ImproperlyConfigured as refusal:
    sys.exit(f"Not starting: {refusal}")
