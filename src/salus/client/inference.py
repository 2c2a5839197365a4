"""A model behind the Open Inference Protocol (v2): a guard that Salus serves, or somebody else's classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from salus.client.client import Call, Client, ProblemError, posting
from salus.client.interface import Answers, EndpointCard, Floats, log_of
from salus.client.served_guard import changed
from salus.client.tensors import Inference, inference_of, request_of
from salus.errors import EndpointError, ModelError

#: What a guard of Salus's gives, and nobody else's classifier.
_GUARD = frozenset({"answer", "accepted", "probabilities"})

#: The extension by which tensors go over the wire as raw values.
_BINARY = "binary_tensor_data"

#: How far the sum of probabilities may be from 1.
_NEAR = 1e-3


class InferenceModel:
    """Speaks the Open Inference Protocol, ``/v2/models/NAME``.

    Args:
        client: of the service.
        name: of the model.
        version: of the model; None for what the server takes by default.
        classes: names of the classes, which the protocol does not know; () where the server says them all the same.
    """

    def __init__(self, client: Client, name: str, version: str | None, classes: tuple[str, ...]) -> None:
        self.client, self.name, self.classes = client, name, classes
        self.path = f"/v2/models/{quote(name, safe='')}"
        if version is not None:
            self.path += f"/versions/{quote(version, safe='')}"
        self.outputs: str | None = None
        self._input, self._datatype, self._guard, self._binary = "", "FP32", False, False
        self._bundle = ""
        self._version: str | None = None  # of the first answer

    def card(self) -> EndpointCard:
        """Ask what the model is."""
        facts = self._json(self.path)
        try:
            inputs, outputs = list(facts["inputs"]), list(facts["outputs"])
            names = {str(output["name"]) for output in outputs}
            shapes = [(str(each["name"]), str(each["datatype"]), [int(n) for n in each["shape"]]) for each in inputs]
            self.classes = self.classes or _named_classes(facts)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ModelError(
                f"The model {self.name!r} does not say what goes in and comes out of it ({error})."
            ) from error
        self._guard = names >= _GUARD
        chosen = [each for each in shapes if not self._guard or each[0] == "x"]
        # Salus's servers list the one input once for each type that it takes.
        if len({each[0] for each in chosen}) != 1:
            raise ModelError(
                f"The model {self.name!r} has {len(chosen)} inputs; Salus asks models that have one, the samples."
            )
        floats = [each for each in chosen if each[1] in ("FP32", "FP64")]
        if not floats:
            raise ModelError(
                f"The model {self.name!r} takes values of type {chosen[0][1]}; Salus asks models of FP32 or FP64."
            )
        self._input, self._datatype, shape = floats[0]
        self._binary = _BINARY in self._extensions()
        self._bundle = str((facts.get("parameters") or {}).get("bundle") or "")
        versions = [f"version {each}" for each in facts.get("versions") or []]
        if self._guard:
            self.outputs = "verdicts"
        return EndpointCard(
            name=self.name,
            interface="Open Inference Protocol (v2)",
            classes=self.classes,
            shape=tuple(shape[1:]),
            fingerprint=self._bundle or ", ".join(versions),
            rejects=self._guard,
            bare=not self._guard,
        )

    def ask(self, x: Floats, card: EndpointCard, key: str) -> Answers:
        """Ask about inputs, which go over the wire as raw values where the server takes them, and else as JSON."""
        said = {"prepared": True} if self._guard else {}
        body, headers = request_of(self._input, self._datatype, x, said, binary=self._binary)
        reply = self.client.exchange(posting(f"{self.path}/infer", body, key, **headers))
        inference = inference_of(reply, f"{self.client.address.url}{self.path}")
        self._check_same(inference, card)
        return self._verdicts(inference, len(x)) if self._guard else self._scores(inference, len(x))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _check_same(self, inference: Inference, card: EndpointCard) -> None:
        """Refuse an answer of another model than was asked at first: bundles are compared with bundles."""
        bundle = str(inference.parameters.get("bundle") or "")
        if bundle and self._bundle and bundle != self._bundle:
            raise changed(card, bundle)
        if self._version is None:
            self._version = inference.version
        if inference.version != self._version:
            raise changed(card, f"version {inference.version}")

    def _json(self, path: str) -> Mapping[str, Any]:
        reply = self.client.exchange(Call("GET", path))
        try:
            content = json.loads(reply.content)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise EndpointError(f"{self.client.address.url}{path} does not answer as the Open Inference Protocol says.")
        return content

    def _extensions(self) -> list[Any]:
        """List what the server can beside the protocol itself."""
        try:
            return list(self._json("/v2").get("extensions") or [])
        except (ProblemError, TypeError):
            return []  # JSON always goes

    def _verdicts(self, inference: Inference, rows: int) -> Answers:
        """Read what a guard of Salus's says."""
        count = len(self.classes)
        labels = self._output(inference, "answer", (rows,)).astype(np.int64)
        given = self._output(inference, "probabilities", (rows, count)).astype(np.float32)
        if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < count:
            raise self._wrong(f"answers with labels up to {int(labels.max())}")
        words = inference.outputs.get("label")
        if words is not None and words.shape == (rows,):
            for label, word in zip(labels.tolist(), words.tolist(), strict=True):
                if label >= 0 and word != self.classes[label]:
                    raise self._wrong(f"calls class {label} {word!r}")
        scores: Floats = np.where((labels >= 0)[:, None], log_of(given), np.float32(np.nan))
        return Answers(labels, scores)

    def _scores(self, inference: Inference, rows: int) -> Answers:
        """Read what a classifier gives: its only output ``[N, K]``, of probabilities or of logits."""
        fitting = {
            name: values
            for name, values in inference.outputs.items()
            if values.dtype.kind == "f" and values.shape == (rows, len(self.classes))
        }
        if len(fitting) != 1:
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in inference.outputs.items())
            raise self._wrong(f"has {len(fitting)} outputs of shape [{rows}, {len(self.classes)}] ({shapes})")
        values = next(iter(fitting.values())).astype(np.float64)
        if not np.isfinite(values).all():
            raise self._wrong("answers with NaN or infinity")
        sums_to_one = bool((values >= 0).all() and (np.abs(values.sum(1) - 1) < _NEAR).all())
        if self.outputs is None:
            self.outputs = "probabilities" if sums_to_one else "logits"
        elif self.outputs == "probabilities" and not sums_to_one:
            raise self._wrong("gave probabilities at first, and now something else")
        if self.outputs == "logits":
            values = values - values.max(1, keepdims=True)
            scores = (values - np.log(np.exp(values).sum(1, keepdims=True))).astype(np.float32)
        else:
            scores = log_of(values.astype(np.float32))
        return Answers(values.argmax(1).astype(np.int64), scores)

    def _output(self, inference: Inference, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        values = inference.outputs.get(name)
        if values is None or values.shape != shape:
            came = "no" if values is None else list(values.shape)
            raise self._wrong(f"gave {came} output {name!r}, where {list(shape)} is expected")
        return values

    def _wrong(self, what: str) -> EndpointError:
        return EndpointError(
            f"The model {self.name!r} {what}; its classes were named as {', '.join(self.classes)} (--classes): are "
            "these all, in the order of its outputs?"
        )


def _named_classes(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the classes that a server of Salus's names; () where it names none, or a comma in a name leaves it open."""
    words = str((facts.get("parameters") or {}).get("classes") or "").split(",")
    counts = [output["shape"][-1] for output in facts["outputs"] if output["name"] == "probabilities"]
    return tuple(words) if counts == [len(words)] else ()
