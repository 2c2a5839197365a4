"""The Open Inference Protocol, version 2, with its extension of binary tensors: other people's clients ask as they are.

A refusal is an output: ``answer`` is -1, ``accepted`` false, ``label`` empty, and the probabilities are zeros.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from salus import __version__
from salus.errors import DataError
from salus.preprocessing import Prepared
from salus.serve.access import principal_of
from salus.serve.batching import Judged
from salus.serve.bodies import read_within
from salus.serve.guards import LoadedGuard
from salus.serve.judging import Answered, Asked, Repeats, judge, repeatable_of
from salus.serve.problems import ProblemDetailsError
from salus.serve.reading import prepared_array
from salus.serve.service import Service
from salus.serve.verdicts import in_thread_if, served_of

_HEADER_LENGTH = "Inference-Header-Content-Length"
_OCTETS = "application/octet-stream"

_INPUT_TYPES = {"FP32": "<f4", "FP64": "<f8", "UINT8": "u1", "UINT16": "<u2", "INT32": "<i4", "INT64": "<i8"}

#: What a guard answers, of what type.
_OUTPUTS = {"answer": "INT64", "label": "BYTES", "accepted": "BOOL", "probabilities": "FP32"}
_OUTPUT_TYPES = {"INT64": "<i8", "BOOL": "?", "FP32": "<f4"}


@dataclass(frozen=True, eq=False)
class _Call:
    """What a body asks for.

    Attributes:
        id: the caller's own, which is given back.
        array: the input x.
        prepared: whether it is prepared already.
        outputs: name -> whether it is to be binary.
    """

    id: str | None
    array: NDArray[Any]
    prepared: bool
    outputs: dict[str, bool]


def router(service: Service) -> APIRouter:
    """Make the routes of the protocol."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"])
    repeats = Repeats()

    @routes.get("", summary="Say what serves")
    async def server() -> dict[str, Any]:
        return {"name": "salus", "version": __version__, "extensions": ["binary_tensor_data"]}

    @routes.get("/health/live", summary="Tell whether it runs")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @routes.get("/health/ready", summary="Tell whether it can answer")
    async def ready() -> Response:
        available = service.writer.state.available
        return JSONResponse({"ready": available}, 200 if available else 503)

    @routes.get("/models/{name}/ready", summary="Tell whether a guard can answer")
    @routes.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str = "1") -> Response:
        _versioned(service, name, version)
        available = service.writer.state.available
        return JSONResponse({"name": name, "ready": available}, 200 if available else 503)

    @routes.get("/models/{name}", summary="Say what a guard takes and answers")
    @routes.get("/models/{name}/versions/{version}", include_in_schema=False)
    async def metadata(name: str, request: Request, version: str = "1") -> dict[str, Any]:
        await principal_of(request, service, "judge")
        return _metadata(_versioned(service, name, version))

    @routes.post("/models/{name}/infer", summary="Let a guard judge a tensor")
    @routes.post("/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer(name: str, request: Request, version: str = "1") -> Response:
        principal = await principal_of(request, service, "judge")
        served = _versioned(service, name, version)
        settings = service.settings
        with service.room.reserved() as take:
            body = await read_within(request, most=settings.max_bytes, seconds=settings.timeout, take=take)
            length = request.headers.get(_HEADER_LENGTH)
            repeatable = repeatable_of(request, principal, body, (length or "").encode())
            call: _Call = await in_thread_if(len(body) > 2**15, lambda: _read(body, length))
            if len(call.array) > settings.max_inputs:
                raise ProblemDetailsError(
                    "too-large",
                    f"The request holds {len(call.array)} inputs; send at most {settings.max_inputs} at a time.",
                )

            async def answer() -> Answered:
                asked = Asked(request.state.request_id, principal, served, repeatable)
                prepared = await in_thread_if(len(body) > 2**15, lambda: _prepared(call, served))
                if prepared.refused:  # rows of a tensor have no names by which a caller could tell which is missing
                    first = prepared.refused[0]
                    raise ProblemDetailsError(
                        "not-judged", f"{first.name} {first.reason}; send inputs that can be judged."
                    )
                return await judge(service, asked, prepared, _writer(call))

            answered = await repeats.once(service, repeatable, answer)
        headers, media_type = {}, "application/json"
        head, _, content = answered.body.partition(b"\n")
        if content:
            headers[_HEADER_LENGTH], media_type = str(len(head)), _OCTETS
        return Response(head + content, headers=headers, media_type=media_type)

    return routes


def _versioned(service: Service, name: str, version: str) -> LoadedGuard:
    served = served_of(service, name)
    if version != "1":
        raise ProblemDetailsError("not-found", f"Guard {name!r} has no version {version[:20]!r}; it has version 1.")
    return served


def _metadata(served: LoadedGuard) -> dict[str, Any]:
    classifier = served.guard.classifier
    shapes = {"probabilities": [-1, len(classifier.classes)]}
    return {
        "name": served.name,
        "versions": ["1"],
        "platform": "salus",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, *classifier.shape]}],
        "outputs": [
            {"name": name, "datatype": kind, "shape": shapes.get(name, [-1])} for name, kind in _OUTPUTS.items()
        ],
        "parameters": {"bundle": served.fingerprint, "classes": ",".join(classifier.classes)},
    }


