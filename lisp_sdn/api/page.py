"""The web page: files that never change while the controller runs, and how browsers may use them.

The page itself is for everybody: it holds nothing of the network, and asks REST as any other
client does, with the token that its user gives.
"""

from __future__ import annotations

from collections.abc import Mapping

from lisp_sdn.api.http import Problem, Request, Response, etag, not_modified

FOLDER = "/web/"
"""Where the parts of the page are; the page is at /."""

START = "index.html"

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""By the end of the name. Files of other kinds are not given out."""

HEADERS = {
    # Everything from here, nothing written into the page itself: what a name or a detail of the
    # network holds can never become a script (Content Security Policy Level 3).
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """Answers requests for the page. files: name -> content."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files: dict[str, Response] = {}
        for name, body in files.items():
            media = MEDIA_TYPES.get(name.rpartition(".")[2])
            if media is not None:
                headers = {"Content-Type": media, "ETag": etag(body), **HEADERS}
                path = "/" if name == START else FOLDER + name
                self._files[path] = Response(200, headers, body)

    def answer(self, request: Request) -> Response | None:
        """The file that is asked for; None when the path is none of the page. Raises Problem."""
        found = self._files.get(request.path)
        if found is None:
            return None
        if request.method not in ("GET", "HEAD"):
            allowed = "GET, HEAD, OPTIONS"
            if request.method == "OPTIONS":
                return Response(204, {"Allow": allowed})
            detail = f"{request.method} {request.path}: takes {allowed}"
            raise Problem("method-not-allowed", detail, headers={"Allow": allowed})
        headers = dict(found.headers)
        if not_modified(request, headers["ETag"]):
            del headers["Content-Type"]
            return Response(304, headers)
        return Response(200, headers, found.body)
