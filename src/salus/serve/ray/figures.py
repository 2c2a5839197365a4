"""Figures of several workers as one: counts are added up, what is of a moment is taken of those that run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

#: A sample's labels, in the order of their names.
Labels = tuple[tuple[str, str], ...]

#: How figures of a moment are put together; others are added up.
_OF_A_MOMENT: dict[str, Callable[[Iterable[float]], float]] = {
    "salus_waiting_inputs": sum,
    "salus_log_available": min,
    "salus_log_entries": max,
}

#: Ends the names of samples that say since when something is counted.
_SINCE = "_created"


@dataclass(frozen=True)
class Family:
    """A figure with all its labels, as plain values that travel.

    Attributes:
        name: of the figure.
        help: what it says.
        kind: counter, gauge or histogram.
        samples: each with its name, labels and value.
    """

    name: str
    help: str
    kind: str
    samples: tuple[tuple[str, Labels, float], ...]


def families_of(registry: CollectorRegistry) -> list[Family]:
    """Read a registry."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            tuple((each.name, tuple(sorted(each.labels.items())), each.value) for each in metric.samples),
        )
        for metric in registry.collect()
    ]


def merged(workers: Sequence[tuple[bool, Sequence[Family]]]) -> list[Family]:
    """Put the figures of several workers together.

    Args:
        workers: of each, whether it still runs, and its figures.
    """
    heads: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, Labels], list[float]]] = {}
    for runs, families in workers:
        for family in families:
            if family.kind == "gauge" and not runs:
                continue
            heads.setdefault(family.name, family)
            own = values.setdefault(family.name, {})
            for name, labels, value in family.samples:
                own.setdefault((name, labels), []).append(value)
    return [
        Family(
            head.name,
            head.help,
            head.kind,
            tuple(
                (sample, labels, _together(head.name, sample)(all_)) for (sample, labels), all_ in values[name].items()
            ),
        )
        for name, head in heads.items()
    ]


def _together(family: str, sample: str) -> Callable[[Iterable[float]], float]:
    return min if sample.endswith(_SINCE) else _OF_A_MOMENT.get(family, sum)


def text_of(families: Sequence[Family]) -> bytes:
    """Write figures as Prometheus reads them."""

    class Stored(Collector):
        def collect(self) -> Iterator[Metric]:
            for family in families:
                metric = Metric(family.name, family.help, family.kind)
                for name, labels, value in family.samples:
                    metric.add_sample(name, dict(labels), value)
                yield metric

    registry = CollectorRegistry()
    registry.register(Stored())
    return generate_latest(registry)
