"""A user's model, of whatever form: what is named becomes a module that answers x with logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from salus.conduct.modules import buffers_kept, evaluating
from salus.errors import ModelError, OptionError, SalusError
from salus.models.exported import read_program
from salus.models.factories import call_factory
from salus.models.foreign import form_named, form_of
from salus.models.foreign.huggingface import build_network, load_network, read_folder
from salus.models.foreign.libraries import LIBRARIES, ImageTreatment
from salus.models.foreign.rows import in_order
from salus.models.reading import Inputs, Reading, found_answers, read_with, resolved
from salus.models.weights import load_weights
from salus.options import option_names, parse_value, split_spec
from salus.preprocessing import ImagePreprocessor

#: What stands before a folder of Hugging Face's.
HF = "hf"


@dataclass(frozen=True, eq=False)
class UserModel:
    """What came of it.

    Attributes:
        name: how reports call it.
        module: answers x with logits ``[N, K]``.
        architecture: what it takes to build the module again.
        notes: what a reader of a report should know.
        program: its file, where it came in one that is more than weights.
    """

    name: str
    module: nn.Module
    architecture: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    program: bytes | None = None


@dataclass(frozen=True, eq=False)
class _Bare:
    """A module before anything is put around it."""

    name: str
    module: nn.Module
    source: dict[str, Any]
    reading: Reading
    notes: tuple[str, ...] = ()
    program: bytes | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def split_reading(text: str) -> tuple[str, dict[str, Any]]:
    """Split ``FILE.onnx:output=logits,answers=labels`` into the model and how it is read.

    Raises:
        OptionError: what stands behind the last colon is no ``key=value``.
    """
    spec, colon, rest = text.rpartition(":")
    if not colon or "=" not in rest or Path(text).exists():
        return text, {}
    return spec, split_spec(f"model:{rest}", "model")[1]


def read_user_model(
    spec: str, weights: Path | None, options: Mapping[str, Any], inputs: Inputs, x: Tensor | None = None
) -> UserModel:
    """Make a module of what a user names.

    Args:
        spec: ``package.module:function``, or a file.
        weights: a file of weights, where they lie apart.
        options: fields of :class:`Reading`.
        inputs: what it will be given.
        x: some of that, to find out how it answers; drawn evenly where none is given.

    Raises:
        ModelError: anything that stands in the way, in one sentence.
        OptionError: an option is unknown.
    """
    path = Path(spec)
    form = form_of(path)
    reading = Reading() if is_library(spec) else Reading.parse(options, f"model {spec!r}")
    if is_library(spec):
        bare = _of_library(spec, weights, options, inputs)
    elif spec.endswith(".pt2"):
        _refuse_weights(spec, weights, "an exported program")
        if not path.is_file():
            raise ModelError(f"There is no exported program {path}.")
        module, program = read_program(path.read_bytes(), spec)
        bare = _Bare(path.stem, module, {"program": "model.pt2"}, reading, program=program)
    elif form is not None:
        _refuse_weights(spec, weights, form.title)
        content = form.read(path)
        built = form.build(content, reading, inputs, spec)
        source = {"form": form.name, **({"settings": built.settings} if built.settings else {})}
        bare = _Bare(path.name.partition(".")[0], built.module, source, built.reading, built.notes, content)
    else:
        module = call_factory(spec)
        notes = () if weights is None else load_weights(module, Path(weights))
        bare = _Bare(spec.partition(":")[2], module, {"factory": spec}, reading, notes)
    return _dressed(bare, inputs, x)


def is_library(spec: str) -> bool:
    """Tell ``timm:NAME``, ``torchvision:NAME``, ``monai:NAME`` and ``hf:FOLDER``."""
    name, colon, rest = spec.partition(":")
    return bool(colon and rest) and name in (*LIBRARIES, HF)


def treatment_of(text: str) -> ImageTreatment | None:
    """Say how images are made for what stands behind ``--model``; None where nobody knows.

    Raises:
        ModelError: the library is not installed, or the folder is broken.
    """
    spec, options = split_reading(text)
    if not is_library(spec):
        return None
    name, _, network = spec.partition(":")
    if name == HF:
        return read_folder(Path(network)).treatment
    return LIBRARIES[name].treatment(network, _parted(options)[1])


def _parted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part how a network is read from what its constructor takes."""
    reads = {key: value for key, value in options.items() if key.replace("-", "_") in option_names(Reading)}
    return reads, {key.replace("-", "_"): _value(value) for key, value in options.items() if key not in reads}


