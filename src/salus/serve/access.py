"""Who asks, and whether they may."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from salus.client.messages import Scope
from salus.errors import StoreError
from salus.serve.problems import ProblemDetailsError
from salus.serve.service import Service
from salus.serve.tokens import Principal

#: Whoever asks from this very machine without a token, where the service may be reached from there alone.
LOCAL = Principal("local", "this machine", frozenset({"judge", "scores", "metrics"}))


async def principal_of(request: Request, service: Service, scope: Scope) -> Principal:
    """Find who asks.

    Raises:
        ProblemDetailsError: there is no token where one is needed, it is none, or it may not do this.
    """
    header = request.headers.get("authorization")
    if header is None:
        if not service.settings.open or "x-forwarded-for" in request.headers or "forwarded" in request.headers:
            raise ProblemDetailsError(
                "unauthorized", "Send a token, Authorization: Bearer TOKEN; salus token add makes one."
            )
        if scope not in LOCAL.scopes:
            raise ProblemDetailsError(
                "unauthorized",
                f"This needs a token with the scope {scope}, also on this machine; salus token add makes one.",
            )
        _refuse_pages(request)
        return LOCAL
    kind, _, secret = header.partition(" ")
    try:  # in a thread: it may have to ask the database
        known = kind.casefold() == "bearer"
        principal = await asyncio.to_thread(service.tokens.check, secret.strip()) if known else None
    except StoreError as error:
        raise ProblemDetailsError("unavailable", "Tokens cannot be looked up now; try again later.", 5) from error
    if principal is None:
        raise ProblemDetailsError(
            "unauthorized", "The token is unknown, revoked or has expired; salus token add makes one."
        )
    if scope not in principal.scopes:
        raise ProblemDetailsError(
            "forbidden", f"The token {principal.name!r} lacks the scope {scope}; make one that has it."
        )
    return principal


def _refuse_pages(request: Request) -> None:
    """Refuse what a web page elsewhere makes a browser on this machine send.

    Raises:
        ProblemDetailsError: the request comes from a page of another origin.
    """
    origin = request.headers.get("origin")
    own = origin is None or origin == f"{request.url.scheme}://{request.headers.get('host', '')}"
    if not own or request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise ProblemDetailsError("forbidden", "Pages of other origins may not ask without a token.")
