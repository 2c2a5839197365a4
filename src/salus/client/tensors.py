"""Tensors of the Open Inference Protocol (v2) on the wire: as JSON, and by its binary extension."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.client.bodies import JSON, Body
from salus.client.client import Reply
from salus.errors import EndpointError

#: The header that says how many of the first bytes are JSON; raw values follow.
JSON_LENGTH = "Inference-Header-Content-Length"

#: Types that are read and written.
TYPES: Mapping[str, str] = {
    "BOOL": "<?",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
}


@dataclass(frozen=True)
class Inference:
    """What a server inferred.

    Attributes:
        outputs: name -> array; words are arrays of str.
        version: of the model; "" where it does not say.
        parameters: whatever else it says.
    """

    outputs: Mapping[str, NDArray[Any]]
    version: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


def request_of(
    name: str, datatype: str, x: NDArray[Any], parameters: Mapping[str, Any], *, binary: bool
) -> tuple[Body, dict[str, str]]:
    """Write the request about one tensor.

    Args:
        name: of the input.
        datatype: of the input, a key of ``TYPES``.
        x: its values.
        parameters: of the request.
        binary: whether the server takes raw values.

    Returns:
        The body, and the headers that go with it.
    """
    values = np.ascontiguousarray(x, TYPES[datatype])
    tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(x.shape)}
    if not binary:
        tensor["data"] = values.ravel().tolist()
        head = json.dumps({"inputs": [tensor], **({"parameters": dict(parameters)} if parameters else {})})
        return Body(head.encode(), JSON), {}
    tensor["parameters"] = {"binary_data_size": values.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {**parameters, "binary_data_output": True}})
    return Body(head.encode() + values.tobytes(), "application/octet-stream"), {JSON_LENGTH: str(len(head))}


def inference_of(reply: Reply, where: str) -> Inference:
    """Read an answer.

    Raises:
        EndpointError: it is none of this protocol.
    """
    try:
        length = int(reply.headers.get(JSON_LENGTH.lower(), len(reply.content)))
        head = json.loads(reply.content[:length])
        rest, outputs = memoryview(reply.content)[length:], {}
        for tensor in head["outputs"]:
            size = (tensor.get("parameters") or {}).get("binary_data_size")
            if size is None:
                outputs[str(tensor["name"])] = _of_json(tensor)
            else:
                outputs[str(tensor["name"])] = _of_bytes(tensor, bytes(rest[: int(size)]))
                rest = rest[int(size) :]
        return Inference(outputs, str(head.get("model_version") or ""), head.get("parameters") or {})
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EndpointError(f"{where} does not answer as the Open Inference Protocol says ({reason}).") from error


def _of_json(tensor: Mapping[str, Any]) -> NDArray[Any]:
    kind, shape = str(tensor["datatype"]), [int(size) for size in tensor["shape"]]
    if kind == "BYTES":
        return np.array([str(word) for word in _flat(tensor["data"])], str).reshape(shape)
    return np.array(_flat(tensor["data"]), _type(kind)).reshape(shape)


def _flat(data: Any) -> list[Any]:
    """Take the values out of nested lists, which the protocol allows beside flat ones."""
    while data and isinstance(data[0], list):
        data = [value for part in data for value in part]
    return list(data)


def _of_bytes(tensor: Mapping[str, Any], content: bytes) -> NDArray[Any]:
    kind, shape = str(tensor["datatype"]), [int(size) for size in tensor["shape"]]
    if kind != "BYTES":
        dtype = np.dtype(_type(kind))
        if len(content) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"output {tensor['name']} has {len(content)} bytes for the shape {shape}")
        return np.frombuffer(content, dtype).reshape(shape)
    words, at = [], 0
    while at < len(content):  # each after its length
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        words.append(content[at + 4 : end].decode())
        at = end
    return np.array(words, str).reshape(shape)


def _type(kind: str) -> str:
    if kind not in TYPES:
        raise ValueError(f"values of type {kind} are not read; known are {', '.join(TYPES)} and BYTES")
    return TYPES[kind]
