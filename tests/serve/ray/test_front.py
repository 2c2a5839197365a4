"""What stands in Ray Serve's proxies before every request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from salus.serve.marking import safe_headers
from salus.serve.ray import front
from salus.serve.ray.front import Bodied, ProxyGate

_BODY = b'{"verdicts":[]}'


def _replicas_answer(body: bytes = _BODY) -> list[Message]:
    """What a replica answers, as the proxy passes it on."""
    headers = [(b"content-type", b"application/json"), *safe_headers(secure=False)]
    both = [*headers, (b"x-request-id", b"the-replicas"), (b"x-request-id", b"the-proxys")]
    return [
        {"type": "http.response.start", "status": 200, "headers": both},
        {"type": "http.response.body", "body": body},
    ]


def _proxys(status: int) -> list[Message]:
    """What the proxy says itself."""
    headers = [(b"content-type", b"text/plain"), (b"x-request-id", b"the-proxys")]
    return [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": b"Request dropped due to backpressure."},
    ]


@dataclass
class _Proxy:
    """Stands for Ray Serve's proxy: says what it is given, and notes what it was asked."""

    messages: Sequence[Message]
    scope: dict[str, Any] = field(default_factory=dict)
    read: int = 0
    reads: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = dict(scope)
        if self.reads:
            reading = asyncio.get_running_loop().create_task(self._read(receive))
            await asyncio.sleep(0.05)
            reading.cancel()
        for message in self.messages:
            await send(message)

    async def _read(self, receive: Receive) -> None:
        while True:
            self.read += len((await receive()).get("body", b""))


