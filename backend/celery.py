"""The Celery app: `celery -A backend.celery worker`, `celery -A backend.celery beat`."""

import os
import sys
import warnings
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
os.environ.setdefault("STATEMENT_TIMEOUT_S", "60")

from celery import Celery, signals
from django.core.exceptions import ImproperlyConfigured

# It warns of root because of pickled messages; ours are JSON.
warnings.filterwarnings("ignore", message="You're running the worker with superuser")

app = Celery("rehab")
app.config_from_object("django.conf:settings", namespace="CELERY")


@signals.setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Celery leaves logging alone once somebody listens here; Django has set it up."""


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_a_bad_place(**_: Any) -> None:
    from backend.health.checks import refuse_a_bad_place

    try:
        refuse_a_bad_place()
    except ImproperlyConfigured as refusal:
        sys.exit(f"Not starting: {refusal}")


@signals.worker_ready.connect
def _show_life_at_once(**_: Any) -> None:
    """By way of the broker, so that the first sign of life tells of it, too. What waits is looked
    at without waiting for the next full minute."""
    from django.conf import settings

    for name in ("heartbeat", *settings.SWEEPS):
        app.send_task(f"backend.tasks.{name}")
