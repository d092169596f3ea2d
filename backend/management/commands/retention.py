"""Says whom the next sweep would erase, because their clinic has kept them long enough."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from backend.rights import retention


class Command(BaseCommand):
    help = "Changes nothing. Each line is a clinic and a patient; those held are not erased."

    def handle(self, **options: Any) -> None:
        count = 0
        for one in retention.over(now=timezone.now()):
            held = ", held" if one.is_held else ""
            self.stdout.write(f"clinic {one.clinic_id} patient {one.patient_id}{held}")
            count += not one.is_held
        self.stdout.write(f"{count} would be erased.")
