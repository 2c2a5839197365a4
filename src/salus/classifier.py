"""The classifier seen from outside: logits, bounds, class names, named hidden layers; saved and loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from salus.batches import in_batches
from salus.conduct.logits import as_logits_of
from salus.conduct.modules import buffers_kept, evaluating, hidden_modules, modules_of
from salus.conduct.remarks import conduct
from salus.errors import BundleError, ModelError, SalusError
from salus.models.foreign.gradient_free import without_gradients
from salus.models.layers import layer_names, watched
from salus.models.probabilities import LogOfProbabilities
from salus.preprocessing import Prepared, Preprocessor, save_preprocessor
from salus.preprocessing.things import read_thing, unprepared

if TYPE_CHECKING:
    from salus.data.base import Dataset

#: Samples that show how a user's model answers.
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class States:
    """What one forward pass showed.

    Attributes:
        x: the input ``[N, ...]``.
        logits: the output ``[N, K]``.
        hidden: layer name to states ``[N, D]``.
    """

    x: Tensor
    logits: Tensor
    hidden: Mapping[str, Tensor]


class Classifier(nn.Module):
    """A trained model as Salus sees it; in eval mode from the start.

    Args:
        module: maps a batch to logits ``[N, K]``.
        classes: class names, in the order of the logits.
        bounds: lowest and highest value of the input.
        shape: shape of one sample.
        name: how reports call it.
        architecture: what it takes to build the module again: ``{"name": "ecg-cnn", "options": {...}}`` for
            Salus's own networks, ``{"factory": "package.module:function"}`` for a user's,
            ``{"program": "model.pt2"}`` for an exported program; with ``"outputs": "probabilities"`` when the
            module ends in softmax. None when nobody knows.
        notes: what a reader of a report should know about this model.
        program: the exported program itself, as bytes.
        preprocessor: how raw inputs become x; None where nobody knows.
    """

    def __init__(
        self,
        module: nn.Module,
        classes: Sequence[str],
        *,
        shape: Sequence[int],
        bounds: tuple[float, float] = (0.0, 1.0),
        name: str = "classifier",
        architecture: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        program: bytes | None = None,
        preprocessor: Preprocessor | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.classes = tuple(classes)
        self.shape = tuple(int(size) for size in shape)
        self.bounds = (float(bounds[0]), float(bounds[1]))
        self.name = name
        self.architecture = None if architecture is None else dict(architecture)
        self.notes = tuple(notes)
        self.program = program
        self.preprocessor = preprocessor
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits ``[N, K]``, float32 whatever the module computes in; x is never written to.

        Raises:
            ModelError: the module returns no logits.
        """
        return as_logits_of(self.module(x.clone()), len(x))  # a module may work in place

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode of every part, also of those that the module does not register."""
        super().train(mode)
        for part in modules_of(self.module):
            part.training = mode
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensors = (*self.parameters(), *self.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def without_gradients(self) -> str | None:
        """Why no gradient flows from its answers to its inputs, as a sentence; None where one may."""
        return without_gradients(self.module)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """What :meth:`states` can show: ``logits``, ``penultimate`` and every part of the module by name."""
        return layer_names(self.module)

    def states(self, x: Tensor, layers: Sequence[str]) -> States:
        """Compute logits and hidden states in one forward pass, differentiable in x.

        Args:
            x: inputs ``[N, ...]``.
            layers: names out of :attr:`layer_names`. ``penultimate`` is the input of the last linear layer that ran
                or, of a network without any, of the last convolution. A layer's output ``[N, C, ...]`` is averaged
                over its positions; ``name/flat`` flattens it instead. Of a part that runs several times the last
                output counts.

        Raises:
            ModelError: there is no such layer, it did not run, or it gives no states.
        """
        with watched(self.module, layers, self.name) as hidden:
            logits = self(x)
        for layer in layers:
            if layer not in hidden or len(hidden[layer]) != len(x):
                gave = f"{len(hidden[layer])} rows" if layer in hidden else "nothing"
                raise ModelError(
                    f"Layer {layer!r} of classifier {self.name!r} gave {gave} for {len(x)} samples; "
                    "choose a layer that runs once a sample."
                )
        return States(x, logits, dict(hidden))

    def predict(self, x: Tensor, batch_size: int = 512) -> Tensor:
        """Compute logits ``[N, K]`` batch by batch, in eval mode and without gradients, on x's device."""
        with evaluating(self) as modules, buffers_kept(modules), torch.no_grad():
            parts = [self(batch.to(self.device)).to(x.device) for batch in in_batches(x, batch_size)]
        return torch.cat(parts) if len(x) else x.new_zeros(0, len(self.classes))

    def answers(self, x: Tensor) -> Tensor:
        """Return the final answer to each input, int64 ``[N]``: the label, or -1 where what is asked rejects it."""
        return self.predict(x).argmax(1)

    def fingerprint(self) -> str:
        """SHA-256 of the architecture and the weights: equal when two classifiers compute the same."""
        digest = hashlib.sha256(json.dumps(self.architecture, sort_keys=True).encode())
        digest.update(repr(self.module).encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            value = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
        for place, part in hidden_modules(self.module).items():
            for name, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
                digest.update(f"{place}.{name}".encode() + repr(tensor.tolist()).encode())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``model.json`` (and ``model.pt2``) into a folder.

        Raises:
            StoreError: the folder cannot be written.
        """
        from salus.models import saved

        card = {
            "name": self.name,
            "architecture": self.architecture,
            "classes": list(self.classes),
            "bounds": list(self.bounds),
            "shape": list(self.shape),
            "notes": list(self.notes),
            "preprocessor": None if self.preprocessor is None else self.preprocessor.fingerprint(),
        }
        if self.preprocessor is not None:
            save_preprocessor(self.preprocessor, Path(folder))
        saved.write(Path(folder), card, self.module, self.program)

    @classmethod
    def load(cls, folder: Path, *, factory: str | None = None) -> Classifier:
        """Read a saved classifier, checking all of it; no code named in a file is ever imported.

        Args:
            folder: where :meth:`save` wrote.
            factory: ``package.module:function`` that builds the module, for a model of the user's own code.

        Raises:
            BundleError: something is missing, damaged, changed, or of another format.
            ModelError: the factory cannot be called.
        """
        from salus.models import saved

        model = saved.read(Path(folder), factory)
        card, preprocessor = model.card, model.preprocessor
        if preprocessor is not None and preprocessor.shape != tuple(card["shape"]):
            raise BundleError(
                f"The preprocessor in {folder} makes inputs of shape {list(preprocessor.shape)}, and the model takes "
                f"{card['shape']}; take a fresh copy of the folder."
            )
        return cls(
            model.module,
            card["classes"],
            shape=card["shape"],
            bounds=(card["bounds"][0], card["bounds"][1]),
            name=card["name"],
            architecture=card["architecture"],
            notes=card["notes"],
            program=model.program,
            preprocessor=preprocessor,
        )

    def prepare(self, raw: Any) -> Prepared:
        """Prepare raw inputs in memory as the training data were; see ``Preprocessor.transform``.

        Raises:
            BundleError: nobody said how inputs are made.
            DataError: they are no inputs of this model.
        """
        if self.preprocessor is None:
            raise unprepared(self.name)
        return self.preprocessor.transform(raw)

    def read(self, thing: Path, label: str | None = None) -> Iterator[Prepared]:
        """Prepare a file or folder, a batch at a time: raw things, or arrays that are prepared.

        Args:
            thing: a CSV file, an image, a WFDB record, a folder of images or of records, or a file of arrays, ``.npz``
                or ``.npy``.
            label: the column of a table that holds the label, where its name does not tell.

        Raises:
            BundleError: it is raw, and nobody said how inputs are made.
            DataError: it is no input of this model, or not one of it can be prepared.
        """
        return read_thing(thing, self.preprocessor, shape=self.shape, bounds=self.bounds, label=label)


def as_logits(classifier: Classifier) -> Classifier:
    """Wrap a classifier that ends in softmax, so that its forward pass returns log-probabilities."""
    note = "The model ends in softmax; the logarithm of its output is used as logits."
    return Classifier(
        LogOfProbabilities(classifier.module),
        classifier.classes,
        shape=classifier.shape,
        bounds=classifier.bounds,
        name=classifier.name,
        architecture={**(classifier.architecture or {}), "outputs": "probabilities"},
        notes=(*classifier.notes, note),
        program=classifier.program,
        preprocessor=classifier.preprocessor,
    )


def load_user_model(
    spec: str,
    weights: Path | None = None,
    *,
    classes: Sequence[str],
    shape: Sequence[int],
    bounds: tuple[float, float] = (0.0, 1.0),
    data: Dataset | None = None,
) -> Classifier:
    """Take a user's model: ``package.module:function`` with its weights, or a file of any form that Salus knows.

    Args:
        spec: the function that builds the module, or the path of a file (``.pt2``, ``.onnx``, ``.keras``, ``.skops``,
            ...); how it is read may stand behind a colon, ``FILE.onnx:output=logits``.
        weights: a file of safetensors or a state dict, also in a checkpoint; None when the function loads its own.
        classes: class names, in the order of the logits.
        shape: shape of one sample.
        bounds: lowest and highest value of the input.
        data: samples that it is for, which say what their values mean and show how it answers.

    Raises:
        ModelError: anything that stands in the way, in one sentence.
    """
    from salus.models.reading import Inputs
    from salus.models.user import read_user_model, split_reading

    spec, options = split_reading(spec)
    known = () if data is None else (data.preprocessor, data.features, data.labels, data.label)
    inputs = Inputs(tuple(shape), bounds, tuple(classes), *known)
    some = None if data is None else data.x[:_SHOWN]
    model = read_user_model(spec, weights, options, inputs, some)
    return Classifier(
        model.module,
        classes,
        shape=shape,
        bounds=bounds,
        name=model.name,
        architecture=model.architecture,
        notes=model.notes,
        program=model.program,
        preprocessor=None if data is None or "form" not in model.architecture else data.preprocessor,
    )


def check_classifier(classifier: Classifier, dataset: Dataset, *, trained_here: bool = False) -> tuple[str, ...]:
    """Check that a classifier and data belong together; return remarks about what is odd but can be used.

    One that was trained here on these very data may guess: that is no mix-up.

    Raises:
        ModelError: the shapes or the number of classes differ, a logit is NaN, or the labels are guessed no
            better than by chance.
    """
    name = classifier.name
    rows = _some_of_each_class(dataset.y, len(dataset.classes))
    few = dataset.subset(rows)
    x, y = few.x, few.y
    try:
        logits = classifier.predict(x)
    except SalusError:
        raise
    except Exception as error:  # a model may fail in any way
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ModelError(
            f"Classifier {name!r}, made for samples of shape {list(classifier.shape)}, does not accept the "
            f"data's, {list(x.shape[1:])}: {type(error).__name__}: {reason}{_half(classifier)}."
        ) from error
    classes = len(dataset.classes)
    if logits.shape[1] != classes or len(classifier.classes) != classes:
        raise ModelError(
            f"Classifier {name!r} tells {logits.shape[1]} classes apart, but the data have {classes}: "
            f"{', '.join(dataset.classes)}. Where they lack some, name all that it knows in the order of its logits "
            "(--classes A,B,C)."
        )
    if bool(logits.isnan().any()):
        sample = int(rows[logits.isnan().any(1)][0])
        raise ModelError(f"Classifier {name!r} returns NaN for sample {sample}; its weights may be broken.")
    remarks = list(conduct(classifier.module, classifier.predict, x).remarks)
    if ends_in_softmax(logits):
        remarks.append("The model ends in softmax; the logarithm of its output is used as logits.")
    if tuple(classifier.classes) != tuple(dataset.classes):
        remarks.append(
            f"The model's classes ({', '.join(classifier.classes)}) are named otherwise than the data's "
            f"({', '.join(dataset.classes)}); they are matched by position."
        )
    if len(x) >= 30 and not trained_here:
        refuse_chance(name, logits.argmax(1), y, classes)
    return tuple(remarks)


def ends_in_softmax(logits: Tensor) -> bool:
    """Tell whether what should be logits are probabilities: no row below 0, each summing to 1."""
    tolerance = 2e-2 if torch.equal(logits, logits.bfloat16().to(logits.dtype)) else 1e-3  # bfloat16 has 3 digits
    return bool((logits >= 0).all() and ((logits.sum(1) - 1).abs() < tolerance).all())


def _half(classifier: Classifier) -> str:
    """Say what a module with weights in half precision has to do with float32 inputs."""
    small = [weight.dtype for weight in classifier.parameters() if weight.dtype.itemsize < 4]
    if not small:
        return ""
    return f"; its weights are {small[0]}: let its forward begin with x = x.to({small[0]}), or give model.float()"


def _some_of_each_class(y: Tensor, classes: int, most: int = 2048) -> Tensor:
    """Choose up to ``most`` positions, as many of each class, evenly spaced."""
    parts = []
    for label in range(classes):
        rows = (y == label).nonzero()[:, 0]
        count = min(len(rows), -(-most // classes))
        parts.append(rows[torch.linspace(0, len(rows) - 1, count).long()] if count else rows)
    return torch.cat(parts).sort().values


def refuse_chance(name: str, answers: Tensor, y: Tensor, classes: int) -> None:
    """Refuse a classifier that guesses: its labels or its inputs are not what it was trained on.

    Raises:
        ModelError: the balanced accuracy of its answers ``[N]`` is no better than chance.
    """
    confusion = torch.zeros(classes, classes).index_put_((y, answers), torch.ones(len(y)), accumulate=True)
    confusion = confusion[confusion.sum(1) > 0] / confusion.sum(1, keepdim=True)[confusion.sum(1) > 0]
    present = torch.unique(y)
    accuracy = float(confusion[torch.arange(len(present)), present].mean())
    if accuracy > 1 / classes + 0.02:
        return
    from scipy.optimize import linear_sum_assignment

    row, column = linear_sum_assignment(confusion.numpy(), maximize=True)
    best = float(confusion[torch.as_tensor(row), torch.as_tensor(column)].mean())
    if best > max(0.5, 1 / classes + 0.2):
        cause = f"with its classes in another order it would be {best:.1%}: check the order of the classes"
    else:
        cause = "check that its weights are loaded, and that the data are scaled as it was trained"
    raise ModelError(
        f"Classifier {name!r} is no better than chance: its balanced accuracy on {len(y)} samples is "
        f"{accuracy:.1%}, guessing gives {1 / classes:.1%}; {cause}."
    )
