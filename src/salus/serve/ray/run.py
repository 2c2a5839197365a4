"""Starting a service on Ray: check here what can be checked, join the cluster, deploy, say where, drain at the end."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import make_url

from salus import __version__
from salus.engines.ray import connect, import_ray
from salus.errors import EngineError, OptionError
from salus.serve.database import default_url
from salus.serve.guards import GuardSource
from salus.serve.ray.carried import asked
from salus.serve.ray.cluster import Cluster
from salus.serve.ray.front import BOUNDS, HOOK
from salus.serve.ray.keeper import Keeper
from salus.serve.ray.replica import Replica, machine_of
from salus.serve.service import Service
from salus.serve.settings import Settings
from salus.serve.starting import bound, check_certificate, greeting, plan_of, quiet_logs

#: What Ray Serve calls the service.
APPLICATION = "salus"

#: Requests that one replica may have in hand, and that may wait in each proxy beside those.
_IN_HAND, _WAITING = 256, 4096

#: Seconds between looks at the cluster, while it starts and while it runs.
_LOOK, _WATCH = 0.25, 5.0

#: Seconds after which it is said what a start waits for; that taking it down may take, beside the time to drain.
_SLOW, _DOWN = 30.0, 15.0


def serve_on_ray(settings: Settings, sources: Sequence[GuardSource], say: Callable[[str], None]) -> None:
    """Serve on a Ray cluster until a signal ends it; what was accepted is answered first.

    Args:
        settings: how.
        sources: of the guards.
        say: tells whoever started it where it is.

    Raises:
        OptionError: the address cannot be taken, or a setting does not go with the cluster.
        BundleError: a guard cannot be used.
        StoreError: the database or the key cannot.
        EngineError: there is no such cluster, Ray Serve runs on it already, or no replica can be started.
    """
    quiet_logs()
    os.environ.setdefault("RAY_worker_niceness", "0")  # in a cluster made here, guards do not wait for other programs
    import_ray()
    _refuse_password(settings)
    check_certificate(settings)
    with bound(settings) as probe:  # the proxies take it again
        settings = dataclasses.replace(settings, port=probe.getsockname()[1])
    code = secrets.token_urlsafe(24)
    service = Service.open(settings, sources, code)
    service.writer.close(settings.drain_seconds)
    service.database.close()
    leaves = connect(str(settings.ray_address))
    try:
        cluster = Cluster.of(settings)
        plan = {**plan_of(settings, sources, code), "version": __version__, **_machine(settings)}
        with _stopping() as stop, _deployed(settings, sources, plan, cluster, say, stop) as keeper:
            if not stop.is_set():
                for line in greeting(service, cluster.words):
                    say(line)
            _watch(keeper, stop, say)
    finally:
        if leaves:
            with redirect_stderr(io.StringIO()):  # where Ray says of what it is told to end that it failed
                import_ray().shutdown()


def _refuse_password(settings: Settings) -> None:
    """Refuse a password that would travel through Ray, which keeps and shows what replicas are started with.

    Raises:
        OptionError: the database's URL holds one.
    """
    url = make_url(default_url(settings))
    if url.password or "password" in url.query:
        raise OptionError(
            "The database's URL holds a password, which Ray would keep and show: leave it out, and set PGPASSWORD or "
            "write ~/.pgpass on each machine of the cluster."
        )


def _machine(settings: Settings) -> dict[str, Any]:
    """Say where a database lies that only one machine's processes may share."""
    url = make_url(default_url(settings))
    file = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
    file = None if file is None else file.expanduser().absolute()
    return {"machine": machine_of(file), "machine_file": None if file is None else str(file)}


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Give what is set once a signal says to stop; the signals are as before at the end."""
    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _deployed(
    settings: Settings,
    sources: Sequence[GuardSource],
    plan: dict[str, Any],
    cluster: Cluster,
    say: Callable[[str], None],
    stop: threading.Event,
) -> Iterator[Any]:
    """Run the service on the cluster; at the end answer what was accepted, and take it down."""
    ray = import_ray()
    from ray import serve
    from ray.serve.schema import LoggingConfig
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    logging_config = LoggingConfig(log_level="WARNING", enable_access_log=False)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = (
        ray.remote(Keeper)
        .options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
        .remote({each.name: str(each.folder.absolute()) for each in sources})
    )
    bounds = json.dumps({"max_bytes": settings.max_bytes, "seconds": settings.timeout, "secure": settings.secure})
    try:
        serve.start(
            proxy_location="EveryNode",
            http_options={
                "host": settings.host.strip("[]"),
                "port": settings.port,
                "keep_alive_timeout_s": max(1, round(settings.timeout)),
                "ssl_certfile": None if settings.tls_certificate is None else str(settings.tls_certificate.absolute()),
                "ssl_keyfile": None if settings.tls_key is None else str(settings.tls_key.absolute()),
            },
            logging_config=logging_config,
            controller_options={
                "runtime_env": {"env_vars": {HOOK: "salus.serve.ray.front:middlewares", BOUNDS: bounds}}
            },
        )
        low, high = cluster.replicas
        deployment = serve.deployment(
            name="guards",
            ray_actor_options=cluster.needs,
            max_ongoing_requests=_IN_HAND,
            max_queued_requests=_WAITING,
            backpressure_config={"status_code": 429},
            graceful_shutdown_wait_loop_s=0.5,
            graceful_shutdown_timeout_s=settings.drain_seconds,
            max_constructor_retry_count=2,
            logging_config=logging_config,
            autoscaling_config={
                "min_replicas": low,
                "max_replicas": high,
                "target_ongoing_requests": settings.replica_load,
                "upscale_delay_s": 5.0,
                "look_back_period_s": 15.0,
            },
        )(serve.ingress()(Replica))
        target = serve.RunTarget(deployment.bind(plan, keeper), name=APPLICATION, route_prefix="/")
        serve.run_many([target], wait_for_applications_running=False)
        _await_running(keeper, cluster, say, stop)
        yield keeper
    finally:
        _take_down(settings.drain_seconds + _DOWN)


def _take_down(seconds: float) -> None:
    """Let replicas answer what they have, and end Ray Serve; a cluster that is gone needs no taking down."""
    from ray import serve
    from ray.exceptions import RayError

    def take_down() -> None:
        with suppress(RayError, TimeoutError):
            serve.delete(APPLICATION)
            serve.shutdown()  # type: ignore[no-untyped-call]

    thread = threading.Thread(target=take_down, name="salus-down", daemon=True)  # Ray would wait for ever for the dead
    with redirect_stderr(io.StringIO()):  # where Ray says of what it is told to end that it failed
        thread.start()
        thread.join(seconds)


def _await_running(keeper: Any, cluster: Cluster, say: Callable[[str], None], stop: threading.Event) -> None:
    """Wait until as many replicas run as there are to be at least.

    Raises:
        EngineError: one of them cannot start.
    """
    from ray import serve

    since, told = time.monotonic(), False
    while not stop.is_set():
        status = serve.status().applications.get(APPLICATION)
        word = "" if status is None else str(status.status.value)
        faults = asked(keeper.faults.remote())
        if faults or word in ("DEPLOY_FAILED", "UNHEALTHY"):
            reason = faults[-1] if faults else " ".join(str(getattr(status, "message", "")).split())[-400:]
            raise EngineError(f"No replica can be started: {reason}")
        if word == "RUNNING":
            return
        if not told and time.monotonic() - since > _SLOW:
            say(f"Waiting for {cluster.replicas[0]} replicas to start; `serve status` says more of them.")
            told = True
        stop.wait(_LOOK)


def _watch(keeper: Any, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Wait for the signal to stop, and tell meanwhile of what keeps replicas from running.

    Raises:
        EngineError: the cluster is gone.
    """
    seen: list[str] = []
    while not stop.wait(_WATCH):
        try:
            faults: list[str] = asked(keeper.faults.remote())
        except EngineError as error:
            raise EngineError(
                "The Ray cluster does not answer any more: start the service again; what was answered is in its log."
            ) from error
        for sentence in dict.fromkeys(faults):
            if sentence not in seen:
                say(f"A replica could not be started: {sentence}")
        seen = faults
