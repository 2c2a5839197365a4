"""Tells alarms to whoever is to know, by a signed POST, in the background."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from salus.errors import OptionError

if TYPE_CHECKING:
    import httpx

#: Carries ``t=<seconds since 1970>,v1=<HMAC-SHA256 of "seconds.body" in hexadecimal>``.
SIGNATURE = "X-Salus-Signature"

#: How often a message is tried, and the seconds before the second try, doubled before each later one.
_TRIES, _WAIT = 6, 1.0

#: Seconds that one try may take.
_TIMEOUT = 5.0

#: Messages that wait; a receiver that is away for longer hears of the first ones.
_MOST_WAITING = 100

#: Answers after which another try makes sense.
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True)
class AlarmMessage:
    """What is told of an alarm; nothing in it is about one patient.

    Attributes:
        alarm: its number, by which a receiver knows a message that comes twice.
        content: what is sent, as plain values for JSON.
    """

    alarm: int
    content: Mapping[str, Any]


class Webhook:
    """Posts messages, one after another, in a thread of its own.

    Args:
        url: where to, http or https; redirects are not followed.
        secret: signs the messages; None: they are not signed.
        delivered: called with the alarm's number once its message has arrived.
        wait: seconds before the second try.
        clock: tells the time, in seconds since 1970.
        transport: instead of the network.

    Attributes:
        fault: why the last try failed; None where it did not.

    Raises:
        OptionError: the address is none.
    """

    def __init__(
        self,
        url: str,
        secret: bytes | None,
        delivered: Callable[[int], None],
        *,
        wait: float = _WAIT,
        clock: Callable[[], float] = time.time,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError(f"The webhook {url!r} is no address; give one that begins with https:// or http://.")
        if secret is not None and not secret:
            raise OptionError("The secret that signs the webhook's messages is empty; put one into its file.")
        self._url = url
        self._secret = secret
        self._delivered = delivered
        self._wait = wait
        self._clock = clock
        self._transport = transport
        self._messages: queue.Queue[AlarmMessage | None] = queue.Queue(_MOST_WAITING)
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.fault: str | None = None

    def tell(self, message: AlarmMessage) -> bool:
        """Have a message sent; False where too many wait already."""
        try:
            self._messages.put_nowait(message)
        except queue.Full:
            return False
        return True

    def start(self) -> None:
        """Send from now on."""
        self._thread = threading.Thread(target=self._run, name="salus-webhook", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; what could not be sent is told by whoever finds it undelivered."""
        self._ending.set()
        with suppress(queue.Full):  # then the thread is busy, and looks at the event before each message
            self._messages.put_nowait(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        import httpx

        with httpx.Client(timeout=_TIMEOUT, follow_redirects=False, transport=self._transport) as client:
            while not self._ending.is_set():
                message = self._messages.get()
                if message is not None and self._send(client, message):
                    self._delivered(message.alarm)

    def _send(self, client: httpx.Client, message: AlarmMessage) -> bool:
        """Send one message, trying again after pauses that double; tell whether it arrived."""
        import httpx

        body = json.dumps(message.content, sort_keys=True).encode()
        for attempt in range(_TRIES):
            if attempt and self._ending.wait(self._wait * 2 ** (attempt - 1)):
                return False
            headers = {"Content-Type": "application/json", "User-Agent": "salus"}
            if self._secret is not None:
                headers[SIGNATURE] = signature(self._secret, body, int(self._clock()))
            try:
                with client.stream("POST", self._url, content=body, headers=headers) as answer:
                    status = answer.status_code  # what it says besides is not read: it may be endless
            except (httpx.HTTPError, OSError) as error:
                self.fault = f"The webhook did not take alarm {message.alarm}: {type(error).__name__}: {error}"
                continue
            if 200 <= status < 300:
                self.fault = None
                return True
            self.fault = f"The webhook did not take alarm {message.alarm}: it answered {status}."
            if status < 500 and status not in _PASSING:
                return False
        return False


def signature(secret: bytes, body: bytes, seconds: int) -> str:
    """Sign a message, with the time, so that one that was overheard cannot be sent again later."""
    mac = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={mac}"


def signed(secret: bytes, body: bytes, header: str, now: float, tolerance: float = 300.0) -> bool:
    """Tell whether a message that was received is signed with the secret, within so many seconds of now."""
    try:
        seconds = int(dict(part.split("=", 1) for part in header.split(","))["t"])
    except (ValueError, KeyError):
        return False
    return abs(now - seconds) <= tolerance and hmac.compare_digest(
        signature(secret, body, seconds).encode(), header.encode()
    )
