"""Messages to a webhook, over a real connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from salus.errors import OptionError
from salus.serve.monitoring.webhook import SIGNATURE, AlarmMessage, Webhook, signature, signed

_SECRET = b"a secret of the receiver's"


class Receiver:
    """A server that answers as a test says, and notes what it got."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if receiver.answers else 200
                receiver.requests.append((self.path, dict(self.headers), body))  # before whoever sent it knows
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/alarms"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def webhook(receiver: Receiver) -> Iterator[Callable[..., tuple[Webhook, list[int], threading.Event]]]:
    """Start webhooks that end with the test; with what they delivered."""
    running: list[Webhook] = []

    def start(url: str = "", secret: bytes | None = _SECRET) -> tuple[Webhook, list[int], threading.Event]:
        delivered: list[int] = []
        event = threading.Event()

        def note(alarm: int) -> None:
            delivered.append(alarm)
            event.set()

        hook = Webhook(url or receiver.url, secret, note, wait=0.001, clock=lambda: 1_700_000_000.0)
        hook.start()
        running.append(hook)
        return hook, delivered, event

    yield start
    for hook in running:
        hook.close()


def test_a_message_is_signed_with_its_time(receiver: Receiver, webhook: Callable[..., Any]) -> None:
    hook, delivered, event = webhook()
    hook.tell(AlarmMessage(7, {"alarm": 7, "text": "too many"}))
    assert event.wait(20)
    assert delivered == [7]
    path, headers, body = receiver.requests[0]
    assert path == "/alarms"
    assert json.loads(body) == {"alarm": 7, "text": "too many"}
    assert headers["Content-Type"] == "application/json"
    assert signed(_SECRET, body, headers[SIGNATURE], 1_700_000_100)
    assert not signed(_SECRET, body, headers[SIGNATURE], 1_700_000_400)  # sent again later
    assert not signed(_SECRET, body + b" ", headers[SIGNATURE], 1_700_000_100)
    assert not signed(b"another", body, headers[SIGNATURE], 1_700_000_100)
    assert not signed(_SECRET, body, "v1=0", 1_700_000_100)
    assert signature(_SECRET, body, 1_700_000_000) == headers[SIGNATURE]


def test_without_a_secret_nothing_is_signed(receiver: Receiver, webhook: Callable[..., Any]) -> None:
    hook, _, event = webhook(secret=None)
    hook.tell(AlarmMessage(1, {}))
    assert event.wait(20)
    assert SIGNATURE not in receiver.requests[0][1]


def test_a_receiver_that_is_away_for_a_while_is_tried_again(receiver: Receiver, webhook: Callable[..., Any]) -> None:
    hook, delivered, event = webhook()
    receiver.answers = [503, 429, 500]
    hook.tell(AlarmMessage(1, {}))
    assert event.wait(20)
    assert delivered == [1]
    assert len(receiver.requests) == 4
    assert hook.fault is None


def test_redirects_are_not_followed_and_refusals_not_repeated(receiver: Receiver, webhook: Callable[..., Any]) -> None:
    hook, delivered, event = webhook()
    receiver.answers = [307, 401]
    for alarm in (1, 2, 3):
        hook.tell(AlarmMessage(alarm, {}))
    assert event.wait(20)
    assert delivered == [3]
    assert [path for path, _, _ in receiver.requests] == ["/alarms"] * 3


def test_nobody_waits_for_a_receiver_that_is_gone(webhook: Callable[..., Any]) -> None:
    hook, delivered, _ = webhook("http://127.0.0.1:9/")
    for alarm in range(500):
        hook.tell(AlarmMessage(alarm, {}))
    assert not hook.tell(AlarmMessage(500, {}))
    assert delivered == []


@pytest.mark.parametrize("url", ["ftp://example.org/", "example.org", "https://", "javascript:alert(1)"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="no address"):
        Webhook(url, None, lambda _: None)


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="empty"):
        Webhook("https://example.org/", b"", lambda _: None)
