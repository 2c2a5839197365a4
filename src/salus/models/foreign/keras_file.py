"""Keras 3 models in ``.keras`` files, on Keras's torch backend: layers of a list alone, and no code."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.foreign.form import Built, Form, library, one_sentence
from salus.models.foreign.layout import laid_out
from salus.models.reading import Inputs, Reading

#: From this on Keras refuses in safe mode what tricked versions before (CVE-2025-1550, -8747, -9906, -12058).
LEAST_KERAS = "3.12"

#: What an archive holds; vocabularies and other assets of layers that read files are not among it.
_PARTS = frozenset({"config.json", "metadata.json", "model.weights.h5"})

#: An archive may unpack to this many bytes, and weights be as many.
_UNPACKED = 2**31

#: Layers that compute with tensors, and nothing else.
_IN_SPACE = (
    "Conv",
    "MaxPooling",
    "AveragePooling",
    "GlobalMaxPooling",
    "GlobalAveragePooling",
    "AdaptiveAveragePooling",
    "SpatialDropout",
    "Cropping",
    "ZeroPadding",
    "UpSampling",
)
_LAYERS = frozenset(
    {
        *(f"{name}{axes}D" for name in _IN_SPACE for axes in (1, 2, 3)),
        *(f"Conv{axes}DTranspose" for axes in (1, 2, 3)),
        *(f"{name}Conv{axes}D" for name in ("Depthwise", "Separable") for axes in (1, 2)),
        *(f"{name}Normalization" for name in ("Batch", "Layer", "Group", "RMS", "Unit", "")),
        *("InputLayer", "Dense", "EinsumDense", "Activation", "Identity", "Rescaling", "Resizing", "CenterCrop"),
        *("ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "ActivityRegularization", "Embedding", "Masking"),
        *("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
        *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"),
        *("Flatten", "Reshape", "Permute", "RepeatVector", "Bidirectional", "TimeDistributed"),
        *("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell", "RNN", "StackedRNNCells"),
        *("MultiHeadAttention", "GroupedQueryAttention", "Attention", "AdditiveAttention"),
    }
)

#: Modules of classes that a configuration may name, beside layers: models, and parts of layers that are numbers alone.
_OTHERS = {
    "keras": frozenset({"Sequential", "DTypePolicy"}),
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.models": frozenset({"Sequential", "Functional", "Model"}),
    "keras.initializers": None,
    "keras.regularizers": None,
    "keras.constraints": None,
    "keras.dtype_policies": None,
}


class KerasFile(Form):
    """A ``.keras`` file."""

    name: ClassVar[str] = "keras"
    title: ClassVar[str] = "a Keras model"
    suffix: ClassVar[str] = ".keras"
    suffixes: ClassVar[tuple[str, ...]] = (".keras",)
    extra: ClassVar[str] = "keras"
    gradients: ClassVar[bool] = True
    shows_layers: ClassVar[bool] = True

    def build(self, content: bytes, reading: Reading, inputs: Inputs, place: str) -> Built:
        """Check the archive part by part, then load it in safe mode."""
        _refuse_code(one_sentence(place, self.title, lambda: _config(content, place)), place)
        keras = _torch_backend()
        one_sentence(place, self.title, lambda: _refuse_links(content, place))

        def load() -> Any:
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                path = Path(folder, "model.keras")  # the bytes that were checked, wherever the file may change
                path.write_bytes(content)
                return keras.saving.load_model(path, safe_mode=True, compile=False)

        model = one_sentence(place, self.title, load)
        if len(model.inputs) != 1:
            raise ModelError(f"{place} takes {len(model.inputs)} inputs; a classifier takes one.")
        reading = laid_out(reading, list(model.inputs[0].shape)[1:], inputs, place)
        notes = [f"Keras {keras.__version__} runs the model on torch."]
        if len(model.outputs) > 1 and reading.output is None:
            raise ModelError(
                f"{place} has {len(model.outputs)} outputs; say which holds the answer, counted from 0, behind the "
                "model "
                "and a colon: output=0."
            )
        if reading.answers is None and (kind := _activation(model)) is not None:
            count = int(model.outputs[0].shape[-1] or 0)
            if kind == "softmax":
                reading = replace(reading, answers="probabilities")
            elif count == 1:
                reading = replace(reading, answers="probability")
            elif inputs.labels or reading.labels:
                reading = replace(reading, answers="label-probabilities")
        return Built(OnTorch(model), reading, tuple(notes))


class Shown(nn.Module):
    """Stands for a layer of Keras's where hooks are looked for: these call each other past all hooks of torch's.

    Args:
        kind: the layer's class.
        last: whether it has the channels last.
    """

    def __init__(self, kind: str, *, last: bool) -> None:
        super().__init__()
        self.kind, self._last = kind, last

    def forward(self, given: Any, made: Any) -> Any:
        """Hand on what the layer made, channels first; hooks see what it was ``given``, too."""
        return self.first(made)

    def first(self, value: Any) -> Any:
        """Bring a tensor, or the first of several, to channels first."""
        value = value[0] if isinstance(value, (list, tuple)) and value else value
        moved = self._last and isinstance(value, Tensor) and value.ndim > 2
        return value.movedim(-1, 1) if moved else value

    @classmethod
    def type_name(cls, part: Shown) -> str:
        """Say which layer of torch's does the same, where one may give the logits."""
        if part.kind == "Dense":
            return "torch.nn.modules.linear.Linear"
        return f"torch.nn.modules.conv.{part.kind.removesuffix('D')}d" if part.kind in _CONVOLUTIONS else ""


