"""Run every sweep once, without Celery: for cron, demonstrations and tests."""

from typing import Any

from django.core.management.base import BaseCommand

from backend import tasks


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        for sweep in tasks.SWEEPS:
            sweep()
