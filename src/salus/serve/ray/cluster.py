"""What a Ray cluster must be to serve guards, and what it has room for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from salus.engines.ray import import_ray
from salus.errors import EngineError, OptionError
from salus.serve.settings import Settings

#: What Ray Serve calls its controller, and where.
_CONTROLLER = {"name": "SERVE_CONTROLLER_ACTOR", "namespace": "serve"}

#: Replicas where nobody says how many, at most.
_MOST = 100


@dataclass(frozen=True)
class Cluster:
    """A cluster that guards may be served on.

    Attributes:
        machines: how many it has.
        replicas: of the service, at least and at most.
        needs: of each replica, as Ray has it.
        words: for whoever started the service.
    """

    machines: int
    replicas: tuple[int, int]
    needs: dict[str, Any]
    words: str

    @classmethod
    def of(cls, settings: Settings) -> Cluster:
        """Look at the cluster that this process has joined.

        Raises:
            OptionError: its machines would talk in the clear, or cannot share the log.
            EngineError: Ray Serve runs on it already, or it has no room.
        """
        ray = import_ray()
        if _CONTROLLER in ray.util.list_named_actors(all_namespaces=True):
            raise EngineError(
                "Ray Serve runs on this cluster already, with its own address and safeguards: end it first "
                "(`serve shutdown`), or start another cluster."
            )
        nodes = [node for node in ray.nodes() if node["Alive"]]
        addresses = {node["NodeManagerAddress"] for node in nodes}
        if addresses != {ray.util.get_node_ip_address()}:
            _check_machines(settings)
        gpus = settings.replica_gpus or (0.0 if settings.device == "cpu" else 1.0)
        needs = {"num_cpus": settings.threads, "num_gpus": gpus}
        room = int(sum(_fits(node["Resources"], needs) for node in nodes))
        low, high = settings.replica_range
        if room < low:
            each = f"{settings.threads} core{'s' if settings.threads > 1 else ''}{f' and {gpus:g} GPU' if gpus else ''}"
            raise EngineError(
                f"The Ray cluster has room for {room} replicas of {each} each, and {low} are asked for: give fewer by "
                "--replicas or --threads, or add machines."
            )
        high = high if high is not None else min(room, _MOST)
        count = f"{low}" if low == high else f"{low} to {high}"
        where = "1 machine" if len(addresses) == 1 else f"{len(addresses)} machines"
        words = f"{count} replica{'s' if high > 1 else ''} on a Ray cluster of {where}"
        return cls(len(addresses), (low, high), needs, words)


def _fits(resources: dict[str, float], needs: dict[str, float]) -> float:
    fits = resources.get("CPU", 0.0) // needs["num_cpus"]
    return min(fits, resources.get("GPU", 0.0) // needs["num_gpus"]) if needs["num_gpus"] else fits


def _check_machines(settings: Settings) -> None:
    """Check what several machines need.

    Raises:
        OptionError: it is not so.
    """
    if settings.database is None or settings.database.startswith("sqlite"):
        raise OptionError(
            "A log in SQLite cannot be shared among machines, and the Ray cluster has several: give --database "
            "postgresql://USER@HOST/NAME."
        )
    if os.environ.get("RAY_USE_TLS", "0") != "1" and not settings.trusted_network:
        raise OptionError(
            "The machines of the Ray cluster would send inputs and verdicts to each other in the clear: start Ray with "
            "RAY_USE_TLS=1 and its certificates, or say --trusted-network where nobody else is on their network."
        )
