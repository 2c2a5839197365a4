"""Starting a service: bind, load, say where it is, serve until told to stop."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import os
import secrets
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from salus.errors import OptionError
from salus.options import build
from salus.serve.app import create_app, example_of
from salus.serve.guards import Source
from salus.serve.metrics import SHARED
from salus.serve.service import Service
from salus.serve.settings import Settings

#: Tells worker processes what to serve.
_PLAN = "SALUS_SERVE_PLAN"

#: Seconds after which a thread that computes lets another one run: requests wait for the one that judges.
_SWITCH = 0.0005


def serve(settings: Settings, sources: Sequence[Source], say: Callable[[str], None]) -> None:
    """Serve until a signal ends it; what was accepted is answered first.

    Args:
        settings: how.
        sources: of the guards.
        say: tells whoever started it where it is.

    Raises:
        OptionError: the address cannot be taken.
        BundleError: a guard cannot be used.
        StoreError: the database or the key cannot.
    """
    sys.setswitchinterval(_SWITCH)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every broken form, byte by byte
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    _check_certificate(settings)
    listening = _bind(settings)
    with listening, tempfile.TemporaryDirectory(prefix="salus-metrics-") as counts:
        settings = dataclasses.replace(settings, port=listening.getsockname()[1])
        code = secrets.token_urlsafe(24)
        if settings.workers > 1:
            os.environ[SHARED] = counts
        service = Service.open(settings, sources, code)
        for line in _greeting(service):
            say(line)
        if settings.workers == 1:
            app = create_app(service)
            _settle()
            uvicorn.Server(_config(settings, app)).run([listening])
            return
        service.writer.close(settings.drain_seconds)
        service.database.close()
        os.environ[_PLAN] = json.dumps(
            {
                "settings": {
                    key: str(value) if isinstance(value, Path) else value
                    for key, value in dataclasses.asdict(settings).items()
                    if value is not None
                },
                "sources": [[each.name, str(each.folder), each.factory] for each in sources],
                "code": code,
            }
        )
        from uvicorn.supervisors import Multiprocess

        config = _config(settings, "salus.serve.run:worker_app")
        Multiprocess(config, sockets=[listening]).run()


def worker_app() -> ASGIApp:
    """Make the application of one worker out of several."""
    sys.setswitchinterval(_SWITCH)
    plan = json.loads(os.environ[_PLAN])
    settings = build(Settings, plan["settings"], "the service")
    sources = [Source(name, Path(folder), factory) for name, folder, factory in plan["sources"]]
    app = create_app(Service.open(settings, sources, plan["code"]))
    _settle()
    return app


def _settle() -> None:
    """Take what was loaded out of the search for garbage, which would hold up requests for a fifth of a second."""
    gc.collect()
    gc.freeze()


def _check_certificate(settings: Settings) -> None:
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


def _bind(settings: Settings) -> socket.socket:
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


def _config(settings: Settings, app: ASGIApp | str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=settings.workers,
        http="salus.serve.protocol:Patient",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, round(settings.timeout)),
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        limit_concurrency=4096,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def _greeting(service: Service) -> list[str]:
    """Say what is served where, and how to ask."""
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
    lines.append(
        f"Listening on {address} with {settings.workers} worker{'s' if settings.workers > 1 else ''}; Ctrl-C stops it."
    )
    return lines
