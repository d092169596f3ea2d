"""`/healthz` and `/readyz`: for load balancers and operators, without sign-in."""

from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from backend.health.checks import readiness


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers; nothing else is asked, so that an outage elsewhere restarts nobody."""
    return JsonResponse({"status": "alive"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when a request would be served and waiting work is done; 503 with the reason."""
    findings = readiness(now=timezone.now())
    ready = all(finding.ok for finding in findings)
    return JsonResponse(
        {
            "status": "ready" if ready else "not ready",
            "checks": {f.name: {"ok": f.ok, "said": f.said} for f in findings},
        },
        status=200 if ready else 503,
    )
