"""Signs of life that processes leave for each other."""

from django.db import models


class Heartbeat(models.Model):
    """When a process last ran; the only row that tells a standing worker from an idle one."""

    name = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
