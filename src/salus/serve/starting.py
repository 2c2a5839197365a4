"""What starting a service takes, wherever its workers are: an address, a certificate, a plan, and what to say."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from salus.errors import OptionError
from salus.serve.app import example_of
from salus.serve.guards import GuardSource
from salus.serve.service import Service
from salus.serve.settings import Settings

#: Seconds after which a thread that computes lets another one run: requests wait for the one that judges.
_SWITCH = 0.0005


def plan_of(settings: Settings, sources: Sequence[GuardSource], code: str) -> dict[str, Any]:
    """Write as plain values what a worker in another process needs to open the service."""
    return {
        "settings": {
            key: str(value) if isinstance(value, Path) else value
            for key, value in dataclasses.asdict(settings).items()
            if value is not None
        },
        "sources": [[each.name, str(each.folder), each.factory] for each in sources],
        "code": code,
    }


def quiet_logs() -> None:
    """Let a process say what somebody should look into, and no more."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every broken form, byte by byte
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")


def settle() -> None:
    """Let a process that has loaded what it needs answer promptly: short turns of threads, no search for garbage.

    What was loaded is taken out of that search, which would hold up requests for a fifth of a second.
    """
    sys.setswitchinterval(_SWITCH)
    gc.collect()
    gc.freeze()


def check_certificate(settings: Settings) -> None:
    """Refuse a certificate and key that do not go together.

    Raises:
        OptionError: they do not, or cannot be read.
    """
    if settings.tls_certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise OptionError(
            f"TLS cannot be spoken with {settings.tls_certificate} and {settings.tls_key} ({error}); give a "
            "certificate chain and its own key, both in PEM."
        ) from error


def bound(settings: Settings) -> socket.socket:
    """Take the address.

    Raises:
        OptionError: somebody has it, or it is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host.strip("[]"), settings.port))
    except OSError as error:
        listening.close()
        raise OptionError(
            f"Address {settings.host}:{settings.port} cannot be taken ({error.strerror or error}); choose another with "
            "--host and --port."
        ) from error
    listening.set_inheritable(True)
    listening.listen(2048)
    return listening


def greeting(service: Service, hands: str) -> list[str]:
    """Say what is served where and by whom, and how to ask."""
    settings = service.settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{'https' if settings.encrypted else 'http'}://{host}:{settings.port}"
    lines = []
    for served in service.guards.values():
        detectors = ", ".join(served.card.detectors) or "no detectors: it refuses nothing"
        lines.append(
            f"Guard {served.name}: {len(served.card.classes)} classes, {detectors}; takes "
            f"{', '.join(served.card.content_types)}; bundle {served.fingerprint[:12]}"
        )
    for name, monitor in service.watchers.watched.items():
        lines.append(
            f"Callers of {name} are watched by {monitor.rstrip('.')}; on an alarm: {settings.monitor}. What they send "
            f"is kept for {settings.monitor_days:g} days to be compared; --monitor off keeps nothing of it."
        )
    lines.append(f"Log: {service.database.place} (signed with {settings.key})")
    if not settings.open:
        lines.append("Every request needs a token: salus token add NAME --scope judge")
    lines.append(f"Dashboard: {address}/dashboard/login?code={service.login_code}")
    first = next(iter(service.guards.values()))
    example = json.dumps(example_of(first))
    if len(example) < 1500:
        token = "" if settings.open else " -H 'Authorization: Bearer TOKEN'"
        where = f"{address}/v1/guards/{first.name}/verdicts"
        lines.append(f"Ask: curl {where}{token} -H 'Content-Type: application/json' -d '{example}'")
    lines.append(f"Listening on {address} with {hands}; Ctrl-C stops it.")
    return lines