def _value(text: Any) -> Any:
    """Read several numbers joined by +."""
    parts = [parse_value(part) for part in text.split("+")] if isinstance(text, str) and "+" in text else [text]
    return parts if len(parts) > 1 and all(isinstance(part, (int, float)) for part in parts) else text


def _of_library(spec: str, weights: Path | None, options: Mapping[str, Any], inputs: Inputs) -> _Bare:
    """Build a network of a library, and put the weights of a file into it."""
    name, _, network = spec.partition(":")
    reads, own = _parted(options)
    reading = Reading.parse(reads, f"model {spec!r}")
    labels = reading.labels or inputs.labels
    notes: list[str] = []
    if name == HF:
        folder = read_folder(Path(network))
        if own:
            raise OptionError(f"Model {spec!r} has no option {next(iter(own))!r}; its folder says all.")
        if folder.several:
            reading = replace(reading, answers=reading.answers or "labels", labels=tuple(folder.labels))
        elif in_order(folder.labels, inputs)[0] is not None:
            raise ModelError(
                f"The classes of {network} stand in another order than the data's; name them in its own: --classes "
                f"{','.join(folder.labels)}."
            )
        if weights is not None:
            raise ModelError(f"{spec} has its own weights; leave out {weights}.")
        module, treatment = load_network(folder), folder.treatment
        source: dict[str, Any] = {"library": HF, "config": dict(folder.config)}
        reading = reading if reading.output is not None else replace(reading, output="logits")
        title = Path(network).name
    else:
        if weights is None:
            raise ModelError(
                f"{spec} needs weights that were trained for these data, which lie on this disk: --weights FILE; Salus "
                "fetches none."
            )
        sets = labels and reading.answers in (None, "labels", "label-probabilities")
        outputs = len(labels) if sets else len(inputs.classes)
        module = LIBRARIES[name].build(network, outputs, inputs, own)
        treatment, title = LIBRARIES[name].treatment(network, own), network
        source = {"library": name, "network": network, "outputs": outputs, "options": own}
    if weights is not None:
        notes += load_weights(module, Path(weights))
    if treatment is not None and not (reading.mean or reading.std):
        channels = inputs.shape[0]
        mean, std = (v if len(v) in (0, 1, channels) else (sum(v) / len(v),) for v in (treatment.mean, treatment.std))
        reading = replace(reading, mean=mean, std=std)
        notes += _framed(treatment, inputs)
        notes.append(
            f"Inputs are treated as the network's configuration says ({treatment.words}), inside the model, so that "
            "eps "
            "stays in the levels of the image; where it was trained otherwise, say how: mean=...,std=... behind the "
            "model."
        )
    return _Bare(title, module, source, reading, tuple(notes))


def _framed(treatment: ImageTreatment, inputs: Inputs) -> list[str]:
    """Say how images are scaled for a network, and whether these were."""
    if treatment.size is None or len(inputs.shape) != 3:
        return []
    size, made = (inputs.shape[1], inputs.shape[2]), inputs.preprocessor
    wanted = treatment.framing(size)
    if isinstance(made, ImagePreprocessor) and made.framing == wanted and not treatment.unframed:
        return [f"Images are {wanted.words(size)}, as the network's configuration says."]
    if treatment.unframed:
        says = (
            f"{treatment.unframed}; Salus has them {made.framing.words(size)}"
            if isinstance(made, ImagePreprocessor)
            else treatment.unframed
        )
        return [f"The network's configuration {says}."]
    return [
        f"The network's configuration wants images {wanted.words(size)}; these inputs were made without it, and are "
        f"taken as they are (of image files: --size {size[0]}x{size[1]} --resize {wanted.text})."
    ]


