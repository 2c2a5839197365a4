"""Which model a plan means: one of Salus's networks, one's own code or program, or a folder that Salus saved."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salus.audit.endpoint import EndpointModel
from salus.classifier import Classifier, as_logits, check_classifier, load_user_model
from salus.client.endpoint import is_endpoint
from salus.data import Dataset, Splits
from salus.errors import BundleError, ModelError, OptionError, nearest
from salus.models import MODELS
from salus.models.foreign import form_of, known_suffixes
from salus.models.pretrained import architecture, initial_model, pretrained_digest
from salus.models.registry import read_options
from salus.models.saved import read_card
from salus.models.user import is_library, split_reading
from salus.models.weights import is_torchscript
from salus.options import split_spec
from salus.preprocessing import ArrayPreprocessor, Preprocessor
from salus.preprocessing.saved import saved_preprocessor
from salus.preprocessing.things import unprepared


@dataclass(frozen=True)
class Network:
    """One of the networks that Salus trains.

    Attributes:
        text: as it was written.
        name: of the network.
        options: of the network.
    """

    text: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def identity(self, test: Dataset) -> dict[str, Any]:
        """Return what tells it from other models, as plain values; pretrained weights wherever their file lies."""
        pretrained = pretrained_digest(self.name, self.options)
        if pretrained is None:
            return {"name": self.text}
        return {**architecture(self.name, self.options), "pretrained": pretrained}

    def untrained(self, test: Dataset) -> Classifier:
        """Build it without training, to see its layers and whether it suits the data.

        Raises:
            ModelError: it does not.
        """
        shape = tuple(test.x.shape[1:])
        module = initial_model(self.name, shape, len(test.classes), self.options)
        return Classifier(module, test.classes, shape=shape, bounds=test.bounds, name=self.name)


@dataclass(frozen=True)
class ReadyModel(ABC):
    """A model that is used as it is.

    Attributes:
        text: as it was written.
        weights: the file of its weights, where they lie apart.
    """

    text: str
    weights: Path | None = None

    def identity(self, test: Dataset) -> dict[str, Any]:
        """Return what tells it from other models, as plain values."""
        mine: dict[str, Any] = {"name": self.text}
        if self.weights is not None and self.weights.is_file():
            mine["weights"] = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        return mine

    def load(self, test: Dataset) -> tuple[Classifier, tuple[str, ...]]:
        """Load it and check it.

        Returns:
            The classifier, and what a reader should know of it.

        Raises:
            BundleError: the folder holds no whole model.
            ModelError: it cannot be loaded, does not fit the data, or guesses.
        """
        classifier, remarks = self.read(test)
        checks = check_classifier(classifier, test)
        if any("softmax" in remark.lower() for remark in checks):
            classifier = as_logits(classifier)
        return classifier, (*checks, *remarks)

    @abstractmethod
    def read(self, test: Dataset) -> tuple[Classifier, tuple[str, ...]]:
        """Read the classifier, and say what is known of it beside that."""

    @property
    def factory(self) -> str | None:
        """The code that builds it, where it is one's own."""
        return None


class Factory(ReadyModel):
    """``package.module:factory`` and its weights."""

    def read(self, test: Dataset) -> tuple[Classifier, tuple[str, ...]]:
        """Build and load it."""
        shape = tuple(test.x.shape[1:])
        model = load_user_model(
            self.text, self.weights, classes=test.classes, bounds=test.bounds, shape=shape, data=test
        )
        return model, ()

    @property
    def factory(self) -> str | None:
        """The code that builds it."""
        return split_reading(self.text)[0]


class LibraryModel(Factory):
    """A network of a library's, with weights from this disk: ``timm:NAME``, ``hf:FOLDER``."""

    @property
    def factory(self) -> str | None:
        """None: Salus builds it."""
        return None


class ModelFile(Factory):
    """A model in a file: a ``torch.export`` program, or one of another form."""

    def identity(self, test: Dataset) -> dict[str, Any]:
        """Return what tells it from others."""
        mine, path = super().identity(test), Path(split_reading(self.text)[0])
        return {**mine, "program": hashlib.sha256(path.read_bytes()).hexdigest()} if path.is_file() else mine

    @property
    def factory(self) -> str | None:
        """None: a file is no code."""
        return None


