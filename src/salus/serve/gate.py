"""What stands before every request: its name, the host it calls, headers of safety, and no trace of a fault."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from salus.client.messages import REQUEST_ID
from salus.serve.marking import new_request_id, safe_headers
from salus.serve.metrics import Metrics
from salus.serve.problems import ProblemDetailsError
from salus.serve.settings import Settings
from salus.serve.verdicts import Ask

_LOG = logging.getLogger("salus.serve")

_REQUEST_ID = REQUEST_ID.lower().encode()

#: Hosts that are remembered.
_HOSTS = 100


class Gate:
    """Names each request, refuses hosts that are not this service's, and answers for what fails behind it.

    Args:
        app: what stands behind it.
        ask: answers requests for verdicts, which are most, without the framework.
        settings: of the service.
        metrics: count requests.
    """

    def __init__(self, app: ASGIApp, ask: Ask, settings: Settings, metrics: Metrics) -> None:
        self._app, self._ask, self._metrics = app, ask, metrics
        self._safe = safe_headers(secure=settings.secure)
        self._known: set[str] = set()  # hosts that were let through
        self._names = {name.casefold() for name in ("localhost", settings.host, *settings.allow_host)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                self._secure(message, request_id)
            await send(message)

        try:
            self._check_host(Headers(scope=scope))
            if self._ask.takes(scope):
                await self._ask.answer(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except ClientDisconnect:
            return
        except ProblemDetailsError as problem:
            await problem.response(request_id)(scope, receive, answer)
        except Exception as error:  # whatever it is, nobody outside is to read of it
            if status:
                raise
            _LOG.exception("request %s failed", request_id, exc_info=error)
            fault = ProblemDetailsError("fault", "The service failed on this request; its own log says more.")
            await fault.response(request_id)(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status or "gone")).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that somebody else's DNS may have pointed here (DNS rebinding); addresses are none.

        Raises:
            ProblemDetailsError: it is such a name, or none at all.
        """
        host = headers.get("host", "")
        if host in self._known:
            return
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            if name.casefold() not in self._names:
                raise ProblemDetailsError(
                    "misdirected",
                    f"This service does not answer to the host {name[:100]!r}; start it with --allow-host NAME where "
                    "that is its name.",
                ) from None
        if len(self._known) < _HOSTS:
            self._known.add(host)

    def _secure(self, message: MutableMapping[str, Any], request_id: str) -> None:
        headers = list(message.get("headers", ()))
        given = {name.lower() for name, _ in headers}
        headers += [(name, value) for name, value in self._safe if name not in given]
        message["headers"] = [*headers, (_REQUEST_ID, request_id.encode())]


def problem_of(error: HTTPException) -> ProblemDetailsError:
    """Turn what the framework refuses into a problem."""
    kinds = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported"}
    details = {
        404: "There is nothing at this address; GET /openapi.json lists what there is.",
        405: "This address does not know the method; GET /openapi.json lists what there is.",
    }
    kind = kinds.get(error.status_code, "bad-request")
    return ProblemDetailsError(kind, details.get(error.status_code, f"{str(error.detail).rstrip('.')}."))