def _ask(
    app: ASGIApp,
    *,
    path: str = "/v1/guards/patients/verdicts",
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: Callable[[], bytes] | None = None,
    length: bytes | None = b"0",
    pause: float = 0.0,
) -> tuple[list[Message], dict[bytes, list[bytes]], Any]:
    """Send one request through the front; return what came back."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(pause)
        if body is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": body(), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    size = (b"transfer-encoding", b"chunked") if length is None else (b"content-length", length)
    scope = {"type": "http", "path": path, "headers": [size, *headers], "method": "POST"}
    asyncio.run(ProxyGate(app, max_bytes=1000, seconds=0.2, secure=True)(scope, receive, send))
    together: dict[bytes, list[bytes]] = {}
    for name, value in sent[0]["headers"]:
        together.setdefault(name.lower(), []).append(value)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent, together, json.loads(content)


def test_a_replicas_answer_comes_through_with_its_own_name_alone() -> None:
    sent, headers, content = _ask(_Proxy(_replicas_answer()))
    assert sent[0]["status"] == 200
    assert content == json.loads(_BODY)
    assert headers[b"x-request-id"] == [b"the-replicas"]


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([], 503),  # the replica died before it said anything: the proxy says nothing, and its server a bare 500
        (_replicas_answer()[:1], 503),  # between head and body
        (_proxys(404), 503),  # no replica runs yet, or none any more
        (_proxys(503), 503),
        (_proxys(500), 503),
        (_proxys(429), 429),
    ],
)
def test_a_replica_that_is_gone_is_a_problem_after_which_clients_ask_again(
    messages: list[Message], status: int
) -> None:
    sent, headers, content = _ask(_Proxy(messages))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == content["status"] == status
    assert headers[b"content-type"] == [b"application/problem+json"]
    assert int(headers[b"retry-after"][0]) >= 1
    assert headers[b"x-request-id"] == [content["request_id"].encode()]
    assert headers[b"content-security-policy"] == [b"default-src 'none'; frame-ancestors 'none'"]
    assert b"strict-transport-security" in headers


@pytest.mark.parametrize("path", ["/-/routes", "/-/healthz"])
def test_the_proxys_own_pages_tell_nobody_what_is_served(path: str) -> None:
    proxy = _Proxy(_replicas_answer())
    sent, _, _ = _ask(proxy, path=path)
    assert sent[0]["status"] == 404
    assert not proxy.scope


def test_callers_cannot_steer_the_proxy() -> None:
    proxy = _Proxy(_replicas_answer())
    steering = [
        (b"X-Request-Timeout-Seconds", b"0.001"),
        (b"x_request_disconnect_disabled", b"?1"),
        (b"serve_multiplexed_model_id", b"one"),
        (b"x-session-id", b"one"),
        (b"X-Request-Id", b"forged"),
        (b"x-serve-router-replica", b"one"),
    ]
    kept = [(b"authorization", b"Bearer t"), (b"idempotency-key", b"k")]
    _ask(proxy, headers=[*steering, *kept])
    assert proxy.scope["headers"] == [(b"content-length", b"0"), *kept]


def test_a_request_that_says_it_is_too_large_is_not_passed_on() -> None:
    proxy = _Proxy(_replicas_answer())
    sent, headers, _ = _ask(proxy, length=b"1001")
    assert sent[0]["status"] == 413
    assert headers[b"connection"] == [b"close"]
    assert not proxy.scope


def test_no_more_of_a_body_without_end_is_read_than_shows_that_it_is_too_large() -> None:
    proxy = _Proxy(_replicas_answer(), reads=True)
    _ask(proxy, body=lambda: b"x" * 100, length=None)
    assert 1000 < proxy.read <= 1100


@given(st.binary(max_size=900), st.integers(1, 100))
def test_small_bodies_go_along_with_their_requests_however_they_come(body: bytes, piece: int) -> None:
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)] or [b""]
    found: list[bytes] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(await Request(scope, receive).body())
        for message in _replicas_answer():
            await send(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        pass

    async def callback() -> Message:
        raise AssertionError("the replica calls back for a body that it has")

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        await Bodied(application)(dict(scope), callback, send)

    scope = {"type": "http", "path": "/", "headers": [(b"content-length", str(len(body)).encode())]}
    asyncio.run(ProxyGate(proxy, max_bytes=1000, seconds=1.0, secure=False)(scope, receive, send))
    assert found == [body]


def test_a_large_body_is_called_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_SMALL", 10)
    proxy = _Proxy(_replicas_answer(), reads=True)
    _ask(proxy, length=b"500", body=lambda: b"x" * 100)
    assert "salus.body" not in proxy.scope
    assert proxy.read >= 500


def test_a_small_body_that_does_not_arrive_is_not_waited_for() -> None:
    proxy = _Proxy(_replicas_answer())
    sent, headers, _ = _ask(proxy, length=b"500", body=lambda: b"", pause=0.05)
    assert sent[0]["status"] == 408
    assert headers[b"connection"] == [b"close"]
    assert not proxy.scope


def test_bodies_in_hand_are_bounded_over_all_requests() -> None:
    async def run() -> list[int]:
        statuses: list[int] = []
        done = asyncio.Event()

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            await done.wait()
            for message in _replicas_answer():
                await send(message)

        bounded = ProxyGate(waits, max_bytes=100, seconds=1.0, secure=False)

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        scope = {"type": "http", "path": "/", "headers": [(b"transfer-encoding", b"chunked")]}
        tasks = [asyncio.create_task(bounded(dict(scope), receive, send)) for _ in range(12)]
        await asyncio.sleep(0.02)
        done.set()
        await asyncio.gather(*tasks)
        await bounded(dict(scope), receive, send)  # all room was given back
        return statuses

    # A request without a body, as most that look are, takes none of the room.
    assert [_ask(_Proxy(_replicas_answer()), length=b"0")[0][0]["status"] for _ in range(20)] == [200] * 20
    statuses = asyncio.run(run())
    assert sorted(statuses) == [200] * 9 + [429] * 4


def test_nothing_but_http_gets_in() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    proxy = _Proxy([])
    asyncio.run(
        ProxyGate(proxy, max_bytes=1, seconds=1.0, secure=False)({"type": "websocket", "path": "/"}, receive, send)
    )
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert not proxy.scope
