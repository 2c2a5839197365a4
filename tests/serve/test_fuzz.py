"""Ten thousand strange requests: no 5xx but the one that says why, no hang, and a chain that holds afterwards.

`make test` sends some hundred of them; `make soak` all.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
import torch
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.core.result import Ok
from starlette.types import ASGIApp
from torch import nn

from salus.classifier import Classifier
from salus.guard import Guard
from salus.models import build_model
from salus.preprocessing import ImagePreprocessor, Preprocessor, RecordingPreprocessor
from salus.serve.app import create_app
from salus.serve.guards import sources_of
from salus.serve.log.verifying import verify
from salus.serve.service import Service
from salus.serve.settings import Settings

_OUTCOMES = {"accepted", "rejected", "not judged"}


def _untrained(preprocessor: Preprocessor, model: str, folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module: nn.Module = build_model(model, preprocessor.shape, 2, {})
    architecture = {"name": model, "shape": list(preprocessor.shape), "classes": 2, "options": {}}
    classifier = Classifier(
        module, ("a", "b"), shape=preprocessor.shape, architecture=architecture, preprocessor=preprocessor
    )
    Guard(classifier, name="bare").save(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, write_record: Callable[..., Any]) -> list[tuple[str, str, bytes]]:
    """Requests that are answered: guard, media type, body."""
    folder = tmp_path_factory.mktemp("files")
    write_record(folder, "r1", ["N", "V", "N"])
    record, picture, arrays, array = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(record, "w") as packed:
        for path in sorted(folder.iterdir()):
            packed.writestr(path.name, path.read_bytes())
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(picture, "PNG")
    np.savez(arrays, x=np.full((2, 30), 0.3, np.float32))
    np.save(array, np.full((2, 30), 0.3, np.float32))
    jpeg, tiff = io.BytesIO(), io.BytesIO()
    Image.open(picture).save(jpeg, "JPEG")
    Image.open(picture).save(tiff, "TIFF")
    head = b"--b\r\nContent-Disposition: form-data; name=f; filename=a.png\r\n\r\n"
    form = head + picture.getvalue() + b"\r\n--b--\r\n"
    row = json.dumps({"inputs": [[0.3] * 30], "prepared": True}).encode()
    beats = json.dumps({"inputs": np.random.default_rng(0).random((1, 1, 280)).round(2).tolist()}).encode()
    return [
        ("patients", "application/json", row),
        ("patients", "application/x-npz", arrays.getvalue()),
        ("patients", "application/x-npy", array.getvalue()),
        ("patients", "text/csv", b"mean radius,mean texture\n1,2\n3,4\n"),
        ("pictures", "image/png", picture.getvalue()),
        ("pictures", "image/jpeg", jpeg.getvalue()),
        ("pictures", "image/tiff", tiff.getvalue()),
        ("pictures", "multipart/form-data; boundary=b", form),
        ("beats", "application/zip", record.getvalue()),
        ("beats", "application/json", beats),
    ]


@pytest.fixture(scope="module")
def service(table_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    folder = tmp_path_factory.mktemp("fuzz")
    common: dict[str, Any] = {"classes": ("a", "b"), "bounds": (0.0, 1.0), "fitted_on": "fuzz"}
    pictures = _untrained(ImagePreprocessor(shape=(1, 8, 8), **common), "small-cnn", folder / "pictures")
    beats = _untrained(RecordingPreprocessor(leads=("MLII",), shape=(1, 280), **common), "ecg-cnn", folder / "beats")
    chosen = Settings(data_folder=folder / "data", key_file=folder / "keys" / "key.pem", max_bytes=2**20, max_inputs=64)
    return Service.open(chosen, sources_of([f"patients={table_bundle}", f"pictures={pictures}", f"beats={beats}"]))


@pytest.fixture(scope="module")
def app(service: Service) -> ASGIApp:
    return create_app(service)


@pytest.fixture(scope="module")
def client(app: ASGIApp, service: Service) -> Iterator[TestClient]:
    """The service; whatever was sent, its chain holds at the end."""
    with TestClient(app, base_url="http://localhost") as client:
        yield client
        state = service.writer.state
        assert state.available
        assert verify(service.database, service.keys.public, checkpoints=service.keys.checkpoints).ok


def _check(answer: Any) -> None:
    """A request is answered, or refused in a sentence; 503 alone may say that it is the service's fault."""
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.status_code >= 400:
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == answer.status_code
        assert problem["detail"].endswith((".", "?"))
        assert "Traceback" not in answer.text
        assert "/tmp/" not in answer.text
    elif "verdicts" in answer.text:
        assert {each["outcome"] for each in answer.json()["verdicts"]} <= _OUTCOMES


