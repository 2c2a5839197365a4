"""Guards on a real Ray cluster: the same verdicts and routes as on one machine, and nothing lost when replicas die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from sqlalchemy import select

from salus import Client
from salus.client.retries import Retries
from salus.data import load
from salus.errors import EndpointError
from salus.guard import Guard
from salus.serve import schema
from salus.serve.app import create_app
from salus.serve.guards import sources_of
from salus.serve.log.verifying import verify
from salus.serve.service import Service
from salus.serve.settings import Settings

pytestmark = pytest.mark.soak  # a cluster takes half a minute to start

_PATIENT = Retries(attempts=60, deadline=120.0, longest=2.0)

_WHERE = "/v1/guards/patients/verdicts"


def _x(count: int) -> torch.Tensor:
    """Patients, every other one blurred with noise."""
    x = load("breast-cancer").test.x[:count].clone()
    x[1::2] = torch.rand(x[1::2].shape, generator=torch.Generator().manual_seed(0))
    return x


@pytest.fixture(scope="module")
def service(on_ray: Callable[..., Any], table_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two replicas, of a bundle that tests may change."""
    bundle = tmp_path_factory.mktemp("changing") / "patients"
    shutil.copytree(table_bundle, bundle)
    return on_ray("--replicas", "2", "--timeout", "20", bundle=bundle)


@pytest.fixture(scope="module")
def slow(service: Any) -> Iterator[socket.socket]:
    """A caller who never ends the head of a request; it began before the tests that follow."""
    address = httpx.URL(service.address)
    with socket.create_connection((address.host, address.port or 0), 60) as connection:
        connection.sendall(b"POST /v1/guards HTTP/1.1\r\nHost: loc")
        yield connection


