"""What the HTTP layer itself has to remember: answers to requests that carried a key."""

from __future__ import annotations

from django.db import models

from backend.clinics.models import User


class IdempotencyKey(models.Model):
    """The first answer to a keyed request; the same request within 24 h gets it again."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    key = models.UUIDField()
    request_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.JSONField(null=True)
    headers = models.JSONField(default=dict)
    about = models.UUIDField(null=True)  # what the audit says of the call, as of its repeats
    object_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once_a_person")
        ]

    def __str__(self) -> str:
        return str(self.key)
