"""What one worker of a service is told, all of them do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from salus.guard import Guard
from salus.serve.app import create_app
from salus.serve.crew import Crew, Neighbours
from salus.serve.guards import sources_of
from salus.serve.limits import Rates
from salus.serve.metrics import Metrics
from salus.serve.problems import ProblemDetailsError
from salus.serve.service import Service
from salus.serve.settings import Settings


@pytest.fixture
def workers(table_bundle: Path, tmp_path: Path) -> Iterator[list[TestClient]]:
    """Two workers of one service, which never look for a changed bundle by themselves."""
    bundle, together = tmp_path / "patients", tmp_path / "together"
    shutil.copytree(table_bundle, bundle)
    together.mkdir()
    settings = Settings(data_folder=tmp_path / "data", key_file=tmp_path / "key" / "key.pem", reload_seconds=0)
    with ExitStack() as stack:
        clients = []
        for _ in range(2):
            service = Service.open(settings, sources_of([str(bundle)]), crew=Neighbours(together, 2))
            client = TestClient(create_app(service), base_url="http://localhost")
            client.service = service  # type: ignore[attr-defined]
            clients.append(stack.enter_context(client))
        yield clients


def test_a_bundle_that_one_worker_is_told_to_load_all_load(workers: list[TestClient], tmp_path: Path) -> None:
    guard = Guard.load(tmp_path / "patients")
    assert guard.detectors[0].threshold_ is not None
    guard.detectors[0].threshold_ /= 2
    guard.save(tmp_path / "patients")
    token = workers[0].service.tokens.add("admin", ["admin"])  # type: ignore[attr-defined]
    before = [client.get("/v1/guards/patients").json()["bundle"] for client in workers]
    told = workers[0].post("/v1/guards/patients/reload", headers={"Authorization": f"Bearer {token}"})
    for _ in range(100):
        after = [client.get("/v1/guards/patients").json()["bundle"] for client in workers]
        if after[0] == after[1]:
            break
        time.sleep(0.05)
    assert told.status_code == 200
    assert before[0] == before[1] != after[0]
    assert after == [told.json()["bundle"]] * 2


def test_a_word_is_heard_once_by_each_and_not_by_who_said_it(tmp_path: Path) -> None:
    one, two = Neighbours(tmp_path, 2), Neighbours(tmp_path, 2)
    one.pass_on("hearts")
    assert (one.heard(Metrics()), two.heard(Metrics()), two.heard(Metrics())) == ([], ["hearts"], [])
    assert Neighbours(tmp_path, 3).heard(Metrics()) == []  # it began after that
    two.pass_on("hearts")
    two.pass_on("lesions")
    assert sorted(one.heard(Metrics())) == ["hearts", "lesions"]


def test_a_worker_alone_hears_nothing_and_writes_its_own_figures() -> None:
    crew, metrics = Crew(), Metrics()
    crew.pass_on("hearts")
    assert not crew.heard(metrics)
    assert crew.figures(metrics) == metrics.text()


def test_a_tokens_rate_is_shared_among_the_workers_that_there_are() -> None:
    now = 0.0
    rates = Rates(10.0, burst=1, clock=lambda: now)
    rates.charge("ward", 1)
    now = 0.1
    rates.charge("ward", 1)
    rates.workers = 5
    now = 0.4
    with pytest.raises(ProblemDetailsError):
        rates.charge("ward", 1)
    now = 0.61
    rates.charge("ward", 1)
