"""The drawings of exercises: for everybody, since nothing in them is anybody's."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from backend.api.errors import READS, as_http, reads_only
from backend.problems import NotFound
from exercises.pictures import pictures


def picture(request: HttpRequest, digest: str, slug: str) -> HttpResponse:
    """A drawing for good; the address of an earlier one leads to that of today."""
    if request.method not in READS:
        return reads_only(request)
    found = pictures().get(slug)
    if found is None:
        return as_http(NotFound(), request)
    if digest != found.digest:
        return HttpResponseRedirect(found.url, headers={"Cache-Control": "no-cache"})
    etag = quote_etag(found.digest)
    answer = HttpResponse(
        found.content,
        content_type="image/svg+xml",
        headers={
            "ETag": etag,
            "Cache-Control": "public, max-age=31536000, immutable",
            "Content-Security-Policy": "default-src 'none'",
        },
    )
    shown = get_conditional_response(request, etag=etag, response=answer)
    assert shown is not None  # an answer was given
    return shown
