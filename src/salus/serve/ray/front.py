"""What stands in Ray Serve's proxies before every request: bounds, and problems instead of the proxy's own words.

A proxy passes requests on to replicas. Where the replica that has a request dies, its answer would be a bare 500; here
it becomes 503, after which clients ask again, with the same idempotency key, and get the answer of another replica.

A replica would have to call back for a body, which takes longer than to judge a beat; small ones go along with the
request, and :class:`Bodied` hands them to the application there.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import MutableMapping
from typing import Any

import uvicorn.config
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from salus.client.messages import REQUEST_ID
from salus.serve.limits import Room
from salus.serve.marking import new_request_id, safe_headers
from salus.serve.problems import ProblemDetailsError
from salus.serve.timing import within

#: Tells proxies the bounds of a service, as JSON.
BOUNDS = "SALUS_SERVE_FRONT"

#: Where Ray Serve's proxies look for what stands before requests.
HOOK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"

#: Bodies of up to so many bytes go along with their requests, under this name of the scope.
_SMALL, _BODY = 2**16, "salus.body"

#: The proxies' own pages, which say to anybody what is served.
_OWN = "/-/"

#: Requests in hand of one proxy.
_MOST = 4096

_REQUEST_ID = REQUEST_ID.lower().encode()

#: Headers by which a caller could tell a proxy how long to wait, or which replica to take.
_STEERING = (b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve-multiplexed-model-id")
_PREFIXES = (b"x-serve-", b"x-session-id", _REQUEST_ID)

_LOST = "The replica that had the request ended before it answered, or none runs yet; ask again in a moment."
_FULL = "More requests wait already than the service takes; try again a little later."


def middlewares() -> list[Middleware]:
    """Give what stands before requests, and let connections not wait for ever; Ray Serve calls it in each proxy."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = "salus.serve.protocol:Patient"
    bounds = json.loads(os.environ[BOUNDS])
    return [Middleware(ProxyGate, **bounds)]


class ProxyGate:
    """Bounds what a proxy holds of requests, and answers for replicas that are gone.

    Args:
        app: the proxy.
        max_bytes: bytes of one request, at most.
        seconds: in which a small one must arrive.
        secure: whether browsers reach the service by https.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float, secure: bool) -> None:
        self._app, self._max_bytes, self._seconds = app, max_bytes, seconds
        self._safe = safe_headers(secure=secure)
        self._room = Room(8 * max_bytes)
        self._in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there are none
                await send({"type": "websocket.close", "code": 1008})
            return
        reply = _Reply(send)
        self._in_hand += 1
        try:
            await self._pass_on(scope, receive, reply)
        except ProblemDetailsError as problem:
            await self._refuse(problem, scope, receive, send)
        except ClientDisconnect:
            return
        finally:
            self._in_hand -= 1

    async def _pass_on(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        """Pass a request on, and its answer back.

        Raises:
            ProblemDetailsError: it is not passed on, or no replica answers.
        """
        if scope["path"].startswith(_OWN):
            raise ProblemDetailsError(
                "not-found", "There is nothing at this address; GET /openapi.json lists what there is."
            )
        if self._in_hand > _MOST:
            raise ProblemDetailsError("too-many", _FULL, 1)
        size = _size(Headers(scope=scope))
        if size is not None and size > self._max_bytes:
            raise ProblemDetailsError(
                "too-large", f"The request has more than {self._max_bytes} bytes; send less at a time."
            )
        with self._room.reserved() as take:
            take(self._max_bytes if size is None else size)
            passed = _unsteered(scope)
            if size is not None and size <= _SMALL:
                passed[_BODY] = await self._whole(receive)
            await self._app(passed, _bounded(receive, self._max_bytes), reply)
        if reply.own is not None:
            raise (
                ProblemDetailsError("too-many", _FULL, 1)
                if reply.own == 429
                else ProblemDetailsError("unavailable", _LOST, 1)
            )

    async def _whole(self, receive: Receive) -> bytes:
        """Read a small body.

        Raises:
            ProblemDetailsError: it arrives too slowly.
            ClientDisconnect: whoever sends it has gone.
        """
        try:
            return await within(_read(receive), self._seconds)
        except TimeoutError as error:
            raise ProblemDetailsError(
                "timeout", f"The request did not arrive within {self._seconds:g} seconds; send it faster."
            ) from error

    async def _refuse(self, problem: ProblemDetailsError, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_request_id()
        response = problem.response(request_id)
        response.raw_headers += [*self._safe, (_REQUEST_ID, request_id.encode())]
        await response(scope, receive, send)


class Bodied:
    """Hands an application the body that came along with a request.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        body = scope.pop(_BODY, None)
        if body is None:
            await self._app(scope, receive, send)
            return
        given = False

        async def once() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, once, send)


class _Reply:
    """Passes on what a replica answers, and holds back what the proxy says itself.

    The head waits for the body, so that a replica that dies between the two has said nothing.

    Attributes:
        own: the status of what the proxy said itself, 500 where it said nothing; None where a replica answered.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: MutableMapping[str, Any] | None = None
        self.own: int | None = 500

    async def __call__(self, message: Message) -> None:
        """Take a part of an answer."""
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
            if not any(name == b"x-content-type-options" for name, _ in headers):  # every answer of a replica has it
                self.own = int(message["status"])
                return
            own_id = next((value for name, value in headers if name.lower() == _REQUEST_ID), b"")
            rest = [(name, value) for name, value in headers if name.lower() != _REQUEST_ID]
            self._head = {**message, "headers": [*rest, (_REQUEST_ID, own_id)]}
            return
        if self._head is not None:
            await self._send(self._head)
            self._head, self.own = None, None
        if self.own is None:
            await self._send(message)


def _unsteered(scope: Scope) -> Scope:
    """Leave out headers that steer the proxy."""

    def steers(name: bytes) -> bool:
        plain = name.lower().replace(b"_", b"-")
        return plain in _STEERING or plain.startswith(_PREFIXES)

    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if not steers(name)]}


def _size(headers: Headers) -> int | None:
    """Say how many bytes a body has; None where it comes in pieces."""
    declared = headers.get("content-length", "")
    if declared.isdecimal():
        return int(declared)
    return None if "transfer-encoding" in headers else 0


async def _read(receive: Receive) -> bytes:
    pieces, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def _bounded(receive: Receive, most: int) -> Receive:
    """Read no more of a body than shows that it is too large; the replica refuses it."""
    left = most

    async def bounded() -> Message:
        nonlocal left
        if left < 0:
            await asyncio.Event().wait()  # until the proxy gives up, once the refusal is out
        message = await receive()
        left -= len(message.get("body", b""))
        return message

    return bounded
