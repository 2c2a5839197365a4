"""What is refused before a service starts on Ray, each in one sentence; with a cluster that is told of, not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from salus.errors import EngineError, OptionError
from salus.serve.guards import sources_of
from salus.serve.ray import cluster
from salus.serve.ray.cluster import Cluster
from salus.serve.ray.replica import machine_of
from salus.serve.ray.run import serve_on_ray
from salus.serve.settings import Settings


def _cluster_of(
    monkeypatch: pytest.MonkeyPatch, *nodes: tuple[str, float, float], serving: bool = False, **options: Any
) -> Cluster:
    """Look at a cluster of nodes: address, cores, GPUs; this machine's address is 10.0.0.1."""
    actors = [{"name": "SERVE_CONTROLLER_ACTOR", "namespace": "serve"}] if serving else []
    rows = [
        {"Alive": True, "NodeManagerAddress": address, "Resources": {"CPU": cores, "GPU": gpus}}
        for address, cores, gpus in nodes
    ]
    rows.append({"Alive": False, "NodeManagerAddress": "10.9.9.9", "Resources": {"CPU": 99.0}})
    ray = SimpleNamespace(
        nodes=lambda: rows,
        util=SimpleNamespace(list_named_actors=lambda all_namespaces: actors, get_node_ip_address=lambda: "10.0.0.1"),
    )
    monkeypatch.setattr(cluster, "import_ray", lambda: ray)
    return Cluster.of(Settings(engine="ray", **options))


@pytest.mark.parametrize(
    ("nodes", "options", "replicas", "needs"),
    [
        ([4.0], {}, (1, 4), {"num_cpus": 1, "num_gpus": 0.0}),
        ([4.0], {"threads": 2}, (1, 2), {"num_cpus": 2, "num_gpus": 0.0}),
        ([3.0, 3.0], {"threads": 2}, (1, 2), {"num_cpus": 2, "num_gpus": 0.0}),  # no replica stands on two nodes
        ([4.0], {"replicas": "2"}, (2, 2), {"num_cpus": 1, "num_gpus": 0.0}),
        ([4.0], {"replicas": "2..16"}, (2, 16), {"num_cpus": 1, "num_gpus": 0.0}),  # nodes may be added
        ([500.0], {}, (1, 100), {"num_cpus": 1, "num_gpus": 0.0}),
    ],
)
def test_replicas_are_as_many_as_there_is_room_for_or_as_somebody_says(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[float],
    options: dict[str, Any],
    replicas: tuple[int, int],
    needs: dict[str, float],
) -> None:
    found = _cluster_of(monkeypatch, *(("10.0.0.1", cores, 0.0) for cores in nodes), **options)
    assert (found.replicas, found.needs, found.machines) == (replicas, needs, 1)


def test_shares_of_gpus_are_what_bounds_replicas_where_networks_run_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    node = ("10.0.0.1", 16.0, 2.0)
    assert _cluster_of(monkeypatch, node, device="cuda").replicas == (1, 2)
    shared = _cluster_of(monkeypatch, node, device="cuda", replica_gpus=0.25)
    assert (shared.replicas, shared.needs["num_gpus"]) == ((1, 8), 0.25)
    with pytest.raises(EngineError, match=r"room for 0 replicas of 1 core and 1 GPU each, and 1 are asked for"):
        _cluster_of(monkeypatch, ("10.0.0.1", 16.0, 0.0), device="cuda")


def test_what_a_cluster_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = ("10.0.0.1", 2.0, 0.0), ("10.0.0.2", 2.0, 0.0)
    postgres = "postgresql://salus@host/salus"
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    with pytest.raises(EngineError, match=r"room for 2 replicas of 1 core each, and 3 are asked for"):
        _cluster_of(monkeypatch, here, replicas="3..4")
    with pytest.raises(EngineError, match="runs on this cluster already"):
        _cluster_of(monkeypatch, here, serving=True)
    with pytest.raises(OptionError, match="SQLite cannot be shared among machines"):
        _cluster_of(monkeypatch, here, there)
    with pytest.raises(OptionError, match="in the clear"):
        _cluster_of(monkeypatch, here, there, database=postgres)
    trusted = _cluster_of(monkeypatch, here, there, database=postgres, trusted_network=True)
    assert trusted.words == "1 to 4 replicas on a Ray cluster of 2 machines"
    monkeypatch.setenv("RAY_USE_TLS", "1")
    assert _cluster_of(monkeypatch, here, there, database=postgres).machines == 2
    # One machine alone, and not this one: the database's file is here.
    with pytest.raises(OptionError, match="SQLite"):
        _cluster_of(monkeypatch, there)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"replicas": "2"}, "belongs to Ray"),
        ({"replica_gpus": 0.5}, "belongs to Ray"),
        ({"trusted_network": True}, "belongs to Ray"),
        ({"engine": "ray", "workers": 2}, "say --replicas instead"),
        ({"engine": "ray", "replicas": "0"}, "from 1 to"),
        ({"engine": "ray", "replicas": "4..2"}, "from 1 to"),
        ({"engine": "ray", "replicas": "1..2..3"}, "from 1 to"),
        ({"engine": "ray", "replicas": "many"}, "from 1 to"),
        ({"engine": "spark"}, "is unknown"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        Settings(**options)


@pytest.mark.parametrize(
    "url", ["postgresql://salus:secret@127.0.0.1:1/salus", "postgresql://salus@127.0.0.1:1/salus?password=secret"]
)
def test_a_password_does_not_travel_through_ray(url: str, table_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    settings = Settings(engine="ray", database=url, key_file=tmp_path / "key.pem", port=0)
    with pytest.raises(OptionError, match="PGPASSWORD") as caught:
        serve_on_ray(settings, sources_of([str(table_bundle)]), lambda line: None)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "key.pem").exists()


def test_a_machine_is_known_by_its_start_and_the_very_file(tmp_path: Path) -> None:
    file, other = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    file.touch()
    other.touch()
    assert machine_of(None) is None
    assert machine_of(file) == machine_of(file) != machine_of(other)
    assert machine_of(tmp_path / "away") != machine_of(file)


def test_nothing_of_ray_is_imported_before_a_service_starts_on_it() -> None:
    names = "salus.cli.serve salus.serve.run salus.serve.ray.run salus.serve.ray.front salus.serve.ray.keeper"
    program = f"import sys, {', '.join(names.split())}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0


def test_proxies_and_the_keeper_load_no_torch() -> None:
    program = "import sys, salus.serve.ray.front, salus.serve.ray.keeper; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
