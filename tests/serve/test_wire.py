"""The service on a real socket: other people's clients, slow ones, and those that go away."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn

from salus.data import load
from salus.guard import Guard
from salus.serve.app import create_app
from salus.serve.guards import sources_of
from salus.serve.protocol import MAX_HEAD
from salus.serve.service import Service
from salus.serve.settings import Settings


@pytest.fixture(scope="module")
def port(table_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A service on a port of its own, impatient, so that tests need not be patient."""
    folder = tmp_path_factory.mktemp("wire")
    settings = Settings(data_folder=folder / "data", key_file=folder / "keys" / "key.pem", timeout=1.0)
    service = Service.open(settings, sources_of([f"patients={table_bundle}"]))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(service),
            http="salus.serve.protocol:Patient",
            ws="none",
            log_config=None,
            timeout_keep_alive=1,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def _talk(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send pieces, then read until the other side ends or has said all."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def _head(length: int, path: str = "/v1/guards/patients/verdicts") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    ).encode()


def test_tritonclient_talks_to_it_unchanged_and_a_refusal_is_an_output(port: int, table_bundle: Path) -> None:
    from tritonclient import http

    x = load("breast-cancer").test.x[:16].clone()
    x[1::2] = torch.rand(x[1::2].shape, generator=torch.Generator().manual_seed(0))
    guard = Guard.load(table_bundle)
    verdict, classes = guard(x), guard.classifier.classes
    with http.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("patients")
        assert not client.is_model_ready("nobody")
        card = client.get_model_metadata("patients")
        assert card["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 30]}]
        for binary in (True, False):
            tensor = http.InferInput("x", list(x.shape), "FP32")
            tensor.set_data_from_numpy(x.numpy(), binary_data=binary)
            outputs = [http.InferRequestedOutput(each["name"], binary_data=binary) for each in card["outputs"]]
            answer = client.infer("patients", [tensor], outputs=outputs, parameters={"prepared": True}, request_id="7")
            assert answer.get_response()["id"] == "7"
            assert answer.as_numpy("answer").tolist() == verdict.answers.tolist()
            assert answer.as_numpy("accepted").tolist() == verdict.accepted.tolist()
            words = [classes[label] if label >= 0 else "" for label in verdict.answers.tolist()]
            said = [word.decode() if isinstance(word, bytes) else word for word in answer.as_numpy("label").tolist()]
            assert said == words
            expected = torch.where(verdict.accepted[:, None], verdict.probabilities, 0).numpy()
            assert np.allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)
        bare = client.infer("patients", [tensor], parameters={"prepared": True})
        assert bare.as_numpy("answer").tolist() == verdict.answers.tolist()


def test_raw_tensors_are_prepared_by_the_bundle(port: int, table_bundle: Path) -> None:
    from tritonclient import http

    x = load("breast-cancer").test.x[:4]
    guard = Guard.load(table_bundle)
    assert guard.preprocessor is not None
    raw = guard.preprocessor.inverse(x).double().numpy()
    with http.InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = http.InferInput("x", list(raw.shape), "FP64")
        tensor.set_data_from_numpy(raw)
        assert client.infer("patients", [tensor]).as_numpy("answer").tolist() == guard(x).answers.tolist()


def test_a_head_that_does_not_come_to_an_end_is_given_up(port: int) -> None:
    assert _talk(port, b"POST /v1/guards HTTP/1.1\r\nHost: loc").startswith(b"HTTP/1.1 408")
    assert _talk(port, b"").startswith(b"HTTP/1.1 408")


def test_a_head_without_end_is_refused(port: int) -> None:
    answer = _talk(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (MAX_HEAD + 100))
    assert answer.startswith(b"HTTP/1.1 4")


def test_a_body_that_stops_half_way_gets_a_problem_and_the_end_of_the_connection(port: int) -> None:
    answer = _talk(port, _head(1000) + b"\r\n" + b'{"inputs":')
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


def test_a_client_that_goes_away_disturbs_nobody(port: int) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(_head(10**6) + b"\r\n" + b"[" * 5000)
    body = json.dumps({"inputs": load("breast-cancer").test.x[:1].tolist(), "prepared": True}).encode()
    answer = _talk(port, _head(len(body)) + b"Connection: close\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_drop_by_drop_is_not_waited_for(port: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(_head(1000) + b"\r\n")
        answer = b""
        while not answer and time.monotonic() - began < 10:
            try:
                connection.sendall(b" ")
            except OSError:
                break
            connection.settimeout(0.2)
            try:
                answer = connection.recv(1000)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")
