"""Tells every phone to read everything anew, after the database came back from a backup."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import F

from backend.clinics.models import Patient


class Command(BaseCommand):
    help = "Run once after a restore: cursors from before it are refused, unsent records are kept."

    def handle(self, **options: Any) -> None:
        moved = Patient.objects.update(feed_epoch=F("feed_epoch") + 1)
        self.stdout.write(f"{moved} change feeds start anew; phones keep what they have not sent.")
