"""A worker of a service, as a replica of Ray Serve."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from salus import __version__
from salus.errors import EngineError, OptionError, SalusError, StoreError
from salus.options import build
from salus.serve.app import create_app
from salus.serve.ray.carried import Carried, Replicas
from salus.serve.ray.front import Bodied
from salus.serve.ray.place import Place
from salus.serve.service import Service
from salus.serve.settings import Settings
from salus.serve.starting import quiet_logs, settle

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def machine_of(file: Path | None) -> list[str] | None:
    """Tell this machine, and a file on it, from others; None without a file.

    Args:
        file: a database that only processes of one machine may share.
    """
    if file is None:
        return None
    started = _BOOT.read_text("ascii").strip() if _BOOT.exists() else ""
    try:
        status = file.stat()
    except OSError:
        return [socket.gethostname(), started, "missing"]
    return [socket.gethostname(), started, f"{status.st_dev}:{status.st_ino}"]


class Replica:
    """Answers requests as a worker of a service does on one machine.

    Args:
        plan: what to serve and how, as plain values; see ``salus.serve.starting.plan_of``.
        keeper: the actor that has the bundles.

    Raises:
        SalusError: the service cannot be opened here.
    """

    def __init__(self, plan: Mapping[str, Any], keeper: Any) -> None:
        self._place = Place()
        try:
            self._service = _opened(plan, keeper, self._place.folder)
        except SalusError as error:
            self._place.clear()
            keeper.fail.remote(f"{error} (On {socket.gethostname()}.)")
            raise

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Give the application; Ray Serve runs it from its start to its end."""
        app = Bodied(create_app(self._service))
        settle()
        return app

    def __del__(self) -> None:
        """Leave nothing behind; Ray Serve calls it once the application has ended."""
        self._place.clear()

    def check_health(self) -> None:
        """Tell Ray Serve whether to go on with this replica; while the database is away, another would fare no better.

        Raises:
            EngineError: it can judge no more, or log no more.
        """
        if not self._service.batcher.running or not self._service.writer.running:
            raise EngineError("This replica's judging or its log has ended.")


def _opened(plan: Mapping[str, Any], keeper: Any, place: Path) -> Service:
    quiet_logs()
    if plan["version"] != __version__:
        raise EngineError(
            f"A machine of the Ray cluster has Salus {__version__}, and the command that serves {plan['version']}: "
            "install the same."
        )
    if plan["machine"] is not None and plan["machine"] != machine_of(Path(plan["machine_file"])):
        raise StoreError(
            "A log in SQLite cannot be shared among machines, and a replica started on another one: give --database "
            "postgresql://USER@HOST/NAME."
        )
    settings = build(Settings, plan["settings"], "the service")
    if not settings.key.exists():
        raise OptionError(
            f"There is no key file {settings.key}: copy the log's key to the same place on every machine of the Ray "
            "cluster, readable by its owner alone."
        )
    sources = [
        Carried(name=name, folder=Path(folder), factory=factory, keeper=keeper, place=place)
        for name, folder, factory in plan["sources"]
    ]
    crew = Replicas(keeper, secrets.token_hex(8))
    return Service.open(settings, sources, plan["code"], crew=crew, make_key=False)