@pytest.fixture(scope="module")
def here(table_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The same guard on this machine alone."""
    folder = tmp_path_factory.mktemp("here")
    settings = Settings(data_folder=folder / "data", key_file=folder / "keys" / "key.pem")
    opened = Service.open(settings, sources_of([f"patients={table_bundle}"]), "the-code")
    with TestClient(create_app(opened), base_url="http://localhost") as client:
        yield client


@pytest.mark.usefixtures("slow")
def test_verdicts_are_those_of_one_machine_bit_for_bit(service: Any, here: TestClient) -> None:
    x = _x(40)
    body = json.dumps({"inputs": x.tolist(), "prepared": True})
    rows = here.post(_WHERE, content=body, headers={"content-type": "application/json"}).json()
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "parameters": {"binary_data_size": x.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"prepared": True, "binary_data_output": True}}).encode()
    binary = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    outputs = here.post("/v2/models/patients/infer", content=head + x.numpy().tobytes(), headers=binary)
    length = int(outputs.headers["inference-header-content-length"])
    with httpx.Client(base_url=service.address, timeout=60) as there:
        for _ in range(6):  # whichever replica answers
            same = there.post(_WHERE, content=body, headers={"content-type": "application/json"}).json()
            assert same["verdicts"] == rows["verdicts"]
            assert {one["outcome"] for one in same["verdicts"]} == {"accepted", "rejected"}
            assert same["bundle"] == rows["bundle"]
            raw = there.post("/v2/models/patients/infer", content=head + x.numpy().tobytes(), headers=binary)
            assert raw.content[length:] == outputs.content[length:]


def test_every_address_answers_as_on_one_machine(service: Any, here: TestClient) -> None:
    with httpx.Client(base_url=service.address, timeout=60) as there:
        there.get("/dashboard/login", params={"code": service.code})
        here.get("/dashboard/login", params={"code": "the-code"})
        description = there.get("/openapi.json").json()
        assert description["paths"] == here.get("/openapi.json").json()["paths"]
        gets = [path.replace("{name}", "patients") for path, how in description["paths"].items() if "get" in how]
        pages = [f"/dashboard/{page}" for page in ("", "guards/patients", "log")]
        wrong = ["/v1/guards/nobody", "/nothing", "/v1/guards/patients/verdicts", "/v2/models/patients/infer"]
        for path in (*gets, *pages, *wrong, "/"):
            ours, theirs = here.get(path, follow_redirects=False), there.get(path)
            assert theirs.status_code == ours.status_code, path
            unlike = {"date", "server", "content-length", "x-request-id", "connection", "set-cookie"}
            assert set(theirs.headers) - unlike == set(ours.headers) - unlike, path
            assert theirs.headers.get("content-type") == ours.headers.get("content-type"), path
            assert len(theirs.headers.get_list("x-request-id")) == 1
        assert there.get("/v1/guards", headers={"host": "evil.example"}).status_code == 421
        assert there.get("/-/routes").status_code == 404
        gone = there.post(_WHERE, content=b"x" * (33 * 2**20), headers={"content-type": "application/json"})
        assert (gone.status_code, gone.headers["content-type"]) == (413, "application/problem+json")


def test_figures_and_tokens_are_those_of_the_whole_service(service: Any) -> None:
    def judged(there: httpx.Client) -> float:
        lines = there.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("salus_verdicts_total"))

    with httpx.Client(base_url=service.address, timeout=60) as there:
        before = judged(there)
        headers = {"Authorization": f"Bearer {service.token('judge')}", "content-type": "application/json"}
        body = json.dumps({"inputs": _x(2).tolist(), "prepared": True})
        for _ in range(20):
            answer = there.post(_WHERE, content=body, headers=headers)
            assert answer.json()["verdicts"][0]["detectors"] is None  # the token lacks the scope
        until = time.monotonic() + 60  # replicas give word now and then, later where the machine is busy
        while judged(there) < before + 40 and time.monotonic() < until:
            time.sleep(0.2)
        assert judged(there) == before + 40


def test_a_bundle_that_is_reloaded_is_reloaded_by_all_replicas(service: Any) -> None:
    headers = {"Authorization": f"Bearer {service.token('admin')}"}
    with httpx.Client(base_url=service.address, timeout=60) as there:

        def bundles() -> set[str]:
            return {there.get("/v1/guards/patients").json()["bundle"] for _ in range(20)}

        first = bundles()
        guard = Guard.load(service.bundle)
        assert guard.detectors[0].threshold_ is not None
        guard.detectors[0].threshold_ /= 2
        guard.save(service.bundle)
        told = there.post("/v1/guards/patients/reload", headers=headers).json()["bundle"]
        until = time.monotonic() + 30
        while bundles() != {told} and time.monotonic() < until:
            time.sleep(0.1)
        assert bundles() == {told} != first
        (service.bundle / "detector-0.safetensors").write_bytes(b"spoilt")
        refused = there.post("/v1/guards/patients/reload", headers=headers)
        assert refused.status_code == 422
        assert str(service.bundle) in refused.json()["detail"]
        assert bundles() == {told}
        guard.save(service.bundle)


class _Callers:
    """Clients that ask, one after another, until they are told to stop."""

    def __init__(self, address: str, count: int) -> None:
        self.answers: list[str] = []
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._x = _x(40).numpy().astype(np.float32)
        self._threads = [threading.Thread(target=self._ask, args=(address, number)) for number in range(count)]

    def _ask(self, address: str, number: int) -> None:
        with Client(address, retries=_PATIENT) as client:
            while not self._stop.is_set():
                try:
                    answer = client.judge(self._x[number : number + 2], guard="patients")
                except EndpointError as error:
                    self.errors.append(str(error))
                else:
                    self.answers.append(answer.request_id)

    def __enter__(self) -> _Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_more(self, count: int) -> None:
        """Wait until so many more were answered."""
        wanted, until = len(self.answers) + count, time.monotonic() + 100
        while len(self.answers) < wanted and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.answers) >= wanted, self.errors


def check_log(service: Any, answers: list[str]) -> None:
    """Check that each answer stands in the log once, with an entry for each input, and that the log is whole."""
    database = service.database()
    with database.reading() as connection:
        rows = connection.execute(select(schema.entries.c.request).where(schema.entries.c.kind == "verdict"))
        logged = Counter(request for (request,) in rows)
    whole = verify(database, service.keys().public, checkpoints=service.keys().checkpoints)
    database.close()
    assert len(set(answers)) == len(answers)
    assert {logged[request] for request in answers} == {2}
    assert whole.ok, whole.sentence()


def test_a_replica_killed_under_load_loses_no_request_and_logs_each_once(service: Any) -> None:
    with _Callers(service.address, 4) as callers:
        callers.await_more(40)
        killed = service.replicas()[0]
        os.kill(killed, signal.SIGKILL)
        callers.await_more(200)
    assert killed not in service.replicas()
    assert callers.errors == []
    check_log(service, callers.answers)


def test_a_head_that_does_not_come_to_an_end_is_given_up_by_the_proxy(slow: socket.socket) -> None:
    assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_stopping_under_load_answers_what_was_accepted(service: Any) -> None:
    """Runs last: the service ends."""
    statuses: list[int] = []
    answered: list[str] = []
    body = json.dumps({"inputs": _x(2).tolist(), "prepared": True})
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=service.address, timeout=60) as there:
            while not stop.is_set():
                try:
                    answer = there.post(_WHERE, content=body, headers={"content-type": "application/json"})
                except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                    return  # it came too late
                statuses.append(answer.status_code)
                if answer.status_code == 200:
                    answered.append(answer.json()["request_id"])
                else:
                    assert answer.headers["content-type"] == "application/problem+json"
                    time.sleep(0.2)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 20:
        time.sleep(0.02)
    assert service.stop() == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 503}, service.output.read_text()
    assert "Traceback" not in service.output.read_text()
    check_log(service, answered)
    database = service.database()
    with database.reading() as connection:
        rows = connection.execute(select(schema.entries.c.body).where(schema.entries.c.kind == "event"))
        events = Counter(json.loads(body)["what"] for (body,) in rows)
    database.close()
    assert events["service started"] - events["service stopped"] == 1  # the one that was killed


@pytest.mark.soak
def test_replicas_killed_again_and_again_lose_nothing_in_a_shared_postgresql(
    on_ray: Callable[..., Any], postgres: Any
) -> None:
    """Ten kills at random times; the log is in PostgreSQL, with its password in the environment."""
    url = postgres.new_database()
    bare = url.replace(f":{postgres.password}@", "@")
    service = on_ray("--replicas", "2", "--database", bare, PGPASSWORD=postgres.password)
    service.database_url = url
    generator = np.random.default_rng(0)
    with _Callers(service.address, 6) as callers:
        for _ in range(10):
            callers.await_more(20)
            time.sleep(generator.uniform(0.0, 1.0))
            os.kill(generator.choice(service.replicas()), signal.SIGKILL)
            until = time.monotonic() + 120
            while len(service.replicas()) < 2 and time.monotonic() < until:
                time.sleep(0.1)
        callers.await_more(200)
    assert callers.errors == []
    assert service.stop() == 0
    check_log(service, callers.answers)


@pytest.mark.soak
def test_load_makes_more_replicas(on_ray: Callable[..., Any]) -> None:
    service = on_ray("--replicas", "1..2", "--replica-load", "2")
    with _Callers(service.address, 12) as callers:
        assert len(service.replicas()) == 1
        until = time.monotonic() + 180
        while len(service.replicas()) < 2 and time.monotonic() < until:
            time.sleep(0.2)
        assert len(service.replicas()) == 2
        callers.await_more(500)
    assert callers.errors == []
    assert service.stop() == 0
    check_log(service, callers.answers)


@pytest.mark.soak
def test_tls_ends_in_the_proxies(on_ray: Callable[..., Any], certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    service = on_ray("--tls-certificate", str(chain), "--tls-key", str(key))
    assert service.address.startswith("https://127.0.0.1:")
    with Client(service.address, verify=chain) as client:
        assert client.judge(_x(2).numpy(), guard="patients").verdicts
    with httpx.Client(base_url=service.address, verify=ssl.create_default_context(cafile=chain)) as there:
        answer = there.get("/health/live")
    assert "strict-transport-security" in answer.headers