_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")


class OnTorch(nn.Module):
    """A Keras model on its torch backend, as a module.

    Args:
        model: the model.

    Attributes:
        shown: what stands for each of its layers, by name: hooks on these see what the layer was given and made. A
            model inside the model is one layer.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        first = any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers)
        self.shown = {
            _shown_name(layer.name): Shown(type(layer).__name__, last=not first) for layer in _watchable(model)
        }  # a plain dict: not a part of the module, as they hold nothing
        self._seen: list[Any] = []  # a model of the same layers that answers with what each makes, once it is asked

    def forward(self, x: Tensor) -> Any:
        """Answer x ``[N, ...]`` as in use, not as in training."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = {name for name, part in self.shown.items() if part._forward_hooks or part._forward_pre_hooks}
            if not wanted:
                return self.model(x, training=False)
            found = self._inside(x)
        for name, part in self.shown.items():
            if name in wanted:
                part(part.first(found["given"][name]), found["made"][name])
        return found["answer"]

    def _inside(self, x: Tensor) -> Any:
        """Answer x, with what every layer was given and made."""
        if not self._seen:
            layers, keras = {_shown_name(layer.name): layer for layer in _watchable(self.model)}, _torch_backend()
            row = isinstance(self.model, keras.Sequential)  # which has one output, and does not call it by a name
            outputs = {
                "answer": self.model.outputs[0] if row else self.model.output,
                "given": {name: layer.input for name, layer in layers.items()},
                "made": {name: layer.output for name, layer in layers.items()},
            }
            self._seen.append(keras.Model(self.model.inputs, outputs))
        return self._seen[0](x, training=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made again when it is asked for."""
        return {**self.__dict__, "_seen": []}


def _watchable(model: Any) -> list[Any]:
    """List the layers of which it is known what they are given and make: those that the model has once."""
    layers = []
    for layer in model.layers:
        try:
            known = layer.input is not None and layer.output is not None
        except (AttributeError, ValueError, RuntimeError):  # it is used in several places, or in none
            continue
        if known and type(layer).__name__ != "InputLayer":
            layers.append(layer)
    return layers


def _shown_name(name: str) -> str:
    """Write a layer's name as one that may be asked for: / parts it from what is done with its states."""
    return name.replace("/", "_")


def _torch_backend() -> Any:
    """Import Keras on torch.

    Raises:
        ModelError: it is not installed, too old, or runs on another backend in this process.
    """
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = library("keras", KerasFile.extra, "A .keras file", least=LEAST_KERAS)
    if (backend := keras.backend.backend()) != "torch":
        raise ModelError(
            f"Keras runs on {backend} here, and Salus needs it on torch; set KERAS_BACKEND=torch before it is imported."
        )
    return keras


def _config(content: bytes, place: str) -> Any:
    """Read what an archive says that the model is.

    Raises:
        ModelError: it holds more than a model, or unpacks to far too much.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [info.filename for info in archive.infolist()]
        strange = [name for name in names if name not in _PARTS]
        if strange or len(set(names)) < len(names) or not names or "config.json" not in names:
            what = repr(strange[0]) if strange else "parts twice, or lacks config.json"
            raise ModelError(f"{place} holds {what}, which no model of plain layers needs; nothing of it was loaded.")
        if sum(info.file_size for info in archive.infolist()) > _UNPACKED:
            raise ModelError(f"{place} unpacks to more than {_UNPACKED:,} bytes; it was not read.")
        return json.loads(archive.read("config.json"))


def _refuse_code(config: Any, place: str) -> None:
    """Walk a configuration: every class that it names must be one of Keras's own that holds no code.

    Raises:
        ModelError: naming the first that is not.
    """
    todo = [config]
    if isinstance(config, dict):  # how it was trained is not read
        todo = [{key: part for key, part in config.items() if key != "compile_config"}]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            todo += value.values()
            if "class_name" in value:
                _refuse_class(value, place)


def _refuse_class(value: dict[str, Any], place: str) -> None:
    name, module = str(value["class_name"]), value.get("module")
    if name in ("__keras_tensor__", "__tuple__", "__slice__", "__ellipsis__"):
        return
    known = module == "keras.layers" and name in _LAYERS
    if isinstance(module, str) and module in _OTHERS:
        allowed = _OTHERS[module]
        known = known or allowed is None or name in allowed
    registered = value.get("registered_name")
    if known and registered in (None, name, "Functional", "Sequential"):
        return
    what = f"{module}.{name}" if module else name
    hint = " (a Lambda layer holds code)" if name in ("Lambda", "__lambda__") else ""
    raise ModelError(
        f"{place} holds {what}{hint}, which is not among the layers that are loaded; nothing of it was run. Rebuild "
        "the "
        "model of Keras's own layers, or export it as ONNX (model.export('model.onnx', format='onnx'))."
    )


def _refuse_links(content: bytes, place: str) -> None:
    """Look through the file of weights: no links to other files, and not more numbers than a model has.

    Raises:
        ModelError: it holds such a link, or far too much.
    """
    import h5py

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if "model.weights.h5" not in archive.namelist():
            raise ModelError(f"{place} holds no weights; save the trained model.")
        weights = io.BytesIO(archive.read("model.weights.h5"))
    total = 0
    with h5py.File(weights, "r") as file:
        todo: list[Any] = [file]
        while todo:
            group = todo.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise ModelError(f"{place} takes {name!r} of its weights from elsewhere; nothing was read there.")
                part = group[name]
                if isinstance(part, h5py.Group):
                    todo.append(part)
                    continue
                if part.external or part.is_virtual:
                    raise ModelError(
                        f"{place} takes {name!r} of its weights from another file; nothing was read there."
                    )
                total += int(part.size) * part.dtype.itemsize
                if total > _UNPACKED:
                    raise ModelError(f"{place} has weights of more than {_UNPACKED:,} bytes; it was not read.")


def _activation(model: Any) -> str | None:
    """Name what the last layer ends in, where it is a softmax or a sigmoid."""
    layers = list(model.layers)
    activation = getattr(layers[-1], "activation", None) if layers else None
    word = getattr(activation, "__name__", None)
    if type(layers[-1]).__name__ == "Softmax":
        return "softmax"
    return word if word in ("softmax", "sigmoid") else None
