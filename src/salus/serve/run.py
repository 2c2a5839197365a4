"""Starting a service: bind, load, say where it is, serve until told to stop."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from salus.options import build
from salus.serve.app import create_app
from salus.serve.crew import Neighbours
from salus.serve.guards import GuardSource
from salus.serve.metrics import SHARED
from salus.serve.service import Service
from salus.serve.settings import Settings
from salus.serve.starting import bound, check_certificate, greeting, plan_of, quiet_logs, settle

#: Tells worker processes what to serve.
_PLAN = "SALUS_SERVE_PLAN"


def serve(settings: Settings, sources: Sequence[GuardSource], say: Callable[[str], None]) -> None:
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
    quiet_logs()
    check_certificate(settings)
    listening = bound(settings)
    with listening, tempfile.TemporaryDirectory(prefix="salus-metrics-") as counts:
        settings = dataclasses.replace(settings, port=listening.getsockname()[1])
        code = secrets.token_urlsafe(24)
        if settings.workers > 1:
            os.environ[SHARED] = counts
        service = Service.open(settings, sources, code)
        hands = f"{settings.workers} worker{'s' if settings.workers > 1 else ''}"
        for line in greeting(service, hands):
            say(line)
        if settings.workers == 1:
            app = create_app(service)
            settle()
            uvicorn.Server(_config(settings, app)).run([listening])
            return
        service.writer.close(settings.drain_seconds)
        service.database.close()
        os.environ[_PLAN] = json.dumps(plan_of(settings, sources, code))
        from uvicorn.supervisors import Multiprocess

        config = _config(settings, "salus.serve.run:worker_app")
        Multiprocess(config, sockets=[listening]).run()


def worker_app() -> ASGIApp:
    """Make the application of one worker out of several."""
    plan = json.loads(os.environ[_PLAN])
    settings = build(Settings, plan["settings"], "the service")
    sources = [GuardSource(name, Path(folder), factory) for name, folder, factory in plan["sources"]]
    crew = Neighbours(Path(os.environ[SHARED]), settings.workers)
    app = create_app(Service.open(settings, sources, plan["code"], crew=crew))
    settle()
    return app


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