@dataclass(frozen=True)
class Card:
    """What a saved model says of its inputs and its answers: how raw things become x, and its classes."""

    classes: tuple[str, ...]
    preprocessor: Preprocessor | None


class ModelFolder(ReadyModel):
    """The model in a folder that an audit, a guard or a hardening left."""

    def card(self) -> Card:
        """Read what the model says of its inputs and its answers.

        Raises:
            BundleError: the folder holds no whole model.
        """
        folder = Path(self.text)
        card = read_card(folder / "model.json")
        return Card(tuple(card["classes"]), saved_preprocessor(folder, card.get("preprocessor")))

    def identity(self, test: Dataset) -> dict[str, Any]:
        """Return its fingerprint, wherever it lies."""
        return {"fingerprint": saved_classifier(Path(self.text), test).fingerprint()}

    def read(self, test: Dataset) -> tuple[Classifier, tuple[str, ...]]:
        """Load it, and say where it may have learnt from these samples."""
        return saved_classifier(Path(self.text), test), dealt_otherwise(Path(self.text), test)


_PICKLE = (
    "is a pickle by its name, and reading it would run code from it; where you made it, load it and save it anew: "
    "scikit-learn's by skops.io.dump(model, 'model.skops'), XGBoost's and LightGBM's by their own save_model."
)

_OLD_KERAS = "is of Keras's old form, which may hold code; load it there and save it: model.save('model.keras')."

#: What to do with files that are refused by their names.
_TORCHSCRIPT = (
    "is a TorchScript program, which Salus does not run; export the network with torch.export and give that "
    "(--model FILE.pt2), or give the code that builds it and its weights: --model package.module:factory --weights "
    "FILE."
)

_REMEDIES = {
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": _PICKLE,
    ".h5": _OLD_KERAS,
    ".hdf5": _OLD_KERAS,
    ".pb": "is TensorFlow's, which Salus does not read; export it as ONNX (tf2onnx), or as .keras where it is Keras's.",
    ".tflite": "is TensorFlow Lite's, which Salus does not read; export the model that it was made of as ONNX.",
}


def parse_model(text: str, weights: Path | None = None) -> Network | ReadyModel | EndpointModel:
    """Read ``ecg-cnn:widths=16+32,dropout=0.2``, ``package.module:factory``, ``FILE.pt2``, a folder or a URL.

    A network's name goes before a folder's; ``./mlp`` is the folder.

    Args:
        text: what stands behind ``--model``.
        weights: what stands behind ``--weights``.

    Raises:
        OptionError: it is none of these, or has no weights apart.
    """
    if is_endpoint(text):
        if weights is not None:
            raise OptionError(f"--weights goes with a model of your own (package.module:factory); {text} has its own.")
        return EndpointModel(text)
    name, colon, rest = text.partition(":")
    if name in MODELS:
        if weights is not None:
            raise OptionError(
                f"--weights goes with a model of your own (package.module:factory); {name!r} is trained here."
            )
        return Network(text, name, _network_options(name, split_spec(text, "model")[1]))
    spec, reading = split_reading(text)
    if is_library(spec):
        return LibraryModel(text, weights)
    path = Path(spec)
    form = form_of(path)
    if spec.endswith(".pt2") or form is not None:
        if form is not None and not path.is_file():
            raise OptionError(f"There is no file {spec!r}.")
        return ModelFile(text, weights)
    if Path(text).is_dir():
        if weights is not None:
            raise OptionError(f"--weights goes with package.module:factory; the model in {text!r} has its own.")
        return ModelFolder(text)
    if ":" in spec and (reading or "=" not in rest):
        return Factory(text, weights)
    if (remedy := _REMEDIES.get(path.suffix.lower())) is not None:
        raise OptionError(f"Model {text!r} {remedy}")
    if Path(text).is_file():
        if is_torchscript(Path(text)):
            raise OptionError(f"Model {text!r} {_TORCHSCRIPT}")
        raise OptionError(
            f"Model {text!r} is a file of no form that Salus knows as a model ({', '.join(known_suffixes())}); name "
            "the folder in which Salus saved it, with model.json inside, or, for weights of your own network, the code "
            "that builds it: --model package.module:factory --weights FILE."
        )
    if Path(text).name != text and not colon:
        raise OptionError(f"There is no folder {text!r} with a model that Salus saved.")
    raise OptionError(
        f"Unknown model {name!r}; {nearest(name, MODELS)} Your own: package.module:factory with --weights, "
        f"a file ({', '.join(known_suffixes())}), a folder that Salus saved, or the URL of an endpoint."
    )


