"""`/healthz` and `/readyz`: for load balancers and operators, without sign-in."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache

from backend.api.errors import READS, reads_only
from backend.health.checks import readiness


@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is asked, so that an outage elsewhere restarts nobody."""
    if request.method not in READS:
        return reads_only(request)
    return JsonResponse({"status": "alive"})


@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when a request would be served and waiting work is done; 503 with the reason."""
    if request.method not in READS:
        return reads_only(request)
    findings = readiness(now=timezone.now())
    ready = all(finding.ok for finding in findings)
    return JsonResponse(
        {
            "status": "ready" if ready else "not ready",
            "checks": {f.name: {"ok": f.ok, "said": f.said} for f in findings},
        },
        status=200 if ready else 503,
    )
