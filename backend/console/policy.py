"""What a browser may load for these pages: files of this service, and no code inside a page."""

from __future__ import annotations

from collections.abc import Callable

from csp.constants import HEADER
from csp.utils import build_policy
from django.http import HttpRequest, HttpResponse

PAGES = ("/console", "/accounts/")


class ConsolePolicy:
    """Middleware: the policy of the settings on every page of the console and of the sign-in, also
    on those that tell of an error."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.policy = "; ".join(sorted(build_policy().split("; ")))  # the same from each process

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        if request.path_info.startswith(PAGES):
            answer[HEADER] = self.policy
        return answer