def _network_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read a network's options, and the file of pretrained weights among them, as plain values."""
    file = {key: value for key, value in options.items() if key == "pretrained"}
    values = read_options(name, {key: value for key, value in options.items() if key not in file})
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()} | file


def saved_classifier(folder: Path, data: Dataset) -> Classifier:
    """Load the model that an audit, a guard or a hardening left in a folder, and check that it takes these data.

    Raises:
        BundleError: there is none, or it is damaged.
        ModelError: it takes samples of another shape, or within other bounds.
    """
    try:
        classifier = Classifier.load(folder)
    except BundleError as error:
        if "factory=" not in str(error):
            raise
        raise BundleError(
            f"The model in {folder} was built by code of your own, and Salus imports no code because a file names it; "
            f"name it yourself: --model package.module:factory --weights {folder / 'model.safetensors'}."
        ) from error
    name, shape = data.provenance.name, tuple(data.x.shape[1:])
    if classifier.shape != shape:
        raise ModelError(
            f"The model in {folder} takes samples of shape {list(classifier.shape)}, but those of {name!r} have "
            f"{list(shape)}."
        )
    if classifier.bounds != data.bounds:
        raise ModelError(
            f"The model in {folder} takes values in {classifier.bounds}, but those of {name!r} lie in {data.bounds}; "
            "load the data as they were when it was trained (--bounds, --scale)."
        )
    return classifier


def dealt_otherwise(folder: Path, test: Dataset) -> tuple[str, ...]:
    """Warn when the folder says that its model was tested on other samples, so that these may have trained it."""
    facts = _facts(folder)
    if facts is None or facts["model"]["training"] is None or facts["data"]["fingerprint"] == test.fingerprint():
        return ()
    return (
        f"The model was trained beside other test samples (data {facts['data']['name']}) than these; some of these "
        "may be among those it learnt.",
    )


def prepared_alike(folder: Path, splits: Splits, *, named: bool) -> None:
    """Check that raw data were prepared as those of a model that was saved without a preprocessor.

    Args:
        folder: of the model.
        splits: the data.
        named: whether they are a set that Salus knows, and are always prepared alike.

    Raises:
        BundleError: they are raw, and not those that the folder was made from.
    """
    made = splits.test.preprocessor
    prepared = made is None or (isinstance(made, ArrayPreprocessor) and made.scaling is None)
    facts = _facts(folder)
    if named or prepared or (facts is not None and facts["data"]["fingerprint"] == splits.test.fingerprint()):
        return
    raise unprepared(splits.name)


def stored_fingerprint(folder: Path) -> str | None:
    """Read the fingerprint of the test samples beside which a folder's model was made; None where it holds none."""
    facts = _facts(folder)
    return None if facts is None else str(facts["data"]["fingerprint"])


def stored_checksum(folder: Path) -> str | None:
    """Read the checksum of the source of these data; None where the folder holds none."""
    facts = _facts(folder)
    provenance = {} if facts is None else facts["data"].get("provenance") or {}
    checksum = provenance.get("checksum")
    return None if checksum is None else str(checksum)


def _facts(folder: Path) -> dict[str, Any] | None:
    """Read what a hardening or an audit says of its model and its data; None where the folder holds neither."""
    for file in ("hardening.json", "results.json"):
        try:
            content = json.loads((folder / file).read_text(encoding="utf-8"))
            facts: dict[str, Any] = content.get("meta", content)
            facts["model"]["training"], facts["data"]["fingerprint"], facts["data"]["name"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a bundle, or a folder of which only the model was kept
        return facts
    return None