def test_the_requests_that_are_spoilt_below_are_answered_as_they_are(client: TestClient, files: Any) -> None:
    for guard, kind, body in files:
        answer = client.post(f"/v1/guards/{guard}/verdicts", content=body, headers={"content-type": kind})
        assert answer.status_code == (422 if kind == "text/csv" else 200), (kind, answer.text)


_module = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@_module
@given(data=st.data())
def test_spoilt_files_end_in_a_sentence(client: TestClient, files: Any, data: st.DataObject) -> None:
    guard, kind, body = data.draw(st.sampled_from(files))
    content = bytearray(body)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if how == "flip" and content:
            content[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del content[at : at + data.draw(st.integers(1, 200))]
        elif how == "insert":
            content[at:at] = data.draw(st.binary(max_size=20))
        else:
            content += content[at : at + 100]
    wrong = data.draw(st.sampled_from([kind, kind, kind, "application/json", "text/csv", "application/zip", ""]))
    where = data.draw(st.sampled_from([guard, guard, "patients", "pictures", "beats", "nobody"]))
    headers = {"content-type": wrong} if wrong else {}
    _check(client.post(f"/v1/guards/{where}/verdicts", content=bytes(content), headers=headers))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@_module
@given(inputs=_json, prepared=st.booleans() | _json, guard=st.sampled_from(["patients", "pictures", "beats"]))
def test_any_json_ends_in_verdicts_or_a_sentence(client: TestClient, inputs: Any, prepared: Any, guard: str) -> None:
    body = json.dumps({"inputs": inputs, "prepared": prepared})
    _check(client.post(f"/v1/guards/{guard}/verdicts", content=body, headers={"content-type": "application/json"}))


@_module
@given(
    tensor=st.fixed_dictionaries(
        {
            "name": st.sampled_from(["x", "x", "y"]),
            "datatype": st.sampled_from(["FP32", "FP64", "UINT8", "INT64", "BYTES"]),
            "shape": st.lists(st.integers(-1, 40), max_size=4) | st.just([1, 30]),
            "data": _json | st.lists(st.floats(0, 1), min_size=30, max_size=30),
        }
    ),
    length=st.none() | st.integers(-5, 500) | st.text("0123456789x", max_size=5),
    tail=st.binary(max_size=130),
    parameters=_json | st.just({"prepared": True, "binary_data_output": True}),
)
def test_any_tensor_ends_in_outputs_or_a_sentence(
    client: TestClient, tensor: Any, length: Any, tail: bytes, parameters: Any
) -> None:
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode() + tail
    headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
    _check(client.post("/v2/models/patients/infer", content=body, headers=headers))


@_module
@given(
    path=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
    host=st.sampled_from(["localhost", "127.0.0.1:80", "[::1]", "evil.example", "", "a:b:c", "localhost:x"]),
    key=st.text("abc \t", max_size=300),
)
def test_any_address_ends_in_a_sentence(client: TestClient, path: str, method: str, host: str, key: str) -> None:
    answer = client.request(method, f"/v1/{path.lstrip('/')}", headers={"host": host, "idempotency-key": key})
    if method != "HEAD":
        _check(answer)


@pytest.mark.soak
def test_what_schemathesis_makes_of_the_description_is_answered(client: TestClient) -> None:
    described = schemathesis.openapi.from_dict(client.get("/openapi.json").json()).exclude(path_regex="/dashboard")
    for result in described.get_all_operations():
        assert isinstance(result, Ok), result

        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=result.ok().as_strategy())
        def send(case: Any) -> None:
            made = case.as_transport_kwargs(base_url="http://localhost")
            kept = ("method", "url", "headers", "params", "json", "data", "files")
            made = {"content" if key == "data" else key: made[key] for key in kept if made.get(key) is not None}
            answer = client.request(**made)
            assert answer.status_code < 500 or answer.status_code == 503, answer.text
            if answer.status_code >= 400 and made["method"] != "HEAD":
                assert "detail" in answer.json()

        send()
