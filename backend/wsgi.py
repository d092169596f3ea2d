"""Entry point for gunicorn (see gunicorn.conf.py)."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
os.environ.setdefault("STATEMENT_TIMEOUT_S", "5")

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application
from django.urls import resolve

try:
    django = get_wsgi_application()

    from backend.api.parsing import with_length
    from backend.health.checks import refuse_a_bad_place

    application = with_length(django)
    refuse_a_bad_place()
    resolve("/healthz")  # loads all routes: once for every worker, and a bad one stops here
except ImproperlyConfigured as refusal:
    sys.exit(f"Not starting: {refusal}")
