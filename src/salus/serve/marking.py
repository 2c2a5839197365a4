"""What every answer carries: its request's name, and headers of safety."""

from __future__ import annotations

import secrets
import time

_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def safe_headers(*, secure: bool) -> list[tuple[bytes, bytes]]:
    """List the headers of safety that every answer has, where browsers reach the service by https or not."""
    safe = {**_SAFE, **({"Strict-Transport-Security": "max-age=31536000"} if secure else {})}
    return [(name.lower().encode(), value.encode()) for name, value in safe.items()]


def new_request_id() -> str:
    """Name a request, in the order of time, so that the log's index of requests grows at its end."""
    return f"{int(time.time() * 1000):012x}{secrets.token_hex(10)}"
