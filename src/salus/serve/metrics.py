"""Figures for Prometheus; nothing in them is about one patient."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from salus.serve.batching import Judged

#: Set by the command where several workers count together.
SHARED = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts and times of one worker; read, of all that share a folder of counts.

    Attributes:
        registry: has them all.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("salus_requests", "Requests.", ("route", "status"), registry=registry)
        self.seconds = Histogram(
            "salus_request_seconds", "Seconds from a request's first byte to its answer.", ("route",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        phases = Histogram(
            "salus_phase_seconds",
            "Seconds of a request for verdicts: read (arrive and prepare), wait (for a forward pass), judge (network "
            "and detectors, with all that shared the pass), log (until the entry is durable).",
            ("phase",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._phases = {phase: phases.labels(phase) for phase in ("read", "wait", "judge", "log")}
        self.batches = Histogram(
            "salus_batch_inputs", "Inputs that shared a forward pass.", buckets=_INPUTS, registry=registry
        )
        self.verdicts = Counter("salus_verdicts", "Verdicts.", ("guard", "outcome"), registry=registry)
        self.rejected = Counter(
            "salus_rejections", "Rejections by each detector.", ("guard", "detector"), registry=registry
        )
        self.reloads = Counter("salus_reloads", "Bundles that changed.", ("guard", "outcome"), registry=registry)
        self.waiting = Gauge(
            "salus_waiting_inputs",
            "Inputs that wait for a forward pass.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.log_available = Gauge(
            "salus_log_available", "1 where the log takes entries.", registry=registry, multiprocess_mode="livemin"
        )
        self.log_entries = Gauge(
            "salus_log_entries", "The last entry's number.", registry=registry, multiprocess_mode="livemax"
        )

    def phase(self, phase: str, seconds: float) -> None:
        """Take note of how long a part of a request took."""
        self._phases[phase].observe(seconds)

    def judged(self, guard: str, judged: Judged | None, not_judged: int) -> None:
        """Count the verdicts on one request."""
        accepted = 0 if judged is None else sum(judged.accepted)
        rejected = 0 if judged is None else len(judged.accepted) - accepted
        for outcome, count in (("accepted", accepted), ("rejected", rejected), ("not judged", not_judged)):
            if count:
                self.verdicts.labels(guard, outcome).inc(count)
        if judged is None:
            return
        for detector, flags in judged.rejects.items():
            if any(flags):
                self.rejected.labels(guard, detector).inc(sum(flags))
        self.batches.observe(judged.shared)

    def text(self) -> bytes:
        """Write all figures as Prometheus reads them."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
