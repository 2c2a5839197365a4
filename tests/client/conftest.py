"""A small service of one's own, which speaks both protocols around a toy guard and counts what it is asked."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salus.guard import Guard

if TYPE_CHECKING:
    from conftest import Toy

Headers = dict[str, str]
Response = tuple[int, Headers, bytes]

PROBLEM = "application/problem+json"


def problem(status: int, detail: str, **headers: str) -> Response:
    content = {"type": "/problems/x", "title": "A problem", "status": status, "detail": detail, "request_id": "r"}
    return status, {"Content-Type": PROBLEM, **headers}, json.dumps(content).encode()


@dataclass
class Service:
    """Answers requests of both protocols.

    Attributes:
        guards: by name.
        faults: what the next requests come to instead: an answer, or None for a closed connection.
        most: inputs of one request.
        judged: how often each prepared input was judged.
        posts: how many inputs each answered post had.
        seen: path, headers and body of every request.
        bundle: fingerprint of all its guards.
        binary: it takes raw values.
        kind: what the model of the second protocol gives: a guard's outputs, ``logits`` or ``probabilities``.
    """

    guards: dict[str, Guard]
    faults: list[Response | None] = field(default_factory=list)
    most: int = 1024
    judged: Counter[bytes] = field(default_factory=Counter)
    posts: list[int] = field(default_factory=list)
    seen: list[tuple[str, Headers, bytes]] = field(default_factory=list)
    bundle: str = "b" * 64
    binary: bool = True
    kind: str = "guard"
    _answers: dict[str, tuple[str, Response]] = field(default_factory=dict)

    def answer(self, method: str, path: str, headers: Headers, body: bytes) -> Response | None:
        """Answer a request; None closes the connection."""
        self.seen.append((path, headers, body))
        if self.faults:
            return self.faults.pop(0)
        if method == "GET":
            return self._page(path)
        key, digest = headers["idempotency-key"], hashlib.sha256(path.encode() + body).hexdigest()
        if key in self._answers:
            before, response = self._answers[key]
            return response if before == digest else problem(409, "The key belongs to another request.")
        v1, name = path.startswith("/v1/"), path.split("/")[3]
        if name not in self.guards:
            return problem(404, f"There is no guard {name}.")
        try:
            x = _prepared(headers, body) if v1 else _tensor(headers, body)
        except ValueError as error:
            return problem(422, str(error))
        if len(x) > self.most:
            return problem(413, f"Send at most {self.most} inputs at a time.")
        self.judged.update(row.tobytes() for row in x)
        self.posts.append(len(x))
        response = self._verdicts(name, x) if v1 else self._inferred(name, x, headers, body)
        self._answers[key] = digest, response
        return response

    def _page(self, path: str) -> Response:
        words = path.strip("/").split("/")
        if path == "/health/live":
            return _json({"status": "ok"})
        if path == "/health/ready":
            return _json({"status": "ok"})
        if path == "/v1/guards":
            return _json({"guards": [self._card(name) for name in self.guards]})
        if words[:2] == ["v1", "guards"] and words[2] in self.guards:
            return _json(self._card(words[2]))
        if path == "/v2":
            return _json({"name": "toy", "extensions": ["binary_tensor_data"] if self.binary else []})
        if words[:2] == ["v2", "models"] and words[2] in self.guards:
            return _json(self._metadata(words[2]))
        return problem(404, f"There is no {path}.")

    def _card(self, name: str) -> dict[str, Any]:
        guard = self.guards[name]
        return {
            "name": name,
            "bundle": self.bundle,
            "classes": list(guard.classifier.classes),
            "shape": list(guard.classifier.shape),
            "bounds": list(guard.bounds),
            "takes": "tables",
            "content_types": ["application/x-npz"],
            "detectors": [each["name"] for each in guard.describe()["detectors"]],
            "purifier": None,
            "false_alarm_rate": guard.false_alarm_rate,
        }

    def _metadata(self, name: str) -> dict[str, Any]:
        classifier = self.guards[name].classifier
        count = len(classifier.classes)
        given: list[tuple[str, str, list[int]]] = [
            ("answer", "INT64", [-1]), ("label", "BYTES", [-1]), ("accepted", "BOOL", [-1]),
            ("probabilities", "FP32", [-1, count]),
        ]  # fmt: skip
        if self.kind != "guard":
            given = [("output__0", "FP32", [-1, count])]
        facts: dict[str, Any] = {
            "name": name,
            "versions": ["1"],
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, *classifier.shape]}],
            "outputs": [{"name": each, "datatype": kind, "shape": shape} for each, kind, shape in given],
        }
        if self.kind == "guard":
            facts["parameters"] = {"bundle": self.bundle, "classes": ",".join(classifier.classes)}
        return facts

    def _verdicts(self, name: str, x: NDArray[np.float32]) -> Response:
        guard = self.guards[name]
        verdict = guard(torch.from_numpy(x))
        classes = guard.classifier.classes
        verdicts = []
        for row, (label, accepted) in enumerate(zip(verdict.labels.tolist(), verdict.accepted.tolist(), strict=True)):
            scores = {
                key: {"score": float(score[row]), "threshold": verdict.thresholds[key], "rejects": not accepted}
                for key, score in verdict.scores.items()
            }
            verdicts.append(
                {
                    "name": f"x[{row}]",
                    "outcome": "accepted" if accepted else "rejected",
                    "label": classes[label] if accepted else None,
                    "probabilities": dict(zip(classes, verdict.probabilities[row].tolist(), strict=True))
                    if accepted
                    else None,
                    "detectors": scores,
                    "reason": None,
                }
            )
        return _json({"request_id": "r1", "guard": name, "bundle": self.bundle, "verdicts": verdicts})

    def _inferred(self, name: str, x: NDArray[np.float32], headers: Headers, body: bytes) -> Response:
        guard = self.guards[name]
        verdict = guard(torch.from_numpy(x))
        classes = guard.classifier.classes
        if self.kind == "guard":
            answers, kept = verdict.answers.numpy(), verdict.accepted.numpy()
            arrays: dict[str, tuple[str, NDArray[Any]]] = {
                "label": ("BYTES", np.array([classes[k] if k >= 0 else "" for k in answers.tolist()])),
                "answer": ("INT64", answers),
                "accepted": ("BOOL", kept),
                "probabilities": ("FP32", np.where(kept[:, None], verdict.probabilities.numpy(), 0).astype(np.float32)),
            }
        else:
            logits = guard.classifier.predict(torch.from_numpy(x))
            given = logits.softmax(1) if self.kind == "probabilities" else logits
            arrays = {"output__0": ("FP32", given.numpy())}
        head: dict[str, Any] = {"model_name": name, "model_version": "1", "outputs": []}
        if self.kind == "guard":
            head["parameters"] = {"bundle": self.bundle}
        raw = b""
        binary = "inference-header-content-length" in headers
        for each, (kind, values) in arrays.items():
            tensor: dict[str, Any] = {"name": each, "datatype": kind, "shape": list(values.shape)}
            if binary:
                words = (word.encode() for word in values.tolist()) if kind == "BYTES" else ()
                content = b"".join(len(word).to_bytes(4, "little") + word for word in words) or values.tobytes()
                tensor["parameters"] = {"binary_data_size": len(content)}
                raw += content
            else:
                tensor["data"] = values.tolist()  # nested, which the protocol allows
            head["outputs"].append(tensor)
        text = json.dumps(head).encode()
        more = {"Inference-Header-Content-Length": str(len(text))} if binary else {}
        return 200, {"Content-Type": "application/json", **more}, text + raw

    def fail(self, status: int, detail: str = "Something is wrong.", **headers: str) -> None:
        """Let the next request come to a problem."""
        self.faults.append(problem(status, detail, **headers))

    def hang_up(self) -> None:
        """Let the next request come to a closed connection."""
        self.faults.append(None)

    def transport(self) -> httpx.MockTransport:
        """Reach it without a socket."""

        def handle(request: httpx.Request) -> httpx.Response:
            headers = {key.lower(): value for key, value in request.headers.items()}
            response = self.answer(request.method, request.url.path, headers, request.content)
            if response is None:
                raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
            return httpx.Response(response[0], headers=response[1], content=response[2])

        return httpx.MockTransport(handle)


def _json(content: Any) -> Response:
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


def _prepared(headers: Headers, body: bytes) -> NDArray[np.float32]:
    kind = headers["content-type"]
    if kind == "application/x-npz":
        with np.load(io.BytesIO(body)) as arrays:
            assert bool(arrays["prepared"])
            return np.asarray(arrays["x"], np.float32)
    if kind == "application/x-npy":
        return np.asarray(np.load(io.BytesIO(body)), np.float32)
    if kind == "application/json":
        return np.asarray(json.loads(body)["inputs"], np.float32)
    raise ValueError(f"Content-Type {kind} is not one of this guard's.")


def _tensor(headers: Headers, body: bytes) -> NDArray[np.float32]:
    length = int(headers.get("inference-header-content-length", len(body)))
    (tensor,) = json.loads(body[:length])["inputs"]
    assert tensor["name"] == "x" and tensor["datatype"] == "FP32"
    if "data" in tensor:
        return np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    assert tensor["parameters"]["binary_data_size"] == len(body) - length
    return np.frombuffer(body[length:], "<f4").reshape(tensor["shape"]).copy()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece: two would wait for each other's acknowledgement
    service: Service

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {key.lower(): value for key, value in self.headers.items()}
        response = self.service.answer(self.command, self.path, headers, body)
        if response is None:
            self.close_connection = True
            return
        status, more, content = response
        self.send_response(status)
        for key, value in {**more, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _respond  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def guards(toy: Toy) -> dict[str, Guard]:
    """The toy's guard, and its classifier alone."""
    return {"toy": toy.guard(0.05), "bare": Guard(toy.classifier)}


@pytest.fixture
def service(guards: dict[str, Guard]) -> Service:
    """Serve both."""
    return Service(dict(guards))


@pytest.fixture
def only(service: Service) -> Service:
    """Serve the toy's guard alone."""
    del service.guards["bare"]
    return service


@pytest.fixture
def served(service: Service) -> Iterator[str]:
    """Serve over a socket; gives the URL."""
    handler = type("Handler", (_Handler,), {"service": service})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Clock:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def samples(toy: Toy, tmp_path: Path) -> Path:
    """Test samples of the toy's, in a file."""
    path = tmp_path / "clouds.npz"
    words = np.array(toy.test.classes)[toy.test.y.numpy()]
    np.savez(path, x=toy.test.x.numpy(), y=words, classes=np.array(toy.test.classes))
    return path


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALUS_TOKEN", raising=False)