def _read(body: bytes, length: str | None) -> _Call:
    """Read a body.

    Raises:
        DataError: it is not as the protocol has it.
    """
    if length is not None and not (length.isdigit() and int(length) <= len(body)):
        raise DataError(f"{_HEADER_LENGTH} must be the bytes of the JSON before the tensors, not {length[:20]!r}.")
    split = len(body) if length is None else int(length)
    try:
        content = json.loads(body[:split])
        inputs = content["inputs"]
        one = inputs[0]
        name, kind, shape = str(one["name"]), str(one["datatype"]), [int(size) for size in one["shape"]]
    except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise DataError(
            'The body must be JSON with "inputs": [{"name": "x", "datatype": "FP32", "shape": [...], "data": [...]}].'
        ) from error
    if len(inputs) != 1 or name != "x" or kind not in _INPUT_TYPES:
        raise DataError(f"A guard takes one input, x, of {', '.join(_INPUT_TYPES)}; the request brings {name[:50]!r}.")
    if not 1 <= len(shape) <= 8 or any(size < 0 for size in shape):
        raise DataError(f"The shape {shape[:8]} is none; give [N, ...].")
    settings = _mapping(one.get("parameters"))
    binary = settings.get("binary_data_size")
    count = 1
    for size in shape:
        count *= size
    dtype = np.dtype(_INPUT_TYPES[kind])
    if binary is not None:
        raw = body[split:]
        if binary != len(raw) or len(raw) != count * dtype.itemsize:
            raise DataError(
                f"The tensor x of shape {shape} and type {kind} has {count * dtype.itemsize} bytes; {len(raw)} follow "
                f"the JSON and binary_data_size says {str(binary)[:20]}."
            )
        array = np.frombuffer(raw, dtype).reshape(shape)
    else:
        array = _listed(one.get("data"), dtype, count).reshape(shape)
    wanted = content.get("outputs")
    default = _mapping(content.get("parameters")).get("binary_data_output") is True
    outputs = dict.fromkeys(_OUTPUTS, default)
    if wanted:
        outputs = {}
        for each in map(_mapping, wanted if isinstance(wanted, list) else [None]):
            key = str(each.get("name"))
            if key not in (*_OUTPUTS, "scores"):
                raise DataError(f"There is no output {key[:50]!r}; known: {', '.join(_OUTPUTS)}, scores.")
            outputs[key] = _mapping(each.get("parameters")).get("binary_data", default) is True
    prepared = {**_mapping(content.get("parameters")), **settings}.get("prepared") is True
    given = content.get("id")
    return _Call(None if given is None else str(given)[:200], array, prepared, outputs)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _listed(data: Any, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """Read a tensor's values from JSON, flat or nested.

    Raises:
        DataError: they are no numbers of this type, or not as many as the shape says.
    """
    try:
        values = np.asarray(data)
        if values.dtype.kind not in "fiub" or (values.dtype.kind == "f" and dtype.kind != "f"):
            raise ValueError
        if (
            dtype.kind != "f"
            and values.size
            and not np.iinfo(dtype).min <= values.min() <= values.max() <= np.iinfo(dtype).max
        ):
            raise ValueError
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"The data of x must be a list of {dtype.name} numbers; it holds something else.") from error
    if values.size != count:
        raise DataError(f"The shape of x promises {count} values, and data has {values.size}.")
    return values.astype(dtype).reshape(-1)