def _dressed(bare: _Bare, inputs: Inputs, x: Tensor | None) -> UserModel:
    """Find out how a module answers, and put around it what makes logits of that."""
    reading = bare.reading
    try:
        with evaluating(bare.module) as parts, buffers_kept(parts):
            reading = found_answers(bare.module, reading, inputs, inputs.some() if x is None else x)
    except SalusError:
        raise
    except Exception:  # a model that fails on its inputs is told of by its check
        reading = bare.reading
    reading = resolved(reading, inputs)
    architecture = dict(bare.source)
    if plain := reading.plain():
        architecture["reading"] = plain
    if {"form", "library"} & architecture.keys() or reading.labels:
        known = {"features": list(inputs.features), "labels": list(inputs.labels), "label": inputs.label}
        architecture["inputs"] = {key: value for key, value in known.items() if value}
    module = read_with(bare.module, reading, inputs)
    return UserModel(bare.name, module, architecture, (*bare.notes, *_said(reading)), bare.program)


def _said(reading: Reading) -> list[str]:
    """Say how a model is read, where that is not x in and logits out."""
    words = {
        "probabilities": "The logarithm of the model's probabilities is used as logits.",
        "logit": "The model answers with one logit a sample, that of the second class; that of the first is 0.",
        "probability": "The model answers with the probability of the second class, of which logits were made.",
        "ordinal": "The model's classes are ordinal: the answer is the number of its logits above 0.",
    }
    notes = [words[reading.answers]] if reading.answers in words else []
    if reading.answers in ("labels", "label-probabilities"):
        asked = (
            f"the label {reading.label} is asked for, there or not"
            if reading.label is not None
            else "a class is a set of them, so that an attack has won where any one label is wrong"
        )
        notes.append(
            f"The model answers with {len(reading.labels)} labels at once ({', '.join(reading.labels)}); {asked}."
        )
    if reading.output is not None:
        notes.append(f"Of the model's outputs {reading.output!r} is read.")
    return notes


def _refuse_weights(spec: str, weights: Path | None, what: str) -> None:
    if weights is not None:
        raise ModelError(f"Model {spec}: {what} brings its own weights; leave out {weights}.")


def rebuilt(architecture: Mapping[str, Any], content: bytes, inputs: Inputs, place: str) -> nn.Module:
    """Make the bare module of a saved model of another form again, as :func:`read_user_model` did.

    Args:
        architecture: of the saved model.
        content: its file.
        inputs: what it is given.
        place: how to name the file.

    Raises:
        ModelError: it is damaged.
    """
    return form_named(str(architecture["form"])).build(content, read_of(architecture), inputs, place).module


def rebuilt_network(architecture: Mapping[str, Any], inputs: Inputs, place: str) -> nn.Module:
    """Build the network of a saved model of a library again, with random weights.

    Raises:
        ModelError: the library is not installed, or what was saved does not say.
    """
    name = str(architecture["library"])
    try:
        if name == HF:
            return build_network(architecture["config"], place)
        known = LIBRARIES[name]
        return known.build(str(architecture["network"]), int(architecture["outputs"]), inputs, architecture["options"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"What library the model in {place} is of cannot be read: {error}.") from error


def read_of(architecture: Mapping[str, Any]) -> Reading:
    """Say how a saved model is read.

    Raises:
        ModelError: that was changed.
    """
    try:
        return Reading.restore(architecture.get("reading") or {})
    except (OptionError, AttributeError, TypeError) as error:
        raise ModelError(f"How the model is read was changed: {error}") from error


def inputs_of(architecture: Mapping[str, Any], inputs: Inputs) -> Inputs:
    """Add what a saved model knew of its inputs beside their shape."""
    known = architecture.get("inputs") or {}
    label = known.get("label")
    return replace(
        inputs,
        features=tuple(map(str, known.get("features", ()))),
        labels=tuple(map(str, known.get("labels", ()))),
        label=None if label is None else str(label),
    )
