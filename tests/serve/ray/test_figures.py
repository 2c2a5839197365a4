"""Figures of several workers as one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from salus.serve.metrics import Metrics
from salus.serve.ray.figures import Family, families_of, merged, text_of

#: Counts of one worker: of requests by status, and seconds that a phase took.
_COUNTS = st.tuples(st.dictionaries(st.sampled_from(["200", "404", "503"]), st.integers(1, 50)), st.integers(0, 20))


def _worker(
    statuses: dict[str, int], observed: int, *, waiting: int = 0, available: bool = True, seq: int = 0
) -> Metrics:
    metrics = Metrics()
    for status, count in statuses.items():
        metrics.requests.labels("/v1", status).inc(count)
    for number in range(observed):
        metrics.phase("judge", 2.0**-number)
    metrics.waiting.set(waiting)
    metrics.log_available.set(available)
    metrics.log_entries.set(seq)
    return metrics


def _values(families: list[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read what Prometheus would, without when counting began."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text_of(families).decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(_COUNTS, min_size=1, max_size=5))
def test_counts_of_workers_add_up_to_those_of_one_that_did_it_all(counts: list[tuple[dict[str, int], int]]) -> None:
    workers = [families_of(_worker(*each).registry) for each in counts]
    together = _values(merged([(True, families) for families in workers]))
    for status in ("200", "404", "503"):
        expected = sum(statuses.get(status, 0) for statuses, _ in counts)
        key = ("salus_requests_total", (("route", "/v1"), ("status", status)))
        assert together.get(key, 0.0) == expected
    assert together["salus_phase_seconds_count", (("phase", "judge"),)] == sum(observed for _, observed in counts)
    assert together["salus_phase_seconds_bucket", (("le", "+Inf"), ("phase", "judge"))] == sum(o for _, o in counts)


def test_one_workers_figures_read_the_same_as_without_others() -> None:
    metrics = _worker({"200": 3}, 2, waiting=4, seq=9)
    alone = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert _values(merged([(True, families_of(metrics.registry))])) == alone


def test_what_is_of_a_moment_is_taken_of_those_that_run() -> None:
    runs = families_of(_worker({}, 0, waiting=3, available=True, seq=70).registry)
    stuck = families_of(_worker({}, 0, waiting=2, available=False, seq=60).registry)
    gone = families_of(_worker({"200": 5}, 0, waiting=100, available=False, seq=50).registry)
    together = _values(merged([(True, runs), (True, stuck), (False, gone)]))
    assert together["salus_waiting_inputs", ()] == 5
    assert together["salus_log_available", ()] == 0
    assert together["salus_log_entries", ()] == 70
    assert together["salus_requests_total", (("route", "/v1"), ("status", "200"))] == 5
    assert _values(merged([(True, runs), (False, gone)]))["salus_log_available", ()] == 1