def _prepared(call: _Call, served: LoadedGuard) -> Prepared:
    classifier = served.guard.classifier
    if not len(call.array):
        raise DataError("The tensor x holds no inputs; send one or more.")
    array = call.array.astype(np.int64) if call.array.dtype.kind == "u" and call.array.itemsize > 1 else call.array
    x = torch.from_numpy(np.array(array))
    if call.prepared or classifier.preprocessor is None:
        return prepared_array(x, classifier)
    return classifier.prepare(x)


def _writer(call: _Call) -> Callable[[Asked, Prepared, Judged | None], bytes]:
    def write(asked: Asked, prepared: Prepared, judged: Judged | None) -> bytes:
        if judged is None:
            raise ProblemDetailsError("not-judged", "The tensor x holds no inputs; send one or more.")
        return _answer(call, asked, judged)

    return write


def _answer(call: _Call, asked: Asked, judged: Judged) -> bytes:
    """Write the head, and after a line break the binary tensors where some are asked for."""
    served = asked.served
    classes = served.guard.classifier.classes
    accepted = np.array(judged.accepted, dtype=bool)
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, binary in call.outputs.items():
        if name == "scores":
            if "scores" not in asked.principal.scopes:
                raise ProblemDetailsError("forbidden", "The output scores needs a token with the scope scores.")
            hidden = judged.withheld
            scores = [
                [np.nan if value is None or hidden else value for value in values] for values in judged.scores.values()
            ]
            values = np.array(scores, dtype=np.float32).T.reshape(len(accepted), len(scores))
            kind = "FP32"
        elif name == "label":
            words = [classes[label] if good else "" for label, good in zip(judged.labels, judged.accepted, strict=True)]
            outputs.append(_words(name, words, binary, tail))
            continue
        else:
            kind = _OUTPUTS[name]
            if name == "accepted":
                values = accepted
            elif name == "answer":
                values = np.where(accepted, judged.labels, -1)
            else:
                told = accepted & (not judged.withheld)
                values = np.where(told[:, None], np.array(judged.probabilities, dtype=np.float32), 0)
        values = np.ascontiguousarray(values, dtype=_OUTPUT_TYPES[kind])
        head: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(values.shape)}
        if binary:
            tail.append(values.tobytes())
            head["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            flat = values.reshape(-1).tolist()
            head["data"] = [None if value != value else value for value in flat]
        outputs.append(head)
    answer = {
        "model_name": served.name,
        "model_version": "1",
        **({} if call.id is None else {"id": call.id}),
        "parameters": {"request_id": asked.request_id, "bundle": served.fingerprint},
        "outputs": outputs,
    }
    head_bytes = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    return head_bytes + (b"\n" + b"".join(tail) if tail else b"")


def _words(name: str, words: list[str], binary: bool, tail: list[bytes]) -> dict[str, Any]:
    head: dict[str, Any] = {"name": name, "datatype": "BYTES", "shape": [len(words)]}
    if binary:
        tail.append(b"".join(struct.pack("<I", len(word.encode())) + word.encode() for word in words))
        head["parameters"] = {"binary_data_size": len(tail[-1])}
    else:
        head["data"] = words
    return head
