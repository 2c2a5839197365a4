"""What goes wrong, as RFC 9457 has it: one kind, one sentence, never a trace."""

from __future__ import annotations

import json
from dataclasses import dataclass

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

#: Kind -> status of HTTP and title; a kind's type is ``/problems/KIND``.
KINDS = {
    "bad-request": (400, "The request cannot be understood"),
    "unauthorized": (401, "A token is needed"),
    "forbidden": (403, "The token may not do this"),
    "suspected": (403, "The caller is under suspicion"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "The method is not one of this address"),
    "timeout": (408, "The request took too long to arrive"),
    "conflict": (409, "The idempotency key belongs to another request"),
    "too-large": (413, "The request is too large"),
    "unsupported": (415, "The media type is not read here"),
    "misdirected": (421, "The service is not known by this name"),
    "not-judged": (422, "The inputs cannot be judged"),
    "too-many": (429, "Too many requests"),
    "fault": (500, "The service failed"),
    "unavailable": (503, "The service cannot answer now"),
}


@dataclass
class ProblemDetailsError(Exception):
    """A request that ends in a problem.

    Attributes:
        kind: one of :data:`KINDS`.
        detail: this case in one sentence, with its remedy.
        retry_after: seconds after which to try again; None where that does not help.
    """

    kind: str
    detail: str
    retry_after: float | None = None

    def response(self, request_id: str | None) -> Response:
        """Write it."""
        status, title = KINDS[self.kind]
        content = {
            "type": f"/problems/{self.kind}",
            "title": title,
            "status": status,
            "detail": self.detail,
            "request_id": request_id,
        }
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.kind in ("timeout", "too-large"):  # the rest of the body is never read
            headers["Connection"] = "close"
        if self.kind == "unauthorized":
            headers["WWW-Authenticate"] = 'Bearer realm="salus"'
        return Response(json.dumps(content), status, headers, MEDIA_TYPE)
