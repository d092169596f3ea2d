"""`/metrics`: how work that waits keeps up, in the text format of Prometheus. Nobody is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache

from backend import tenant
from backend.api.errors import READS, as_http, reads_only
from backend.health.checks import BACKUP, ages, queue_length
from backend.notifications.selectors import progress
from backend.problems import NotFound

Sample = tuple[Mapping[str, str], float]


@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """For whoever has METRICS_TOKEN (`Authorization: Bearer …`); without one set, in development
    only."""
    if request.method not in READS:
        return reads_only(request)
    wanted, sent = settings.METRICS_TOKEN, request.headers.get("Authorization", "")
    if not (settings.DEBUG if not wanted else constant_time_compare(sent, f"Bearer {wanted}")):
        return as_http(NotFound(), request)
    return HttpResponse("".join(_lines()), content_type="text/plain; version=0.0.4; charset=utf-8")


def _lines() -> Iterator[str]:
    now = timezone.now()
    with tenant.everywhere():
        stands = progress(now=now)
    yield from _gauge(
        "rehab_messages_due", "Messages whose time has come and that nobody has looked at yet.",
        [({}, stands.due)],
    )  # fmt: skip
    yield from _gauge(
        "rehab_messages_oldest_due_seconds", "How long the oldest of them has waited.",
        [({}, stands.oldest_due_s)],
    )  # fmt: skip
    yield from _gauge(
        "rehab_messages_decided_24h", "What became of the messages of the last 24 hours.",
        [
            ({"kind": kind, "status": status, "why": why}, count)
            for kind, status, why, count in stands.outcomes
        ],
    )  # fmt: skip
    yield from _gauge(
        "rehab_messages_quarantined_24h", "Rows set aside in the last 24 hours: look into the log.",
        [({}, stands.quarantined)],
    )  # fmt: skip
    yield from _gauge(
        "rehab_deliveries_retried_1h", "Sends of the last hour that wait for another try.",
        [({}, stands.retried)],
    )  # fmt: skip
    yield from _gauge(
        "rehab_devices_reachable", "Devices with an address for push messages.",
        [({}, stands.devices)],
    )  # fmt: skip
    alive = ages(now=now)
    backup = alive.pop(BACKUP, None)
    yield from _gauge(
        "rehab_alive_seconds", "Since when each process and sweep last showed that it lives.",
        [({"name": name}, age) for name, age in sorted(alive.items())],
    )  # fmt: skip
    yield from _gauge(
        "rehab_backup_seconds", "How old the last backup is; nothing where there was none.",
        [] if backup is None else [({}, backup)],
    )  # fmt: skip
    length = queue_length()
    yield from _gauge(
        "rehab_broker_queue_length", "Wake-up calls that wait in the broker.",
        [] if length is None else [({}, length)],
    )  # fmt: skip


def _gauge(name: str, about: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {about}\n# TYPE {name} gauge\n"
    for labels, value in samples:
        said = ",".join(f'{label}="{told}"' for label, told in labels.items())
        yield f"{name}{{{said}}} {value}\n" if said else f"{name} {value}\n"
